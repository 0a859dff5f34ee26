"""A flow as a whole: what is odd about its traffic, how it began and ended, what was acknowledged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.streams.flow import Endpoint, Flow, FlowPackets
from mmsforensics.streams.runs import PIECE, Conflict, Gap, Run
from mmsforensics.streams.watch import ANOMALY, ROWS_A_PACKET, SIDE, Check, Kind, checksums, observe

TCP: Final = 6

TRUSTED: Final = 8
"""Right checksums for each wrong one that a direction must show before a wrong one is held against a segment:
some captures have none that is right."""

OPENS: Final = 1
"""Of a side's `syn`: its SYN opens the connection and answers none."""

UNKNOWN_AT_FIRST: Final = (
    *("origin", "acked", "fin", "rtt", "scale", "edge", "bound"),
    *("leap", "leap_end", "leap_fin", "leap_ack", "heard_frame"),
)
"""Fields of SIDE that are -1 while nothing is known."""

VLAN_TYPES: Final = (0x8100, 0x88A8, 0x9100)
ETHERNET: Final = 1

DETAILS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.RETRANSMISSION: ("seen_before", "not_seen_before"),
    Kind.SPURIOUS_RETRANSMISSION: ("seen_before", "not_seen_before"),
    Kind.OUT_OF_ORDER: ("late_ns",),
    Kind.GAP: ("acknowledged",),
    Kind.OVERLAP: ("seen_up_to",),
    Kind.BEYOND_WINDOW: ("window_ends_at",),
    Kind.DATA_AFTER_FIN: ("fin_at",),
    Kind.SUSPICIOUS_RST: ("ttl", "bytes_from_expected"),
    Kind.TTL_CHANGE: ("before", "after"),
    Kind.IP_ID_JUMP: ("before", "after"),
    Kind.MAC_CHANGE: ("before", "after"),
    Kind.DUPLICATE_FRAME: ("ip_id",),
    Kind.PORT_REUSE: ("flows_before",),
    Kind.ACK_OF_UNSENT: ("acknowledges_up_to",),
}
"""What the columns `a` and `b` of ANOMALY say, by kind."""

SEVERITY: Final[dict[Kind, str]] = {
    Kind.OVERLAP_CONFLICT: "high",
    Kind.BAD_CHECKSUM: "medium",
    Kind.DATA_AFTER_FIN: "medium",
    Kind.DATA_AFTER_RST: "medium",
    Kind.SUSPICIOUS_RST: "medium",
    Kind.BEYOND_WINDOW: "medium",
    Kind.MAC_CHANGE: "medium",
    Kind.GAP: "medium",
    Kind.ACKED_UNSEEN: "medium",
    Kind.ACK_OF_UNSENT: "medium",
    Kind.SNAPLEN_CUT: "medium",
    Kind.ONE_SIDED: "medium",
    Kind.TTL_CHANGE: "low",
    Kind.IP_ID_JUMP: "low",
    Kind.SYN_WITH_DATA: "low",
    Kind.OVERLAP: "low",
    Kind.PORT_REUSE: "low",
    Kind.START_NOT_CAPTURED: "low",
    Kind.END_NOT_CAPTURED: "low",
}
"""``high``: somebody may have tampered; ``medium``: bytes are missing or in doubt, or the packet does not fit
its connection; ``low``: unusual. All others are ``info``: what any network does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideSummary:
    """One direction of a flow."""

    packets: int
    bytes: int
    """Of whole frames on the wire."""
    payload: int
    retransmitted: int
    retransmitted_bytes: int
    out_of_order: int
    acked: int | None
    """Stream bytes that the other side acknowledged; None where no acknowledgement was captured."""
    acked_unseen: int | None
    """Of these, the ones that were not captured."""
    seen_unacked: int | None
    """Bytes that were captured and never acknowledged."""
    gap_bytes: int
    gaps: int
    mss: int | None
    window_scale: int | None
    """None without a SYN; -1 where the SYN has no such option."""
    ttl_least: int | None
    ttl_most: int | None
    mac: str | None
    """Source address, of the first frame."""
    checksums_bad: int
    checksums_offloaded: int
    unacked: NDArray[np.void]
    """Captured bytes behind the last acknowledgement, dtype PIECE; empty where none was captured."""
    unseen: tuple[tuple[int, int], ...]
    """Bytes acknowledged and not captured: frame behind each hole, or the last one, and how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSummary:
    """A flow that was decoded."""

    flow: Flow
    sides: tuple[SideSummary, SideSummary]
    """From endpoint a, from endpoint b."""
    first_frame: int
    last_frame: int
    first_ts: int
    last_ts: int
    opener: Endpoint | None
    """The end whose SYN came first; None where none was captured."""
    rtt: int | None
    """From the SYN to the first acknowledgement behind it, ns."""
    vlans: tuple[int, ...]
    began: str
    """``handshake``, ``half a handshake``, ``in the middle`` or, of UDP, ``datagram``."""
    ended: str
    """``fin``, ``half closed``, ``reset`` (where not both sides have sent a FIN), ``capture ended``; of UDP
    ``datagram``."""


class FlowWatch:
    """Watches one flow; feed it every packet, in order of capture."""

    __slots__ = ("_conflicts", "_gaps", "_sides", "_told", "_unacked", "_vlans", "flow")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._sides = np.zeros(2, dtype=SIDE)
        for name in UNKNOWN_AT_FIRST:
            self._sides[name] = -1
        self._gaps: tuple[list[Gap], list[Gap]] = ([], [])
        self._unacked: tuple[list[NDArray[np.void]], list[NDArray[np.void]]] = ([], [])
        self._vlans: tuple[int, ...] | None = None
        self._told: list[NDArray[np.void]] = []
        self._conflicts: list[tuple[int, Conflict]] = []

    def checks(self, packets: FlowPackets) -> NDArray[np.uint8]:
        """What the checksum of each packet says: a `Check` each."""
        out = np.empty(len(packets.rows), dtype=np.uint8)
        checksums(packets.rows, packets.start, packets.data, out)
        return out

    def doubtful(self, checks: NDArray[np.uint8], direction: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
        """Packets whose wrong checksum is held against them; None if there are none.

        A wrong checksum tells something only in a direction whose checksums are otherwise right.
        """
        bad = checks == Check.BAD
        if not bad.any():
            return None
        for side in (0, 1):
            mine = direction == side
            good = int(self._sides["good"][side]) + np.count_nonzero(mine & (checks == Check.GOOD))
            wrong = int(self._sides["bad"][side]) + np.count_nonzero(mine & bad)
            if good < TRUSTED * wrong:
                checks[mine & bad] = Check.UNKNOWN
                bad &= ~mine
        return bad if bad.any() else None

    def see(
        self, packets: FlowPackets, checks: NDArray[np.uint8], origins: Sequence[int | None] = (None, None)
    ) -> None:
        """Take note of packets; `origins` are the sequence numbers of stream offset 0 of the two sides."""
        if self._vlans is None:
            self._vlans = _vlans(packets)
        if self.flow.proto != TCP:
            self._see_datagrams(packets, checks)
            return
        for side in (0, 1):
            origin = origins[side]
            if origin is not None:
                self._begin(side, origin)
        out = np.empty(len(packets.rows) * ROWS_A_PACKET, dtype=ANOMALY)
        n = observe(packets.rows, packets.direction, packets.start, packets.data, checks, self._sides, out)
        if n:
            self._told.append(out[:n].copy())

    def _begin(self, side: int, origin: int) -> None:
        """Take the sequence number of stream offset 0; what was presumed of it is set right."""
        known = self._sides[side : side + 1]
        if known["presumed"][0]:
            shift = (origin - int(known["origin"][0]) + 2**31) % 2**32 - 2**31
            for name in ("acked", "edge", "bound", "leap_ack"):
                value = int(known[name][0])
                known[name] = max(value - shift, -1) if value >= 0 else -1
            known["presumed"] = 0
        known["origin"] = origin

    def accepted(self, side: int) -> int | None:
        """Stream offset beyond which the receiver took nothing; None if it is not known to have refused any.

        Asked when no more packets come: what lay beyond all windows, and what the receiver went on without,
        it has refused. Where nothing speaks against it the capture is believed to have paused.
        """
        known = self._sides[side : side + 1]
        heard = int(known["heard_frame"][0]) > int(known["leap_frame"][0])
        leaps = max(int(known["leap"][0]), int(known["leap_fin"][0]))
        if leaps >= 0 and heard and leaps > int(known["bound"][0]):
            return int(known["bound"][0])
        for name, leap in (("next", "leap_end"), ("fin", "leap_fin"), ("acked", "leap_ack")):
            known[name] = np.maximum(known[name], known[leap])
            known[leap] = -1
        return None

    def move(self, sides: NDArray[np.void]) -> None:
        """Keep what is known of both directions in memory of a pass that observes packets itself.

        `sides` has dtype SIDE and shape (2,).
        """
        sides[:] = self._sides
        self._sides = sides

    def observed(self, told: Sequence[NDArray[np.void]], side: int, pieces: NDArray[np.void]) -> None:
        """Take note of packets observed elsewhere: what was odd, and what a side sent unacknowledged.

        The pieces are copied: their memory is used again.
        """
        self._told.extend(told)
        for each in (0, 1):
            self._settle(each)
        if len(pieces) and self._acked(side) is not None:
            self._unacked[side].append(pieces.copy())

    def items(self, side: int, items: Sequence[Run | Gap | Conflict]) -> list[Run | Gap | Conflict]:
        """Take note of what the reassembly of a side gave; its gaps come back with what was acknowledged."""
        said: list[Run | Gap | Conflict] = []
        for item in items:
            if isinstance(item, Gap):
                known = replace(item, acked=self._acked_of(side, item.offset, item.length))
                self._gaps[side].append(known)
                acked = -1 if known.acked is None else known.acked
                self._tell(
                    Kind.GAP, side, known.frame, known.ts, offset=known.offset, size=known.length, a=acked
                )
                said.append(known)
            elif isinstance(item, Conflict):
                if not self._keeps_alive(item):
                    self._conflicts.append((side, item))
                    said.append(item)
            else:
                self._unacked[side].append(item.pieces)
                said.append(item)
        self._settle(side)
        return said

    def _keeps_alive(self, conflict: Conflict) -> bool:
        """Whether a byte that differs is that of a keep-alive, which may be any [RFC 9293 3.8.4]."""
        probes = (rows["frame"][rows["kind"] == Kind.KEEP_ALIVE] for rows in self._told)
        return len(conflict.other) == 1 and any((frames == conflict.frame).any() for frames in probes)

    def _settle(self, side: int) -> None:
        """Let go of the pieces that are acknowledged; without acknowledgements nothing is kept."""
        kept = self._unacked[side]
        if not kept:
            return
        acked = self._acked(side)
        if acked is None:
            kept.clear()
            return
        open_ = [p for p in kept if len(p) and _end(p) > acked]
        left = [p[int(_ends(p).searchsorted(acked, side="right")) :] for p in open_]
        kept[:] = [p if len(p) == len(q) else p.copy() for p, q in zip(left, open_, strict=True)]

    def _unacknowledged(self, side: int) -> NDArray[np.void]:
        """Captured bytes behind the last acknowledgement."""
        acked = self._acked(side)
        pieces = np.concatenate([np.empty(0, dtype=PIECE), *self._unacked[side]])
        if acked is None or not len(pieces):
            return pieces[:0]
        lead = np.maximum(acked - pieces["offset"], 0)
        pieces["offset"] += lead
        pieces["frame_offset"] += lead.astype(np.uint32)
        pieces["length"] -= np.minimum(lead, pieces["length"]).astype(np.uint32)
        return pieces[pieces["length"] > 0]

    def contested(self) -> list[tuple[int, Conflict]]:
        """Sides and conflicts since the last call."""
        conflicts, self._conflicts = self._conflicts, []
        return conflicts

    def told(self) -> NDArray[np.void]:
        """Anomalies since the last call, dtype ANOMALY."""
        if not self._told:
            return np.empty(0, dtype=ANOMALY)
        rows = np.concatenate(self._told)
        self._told.clear()
        return rows

    def finish(self) -> FlowSummary:
        """Take note that no more packets come."""
        seen = self._sides[self._sides["packets"] > 0]
        first, last = seen[seen["first_frame"].argmin()], seen[seen["last_frame"].argmax()]
        summary = FlowSummary(
            flow=self.flow,
            sides=(self._side(0), self._side(1)),
            first_frame=int(first["first_frame"]),
            last_frame=int(last["last_frame"]),
            first_ts=int(first["first_ts"]),
            last_ts=int(last["last_ts"]),
            opener=self._opener(),
            rtt=max((int(s["rtt"]) for s in self._sides if s["rtt"] >= 0), default=None),
            vlans=self._vlans or (),
            began=self._began(),
            ended=self._ended(),
        )
        self._finish_rows(summary)
        return summary

    def _finish_rows(self, summary: FlowSummary) -> None:
        if self.flow.proto != TCP:
            return
        first = self._side_of("first_frame", summary.first_frame)
        if self.flow.reused:
            self._tell(Kind.PORT_REUSE, first, summary.first_frame, summary.first_ts, a=self.flow.reused)
        for side in (0, 1):
            tail = self._tail_unseen(side)
            if tail:
                where = int(self._sides["next"][side])
                self._tell(
                    Kind.ACKED_UNSEEN, side, summary.last_frame, summary.last_ts, offset=where, size=tail
                )
            if not self._sides["packets"][side]:
                self._tell(Kind.ONE_SIDED, side, summary.first_frame, summary.first_ts)
        if not (self._sides["syn"] == OPENS).any():
            self._tell(Kind.START_NOT_CAPTURED, first, summary.first_frame, summary.first_ts)
        if summary.ended == "capture ended":
            last = self._side_of("last_frame", summary.last_frame)
            self._tell(Kind.END_NOT_CAPTURED, last, summary.last_frame, summary.last_ts)

    def _side_of(self, which: str, frame: int) -> int:
        """Who sent the first or the last frame of the flow."""
        return next(d for d in (0, 1) if self._sides["packets"][d] and self._sides[which][d] == frame)

    def _see_datagrams(self, packets: FlowPackets, checks: NDArray[np.uint8]) -> None:
        rows = packets.rows
        for d in (0, 1):
            mine = packets.direction == d
            if not mine.any():
                continue
            side, seen = self._sides[d], rows[mine]
            if not side["packets"]:
                side["first_frame"], side["first_ts"] = seen["frame"][0], seen["ts"][0]
            side["last_frame"], side["last_ts"] = seen["frame"][-1], seen["ts"][-1]
            side["packets"] += len(seen)
            side["bytes"] += int(seen["wirelen"].sum())
            side["payload"] += int(seen["payload_wire"].sum())
            side["offloaded"] += np.count_nonzero(checks[mine] == Check.OFFLOADED)
            side["bad"] += np.count_nonzero(checks[mine] == Check.BAD)
        for kind, which in (
            (Kind.BAD_CHECKSUM, checks == Check.BAD),
            (Kind.SNAPLEN_CUT, rows["payload_len"] < rows["payload_wire"]),
        ):
            for i in np.flatnonzero(which):
                size = int(rows["payload_wire"][i])
                if kind is Kind.SNAPLEN_CUT:
                    size -= int(rows["payload_len"][i])
                d = int(packets.direction[i])
                self._tell(kind, d, int(rows["frame"][i]), int(rows["ts"][i]), size=size)

    def _tell(
        self, kind: Kind, side: int, frame: int, ts: int, *, offset: int = -1, size: int = 0, a: int = 0
    ) -> None:
        row = np.zeros(1, dtype=ANOMALY)
        row["kind"], row["direction"], row["frame"], row["ts"] = kind, side, frame, ts
        row["offset"], row["size"], row["a"] = offset, size, a
        self._told.append(row)

    def _acked(self, side: int) -> int | None:
        """Bytes of a side's stream that the other one acknowledged."""
        acked = int(self._sides["acked"][side])
        return None if acked < 0 else acked

    def _acked_of(self, side: int, offset: int, length: int) -> int | None:
        acked = self._acked(side)
        return None if acked is None else min(max(acked - offset, 0), length)

    def _tail_unseen(self, side: int) -> int:
        """Bytes acknowledged behind the last one seen."""
        acked = self._acked(side)
        if acked is None or self._sides["origin"][side] < 0:
            return 0
        told = max((gap.offset + gap.length for gap in self._gaps[side]), default=0)  # also one before a FIN
        return max(acked - max(int(self._sides["next"][side]), told), 0)

    def _side(self, d: int) -> SideSummary:
        side, gaps = self._sides[d], self._gaps[d]
        acked = self._acked(d)
        self._settle(d)
        unseen = unacked = None
        if acked is not None:
            unseen = sum(_within(gap, 0, acked) for gap in gaps) + self._tail_unseen(d)
            end = int(side["next"])
            unacked = max(end - acked, 0) - sum(_within(gap, acked, end) for gap in gaps)
        heard = bool(side["headers"])
        return SideSummary(
            packets=int(side["packets"]),
            bytes=int(side["bytes"]),
            payload=int(side["payload"]),
            retransmitted=int(side["retransmitted"]),
            retransmitted_bytes=int(side["retransmitted_bytes"]),
            out_of_order=int(side["out_of_order"]),
            acked=acked,
            acked_unseen=unseen,
            seen_unacked=unacked,
            gap_bytes=sum(gap.length for gap in gaps),
            gaps=len(gaps),
            mss=int(side["mss"]) or None,
            window_scale=None if side["scale"] == -1 else max(int(side["scale"]), -1),
            ttl_least=int(side["ttl_least"]) if heard else None,
            ttl_most=int(side["ttl_most"]) if heard else None,
            mac=side["mac"][6:12].tobytes().hex(":") if side["has_mac"] else None,
            checksums_bad=int(side["bad"]),
            checksums_offloaded=int(side["offloaded"]),
            unacked=self._unacknowledged(d),
            unseen=tuple(self._unseen(d)),
        )

    def _unseen(self, side: int) -> Iterator[tuple[int, int]]:
        acked = self._acked(side) or 0
        for gap in self._gaps[side]:
            if known := _within(gap, 0, acked):
                yield gap.frame, known
        if tail := self._tail_unseen(side):
            yield int(self._sides["last_frame"].max()), tail

    def _opener(self) -> Endpoint | None:
        opened = [d for d in (0, 1) if self._sides["syn"][d] == OPENS]
        if opened:
            return self._ends[min(opened, key=lambda d: int(self._sides["syn_ts"][d]))]
        answered = [d for d in (0, 1) if self._sides["syn"][d]]
        return self._ends[1 - answered[0]] if len(answered) == 1 else None

    @property
    def _ends(self) -> tuple[Endpoint, Endpoint]:
        return self.flow.a, self.flow.b

    def _began(self) -> str:
        if self.flow.proto != TCP:
            return "datagram"
        syns = int(np.count_nonzero(self._sides["syn"]))
        return ("in the middle", "half a handshake", "handshake")[syns]

    def _ended(self) -> str:
        if self.flow.proto != TCP:
            return "datagram"
        fins = int(np.count_nonzero(self._sides["fin"] >= 0))
        if fins < 2 and self._sides["rst"].any():
            return "reset"
        return ("capture ended", "half closed", "fin")[fins]


def _within(gap: Gap, start: int, end: int) -> int:
    """Bytes of a gap between two stream offsets."""
    return max(min(gap.offset + gap.length, end) - max(gap.offset, start), 0)


def _end(pieces: NDArray[np.void]) -> int:
    """Stream offset behind the last of pieces."""
    last = pieces[-1]
    return int(last["offset"]) + int(last["length"])


def _ends(pieces: NDArray[np.void]) -> NDArray[np.int64]:
    """Stream offsets behind pieces."""
    return pieces["offset"] + pieces["length"].astype(np.int64)


def _vlans(packets: FlowPackets) -> tuple[int, ...]:
    """VLANs of the first frame, from the outside in [IEEE 802.1Q 9.6]."""
    row = packets.rows[0]
    if row["link"] != ETHERNET or not row["transport"]:
        return ()
    frame = int(packets.start[0]) - int(row["payload"])
    head = packets.data[frame : frame + int(row["network"])].tobytes()
    found, at = [], 12
    while at + 4 <= len(head) and int.from_bytes(head[at : at + 2], "big") in VLAN_TYPES:
        found.append(int.from_bytes(head[at + 2 : at + 4], "big") & 0x0FFF)
        at += 4
    return tuple(found)
