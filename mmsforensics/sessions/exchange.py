"""An HTTP exchange as sessions see it: who asked for what, and the URL that was meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mmsforensics.protocols import Hole, Malformed, Overlap, Request, Response
from mmsforensics.protocols.wmsp_directives import PUSH_REQUEST_TYPES, Directives, read_pragma, request_type
from mmsforensics.sessions.documents import Document
from mmsforensics.sessions.download import MiddleOfDownload
from mmsforensics.sessions.fetching import Fetch
from mmsforensics.sessions.mms_session import ip_text, url_host
from mmsforensics.sessions.wmsp_telling import MetadataParts, push_id
from mmsforensics.streams.flow import Endpoint

if TYPE_CHECKING:
    from mmsforensics.sessions.story import Story

HTTP_PORT = 80

_PLAYER = re.compile(r"^(?:NSPlayer|NSServer|WMCacheProxy)/", re.IGNORECASE)
_PRAGMA = re.compile(r"xplaystrm|xclientguid|stream-switch|version11-enabled|request-context", re.IGNORECASE)
_GUID = re.compile(r"xclientguid\s*=\s*(\{[^{}]{8,64}\})", re.IGNORECASE)


class Exchange:
    """A request and its response."""

    __slots__ = (
        "at_once",
        "fetch",
        "header_at",
        "kind",
        "metadata",
        "middle",
        "pragma",
        "request",
        "response",
        "story",
        "told",
        "tunnel",
        "unheard",
        "upload",
    )

    def __init__(self) -> None:
        self.request: Request | None = None
        self.pragma = Directives()  # of the request
        self.kind = ""  # its type, by MS-WMSP or MS-WMHTTP
        self.metadata = MetadataParts()
        self.header_at = 0  # LocationId of the header's first part
        self.at_once = 0  # packets with the B bit
        self.response: Response | None = None
        self.story: Story | None = None
        self.fetch: Fetch | None = None
        self.middle: MiddleOfDownload | None = None
        self.told = 0  # how many of request and response stand in the story
        self.tunnel = ""  # host and port of the CONNECT through which it goes
        self.upload: Story | None = None  # of the last file in the request's body
        self.unheard: list[Hole | Malformed | Overlap] = []

    def ask(self, request: Request) -> None:
        """Take the request."""
        self.request = request
        self.pragma = read_pragma(request)
        self.kind = request_type(request, self.pragma)

    @property
    def connects(self) -> bool:
        """Whether the request asks a proxy for a tunnel."""
        return self.request is not None and self.request.method == "CONNECT"

    @property
    def pushes(self) -> bool:
        """Whether the request is one of push distribution."""
        return self.kind in PUSH_REQUEST_TYPES

    @property
    def tokens(self) -> set[str]:
        """What the request names its session by."""
        number = self.pragma.number("client-id")
        push = push_id(self.request) if self.request is not None and self.pushes else ""
        return ({f"client-id={number}"} if number else set()) | ({f"push-id={push}"} if push else set())

    def url(self, server: Endpoint, scheme: str) -> str:
        """The URL that the request means."""
        return exchange_url(self, server, scheme)

    @property
    def target(self) -> str:
        """The request's target, empty when the request was not captured."""
        return self.request.target if self.request else ""

    @property
    def guid(self) -> str:
        """The player's GUID."""
        found = _GUID.search(self.request.header("pragma")) if self.request else None
        return found[1] if found else ""

    def shows_player(self) -> bool:
        """Whether the request is one of a Windows Media player."""
        if self.request is None:
            return False
        return bool(
            _PLAYER.match(self.request.header("user-agent")) or _PRAGMA.search(self.request.header("pragma"))
        )


def exchange_url(exchange: Exchange, server: Endpoint, scheme: str) -> str:
    """The URL that a request means."""
    return request_url(exchange.request, server, scheme, exchange.tunnel)


def document_url(document: Document) -> str:
    """The URL of the request that a document belongs to."""
    return request_url(document.request, document.server, "http", document.tunnel)


def request_url(request: Request | None, server: Endpoint, scheme: str, tunnel: str) -> str:
    """The URL that a request means, behind a `tunnel` perhaps; of one that was not captured, the server's."""
    target = request.target if request else ""
    if re.match(r"^[a-z][a-z0-9+.-]*://", target, re.IGNORECASE):
        try:
            parts = urlsplit(target)
        except ValueError:  # brackets that hold no address
            return f"{scheme}:{target.partition(':')[2]}"
        return f"{scheme}://{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
    if request is not None and request.method == "CONNECT":
        return f"{scheme}://{target}/"
    host = url_host(request.header("host"), server) if request else ""
    through, _, port = tunnel.rpartition(":")
    port = port if through else str(server.port)
    if not host:
        host = ip_text(server.address)
        host = through or (f"[{host}]" if ":" in host else host)
    if port != str(HTTP_PORT) and not re.search(r":[0-9]+$", host):
        host = f"{host}:{port}"
    return f"{scheme}://{host}{target if target.startswith('/') else '/' + target}"
