"""The byte signatures by which a flow is kept for decoding or let go.

A flow is recognised by what it carries, never by its port alone. The strings below are those that
stand in the first messages of every Windows Media session; what a protocol really says is decided
by its decoder, so a signature may be generous but must not miss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIGNATURES: tuple[bytes, ...] = (
    b"\xce\xfa\x0b\xb0",  # sessionId of TcpMessageHeader [MS-MMSP 2.2.3]
    b"msb \x06\x01",  # dwSignature and wVersion of MSBMSGBASE [MS-MSBD 2.2.1]
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF Header Object GUID
    b"nsplayer",  # User-Agent [MS-WMSP 2.2.1.8]
    b"nsserver",
    b"wmcacheproxy",
    b"xplaystrm",  # Pragma of a Play request [MS-WMSP 2.2.1.4]
    b"xclientguid",
    b"x-mms-framed",  # Content-Type [MS-WMSP 2.2.1.2]
    b"ms.wms-hdr",
    b"application/x-wms-",
    b"com.microsoft.wm.",  # Supported [MS-WMSP 2.2.1.6]
    b"cougar",  # Server [MS-WMSP 2.2.1.5]
    b"rtsp/1.0",  # every message of RTSP; whether it is one of Windows Media, the session tells
    b"<asx",  # redirectors: ASX files, in UTF-16 too
    b"<\0a\0s\0x\0",
    b"[reference]",
    b"[\0r\0e\0f\0e\0r\0e\0n\0c\0e\0",
    b"x-ms-asf",  # their media types, and those of what they lead to
    b"x-ms-asx",
    b"x-ms-wax",
    b"x-ms-wvx",
    b"x-ms-wm",  # wmv, wma, wmx
    b"vnd.ms-asf",
    b"asx http/1.",  # requests for them
    b"wax http/1.",
    b"wvx http/1.",
    b"asf http/1.",  # and for parts of files, which show nothing else
    b"wmv http/1.",
    b"wma http/1.",
    b"asx\r\n",  # responses that lead to one, in their Location
    b"wax\r\n",
    b"wvx\r\n",
    b"location: mms",
)
"""Compared without regard to ASCII case."""

HTTP_STARTS: tuple[bytes, ...] = (
    b"get ",
    b"post ",
    b"head ",
    b"options ",
    b"connect ",
    b"put ",
    b"http/1.",
)
"""How the first bytes of an HTTP message look, in lower case."""


def by_first_bytes(strings: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], NDArray[np.uint8]]:
    """Put byte strings in order, and say which begin with which two bytes, ASCII case set aside.

    Returns
    -------
    strings : tuple of bytes
    firsts : ndarray of uint8, shape (65536, 2)
        ``strings[firsts[b, 0] : firsts[b, 1]]`` begin with the two bytes that make the number b, big-endian;
        (0, 0) where none does.
    """
    ordered = tuple(sorted(strings, key=bytes.lower))
    firsts = np.zeros((1 << 16, 2), dtype=np.uint8)
    for number, string in enumerate(ordered):
        one, two = ((string[k : k + 1].lower()[0], string[k : k + 1].upper()[0]) for k in (0, 1))
        for pair in {a << 8 | b for a in one for b in two}:
            if firsts[pair, 1] == 0:
                firsts[pair, 0] = number
            firsts[pair, 1] = number + 1
    return ordered, firsts


def packed(strings: tuple[bytes, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pack byte strings for the compiled search.

    Returns
    -------
    text : ndarray of uint8
        The strings in lower case, one behind the other.
    bounds : ndarray of int64, shape (len(strings) + 1,)
        String i is ``text[bounds[i]:bounds[i + 1]]``.
    """
    text = np.frombuffer(b"".join(strings).lower(), dtype=np.uint8).copy()
    bounds = np.concatenate(([0], np.cumsum([len(s) for s in strings]))).astype(np.int64)
    return text, bounds
