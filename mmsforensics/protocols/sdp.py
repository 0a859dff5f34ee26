"""Session descriptions as Windows Media servers write them [MS-RTSP 2.2.5, RFC 4566].

Rules of this file: total; lines that mean nothing here are passed over; the ASF header is given with the
place of its text, so that its bytes lead back to the frames that carried it.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

ASF_HEADER = "data:application/vnd.ms.wms-hdr.asfv1;base64,"
CONTENT_DESCRIPTION = "data:application/x-wms-contentdesc,"

MAX_MEDIA = 64
"""Media descriptions kept."""

_RTPMAP = re.compile(r"([0-9]{1,3}) +([^/\s]+)")


@dataclass(frozen=True, slots=True)
class SdpMedia:
    """One media description."""

    kind: str
    """``audio``, ``video``, ``application``, …"""
    encodings: dict[int, str]
    """Encoding name, in lower case, by RTP payload type."""
    control: str
    """URL for SETUP, mostly relative."""
    stream: int | None
    """ASF stream number [``a=stream``]; 65536 and up for the retransmission stream."""


@dataclass(frozen=True, slots=True)
class Sdp:
    """A session description."""

    media: tuple[SdpMedia, ...]
    header: bytes
    """ASF file header; empty where there is none that can be decoded."""
    header_at: int
    """Position of its base64 text, -1 where the bytes are not base64 one to one (escapes, odd characters)."""
    max_packet_size: int
    """``a=maxps``, 0 where there is none."""
    types: tuple[str, ...]
    """``a=type``: broadcast, playlist, lastentry, …"""
    control: str
    """``a=control`` of the session, empty where there is none."""
    content_description: str
    """CDL, percent-encoding taken off [MS-WMSP 2.2.4]."""
    problem: str
    """Why a header that was announced could not be decoded."""

    def payload_types(self, encoding: str) -> frozenset[int]:
        """RTP payload types of an encoding."""
        found = (pt for m in self.media for pt, name in m.encodings.items() if name == encoding)
        return frozenset(found)


def parse_sdp(data: bytes) -> Sdp:
    """Read a session description, as far as it reaches."""
    session: dict[str, str] = {}
    media: list[tuple[str, dict[int, str], dict[str, str]]] = []
    header, header_at, problem, description = b"", -1, "", ""
    for found in re.finditer(rb"[^\r\n]+", data):
        line = found[0].decode("latin-1")
        if line.startswith("m=") and len(media) < MAX_MEDIA:
            media.append((line[2:].split(" ", 1)[0][:32], {}, {}))
        elif line.startswith("a=pgmpu:"):
            value = line.removeprefix("a=pgmpu:")
            if value.lower().startswith(ASF_HEADER) and not header:
                at = found.start() + len("a=pgmpu:") + len(ASF_HEADER)
                header, header_at, problem = _decode(data[at : found.end()], at)
            elif value.lower().startswith(CONTENT_DESCRIPTION):
                text = unquote_to_bytes(value[len(CONTENT_DESCRIPTION) :].encode("latin-1"))
                description = text.decode("utf-8", "backslashreplace")
        elif line.startswith("a="):
            name, _, value = (part.strip() for part in line[2:].partition(":"))
            mapped = _RTPMAP.match(value) if name.lower() == "rtpmap" and media else None
            if mapped is not None:
                media[-1][1][int(mapped[1])] = mapped[2].lower()
            else:
                (media[-1][2] if media else session).setdefault(name.lower(), value)
    return Sdp(
        media=tuple(
            SdpMedia(kind, encodings, attributes.get("control", ""), _number(attributes.get("stream", "")))
            for kind, encodings, attributes in media
        ),
        header=header,
        header_at=header_at,
        max_packet_size=_number(session.get("maxps", "")) or 0,
        types=tuple(part for part in re.split(r"[,\s]+", session.get("type", "")) if part),
        control=session.get("control", ""),
        content_description=description,
        problem=problem,
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _decode(text: bytes, at: int) -> tuple[bytes, int, str]:
    """The bytes of a base64 text, and where its characters stand for them one to one."""
    try:
        return binascii.a2b_base64(text, strict_mode=True), at, ""
    except binascii.Error:
        pass
    try:
        return binascii.a2b_base64(unquote_to_bytes(text)), -1, ""
    except binascii.Error as error:
        return b"", -1, f"ASF header: {error}"
