"""Flow tracking over packet batches: picks out the packets of flows that are worth decoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsforensics.packets import PACKET, PacketBatch
from mmsforensics.streams import keeping, tracking
from mmsforensics.streams.fast_path import FastPath, InOrder, Predicted
from mmsforensics.streams.flow import Endpoint, Flow, FlowPackets
from mmsforensics.streams.gathering import Gathering
from mmsforensics.streams.keeping import copy_payloads
from mmsforensics.streams.signatures import HTTP_STARTS, SIGNATURES, by_first_bytes, packed

FIRST_CAPACITY = 1 << 14
LARGEST_CAPACITY = 1 << 17
"""Flows followed at once (about 250 bytes each). Beyond it the longest idle undecided or unwanted ones
are forgotten; wanted flows never are."""

POOL_LIMIT = 64 << 20
"""Bytes kept of flows not decided yet; beyond it the oldest are let go."""

POOL_STEP = 16 << 20
"""Bytes that come into the pool before it is looked through for what may be let go."""


@dataclass(frozen=True, slots=True)
class _Kept:
    rows: NDArray[np.void]
    uids: NDArray[np.int64]
    direction: NDArray[np.uint8]
    data: NDArray[np.uint8]
    start: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self.data) + self.rows.nbytes + 17 * len(self.rows)


class FlowTable:
    """Follows the flows of one capture.

    Feed it the capture's batches in order, and ask for the rest at the end; it yields the packets of the
    wanted flows, those of a flow that has just turned wanted together with what was kept of its beginning.

    Parameters
    ----------
    gather : int
        Bytes of wanted frames gathered over batches before they are yielded; with 0, each feed yields its
        own.
    """

    def __init__(self, gather: int = 0) -> None:
        self._flows = np.zeros(FIRST_CAPACITY, dtype=tracking.FLOW)
        self._slots = np.full(FIRST_CAPACITY * 4, -1, dtype=np.int64)
        self._count = 0
        self._next_uid = 0
        signatures, self._firsts = by_first_bytes(SIGNATURES)
        self._text, self._bounds = packed(signatures)
        self._starts, self._start_bounds = packed(HTTP_STARTS)
        self._known: dict[int, Flow] = {}
        self._pool: list[_Kept] = []
        self._pool_size = 0
        self._pool_looked_at = 0
        self._gathering = Gathering(gather)
        self._fast_path = FastPath()
        self._beginnings: dict[int, list[FlowPackets]] = {}
        self.begun = _no_frames()
        """Frames with which flows began in the last batch."""
        self.let_go = _no_frames()
        """Frames of undecided flows that the pool's limit let go in the last batch."""
        self.wanted = _no_frames()
        """Frames of wanted flows in the last batch, bar those kept from earlier ones."""

    def feed(self, batch: PacketBatch) -> Iterator[FlowPackets | InOrder]:
        """Track one batch and yield packets to decode, flow by flow in order of their first packet.

        Before any packets, and whenever it is enough, all that came on the fast path is yielded. Each is good
        until more is asked for.
        """
        rows = batch.rows
        uids = np.empty(len(rows), dtype=np.int64)
        direction = np.empty(len(rows), dtype=np.uint8)
        action = np.empty(len(rows), dtype=np.uint8)
        self._track(batch, uids, direction, action)
        self._keep(batch, uids, direction, action)
        self.wanted = rows["frame"][action == tracking.DELIVER].astype(np.int64)
        yield from self._fast_path.take(batch, uids, direction, action)
        delivered = action == tracking.DELIVER
        count, size = keeping.count_kept(rows, action, tracking.DELIVER)
        if count:
            if not self._gathering.holds(count, size):
                yield from self._gathered()
            for uid in np.unique(uids[delivered]).tolist():
                if uid not in self._known:
                    self._known[uid] = self._describe(uid)
                    self._beginnings[uid] = list(self._from_pool(uid))
            self._gathering.add(batch, uids, direction, action, count, size)
        elif len(self._fast_path):
            self._gathering.rest()
        if self._gathering.ready(len(self._fast_path)):
            yield from self._gathered()
        self._purge(int(rows["frame"][0]) if len(rows) else 0)

    def predict(self, predicted: Predicted) -> None:
        """Let a connection go the fast path, from the next batch on.

        All that was yielded of it must have been put in order. It goes on the long way if some of its packets
        are still to be yielded.
        """
        if not self._gathering.has(predicted.watch.flow.uid):
            self._fast_path.open(predicted)

    def finish(self) -> Iterator[FlowPackets | InOrder]:
        """Yield the packets to decode that are left; no more come.

        So are those kept of flows whose beginning was not captured and that are still undecided, and of those
        on which nothing was said where a player asks for RTSP.
        """
        yield from self._gathered()
        self._gathering = Gathering(0)
        uids = np.unique(np.concatenate([kept.uids for kept in self._pool] or [_no_frames()]))
        index = self._index_of(uids)
        uids, flows = uids[index >= 0], self._flows[index[index >= 0]]
        middle = (flows["state"] == tracking.UNDECIDED) & ~flows["syn"].any(axis=1)
        middle &= flows["scanned"].max(axis=1, initial=0) >= tracking.LEAST_LOOK
        rtsp = (flows["a_port"] == tracking.RTSP_PORT) | (flows["b_port"] == tracking.RTSP_PORT)
        silent = (
            (flows["state"] == tracking.UNDECIDED) & flows["syn"].any(axis=1) & ~flows["seen"].any(axis=1)
        )
        for uid in uids[middle | (rtsp & silent)].tolist():
            self._known[uid] = self._describe(uid)
            yield from self._from_pool(uid)

    def _gathered(self) -> Iterator[FlowPackets | InOrder]:
        yield from self._fast_path.flush()
        for mine in self._gathering.hand_on():
            yield from self._beginnings.pop(mine.uid, ())
            yield FlowPackets(self._known[mine.uid], mine.rows, mine.direction, mine.data, mine.start)

    def give_up(self, uids: Iterable[int]) -> None:
        """Let flows go for good that turned out to be nothing known: their packets are no longer yielded."""
        index = self._index_of(np.array(list(uids), dtype=np.int64))
        self._flows["state"][index[index >= 0]] = tracking.UNWANTED

    def _track(
        self,
        batch: PacketBatch,
        uids: NDArray[np.int64],
        direction: NDArray[np.uint8],
        action: NDArray[np.uint8],
    ) -> None:
        done = 0
        begun = []
        while True:
            known = self._count
            done, self._count, self._next_uid = tracking.track(
                batch.rows,
                done,
                batch.data,
                batch.base,
                self._flows,
                self._count,
                self._slots,
                self._next_uid,
                self._text,
                self._bounds,
                self._firsts,
                self._starts,
                self._start_bounds,
                uids,
                direction,
                action,
            )
            begun.append(self._flows["first_frame"][known : self._count].astype(np.int64))
            if done == len(batch.rows):
                self.begun = np.concatenate(begun)
                return
            self._make_room()

    def _make_room(self) -> None:
        keep = np.ones(self._count, dtype=np.bool_)
        if len(self._flows) >= LARGEST_CAPACITY:
            flows = self._flows[: self._count]
            keep = (flows["state"] == tracking.WANTED) | (
                flows["last_frame"] > np.median(flows["last_frame"])
            )
        if np.count_nonzero(keep) > 0.75 * len(self._flows):
            self._flows = np.concatenate((self._flows, np.zeros_like(self._flows)))
            self._slots = np.full(len(self._flows) * 4, -1, dtype=np.int64)
        self._count = tracking.rebuild(self._flows, self._count, self._slots, keep)

    def _describe(self, uid: int) -> Flow:
        row = self._flows[self._index_of(np.array([uid]))[0]]
        a = _address(int(row["a_hi"]), int(row["a_lo"]), int(row["version"]))
        b = _address(int(row["b_hi"]), int(row["b_lo"]), int(row["version"]))
        return Flow(
            uid=uid,
            proto=int(row["proto"]),
            a=Endpoint(a, int(row["a_port"])),
            b=Endpoint(b, int(row["b_port"])),
            first_frame=int(row["first_frame"]),
            first_ts=int(row["first_ts"]),
            reused=int(row["reused"]),
        )

    def _index_of(self, uids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the flow table by uid, -1 for flows it has forgotten; the table is in order of uid."""
        known = self._flows["uid"][: self._count]
        index = np.searchsorted(known, uids)
        found = index < self._count
        found[found] = known[index[found]] == uids[found]
        return np.where(found, index, -1)

    def _keep(
        self,
        batch: PacketBatch,
        uids: NDArray[np.int64],
        direction: NDArray[np.uint8],
        action: NDArray[np.uint8],
    ) -> None:
        count, size = keeping.count_kept(batch.rows, action, tracking.KEEP)
        if not count:
            return
        kept = _Kept(
            np.empty(count, dtype=PACKET),
            np.empty(count, dtype=np.int64),
            np.empty(count, dtype=np.uint8),
            np.empty(size, dtype=np.uint8),
            np.empty(count, dtype=np.int64),
        )
        keeping.keep(
            batch.rows,
            uids,
            direction,
            action,
            tracking.KEEP,
            batch.data,
            batch.base,
            kept.rows,
            kept.uids,
            kept.direction,
            kept.data,
            0,
            kept.start,
        )
        self._pool.append(kept)
        self._pool_size += kept.size

    def _from_pool(self, uid: int) -> Iterator[FlowPackets]:
        flow = self._known[uid]
        epoch = int(self._flows[self._index_of(np.array([uid]))[0]]["epoch"])
        for kept in self._pool:
            mine = np.flatnonzero((kept.uids == uid) & (kept.rows["frame"] >= epoch))
            if len(mine):
                yield FlowPackets(flow, kept.rows[mine], kept.direction[mine], kept.data, kept.start[mine])

    def _purge(self, first_frame: int) -> None:
        """Let go what the pool holds of flows that are decided, closed, or at a later request."""
        self.let_go = _no_frames()
        if self._pool_size - self._pool_looked_at < POOL_STEP:
            return
        remaining: list[_Kept] = []
        for kept in self._pool:
            open_ = np.empty(len(kept.rows), dtype=np.bool_)
            tracking.still_open(self._flows, self._count, kept.uids, kept.rows, first_frame, open_)
            if open_.all():
                remaining.append(kept)
            elif open_.any():
                rows = kept.rows[open_]
                head = rows["payload"].astype(np.int64)
                data, start = copy_payloads(kept.data, kept.start[open_] - head, head + rows["payload_len"])
                remaining.append(_Kept(rows, kept.uids[open_], kept.direction[open_], data, start + head))
        total = sum(kept.size for kept in remaining)
        while remaining and total > POOL_LIMIT:
            oldest = remaining.pop(0)
            total -= oldest.size
            self.let_go = np.concatenate((self.let_go, oldest.rows["frame"].astype(np.int64)))
        self._pool = remaining
        self._pool_size = self._pool_looked_at = total


def _no_frames() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


def _address(hi: int, lo: int, version: int) -> bytes:
    if version == 4:
        return lo.to_bytes(4, "big")
    return hi.to_bytes(8, "big") + lo.to_bytes(8, "big")
