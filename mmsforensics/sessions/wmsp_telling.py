"""What the exchanges of MS-WMSP and MS-WMHTTP tell: details of events, made from headers and packets.

Rules of this file:

* a header that says nothing leaves nothing in the details;
* which streams are selected is what the requests say so far: none until one is turned on [MS-WMSP 3.2.5.6].
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from mmsforensics.asf import Header
from mmsforensics.protocols import DataPackets, Request, Response
from mmsforensics.protocols.messages import At
from mmsforensics.protocols.wmsp_directives import (
    Directives,
    read_cache_control,
    read_pragma,
    read_startup_profile,
    read_supported,
)
from mmsforensics.protocols.wmsp_metadata import Metadata, read_metadata
from mmsforensics.sessions.header_parts import payload_of
from mmsforensics.sessions.wording import hresult_name

MAX_METADATA = 1 << 20
"""Bytes of one $M put together; a server sends some hundred."""

FIRST_PART, LAST_PART = 0x04, 0x08
"""AFFlags of a $M that came in parts [2.2.3.1.2]."""

CHALLENGED = (401, 407)
"""Statuses that ask who the client is [RFC 9110 15.5.2, 15.5.8]."""

REDIRECTS = (301, 302, 303, 305, 307, 308)
"""Statuses that send the client elsewhere: MS-WMSP servers use 302 and, for a proxy, 305 [3.2.5.4]."""

END_REASONS: dict[int, str] = {
    0x00000000: "all was sent",
    0x00000001: "this entry was sent, others follow",
    0x000D2F09: "the beginning was reached going backwards",
}
"""Reasons of $E with a meaning of their own [MS-WMSP 2.2.3.4]; others are HRESULTs."""

CHANGE_REASONS: dict[int, str] = {0x00000000: "the next entry", 0x400D14BE: "the previous entry"}
"""Reasons of $C [MS-WMSP 2.2.3.2]."""

_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9-]*)(?=\s|,|$)")
_REALM = re.compile(r'realm\s*=\s*(?:"([^"]*)"|([^\s,]+))', re.IGNORECASE)
_COOKIE = re.compile(r"(?:^|[;,\s])push-id\s*=\s*([\x21-\x3a\x3c-\x7e]{1,256})", re.IGNORECASE)


def _directives(name: str, found: Directives) -> dict[str, object]:
    told: dict[str, object] = {}
    if found.known:
        told[name] = dict(found.known)
    for what in ("repeated", "unknown", "malformed"):
        rest = getattr(found, what)
        if rest:
            told[f"{name}_{what}"] = [list(pair) for pair in rest]
    return told


def _common(message: Request | Response) -> dict[str, object]:
    told = _directives("pragma", read_pragma(message))
    told |= _directives("cache_control", read_cache_control(message))
    if supported := read_supported(message):
        told["supported"] = supported
    if via := message.header("via"):
        told["via"] = via
    return told


def request_details(request: Request, kind: str) -> dict[str, object]:
    """Details of a request; `kind` is its type by MS-WMSP or MS-WMHTTP, empty for none."""
    told: dict[str, object] = {
        "method": request.method,
        "target": request.target,
        "version": request.version,
        "agent": request.header("user-agent"),
        "headers": [list(h) for h in request.headers],
        "request": kind,
        **_common(request),
    }
    for name, key in (
        ("x-accept-authentication", "accepts"),
        ("x-accept-proxy-authentication", "accepts_of_proxy"),
    ):
        schemes = [scheme.strip() for scheme in request.header(name).split(",") if scheme.strip()]
        if schemes:
            told[key] = schemes
    if verb := request.header("x-proxy-client-verb"):
        told["client_verb"] = verb
    return told


def response_details(response: Response, kind: str) -> dict[str, object]:
    """Details of a response; `kind` is the type of its request."""
    told: dict[str, object] = {
        "version": response.version,
        "status": response.status,
        "reason": response.reason,
        "server": response.header("server"),
        "content_type": response.header("content-type"),
        "headers": [list(h) for h in response.headers],
        "request": kind,
        **_common(response),
    }
    if profile := read_startup_profile(response):
        told["startup_profile"] = profile
    if location := response.header("location"):
        told["location"] = location
    return told


def challenge_details(response: Response) -> dict[str, object]:
    """Which schemes a server or proxy offers, and for which realms."""
    proxy = response.status == 407
    name = "proxy-authenticate" if proxy else "www-authenticate"
    offers = [value for key, value in response.headers if key.lower() == name]
    schemes: list[str] = []
    for offer in offers:
        bare = re.sub(r'"[^"]*"', '""', offer)
        first = re.match(r"\s*([A-Za-z][A-Za-z0-9-]*)", bare)
        schemes += [first[1]] if first else []
        schemes += [m[1] for m in _SCHEME.finditer(bare) if first is None or m.start(1) != first.start(1)]
    realms = [m[1] if m[1] is not None else m[2] for offer in offers for m in _REALM.finditer(offer)]
    return {"by": "proxy" if proxy else "server", "schemes": schemes, "realms": realms, "offers": offers}


def answered_scheme(request: Request) -> tuple[str, str] | None:
    """Header and scheme by which a request says who its sender is."""
    for name in ("authorization", "proxy-authorization"):
        found = re.match(r"\s*([A-Za-z][A-Za-z0-9-]*)", request.header(name))
        if found is not None:
            return name, found[1]
    return None


def sends_elsewhere(header: Header) -> str:
    """Where a header sends an old player that does not know 302 [MS-WMSP 3.2.5.4]; empty for nowhere.

    It holds one script command, of the type FILENAME.
    """
    scripts = [item.fields for item in header.walk() if item.name == "Script Command"]
    if len(scripts) != 1:
        return ""
    types, commands = scripts[0].get("Command Types"), scripts[0].get("Commands")
    if not isinstance(types, list | tuple) or not isinstance(commands, list | tuple) or len(commands) != 1:
        return ""
    index = commands[0].get("Type Index")
    if not isinstance(index, int) or index >= len(types):
        return ""
    if str(types[index].get("Command Type Name", "")).rstrip("\0").upper() != "FILENAME":
        return ""
    return str(commands[0].get("Command Name", "")).rstrip("\0")


def push_id(message: Request | Response) -> str:
    """The push-id that a cookie names [MS-WMHTTP 2.2.1.3.1]; empty for none, and for a new one asked for."""
    name = "cookie" if isinstance(message, Request) else "set-cookie"
    found = _COOKIE.search(message.header(name))
    return found[1] if found is not None and found[1] != "0" else ""


def reason_name(kind: str, reason: int | None) -> str:
    """What the Reason of a $C or $E means."""
    if reason is None:
        return ""
    names = CHANGE_REASONS if kind == "C" else END_REASONS
    return names.get(reason) or hresult_name(reason)


class Selection:
    """Which streams are sent, by the stream-switch entries of the requests so far."""

    __slots__ = ("_thinning",)

    def __init__(self) -> None:
        self._thinning: dict[int, int] = {}

    def take(self, pragma: Directives) -> dict[str, object] | None:
        """Take the entries of a request; returns what they ask for, None where it has none."""
        entries = pragma.known.get("stream-switch-entry")
        if not isinstance(entries, list):
            return None
        for entry in entries:
            if entry["from"] is not None and entry["from"] != entry["to"]:
                self._thinning.pop(entry["from"], None)
            self._thinning[entry["to"]] = entry["thinning"]
        by_level = {level: sorted(s for s, t in self._thinning.items() if t == level) for level in (0, 1, 2)}
        return {
            "entries": entries,
            "count": pragma.number("stream-switch-count"),
            "selected": by_level[0],
            "key_frames_only": by_level[1],
            "off": by_level[2],
        }

    def forget(self) -> None:
        """Another content begins: its streams are others."""
        self._thinning.clear()


class MetadataParts:
    """Puts a $M together that came in parts [MS-WMSP 2.2.3.1.2]."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, packet: np.void, block: DataPackets) -> Metadata | None:
        """Take one $M; returns what it says when it was the last part."""
        flags = int(packet["flags"])
        if flags & FIRST_PART:
            self._parts, self._size = [], 0
        payload = payload_of(packet, block)[: max(MAX_METADATA - self._size, 0)].tobytes()
        self._parts.append(payload)
        self._size += len(payload)
        if not flags & LAST_PART and flags & FIRST_PART | int(packet["location"]):
            return None
        whole = b"".join(self._parts)
        self._parts, self._size = [], 0
        return read_metadata(whole)


def metadata_details(metadata: Metadata) -> dict[str, object]:
    """Details of an event that tells a $M."""
    return {
        "playlist_gen_id": metadata.playlist_gen_id,
        "broadcast_id": metadata.broadcast_id,
        "features": list(metadata.features),
        "descriptions": [
            {"language": d.language, "values": [[p.name, p.type, p.value] for p in d.pairs]}
            for d in metadata.descriptions
        ],
        "problems": list(metadata.problems),
        "text": "; ".join(f"{p.name}={p.value}" for d in metadata.descriptions for p in d.pairs),
    }


def where(packet: np.void, at: At) -> At:
    """Where one packet of a block was completed."""
    return At(direction=at.direction, offset=at.offset, frame=int(packet["frame"]), ts=int(packet["ts"]))


def position_asked(pragma: Directives) -> Mapping[str, object]:
    """From where a Play asks to be sent, by the one directive that counts [MS-WMSP 3.2.5.6]."""
    known = pragma.known
    time, packet, offset = (known.get(name) for name in ("stream-time", "packet-num", "stream-offset"))
    if isinstance(time, int) and time not in (0, 0xFFFFFFFF):
        return {"stream-time": time}
    if isinstance(packet, int) and packet != 0xFFFFFFFF:
        return {"packet-num": packet}
    if isinstance(offset, int):
        return {"stream-offset": offset}
    return {"stream-time": time} if isinstance(time, int) else {}
