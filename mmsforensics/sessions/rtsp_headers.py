"""What the headers of RTSP mean where Windows Media uses them (RFC 2326 12, MS-RTSP 2.2.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmsforensics.protocols import Request, Response

_WINDOWS_MEDIA = re.compile(r"^(?:WMPlayer|NSPlayer|WMServer|WMCacheProxy|NSServer)/", re.IGNORECASE)
_EXTENSION = re.compile(r"com\.microsoft\.wm\.", re.IGNORECASE)
_CONTENT = re.compile(r"application/(?:x-wms-|x-rtsp-|vnd\.ms\.wms)", re.IGNORECASE)
_GUID = re.compile(r"guid/([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})")
_END_NOTICE = re.compile(r"^\s*2101\b")

SWITCH_BODY = "application/x-wms-streamswitch"
END_BODY = "application/x-wms-extension-cmd"

OPERATIONS: dict[tuple[str, str], str] = {
    ("DESCRIBE", ""): "Describe",
    ("SETUP", ""): "SelectStream",
    ("PLAY", ""): "Play",
    ("PAUSE", ""): "Pause",
    ("TEARDOWN", ""): "Teardown",
    ("ANNOUNCE", "application/sdp"): "Announce",
    ("GET_PARAMETER", ""): "KeepAlive",
    ("GET_PARAMETER", "application/x-rtsp-packetpair"): "TcpPacketPair",
    ("GET_PARAMETER", "application/x-wms-getcontentinfo"): "GetContentInfo",
    ("SET_PARAMETER", "application/x-rtsp-udp-packetpair"): "UdpPacketPair",
    ("SET_PARAMETER", SWITCH_BODY): "SelectStream",
    ("SET_PARAMETER", "application/x-wms-logconnectstats"): "LogConnect",
    ("SET_PARAMETER", "application/x-wms-logplaystats"): "LogPlay",
    ("SET_PARAMETER", "application/x-wms-sendevent"): "SendEvent",
    ("SET_PARAMETER", END_BODY): "EndOfStream",
}
"""Logical requests of [MS-RTSP 2.2.7] by method and Content-Type; others have the name of their method."""


def content_type(message: Request | Response) -> str:
    """Content-Type in lower case, without parameters."""
    return message.header("content-type").split(";", 1)[0].strip().lower()


def operation(request: Request) -> str:
    """The logical request that a request is."""
    kind = content_type(request)
    found = OPERATIONS.get((request.method, kind)) or OPERATIONS.get((request.method, ""))
    if found is None or (kind and request.method in ("GET_PARAMETER", "SET_PARAMETER")):
        return OPERATIONS.get((request.method, kind), request.method)
    return found


def shows_windows_media(message: Request | Response) -> bool:
    """Whether the headers of a message are those of Windows Media."""
    agent = message.header("user-agent") if isinstance(message, Request) else message.header("server")
    return bool(
        _WINDOWS_MEDIA.match(agent)
        or _EXTENSION.search(message.header("supported"))
        or _EXTENSION.search(message.header("require"))
        or _CONTENT.match(message.header("content-type"))
        or message.header("x-playlist-gen-id")
        or _END_NOTICE.match(message.header("x-notice"))
    )


def player_guid(request: Request) -> str:
    """GUID that a player names in its User-Agent, in braces; empty where there is none."""
    found = _GUID.search(request.header("user-agent"))
    return f"{{{found[1]}}}" if found else ""


def says_end(request: Request) -> bool:
    """Whether a request of the server says that the content has ended [MS-RTSP 2.2.7.3]."""
    return bool(_END_NOTICE.match(request.header("x-notice"))) or content_type(request) == END_BODY


@dataclass(frozen=True, slots=True)
class Transport:
    """What a Transport header agrees on [RFC 2326 12.39, MS-RTSP 2.2.6.11]."""

    lower: str
    """``UDP`` or ``TCP``."""
    client_ports: tuple[int, ...] = ()
    server_ports: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    ssrc: int | None = None


def transport(value: str) -> Transport | None:
    """Read the first alternative of a Transport header; None where it is no RTP."""
    first, *parameters = value.split(",", 1)[0].split(";")
    profile = first.strip().upper().split("/")
    if profile[:1] != ["RTP"]:
        return None
    named: dict[str, str] = {}
    for parameter in parameters:
        name, _, text = parameter.partition("=")
        named.setdefault(name.strip().lower(), text.strip().strip('"'))
    ssrc = named.get("ssrc", "")
    return Transport(
        lower="TCP" if profile[2:3] == ["TCP"] or "interleaved" in named else "UDP",
        client_ports=_numbers(named.get("client_port", "")),
        server_ports=_numbers(named.get("server_port", "")),
        channels=_numbers(named.get("interleaved", "")),
        ssrc=int(ssrc, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,8}", ssrc) else None,
    )


def _numbers(text: str) -> tuple[int, ...]:
    """``a-b`` or ``a``."""
    parts = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text.strip())
    if parts is None:
        return ()
    return tuple(int(part) for part in parts.groups() if part is not None)


@dataclass(frozen=True, slots=True)
class RtpInfo:
    """An entry of RTP-Info or X-RTP-Info [RFC 2326 12.33, MS-RTSP 2.2.6.15]."""

    url: str
    sequence: int | None
    ssrc: int | None
    rtptime: int | None


def rtp_info(message: Request | Response) -> list[RtpInfo]:
    """The entries of a message's RTP-Info, or X-RTP-Info."""
    value = message.header("rtp-info") or message.header("x-rtp-info")
    found = []
    for entry in re.split(r",(?=\s*(?:url|ssrc)\s*=)", value) if value else ():
        named: dict[str, str] = {}
        for parameter in entry.split(";"):
            name, _, text = parameter.partition("=")
            named.setdefault(name.strip().lower(), text.strip().strip('"'))
        ssrc = named.get("ssrc", "")
        found.append(
            RtpInfo(
                url=named.get("url", ""),
                sequence=_number(named.get("seq", ""), 16),
                ssrc=int(ssrc, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,8}", ssrc) else None,
                rtptime=_number(named.get("rtptime", ""), 32),
            )
        )
    return found


def _number(text: str, bits: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if int(text) < 1 << bits else None


def challenges(response: Response) -> list[str]:
    """Schemes that a response asks the client to authenticate with."""
    names = ("www-authenticate", "proxy-authenticate")
    values = [value for key, value in response.headers if key.lower() in names]
    return [value.split(None, 1)[0] for value in values if value.split()]


NO_STREAM = 4294967295
"""Identifier in an SSEntry that names no stream [MS-RTSP 2.2.7.10]."""


def stream_entries(text: str) -> list[dict[str, object]]:
    """The entries of a stream switch: which stream gives way to which, and how thinned [MS-RTSP 2.2.7.10]."""
    found: list[dict[str, object]] = []
    for line in text.splitlines():
        entry = re.match(
            r"SSEntry:\s*([0-9]{1,10})\s+([0-9]{1,10})\s+([0-9]{1,3})\b(.*)", line, re.IGNORECASE
        )
        if entry is not None:
            old, new = (n if n != NO_STREAM else None for n in map(int, entry.groups()[:2]))
            found.append({"from": old, "to": new, "thinning": int(entry[3]), "urls": entry[4].split()})
    return found


def body_fields(text: str) -> dict[str, str]:
    """Lines ``name: value`` of a parameter body, names in lower case."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def player_version(agent: str) -> str:
    """A User-Agent without the player's GUID."""
    return " ".join(part for part in agent.split() if not part.lower().startswith("guid/"))


def path_of(url: str) -> str:
    """A URL without scheme, which a player changes with the transport, and a slash at its end."""
    return url.split("://", 1)[-1].rstrip("/").lower()


def ends_alike(url: str, other: str) -> bool:
    """Whether one URL is the other, or its relative end."""
    return bool(other) and (url == other or url.endswith("/" + other) or other.endswith("/" + url))
