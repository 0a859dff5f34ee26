"""Which protocol a direction of a connection speaks, by its first bytes."""

from __future__ import annotations

import re
from enum import Enum

HTTP_REQUEST = re.compile(rb"[A-Za-z]{3,16} [^\r\n]{1,16384}? HTTP/1\.[0-9]\r?\n")
RTSP_MESSAGE = re.compile(
    rb"(?:^|\n)(?:RTSP/[0-9]\.[0-9] [0-9]{3}|[A-Z_]{3,20} [^\r\n ]{1,16384} RTSP/[0-9]\.[0-9]\r?\n)"
)
_RTSP_ANYWHERE = re.compile(rb"RTSP/1\.0 [0-9]{3} |[A-Z_]{3,20} rtspt?u?://[^\r\n ]{1,16384} RTSP/1\.0\r\n")
HTTP_RESPONSE = re.compile(rb"HTTP/1\.[0-9] [0-9]{3}")

MMS_SEAL = b"MMS "
MMS_SESSION_ID = b"\xce\xfa\x0b\xb0"
MSBD_BASE = b"MSB \x06\x01"
"""dwSignature and wVersion of MSBMSGBASE [MS-MSBD 2.2.1]."""
ASF_HEADER_GUID = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


class Protocol(Enum):
    """What a connection carries."""

    MMS = "mms"
    HTTP = "http"
    MSB = "msb"
    MSBD = "msbd"
    RTSP = "rtsp"
    SMB = "smb"
    RAW = "raw"
    """None that is known, with an ASF file in it."""


def detect(first: bytes) -> Protocol | None:
    """Return the protocol that the first bytes of a direction belong to, or None when they tell nothing.

    A capture that begins inside a connection is recognised by a TcpMessageHeader [MS-MMSP 2.2.3]
    or an MSBMSGBASE [MS-MSBD 2.2.1] anywhere in the bytes given, or by an HTTP message that begins at a line.
    """
    if first[4:8] == MMS_SESSION_ID and first[12:16] in (MMS_SEAL, b""):
        return Protocol.MMS
    if HTTP_RESPONSE.match(first) or HTTP_REQUEST.match(first):
        return Protocol.HTTP
    at = first.find(MMS_SESSION_ID)
    while at >= 0:
        if at >= 4 and first[at - 4] == 1 and first[at + 8 : at + 12] == MMS_SEAL:
            return Protocol.MMS
        at = first.find(MMS_SESSION_ID, at + 1)
    if _has_msbd_base(first):
        return Protocol.MSBD
    if says_request(first) is not None:
        return Protocol.HTTP
    return Protocol.RTSP if _holds_rtsp(first) else None


def _holds_rtsp(first: bytes) -> bool:
    """Whether an RTSP message begins at a line, or behind an interleaved packet [RFC 2326 10.12]."""
    if b"RTSP/" not in first:
        return False
    return RTSP_MESSAGE.search(first) is not None or _RTSP_ANYWHERE.search(first) is not None


def begins(first: bytes) -> bool:
    """Whether a message of MMS, HTTP, RTSP or MS-MSBD stands at the very beginning of the bytes."""
    if first[4:8] == MMS_SESSION_ID or first.startswith(MSBD_BASE):
        return True
    return any(message.match(first) for message in (HTTP_RESPONSE, HTTP_REQUEST, RTSP_MESSAGE))


def _has_msbd_base(first: bytes) -> bool:
    """Whether a message of MS-MSBD begins anywhere: a wMessageId up to 10, a cbMessage of 16 to 65535."""
    at = first.find(MSBD_BASE)
    while at >= 0:
        mid = int.from_bytes(first[at + 6 : at + 8], "little")
        size = int.from_bytes(first[at + 8 : at + 12], "little")
        if at + 12 <= len(first) and 0 < mid <= 10 and 16 <= size <= 0xFFFF:
            return True
        at = first.find(MSBD_BASE, at + 1)
    return False


def says_request(first: bytes) -> bool | None:
    """Whether the first HTTP message that begins at a line is a request; None when there is none."""
    if b"HTTP/1." not in first:  # spares most bytes the slower search
        return None
    request = re.search(rb"(?:^|\n)" + HTTP_REQUEST.pattern, first)
    response = re.search(rb"(?:^|\n)" + HTTP_RESPONSE.pattern, first)
    if request is None or response is None:
        return None if request is response else response is None
    return request.start() < response.start()
