"""Who was sent where: redirectors fetched over HTTP, and HTTP responses that send the player elsewhere.

Rules of this file:

* a body is a redirector by what it says, whatever its Content-Type; bodies coded with gzip or deflate are
  decoded, up to the limit of a document;
* a response of status 30x is taken note of with its Location; whether it has to do with Windows Media is
  known when the sessions are.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from mmsforensics.protocols.redirectors import Entry, Redirector, read_redirector, resolved
from mmsforensics.sessions.documents import DOCUMENT_LIMIT, Document

REDIRECTS = (301, 302, 303, 305, 307, 308)
"""Statuses that name another place [RFC 9110 15.4]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirection:
    """A redirector, or a response that sends the player elsewhere, as it was seen."""

    session: int | None
    """Number of the session whose exchange it was, if it was one's."""
    frame: int
    ts: int
    client_ip: bytes
    server_ip: bytes
    url: str
    """Where it came from."""
    redirector: Redirector
    """What it says; of a response the kind is ``http 302`` and so on."""
    whole: bool
    """Whether all of it was captured."""

    @property
    def by_status(self) -> bool:
        """Whether it is a response of HTTP, which means nothing by itself."""
        return self.redirector.kind.startswith("http ")


def decoded(data: bytes, coding: str) -> bytes:
    """A body without its content coding, as far as it can be decoded, bounded by `DOCUMENT_LIMIT`."""
    coding = coding.lower().strip()
    if data[:2] == b"\x1f\x8b":
        windows = [16 + zlib.MAX_WBITS]
    elif coding == "deflate":
        windows = [zlib.MAX_WBITS, -zlib.MAX_WBITS]  # with zlib's frame, or as some servers send it, without
    else:
        return data
    for bits in windows:
        try:
            return zlib.decompressobj(bits).decompress(data, DOCUMENT_LIMIT)
        except zlib.error:
            continue
    return data


def redirection_of(document: Document, url: str) -> Redirection | None:
    """The redirector that a document is; None if it is none.

    Parameters
    ----------
    document : Document
        A body, in either direction.
    url : str
        Address of the request that it answers.
    """
    if document.response is None or document.response.status >= 400:
        return None
    found = read_redirector(decoded(document.data, document.response.header("content-encoding")), url)
    if found is None:
        return None
    return Redirection(
        session=document.story.number if document.story is not None else None,
        frame=document.at.frame,
        ts=document.at.ts,
        client_ip=document.client.address,
        server_ip=document.server.address,
        url=url,
        redirector=found,
        whole=document.whole and not found.cut,
    )


def moved(status: int, location: str, url: str) -> Redirector | None:
    """What a response of status 30x says, as a redirector of one entry; None without a Location."""
    if status not in REDIRECTS or not location:
        return None
    target = resolved(location, url)
    return Redirector(
        kind=f"http {status}",
        entries=(Entry(number=1, alternative=1, kind="ref", href=location, target=target),),
    )


def params_of(entry: Entry) -> Mapping[str, str]:
    """Parameters of an entry, its own before those of the whole file."""
    found: dict[str, str] = {}
    for name, value in entry.params:
        found.setdefault(name, value)
    return found
