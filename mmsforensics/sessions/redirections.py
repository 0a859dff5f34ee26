"""Who was sent where: redirectors fetched over HTTP, and messages and headers that send the player elsewhere.

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

from mmsforensics.protocols.messages import At
from mmsforensics.protocols.redirectors import Entry, Redirector, read_redirector, resolved
from mmsforensics.sessions.documents import DOCUMENT_LIMIT, Document

REDIRECTS = (301, 302, 303, 305, 307, 308)
"""Statuses that name another place [RFC 9110 15.4]."""


BY_MESSAGE = ("http ", "rtsp ", "mms ", "script ")
"""How the kinds begin that are no documents, but said in passing."""


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
    """What it says; of what is no document the kind begins as in `BY_MESSAGE`."""
    whole: bool
    """Whether all of it was captured."""

    @property
    def means_little(self) -> bool:
        """Whether it means nothing by itself: a link to open, or a response of HTTP in no session."""
        kind = self.redirector.kind
        return kind == "script url" or (kind.startswith("http ") and self.session is None)


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
    return _one_entry(f"http {status}", location, url)


def script_kind(command: str) -> str:
    """The kind of a script command that names an address to go to; empty for any other [ASF 3.6]."""
    return f"script {command.lower()}" if command.upper() in ("FILENAME", "URL") else ""


def _one_entry(kind: str, location: str, url: str) -> Redirector:
    target = resolved(location, url)
    entry = Entry(number=1, alternative=1, kind="ref", href=location, target=target)
    return Redirector(kind=kind, entries=(entry,))


def told_to_go(
    session: int, at: At, kind: str, location: str, url: str, client_ip: bytes, server_ip: bytes
) -> Redirection:
    """What a message of a session says, by which its server sends the player elsewhere.

    Parameters
    ----------
    session : int
        Number of the session.
    at : At
        Where the message stands.
    kind : str
        One that begins as in `BY_MESSAGE`.
    location, url : str
        Where it sends the player, as written, and the session's own address.
    client_ip, server_ip : bytes
        Addresses of the session.
    """
    return Redirection(
        session=session,
        frame=at.frame,
        ts=at.ts,
        client_ip=client_ip,
        server_ip=server_ip,
        url=url,
        redirector=_one_entry(kind, location, url),
        whole=True,
    )


def params_of(entry: Entry) -> Mapping[str, str]:
    """Parameters of an entry, its own before those of the whole file."""
    found: dict[str, str] = {}
    for name, value in entry.params:
        found.setdefault(name, value)
    return found
