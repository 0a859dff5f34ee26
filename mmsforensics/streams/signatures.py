"""The byte signatures by which a flow is kept for decoding or let go.

A flow is recognised by what it carries, never by its port alone. The strings below are those that
stand in the first messages of every Windows Media session; what a protocol really says is decided
by its decoder, so a signature may be generous but must not miss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CARRY = 23
"""Bytes of a direction kept between segments, so that a signature cut by a segment boundary is seen."""

HEAD_BUDGET = 8192
"""Bytes searched from the start of each HTTP message: what servers allow for a header, and the first
bytes of the body behind it."""

PLAIN_LIMIT = 4096
"""Bytes of a direction, from its SYN on, that may pass without a signature before a flow that does not
begin like HTTP is let go. MMS and RTSP show theirs in the first 16."""

MIDSTREAM_LIMIT = 1 << 18
"""The same for a flow whose SYN was not captured: a server pings about every 30 s [MS-MMSP 3.2.2]."""

DATAGRAM_TRIES = 16
"""Datagrams of a UDP flow looked at before it is let go."""

MMS_PORT = 1755
"""Registered port of MMS [MS-MMSP 2.1]. A flow that uses it is decoded even without a signature."""

SIGNATURES: tuple[bytes, ...] = (
    b"\xce\xfa\x0b\xb0",  # sessionId of TcpMessageHeader [MS-MMSP 2.2.3]
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
