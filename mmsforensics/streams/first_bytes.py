"""What the bytes of a packet tell of the protocol that it speaks.

Rules of this file:

* nothing is called from Python: the functions are compiled into the pass of `tracking`, whose cache follows
  this file.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True)
def lower(byte):
    """The byte, an upper-case letter of ASCII as the lower-case one."""
    if 65 <= byte <= 90:
        return byte | np.uint8(32)
    return byte


@njit(nogil=True)
def contains(data, start, n, places, text, bounds, firsts):
    """Whether any packed string occurs in ``data[start:start + n]``, ASCII case set aside.

    It must begin among the first `places` bytes. Strings number ``firsts[b, 0]`` up to ``firsts[b, 1]`` begin
    with the two bytes that make the number b, big-endian.
    """
    end = np.uint64(start + n)  # unsigned: no test for negative indices in the inner loop
    last = np.uint64(min(start + places, start + n - 1))
    for i in range(np.uint64(start), last):
        pair = (np.uint64(data[i]) << np.uint64(8)) | np.uint64(data[i + np.uint64(1)])
        stop = firsts[pair, 1]
        if stop == 0:
            continue
        for s in range(firsts[pair, 0], stop):
            length = np.uint64(bounds[s + 1] - bounds[s])
            begin = np.uint64(bounds[s])
            if i + length > end:
                continue
            k = np.uint64(2)
            while k < length and lower(data[i + k]) == text[begin + k]:
                k += np.uint64(1)
            if k == length:
                return True
    return False


@njit(nogil=True)
def begins(data, start, n, text, bounds):
    """Whether the bytes begin with any packed string (a whole one)."""
    for s in range(len(bounds) - 1):
        length = bounds[s + 1] - bounds[s]
        if length > n:
            continue
        k = 0
        while k < length and lower(data[start + k]) == text[bounds[s] + k]:
            k += 1
        if k == length:
            return True
    return False


@njit(nogil=True)
def is_other(data, start, n):
    """Whether the first bytes of a connection are those of TLS [RFC 8446 5.1] or SSH [RFC 4253 4.2]."""
    if n >= 6 and data[start] == 0x16 and data[start + 1] == 3 and data[start + 2] <= 4:
        return data[start + 5] == 1 or data[start + 5] == 2  # client hello, server hello
    return n >= 4 and (
        data[start] == 83 and data[start + 1] == 83 and data[start + 2] == 72 and data[start + 3] == 45
    )


@njit(nogil=True)
def is_smb(data, start, n):
    """Whether a message of SMB begins here, framed for TCP [MS-SMB2 2.1]."""
    if n < 36 or data[start] != 0 or (data[start + 4] != 0xFE and data[start + 4] != 0xFF):
        return False
    return data[start + 5] == 83 and data[start + 6] == 77 and data[start + 7] == 66


@njit(nogil=True)
def opens_file(data, start, n):
    """Whether a message of SMB is a request before which nothing is of use.

    That is one that opens a file, or reads or writes 4 MiB behind its beginning: what a client reads ahead is
    asked for before the first bytes have come.
    """
    if data[start + 4] == 0xFE:  # SMB 2
        command, answer, place, size = data[start + 16], data[start + 20] & 1, start + 76, 8
        opens, moves = command == 5, command == 8 or command == 9
    else:
        command, answer, place, size = data[start + 8], data[start + 13] >> 7, start + 43, 4
        opens, moves = command == 0xA2, command == 0x2E or command == 0x2F
    if answer or not moves or place + size > start + n:
        return opens and not answer
    if data[place + 2] >= 0x40:
        return True
    for k in range(3, size):  # noqa: SIM110 a generator is not compiled
        if data[place + k]:
            return True
    return False


@njit(nogil=True)
def looks_like_mms_datagram(data, start, n, wire):
    """Data packet whose PacketSize is the datagram's length [MS-MMSP 2.2.2], or a resend request [2.2.5]."""
    if n >= 12 and data[start] == 0x0D and data[start + 1] == 0xF0 and data[start + 2] == 0xEF:
        return data[start + 3] == 0xBE
    if n < 12 or data[start + 6] + (np.int64(data[start + 7]) << 8) != wire:
        return False
    head = data[start + 8]
    if data[start + 3] == 0xF0 and data[start + 2] == 0xF0:  # packet pair
        return True
    if head & 0x80:  # error correction data present: length type 0, 2 bytes or none [ASF 5.2.1]
        return (head & 0x60) == 0 and (head & 0x0F) <= 2
    return head == 0x30 or (head & 0x1E) in (0x08, 0x10, 0x00)


@njit(nogil=True)
def is_msb_datagram(data, start, n, wire):
    """A beacon [MS-MSB 2.2.3], or an MSB_MSG_IND_PACKET of the datagram's length [MS-MSBD 2.2.10].

    Packets of MS-MSB have wPacketSize where Data packets of MMS have PacketSize: they are told with those.
    """
    if n < 4 or not (
        data[start] == 0x4D
        and data[start + 1] == 0x53
        and data[start + 2] == 0x42
        and data[start + 3] == 0x20
    ):
        return False
    if wire == 4:
        return True
    if n < 24 or data[start + 6] != 10 or data[start + 7] != 0:
        return False
    return data[start + 8] + (np.int64(data[start + 9]) << 8) == wire and data[start + 10] == 0


@njit(nogil=True)
def looks_like_asf_rtp(data, start, n):
    """RTP whose payload begins as ``x-asf-pf`` does [MS-RTSP 2.2.1.3], or a player's RTCP.

    A fragment that is no first one shows only its header: 13 bits of it are fixed.
    """
    if n < 12 or data[start] >> 6 != 2:
        return False
    kind = data[start + 1] & 0x7F
    if 64 <= kind <= 95:
        return _names_wms(data, start, n)
    at = start + 12 + 4 * np.int64(data[start] & 0x0F)
    end = start + n
    if kind < 96 or data[start] & 0x10 or at + 20 > end or data[at] & 0x07:
        return False
    flags = data[at]
    if not flags & 0x40 and (data[at + 1] or data[at + 2] or data[at + 3]):
        return data[at + 1] == 0
    inner = at + 4 + 4 * (np.int64(flags >> 5 & 1) + np.int64(flags >> 4 & 1) + np.int64(flags >> 3 & 1))
    return inner + 3 <= end and data[inner] == 0x82 and data[inner + 1] == 0 and data[inner + 2] == 0


@njit(nogil=True)
def _names_wms(data, start, n):
    """Whether an RTCP packet holds ``@WMS:``, of the CNAME of requests to send again [MS-RTSP 2.2.4]."""
    for i in range(start, start + min(n, 1024) - 4):
        if data[i] == 64 and data[i + 1] == 87 and data[i + 2] == 77 and data[i + 3] == 83:
            return data[i + 4] == 58
    return False


@njit(nogil=True)
def is_rtp(data, start, n):
    """Whether a datagram may be RTP with a dynamic payload type, or RTCP: worth keeping for a while."""
    return n >= 8 and data[start] >> 6 == 2 and data[start + 1] & 0x7F >= 64
