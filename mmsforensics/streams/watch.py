"""What is odd about the traffic of a flow, packet by packet: the compiled half of `flow_watch`.

Rules of this file:

* each packet is looked at once, in order of capture; a clean one writes nothing;
* stream offsets are those of `TcpReassembler`: 0 is the byte after the SYN, or the first one captured;
* a byte counts as seen before if it lies below the highest one seen and in no hole. `HOLES` are followed at a
  time in a direction; where there are more, the oldest is forgotten and what fills it counts as sent again;
* a checksum that is exactly that of the pseudo-header, or zero, was left to the network card of the capturing
  host and says nothing;
* a frame captured twice is counted and told, and is else as if it had not been there;
* a receiver refuses what lies beyond the window that it offered [RFC 9293 3.10.7.4], and no host acknowledges
  what it refused. A segment, FIN or acknowledgement that leaps beyond every window offered is believed only
  when another one bears it out, as it does behind a pause of the capture: one packet of somebody else moves
  nothing.

TCP: RFC 9293; window scale: RFC 7323; checksum: RFC 9293 3.1, RFC 1071.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numba import njit

HOLES: Final = 16
RECENT: Final = 4
"""Packets of a direction that a new one is compared with, to tell a frame that was captured twice."""

USUAL_DISORDER_NS: Final = 3_000_000
"""A segment that fills a hole this soon after the one that showed it was overtaken; one that comes later was
sent again. Used where no handshake tells the round-trip time."""

LARGEST_WINDOW: Final = 8 << 20
"""Bytes that a window of unknown scale is taken for at most: several times the largest seen in the field."""

STEADY: Final = 16
"""Small steps of the IP identification after which a jump is worth a row."""

SMALL_STEP: Final = 256
JUMP: Final = 4096

FIN, SYN, RST, ACK = 1, 2, 4, 16


class Kind(IntEnum):
    """Kinds of anomalies, as the table `anomalies` names them (in lower case)."""

    RETRANSMISSION = 0
    SPURIOUS_RETRANSMISSION = 1
    OUT_OF_ORDER = 2
    GAP = 3
    OVERLAP = 4
    OVERLAP_CONFLICT = 5
    BEYOND_WINDOW = 6
    DATA_AFTER_FIN = 7
    DATA_AFTER_RST = 8
    SUSPICIOUS_RST = 9
    ZERO_WINDOW = 10
    ZERO_WINDOW_PROBE = 11
    KEEP_ALIVE = 12
    SYN_WITH_DATA = 13
    SEQUENCE_WRAP = 14
    PORT_REUSE = 15
    TTL_CHANGE = 16
    IP_ID_JUMP = 17
    MAC_CHANGE = 18
    BAD_CHECKSUM = 19
    DUPLICATE_FRAME = 20
    SNAPLEN_CUT = 21
    ONE_SIDED = 22
    START_NOT_CAPTURED = 23
    END_NOT_CAPTURED = 24
    ACKED_UNSEEN = 25
    ACK_OF_UNSENT = 26


class Check(IntEnum):
    """What a transport checksum says."""

    UNKNOWN = 0
    """Not all of the packet was captured, or it is in no single frame, or the sender left it out."""
    GOOD = 1
    OFFLOADED = 2
    BAD = 3


ANOMALY = np.dtype(
    [
        ("frame", "i8"),
        ("ts", "i8"),
        ("offset", "i8"),  # stream offset, -1 where there is none
        ("size", "i8"),  # bytes
        ("a", "i8"),  # what `flow_watch.DETAILS` says
        ("b", "i8"),
        ("previous", "i8"),  # the frame that headers were held against, 0 for other kinds
        ("kind", "u1"),  # Kind
        ("direction", "u1"),  # 0 from endpoint a, 1 from b
    ],
    align=True,
)

SIDE = np.dtype(
    [
        ("origin", "i8"),  # sequence number of stream offset 0, -1 while unknown
        ("next", "i8"),  # behind the highest byte seen
        ("acked", "i8"),  # bytes that the other side acknowledged, -1 for none
        ("fin", "i8"),  # offset of the FIN, -1 while there is none
        ("packets", "i8"),
        ("bytes", "i8"),
        ("payload", "i8"),
        ("retransmitted", "i8"),
        ("retransmitted_bytes", "i8"),
        ("out_of_order", "i8"),
        ("high_ts", "i8"),  # when the highest byte was seen
        ("syn_ts", "i8"),
        ("rtt", "i8"),  # ns, -1 while unknown; of the side that opened the connection
        ("edge", "i8"),  # offset up to which the other side has ever said that it has room, -1 while unknown
        ("bound", "i8"),  # the same, at the largest window there is while the scale is unknown
        ("leap", "i8"),  # a segment beyond that, not believed yet: its offset, -1 for none
        ("leap_end", "i8"),
        ("leap_fin", "i8"),  # the offset of such a FIN
        ("leap_frame", "i8"),
        ("leap_ack", "i8"),  # such an acknowledgement by the other side
        ("leap_ack_frame", "i8"),
        ("leap_ack_ts", "i8"),
        ("heard_frame", "i8"),  # the last acknowledgement by the other side that was believed
        ("good", "i8"),
        ("offloaded", "i8"),
        ("bad", "i8"),
        ("cut", "i8"),
        ("first_frame", "i8"),
        ("first_ts", "i8"),
        ("last_frame", "i8"),
        ("last_ts", "i8"),
        ("hole_start", "i8", (HOLES,)),
        ("hole_end", "i8", (HOLES,)),
        ("holes", "i8"),
        ("recent_seq", "u4", (RECENT,)),
        ("recent_ack", "u4", (RECENT,)),
        ("recent_length", "u4", (RECENT,)),
        ("recent_id", "u2", (RECENT,)),
        ("recent", "i8"),
        ("steps", "i8"),
        ("id", "u2"),
        ("mss", "u2"),  # 0 while unknown
        ("scale", "i1"),  # -1 while unknown, -2 when the SYN has no such option
        ("ttl", "u1"),
        ("ttl_least", "u1"),
        ("ttl_most", "u1"),
        ("syn", "u1"),  # 1 after a SYN that opens, 2 after one that answers, 0 while none was seen
        ("rst", "u1"),
        ("closed_window", "u1"),
        ("headers", "u1"),  # whether any header was seen
        ("presumed", "u1"),  # whether the origin is only what the other side acknowledged first
        ("mac", "u1", (12,)),
        ("has_mac", "u1"),
    ],
    align=True,
)
"""What is known of one direction."""

ROWS_A_PACKET: Final = 14
"""Anomalies that one packet can show, at most."""


@njit(cache=True, nogil=True)
def _fold(total):
    while total >> np.uint64(16):
        total = (total & np.uint64(0xFFFF)) + (total >> np.uint64(16))
    return total


@njit(cache=True, nogil=True)
def _sum(data, start, n):
    """Sum of the 16-bit words of ``data[start:start + n]`` as they would be read in network order, folded.

    Words of 32 bits in the other order give the same sum, its bytes swapped [RFC 1071 2], in fewer steps.
    """
    total, at = np.uint64(0), np.uint64(start)
    for _ in range(np.uint64(n >> 2)):
        total += np.uint64(
            np.uint32(data[at])
            | np.uint32(data[at + np.uint64(1)]) << np.uint32(8)
            | np.uint32(data[at + np.uint64(2)]) << np.uint32(16)
            | np.uint32(data[at + np.uint64(3)]) << np.uint32(24)
        )
        at += np.uint64(4)
    for k in range(n & 3):
        total += np.uint64(data[at + np.uint64(k)]) << np.uint64(8 * k)
    total = _fold(total)
    return (total & np.uint64(0xFF)) << np.uint64(8) | total >> np.uint64(8)


@njit(cache=True, nogil=True)
def checksums(rows, start, data, out):
    """Judge the transport checksum of each packet: a `Check` each in `out`."""
    for i in range(len(rows)):
        row = rows[i]
        out[i] = 0
        if row["transport"] == 0 or row["payload_len"] != row["payload_wire"]:
            continue
        frame = start[i] - np.int64(row["payload"])
        segment = frame + np.int64(row["transport"])
        length = np.int64(row["payload"]) + np.int64(row["payload_len"]) - np.int64(row["transport"])
        place = segment + (16 if row["proto"] == 6 else 6)
        said = (np.uint64(data[place]) << np.uint64(8)) | np.uint64(data[place + 1])
        if said == 0 and row["proto"] != 6:
            continue
        network = frame + np.int64(row["network"])
        if row["version"] == 4:
            addresses = _sum(data, network + 12, 8)
        else:
            addresses = _sum(data, network + 8, 32)
        addresses += np.uint64(row["proto"])
        total = _fold(addresses + np.uint64(length) + _sum(data, segment, length))
        if total == np.uint64(0xFFFF):
            out[i] = 1
        elif said == 0 or said == _fold(addresses + np.uint64(length)) or said == _fold(addresses):
            out[i] = 2  # with large segments off-loaded the length is left out as well
        else:
            out[i] = 3


@njit(cache=True, nogil=True)
def _put(out, n, row, kind, direction, offset, size, a, b):
    item = out[n]
    item["frame"], item["ts"] = row["frame"], row["ts"]
    item["kind"], item["direction"] = kind, direction
    item["offset"], item["size"], item["a"], item["b"] = offset, size, a, b
    item["previous"] = 0
    return n + 1


@njit(cache=True, nogil=True)
def _identification(row, data, frame):
    """The identification of an IPv4 packet; of IPv6 there is none."""
    if row["version"] != 4:
        return np.uint16(0)
    network = frame + np.int64(row["network"])
    return (np.uint16(data[network + 4]) << np.uint16(8)) | np.uint16(data[network + 5])


@njit(cache=True, nogil=True)
def _seen_twice(row, side, ident):
    """Whether a frame is one of the last ones again; if not, it is remembered as one.

    The identification must be one that tells packets apart: some hosts give all the same [RFC 6864 4.1].
    """
    if not ident:
        return False
    found = False
    for k in range(RECENT):
        if side["recent_id"][k] != ident:
            continue
        if (
            side["recent_seq"][k] != row["seq"]
            or side["recent_ack"][k] != row["ack"]
            or side["recent_length"][k] != row["payload_wire"]
        ):
            found = False
            break
        found = True
    if not found:
        at = side["recent"] % RECENT
        side["recent"] += 1
        side["recent_id"][at] = ident
        side["recent_seq"][at], side["recent_ack"][at] = row["seq"], row["ack"]
        side["recent_length"][at] = row["payload_wire"]
    return found


@njit(cache=True, nogil=True)
def _ttl(row, data, frame):
    """Time to live, or hop limit."""
    network = frame + np.int64(row["network"])
    return np.int64(data[network + 8] if row["version"] == 4 else data[network + 7])


@njit(cache=True, nogil=True)
def _headers(row, side, data, frame, ident, d, out, n):
    """TTL, MAC addresses and IP identification."""
    ttl = np.uint8(_ttl(row, data, frame))
    if not side["headers"]:
        side["headers"] = 1
        side["ttl_least"] = side["ttl_most"] = side["ttl"] = ttl
    elif ttl != side["ttl"]:
        n = _put(out, n, row, 16, d, -1, 0, np.int64(side["ttl"]), np.int64(ttl))
        if not row["flags"] & RST:  # several resets of a box on the way are each held against the host's
            side["ttl"] = ttl
        side["ttl_least"] = min(side["ttl_least"], ttl)
        side["ttl_most"] = max(side["ttl_most"], ttl)
    if row["link"] == 1 and row["network"] >= 14:
        if side["has_mac"]:
            n = _address_change(row, side, data, frame, 6, d, out, n)
            n = _address_change(row, side, data, frame, 0, d, out, n)
        side["has_mac"] = 1
        for k in range(12):
            side["mac"][k] = data[frame + k]
    if row["version"] != 4:
        return n
    step = np.int64(np.uint16(ident - side["id"]))
    if side["steps"] >= STEADY and JUMP < step < 0x10000 - JUMP:
        n = _put(out, n, row, 17, d, -1, 0, np.int64(side["id"]), np.int64(ident))
    side["steps"] = side["steps"] + 1 if 0 < step < SMALL_STEP else 0
    side["id"] = ident
    return n


@njit(cache=True, nogil=True)
def _address_change(row, side, data, frame, at, d, out, n):
    """A MAC address that is another than before: the destination at byte 0, the source at byte 6.

    Bit 48 of the old one says that it is the destination's.
    """
    old, new = np.int64(at == 0), np.int64(0)
    same = True
    for k in range(at, at + 6):
        same &= side["mac"][k] == data[frame + k]
        old = (old << 8) | np.int64(side["mac"][k])
        new = (new << 8) | np.int64(data[frame + k])
    return n if same else _put(out, n, row, 18, d, -1, 0, old, new)


@njit(cache=True, nogil=True)
def _options(row, side, data, frame):
    """Maximum segment size and window scale of a SYN [RFC 9293 3.2, RFC 7323 2.2]."""
    side["scale"] = -2
    at = frame + np.int64(row["transport"]) + 20
    end = frame + np.int64(row["payload"])
    while at < end:
        kind = data[at]
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        if at + 1 >= end:
            return
        length = np.int64(data[at + 1])
        if length < 2 or at + length > end:
            return
        if kind == 2 and length == 4:
            side["mss"] = (np.uint16(data[at + 2]) << np.uint16(8)) | np.uint16(data[at + 3])
        elif kind == 3 and length == 3:
            side["scale"] = min(data[at + 2], 14)
        at += length


@njit(cache=True, nogil=True)
def _note_hole(side, start, end):
    if side["holes"] == HOLES:
        for k in range(HOLES - 1):
            side["hole_start"][k] = side["hole_start"][k + 1]
            side["hole_end"][k] = side["hole_end"][k + 1]
        side["holes"] -= 1
    side["hole_start"][side["holes"]] = start
    side["hole_end"][side["holes"]] = end
    side["holes"] += 1


@njit(cache=True, nogil=True)
def _fill_holes(side, start, end):
    """Take a stretch out of the holes; returns how many of its bytes lay in one."""
    filled = np.int64(0)
    k = 0
    while k < side["holes"]:
        low, high = max(side["hole_start"][k], start), min(side["hole_end"][k], end)
        if low >= high:
            k += 1
            continue
        filled += high - low
        left, right = side["hole_start"][k], side["hole_end"][k]
        for j in range(k, side["holes"] - 1):
            side["hole_start"][j] = side["hole_start"][j + 1]
            side["hole_end"][j] = side["hole_end"][j + 1]
        side["holes"] -= 1
        if left < low:
            _note_hole(side, left, low)
        if high < right:
            _note_hole(side, high, right)
    return filled


@njit(cache=True, nogil=True)
def _payload(row, side, other, d, at, size, out, n):
    """A segment with `size` bytes of payload at stream offset `at`."""
    end = at + size
    limit = side["edge"]
    probe = size == 1 and other["closed_window"]
    if side["rst"]:
        n = _put(out, n, row, 8, d, at, size, 0, 0)
    if side["fin"] >= 0 and end > side["fin"]:
        n = _put(out, n, row, 7, d, at, end - max(at, side["fin"]), side["fin"], 0)
    if probe:
        n = _put(out, n, row, 11, d, at, size, 0, 0)
    elif limit >= 0 and end > limit:
        n = _put(out, n, row, 6, d, at, end - max(at, limit), limit, 0)
    borne_out = at == side["leap_end"]
    if not borne_out and 0 <= side["bound"] < at and at > side["next"]:
        side["leap"], side["leap_end"], side["leap_frame"] = at, end, row["frame"]
        if limit < 0:
            n = _put(out, n, row, 6, d, at, size, side["bound"], 0)
        return n
    if borne_out:
        _follow(side)
    if at > side["next"]:
        _note_hole(side, side["next"], at)
    elif at < side["next"]:
        filled = _fill_holes(side, at, min(end, side["next"]))
        again = min(end, side["next"]) - at - filled
        if filled and again == 0:
            rtt = max(side["rtt"], other["rtt"])
            late = row["ts"] - side["high_ts"]
            if late < 0 and row["transport"] == 0:
                pass  # a packet of which a fragment is missing is handed on when that comes no more
            elif late <= (rtt if rtt > 0 else USUAL_DISORDER_NS):
                side["out_of_order"] += 1
                n = _put(out, n, row, 2, d, at, size, late, 0)
            else:
                side["retransmitted"] += 1
                side["retransmitted_bytes"] += filled
                n = _put(out, n, row, 0, d, at, size, 0, filled)
        elif end <= side["next"]:
            if size == 1 and end == side["next"] and side["acked"] >= end and not probe:
                n = _put(out, n, row, 12, d, at, size, 0, 0)
            elif not probe:
                side["retransmitted"] += 1
                side["retransmitted_bytes"] += again
                spurious = side["acked"] >= end
                n = _put(out, n, row, 1 if spurious else 0, d, at, size, again, filled)
        else:
            n = _put(out, n, row, 4, d, at, again, side["next"], 0)
    if end > side["next"]:
        if ((side["origin"] + side["next"]) >> 32) != ((side["origin"] + end) >> 32):
            n = _put(out, n, row, 14, d, at, 0, 0, 0)
        side["next"] = end
        side["high_ts"] = row["ts"]
    return n


@njit(cache=True, nogil=True)
def _follow(side):
    """Believe a segment that lay beyond all windows: the capture had paused."""
    if side["leap"] > side["next"]:
        _note_hole(side, side["next"], side["leap"])
    side["next"] = max(side["next"], side["leap_end"])
    side["leap"] = side["leap_end"] = -1


@njit(cache=True, nogil=True)
def _acknowledged(row, side, other, d, out, n):
    """What a packet of `side` says of the bytes of `other`: how many have come, and for how many is room."""
    if other["origin"] < 0:
        if other["packets"]:
            return n
        other["origin"], other["presumed"] = np.int64(row["ack"]), 1
    acked = _offset(other, np.int64(row["ack"]))
    if other["fin"] >= 0:
        acked = min(acked, other["fin"])
    if other["leap_fin"] >= 0 and acked == other["leap_fin"] + 1:
        other["fin"], other["leap_fin"] = other["leap_fin"], -1
        acked -= 1
    if 0 <= other["leap"] < acked <= other["leap_end"]:
        _follow(other)
    waits = other["leap_ack"]
    if other["bound"] >= 0 and acked > max(other["next"], other["bound"]) + 1 and not 0 <= waits <= acked:
        other["leap_ack"], other["leap_ack_frame"], other["leap_ack_ts"] = acked, row["frame"], row["ts"]
        return n
    if waits >= 0:
        if acked < waits:
            n = _put(out, n, row, 26, d, -1, waits - other["next"], waits, 0)
            out[n - 1]["frame"], out[n - 1]["ts"] = other["leap_ack_frame"], other["leap_ack_ts"]
        other["leap_ack"] = -1
    other["acked"], other["heard_frame"] = max(other["acked"], acked), row["frame"]
    room, most = _room(row, side, other)
    other["edge"] = max(other["edge"], acked + room) if room >= 0 else -1
    other["bound"] = max(other["bound"], acked + most)
    return n


@njit(cache=True, nogil=True)
def _room(row, side, other):
    """The window that a packet offers, -1 if its scale is unknown; and what it is at most [RFC 7323 2.3]."""
    window, scale = np.int64(row["window"]), np.int64(side["scale"])
    if row["flags"] & SYN or scale == -2 or other["scale"] == -2:
        return window, window
    if scale >= 0 and other["scale"] >= 0:
        return window << scale, window << scale
    return np.int64(-1), min(window << np.int64(14), LARGEST_WINDOW)


@njit(cache=True, nogil=True)
def _round_trip(row, side, other):
    """The first acknowledgement behind both SYNs, from the side that sent its own first."""
    unknown = side["rtt"] < 0 and other["rtt"] < 0
    if unknown and side["syn_ts"] <= other["syn_ts"] <= row["ts"]:
        side["rtt"] = row["ts"] - side["syn_ts"]


@njit(cache=True, nogil=True)
def _offset(side, number):
    """Stream offset of a sequence number: the one nearest to what was seen last [RFC 1982]."""
    return side["next"] + np.int64(np.int32(np.uint32(number - side["origin"] - side["next"])))


@njit(cache=True, nogil=True)
def observe(rows, direction, start, data, checks, sides, out):
    """Look at packets of one TCP connection, in order of capture.

    Parameters
    ----------
    rows : ndarray of PACKET
    direction : ndarray of uint8
    start : ndarray of int64
        Position of each payload in `data`; its headers stand before it.
    data, checks : ndarray of uint8
        The latter a `Check` each.
    sides : ndarray of SIDE, shape (2,)
        Brought up to date.
    out : ndarray of ANOMALY
        Room for `ROWS_A_PACKET` rows a packet.

    Returns
    -------
    int
        Rows written.
    """
    n = 0
    for i in range(len(rows)):
        row = rows[i]
        d = np.int64(direction[i])
        side, other = sides[d], sides[1 - d]
        frame = start[i] - np.int64(row["payload"])
        flags = row["flags"]
        size = np.int64(row["payload_wire"])
        if side["packets"] == 0:
            side["first_frame"], side["first_ts"] = row["frame"], row["ts"]
        previous = side["last_frame"]
        side["last_frame"], side["last_ts"] = row["frame"], row["ts"]
        side["packets"] += 1
        side["bytes"] += row["wirelen"]
        side["payload"] += size
        if checks[i] == 1:
            side["good"] += 1
        elif checks[i] == 2:
            side["offloaded"] += 1
        whole = row["transport"] != 0
        if row["payload_len"] < row["payload_wire"]:
            side["cut"] += 1
        usual_ttl = side["ttl"]
        if whole:
            ident = _identification(row, data, frame)
            if checks[i] != 3 and _seen_twice(row, side, ident):
                n = _put(out, n, row, 20, d, -1, size, np.int64(ident), 0)
                continue
            told = n
            n = _headers(row, side, data, frame, ident, d, out, n)
            for k in range(told, n):
                out[k]["previous"] = previous
        if side["origin"] < 0:
            continue
        at = _offset(side, np.int64(row["seq"]) + (1 if flags & SYN else 0))
        if checks[i] == 3:
            side["bad"] += 1
            n = _put(out, n, row, 19, d, at, size, 0, 0)
            continue  # its receiver did not take it
        if row["payload_len"] < row["payload_wire"] and whole:  # else a fragment is missing
            n = _put(out, n, row, 21, d, at + np.int64(row["payload_len"]), size - row["payload_len"], 0, 0)
        if size == 0 and ((flags & SYN and side["syn"]) or (flags & FIN and side["fin"] >= 0)):
            side["retransmitted"] += 1
            n = _put(out, n, row, 0, d, at, 0, 0, 0)
        if flags & SYN:
            if not side["syn"]:
                side["syn"] = 2 if flags & ACK else 1
            side["syn_ts"] = row["ts"]
            if whole:
                _options(row, side, data, frame)
            if size:
                n = _put(out, n, row, 13, d, at, size, 0, 0)
        elif flags & ACK and side["syn"] and other["syn"]:
            _round_trip(row, side, other)
        if flags & RST:
            ttl = _ttl(row, data, frame) if whole else np.int64(usual_ttl)
            odd_ttl = side["packets"] > 1 and abs(ttl - np.int64(usual_ttl)) > 2
            limit = side["edge"] if side["edge"] >= 0 else side["bound"]
            beyond = limit >= 0 and at > max(limit, side["next"], side["fin"] + 1)
            odd_place = side["packets"] > 1 and (at < max(side["acked"], 0) or beyond)
            if odd_ttl or odd_place:
                n = _put(out, n, row, 9, d, at, size, ttl, at - side["next"])
            if not odd_place:  # its receiver drops one that lies elsewhere [RFC 9293 3.10.7.4]
                side["rst"] = 1
        elif size > 0:
            n = _payload(row, side, other, d, at, size, out, n)
        elif at == side["next"] - 1 and side["acked"] >= side["next"] and flags == ACK:
            n = _put(out, n, row, 12, d, at, 0, 0, 0)
        if flags & FIN and side["fin"] < 0:
            if 0 <= side["bound"] < at and at > side["next"]:
                side["leap_fin"], side["leap_frame"] = at + size, row["frame"]
                if size == 0:
                    n = _put(out, n, row, 6, d, at, 0, side["bound"], 0)
            else:
                side["fin"] = at + size
                side["acked"] = min(side["acked"], side["fin"])  # its acknowledgement may stand before it
        if flags & ACK and not flags & RST:
            n = _acknowledged(row, side, other, d, out, n)
            if row["window"] == 0 and not flags & (SYN | FIN):
                if not side["closed_window"]:
                    n = _put(out, n, row, 10, d, -1, 0, 0, 0)
                side["closed_window"] = 1
            else:
                side["closed_window"] = 0
    return n
