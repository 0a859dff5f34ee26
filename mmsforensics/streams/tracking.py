"""The compiled half of flow tracking: which flow each packet belongs to, and what becomes of it.

Rules of this file:

* a flow is a five-tuple between two SYNs; a SYN that cannot belong to the connection seen so far
  begins a new flow (port reuse);
* the fate of a flow is decided by its payload alone: undecided, wanted, unwanted, or HTTP, which may
  turn wanted at any later message and is therefore never let go; connections to a file server (SMB) are
  treated alike;
* a flow whose SYN was not captured and that shows no signature is handed on once, to be looked at by its
  structure, and let go for good when nothing is found;
* the limits stand in this file or in one of those that the entry closes over: Numba's cache does not see a
  change of constants elsewhere;
* the table is bounded; what is evicted is forgotten, and begins anew when it is seen again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit

from mmsforensics.evidence.compiled import fingerprint
from mmsforensics.streams import first_bytes, keeping
from mmsforensics.streams.first_bytes import (
    begins,
    contains,
    is_msb_datagram,
    is_other,
    is_rtp,
    is_smb,
    looks_like_asf_rtp,
    looks_like_mms_datagram,
    lower,
    opens_file,
)
from mmsforensics.streams.keeping import copy

CARRY: Final = 23
"""Bytes of a direction kept between segments, so that a signature cut by a segment boundary is seen."""

HEAD_BUDGET: Final = 8192
"""Bytes searched from the start of each HTTP message: what servers allow for a header, and the first
bytes of the body behind it."""

PLAIN_LIMIT: Final = 1024
"""Bytes of a direction, from its SYN on, that may pass without a signature before a flow that does not
begin like HTTP is let go. MMS shows its own in the first 16, behind whatever a proxy asks first."""

MIDSTREAM_LIMIT: Final = 1 << 18
"""The same for a flow whose SYN was not captured: a server pings about every 30 s [MS-MMSP 3.2.2]. It is then
handed on, to be recognised by its structure or given up for good."""

LEAST_LOOK = 256
"""Bytes of a direction that a flow without its SYN must have to be looked at when it closes: a chain of media
packets is longer."""

DATAGRAM_TRIES: Final = 16
"""Datagrams of a UDP flow looked at before it is let go."""

MMS_PORT: Final = 1755
"""Registered port of MMS [MS-MMSP 2.1]. A flow that uses it is decoded even without a signature."""

RTSP_PORT: Final = 554
"""Port of RTSP [MS-RTSP 2.1]. A connection to it on which nothing was said is handed on: a player that was
refused there tries another transport."""

UNDECIDED: Final = 0
WANTED: Final = 1
UNWANTED: Final = 2
HTTP: Final = 3

DROP: Final = 0
KEEP: Final = 1
DELIVER: Final = 2
"""What to do with a packet: nothing; keep it until its flow is decided; hand it on."""

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
ACK: Final = 16

REUSE_WINDOW: Final = 1 << 20
"""A SYN at most this many bytes before the first byte seen belongs to a connection whose beginning was
captured out of order; any other begins a new connection. Larger than any initial window in use."""

QUIET_NS: Final = 1_000_000_000
"""A SYN this long after the last packet of a closed connection begins a new one, whatever its sequence
number: the first retransmission of a SYN comes after one second at most [RFC 6298]."""

FLOW = np.dtype(
    [
        ("uid", "i8"),
        ("a_hi", "u8"),
        ("a_lo", "u8"),
        ("b_hi", "u8"),
        ("b_lo", "u8"),
        ("first_frame", "u8"),
        ("last_frame", "u8"),
        ("epoch", "u8"),  # frame of the last HTTP request: what was kept before it is of no use
        ("first_ts", "i8"),
        ("last_ts", "i8"),
        ("reused", "u4"),  # connections between the same endpoints before this one
        ("scanned", "i8", (2,)),
        ("budget", "i8", (2,)),
        ("first_seq", "u4", (2,)),
        ("isn", "u4", (2,)),
        ("a_port", "u2"),
        ("b_port", "u2"),
        ("proto", "u1"),
        ("version", "u1"),
        ("state", "u1"),
        ("closed", "u1"),
        ("tries", "u1"),
        ("syn", "u1", (2,)),
        ("seen", "u1", (2,)),
        ("carried", "u1", (2,)),
        ("carry", "u1", (2, CARRY)),
    ],
    align=True,
)
"""One flow: endpoints in order of (address, port), a first; per-direction fields are [from a, from b]."""


@njit(cache=True, nogil=True)
def _hash(a_hi, a_lo, b_hi, b_lo, ports, proto):
    h = np.uint64(0x9E3779B97F4A7C15)
    for part in (a_hi, a_lo, b_hi, b_lo, ports, proto):
        h = (h ^ part) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
    return h


@njit(cache=True, nogil=True)
def _place(flows, index, slots):
    """Enter flow `index` under its key in the open-addressed table."""
    flow = flows[index]
    ports = (np.uint64(flow["a_port"]) << np.uint64(16)) | np.uint64(flow["b_port"])
    mask = np.uint64(len(slots) - 1)
    slot = (
        _hash(flow["a_hi"], flow["a_lo"], flow["b_hi"], flow["b_lo"], ports, np.uint64(flow["proto"])) & mask
    )
    while slots[slot] >= 0:
        slot = (slot + np.uint64(1)) & mask
    slots[slot] = index


@njit(cache=True, nogil=True)
def rebuild(flows, count, slots, keep):
    """Close the ranks of `flows[:count]` over the rows with ``keep[i]`` and index them anew in `slots`.

    Returns the new count.
    """
    slots[:] = -1
    n = 0
    for i in range(count):
        if keep[i]:
            if n != i:
                flows[n] = flows[i]
            n += 1
    # A later flow of the same five-tuple must be found first: enter from the newest on.
    for i in range(n - 1, -1, -1):
        _place(flows, i, slots)
    return n


@njit(cache=True, nogil=True)
def still_open(flows, count, uids, rows, first_frame, out):
    """Mark the kept packets whose flow may still turn out to be wanted.

    Not those of a flow that is forgotten, decided, closed before `first_frame`, or at a later request.
    """
    for i in range(len(uids)):
        low, high = 0, count  # the table is in order of uid
        while low < high:
            middle = (low + high) >> 1
            if flows[middle]["uid"] < uids[i]:
                low = middle + 1
            else:
                high = middle
        out[i] = False
        if low == count or flows[low]["uid"] != uids[i]:
            continue
        flow = flows[low]
        if flow["state"] != UNDECIDED and flow["state"] != HTTP:
            continue
        if flow["closed"] and flow["last_frame"] < first_frame:
            continue
        out[i] = rows[i]["frame"] >= flow["epoch"]


@njit(cache=True, nogil=True)
def _beside_wanted(flows, slots, flow):
    """Whether the flow on the ports below these, RTP's beside RTCP's [RFC 3550 11], is wanted."""
    if flow["a_port"] == 0 or flow["b_port"] == 0:
        return False
    a_port, b_port = np.uint64(flow["a_port"] - 1), np.uint64(flow["b_port"] - 1)
    ports = (a_port << np.uint64(16)) | b_port
    mask = np.uint64(len(slots) - 1)
    slot = (
        _hash(flow["a_hi"], flow["a_lo"], flow["b_hi"], flow["b_lo"], ports, np.uint64(flow["proto"])) & mask
    )
    while slots[slot] >= 0:
        other = flows[slots[slot]]
        if (
            other["a_lo"] == flow["a_lo"]
            and other["b_lo"] == flow["b_lo"]
            and other["a_hi"] == flow["a_hi"]
            and other["b_hi"] == flow["b_hi"]
            and other["a_port"] == a_port
            and other["b_port"] == b_port
            and other["proto"] == flow["proto"]
        ):
            return other["state"] == WANTED
        slot = (slot + np.uint64(1)) & mask
    return False


@njit(cache=True, nogil=True)
def _without_beginning(flow):
    """Whether no SYN of the flow was captured, and enough of it to look at."""
    if flow["syn"][0] or flow["syn"][1]:
        return False
    return flow["scanned"][0] >= LEAST_LOOK or flow["scanned"][1] >= LEAST_LOOK


@njit(cache=True, nogil=True)
def _refused(flow):
    """Whether a connection to the port of RTSP was opened and nothing was said on it."""
    if flow["a_port"] != RTSP_PORT and flow["b_port"] != RTSP_PORT:
        return False
    return (flow["syn"][0] or flow["syn"][1]) and not (flow["seen"][0] or flow["seen"][1])


@njit(nogil=True)
def _track(
    rows,
    begin,
    data,
    base,
    flows,
    count,
    slots,
    next_uid,
    text,
    bounds,
    firsts,
    starts,
    start_bounds,
    uids,
    direction,
    action,
):
    """Assign the packets ``rows[begin:]`` to flows.

    Writes for each packet the flow's uid (-1 for none), the direction (0 from endpoint a, 1 from b) and
    the action. Stops early when the flow table is full.

    Returns
    -------
    done, count, next_uid
        Rows finished, flows in the table, next uid.
    """
    work = np.empty(CARRY * 2, dtype=np.uint8)
    mask = np.uint64(len(slots) - 1)
    for i in range(begin, len(rows)):
        row = rows[i]
        uids[i] = -1
        action[i] = DROP
        direction[i] = 0
        if row["status"] != 0:
            continue
        proto = row["proto"]
        src_hi, src_lo, sport = row["src_hi"], row["src_lo"], row["src_port"]
        dst_hi, dst_lo, dport = row["dst_hi"], row["dst_lo"], row["dst_port"]
        swap = src_hi > dst_hi or (
            src_hi == dst_hi and (src_lo > dst_lo or (src_lo == dst_lo and sport > dport))
        )
        d = 0
        if swap:
            d = 1
            src_hi, dst_hi = dst_hi, src_hi
            src_lo, dst_lo = dst_lo, src_lo
            sport, dport = dport, sport
        ports = (np.uint64(sport) << np.uint64(16)) | np.uint64(dport)
        slot = _hash(src_hi, src_lo, dst_hi, dst_lo, ports, np.uint64(proto)) & mask
        f = np.int64(-1)
        while slots[slot] >= 0:
            c = slots[slot]
            if (
                flows[c]["a_lo"] == src_lo
                and flows[c]["b_lo"] == dst_lo
                and flows[c]["a_port"] == sport
                and flows[c]["b_port"] == dport
                and flows[c]["proto"] == proto
                and flows[c]["a_hi"] == src_hi
                and flows[c]["b_hi"] == dst_hi
                and flows[c]["version"] == row["version"]
            ):
                f = c
                break
            slot = (slot + np.uint64(1)) & mask
        tcp = proto == 6
        tcp_flags = row["flags"]
        before = np.uint32(0)
        if f >= 0 and tcp and tcp_flags & SYN:
            flow = flows[f]
            if flow["syn"][d]:
                # The same sequence number again is a retransmission, unless the connection is long over.
                reused = flow["isn"][d] != row["seq"] or (
                    flow["closed"] != 0 and row["ts"] - flow["last_ts"] > QUIET_NS
                )
            elif flow["seen"][d]:
                reused = np.uint32(flow["first_seq"][d] - row["seq"] - np.uint32(1)) > REUSE_WINDOW
            else:
                reused = (tcp_flags & ACK) == 0 and flow["closed"] != 0
            if reused:
                if count >= len(flows):
                    return i, count, next_uid
                slots[slot] = count  # the old flow stays in the table, but is not found again
                before = flow["reused"] + np.uint32(1)
                f = -2
        if f < 0:
            if count >= len(flows):
                return i, count, next_uid
            if f == -1:
                slots[slot] = count
            f = count
            count += 1
            flow = flows[f]
            flow["uid"] = next_uid
            next_uid += 1
            flow["a_hi"], flow["a_lo"], flow["b_hi"], flow["b_lo"] = src_hi, src_lo, dst_hi, dst_lo
            flow["a_port"], flow["b_port"] = sport, dport
            flow["proto"], flow["version"] = proto, row["version"]
            flow["first_frame"], flow["first_ts"] = row["frame"], row["ts"]
            flow["reused"] = before
            flow["epoch"] = 0
            flow["closed"], flow["tries"] = 0, 0
            flow["state"] = UNDECIDED
            if sport == MMS_PORT or dport == MMS_PORT:
                flow["state"] = WANTED
            for k in range(2):
                flow["scanned"][k] = 0
                flow["budget"][k] = HEAD_BUDGET
                flow["syn"][k] = 0
                flow["seen"][k] = 0
                flow["carried"][k] = 0
                flow["first_seq"][k] = 0
                flow["isn"][k] = 0
        flow = flows[f]
        flow["last_frame"] = row["frame"]
        flow["last_ts"] = row["ts"]
        uids[i] = flow["uid"]
        direction[i] = d
        if tcp:
            if tcp_flags & SYN:
                flow["syn"][d] = 1
                flow["isn"][d] = row["seq"]
            if tcp_flags & (FIN | RST):
                flow["closed"] = 1
        n = np.int64(row["payload_len"])
        if n > 0 and not flow["seen"][d]:
            flow["seen"][d] = 1
            flow["first_seq"][d] = row["seq"]
        state = flow["state"]
        if state == WANTED:
            action[i] = DELIVER
            continue
        if state == UNWANTED:
            continue
        start = np.int64(row["offset"]) - base + np.int64(row["payload"])
        if not tcp:
            wire = np.int64(row["payload_wire"])
            wanted = looks_like_mms_datagram(data, start, n, wire) or is_msb_datagram(data, start, n, wire)
            rtp = is_rtp(data, start, n)
            if wanted or looks_like_asf_rtp(data, start, n) or (rtp and _beside_wanted(flows, slots, flow)):
                flow["state"] = WANTED
                action[i] = DELIVER
            else:
                if rtp:
                    action[i] = KEEP
                flow["tries"] += 1
                if flow["tries"] >= DATAGRAM_TRIES:
                    flow["state"] = UNWANTED
            continue
        if n == 0:
            # Of acknowledgements those of bytes that are still being searched.
            if tcp_flags & (FIN | RST | SYN) or flow["budget"][1 - d] > 0:
                action[i] = KEEP
            over = tcp_flags & (FIN | RST) and state == UNDECIDED
            if over and (_without_beginning(flow) or _refused(flow)):
                flow["state"] = WANTED
                action[i] = DELIVER
            continue
        first = flow["syn"][d] and row["seq"] == np.uint32(flow["isn"][d] + np.uint32(1))
        if first and state == UNDECIDED and is_other(data, start, n):
            flow["state"] = UNWANTED
            continue
        restart = False
        if begins(data, start, n, starts, start_bounds):
            if state == UNDECIDED:
                flow["state"] = HTTP
            elif (lower(data[start]) != 104) and flow["scanned"][d] > 0:  # not "h(ttp/1.": a request
                restart = True
            flow["budget"][d] = HEAD_BUDGET
            state = HTTP
        if is_smb(data, start, n):
            if state == UNDECIDED:
                flow["state"] = HTTP
            elif flow["scanned"][d] > 0:
                restart = opens_file(data, start, n)
            flow["budget"][d] = HEAD_BUDGET
            state = HTTP
        if state == HTTP and flow["budget"][d] <= 0:
            continue
        searched = min(n, np.int64(HEAD_BUDGET) if state == HTTP else n)
        found = contains(data, start, searched, searched, text, bounds, firsts)
        carried = np.int64(flow["carried"][d])
        carry = flow["carry"][d]
        if carried:
            # Search what the boundary to the previous segment cuts.
            joined = carried + min(n, np.int64(CARRY))
            copy(carry, 0, carried, work, 0)
            copy(data, start, joined - carried, work, carried)
            if (
                state == UNDECIDED
                and flow["scanned"][d] < CARRY
                and begins(work, 0, joined, starts, start_bounds)
            ):
                flow["state"] = HTTP
            found = found or contains(work, 0, joined, carried, text, bounds, firsts)
        if n >= CARRY:
            kept = np.int64(CARRY)
            copy(data, start + n - kept, kept, carry, 0)
        else:
            kept = min(np.int64(CARRY), carried + n)
            copy(work, carried + n - kept, kept - n, carry, 0)
            copy(data, start, n, carry, kept - n)
        flow["carried"][d] = kept
        flow["scanned"][d] += n
        flow["budget"][d] -= n
        if found:
            flow["state"] = WANTED
            action[i] = DELIVER
            continue
        action[i] = KEEP
        if restart:
            flow["epoch"] = row["frame"]
        if flow["state"] == UNDECIDED:
            if flow["syn"][0] or flow["syn"][1]:
                if flow["scanned"][d] > PLAIN_LIMIT:
                    flow["state"] = UNWANTED
                    action[i] = DROP
            elif flow["scanned"][d] > MIDSTREAM_LIMIT or (
                tcp_flags & (FIN | RST) and _without_beginning(flow)
            ):
                flow["state"] = WANTED
                action[i] = DELIVER
    return len(rows), count, next_uid


def _entry(sources: int) -> Callable[..., tuple[int, int, int]]:
    """Build the entry; `sources` becomes part of its cache key by being closed over."""

    @njit(cache=True, nogil=True)
    def track(*packets_and_table: Any) -> Any:  # noqa: ANN401
        _ = sources
        return _track(*packets_and_table)

    return track


track = _entry(fingerprint((first_bytes, keeping)))
"""`_track`, to be called from Python."""
