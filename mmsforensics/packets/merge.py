"""The packets of several captures in one order of time.

Rules of this file:

* the order of frames in a capture is never changed: what is merged are captures, by a running maximum of
  each one's time stamps, in which a single stray one is passed over;
* a capture is opened when its time has come, so that rotated files are read one after the other and only
  captures that overlap in time are held open together;
* a set ends where the next capture begins more than `SET_GAP` behind all that was seen: nothing that was
  open then can go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.packets.duplicates import Duplicates
from mmsforensics.packets.numbering import Numbering
from mmsforensics.packets.table import NO_TIME, PacketBatch

SET_GAP: Final = 24 * 3600 * 10**9
"""ns. Clocks that are a time zone apart, and files of a night without traffic, are still one set."""

FAR: Final = 60 * 10**9
"""ns. A time stamp further from its neighbours is stray; nearer, it is disorder, which is kept."""

NEVER: Final = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Member:
    """A capture that waits for its turn."""

    capture: int
    """Its number in the case."""
    first_ts: int | None
    """Time stamp of its first frames; None when they have none."""
    open: Callable[[], Iterator[PacketBatch]]
    """Begin to read it."""


@dataclass(slots=True, eq=False)
class _Active:
    """A capture that is being read."""

    capture: int
    batches: Iterator[PacketBatch]
    batch: PacketBatch
    keys: NDArray[np.int64]
    taken: int = 0
    """Rows of the batch that were handed on."""

    @property
    def horizon(self) -> int:
        """Time up to which all frames of this capture are known."""
        return int(self.keys[-1])


def first_time(times: Sequence[int]) -> int | None:
    """When a capture begins, by the time stamps of its first frames: their median."""
    known = sorted(t for t in times if t != NO_TIME)
    return known[(len(known) - 1) // 2] if known else None


def in_order(members: Sequence[Member]) -> list[Member]:
    """Members by the time of their beginning; those without a time come first, in the order given."""
    return sorted(members, key=lambda m: (m.first_ts is not None, m.first_ts or 0, m.capture))


@dataclass(slots=True, eq=False)
class CaptureSet:
    """Captures that belong together, read as one; iterate once.

    It takes from the front of `waiting` what belongs to the set, and leaves the rest.

    Parameters
    ----------
    waiting : deque of Member
        In order (`in_order`).
    numbering : Numbering
        Told which frame of which capture each row is; ``rows["frame"]`` is its number.
    duplicates : Duplicates, optional
        Asked which frames another capture has given before; they are left out.
    """

    waiting: deque[Member]
    numbering: Numbering
    duplicates: Duplicates | None = None
    _active: list[_Active] = field(default_factory=list)
    _reached: int = -NEVER

    def __iter__(self) -> Iterator[PacketBatch]:
        """Yield the batches; a batch's data may be released when the next one is asked for."""
        first = self.waiting.popleft()
        self._open(first)
        if first.first_ts is None:  # nothing says when it was: it stands alone
            yield from self._alone()
            return
        while True:
            while self._due():
                self._open(self.waiting.popleft())
            if not self._active:
                return
            limit = min(a.horizon for a in self._active)
            self._reached = max(self._reached, limit)
            if self._due():
                continue
            yield from self._step(limit)

    def _alone(self) -> Iterator[PacketBatch]:
        while self._active:
            yield from self._step(NEVER)

    def _due(self) -> bool:
        """Whether the next capture's time has come."""
        if not self.waiting:
            return False
        begins = self.waiting[0].first_ts
        if begins is None or begins - self._reached > SET_GAP:
            return False
        return not self._active or begins <= self._reached

    def _open(self, member: Member) -> None:
        batches = member.open()
        batch = next(batches, None)
        if batch is None:
            return
        floor = member.first_ts if member.first_ts is not None else -NEVER
        keys = self._keys(batch, floor, alone=not self._active)
        self._active.append(_Active(member.capture, batches, batch, keys))
        self._active.sort(key=lambda a: a.capture)

    def _keys(self, batch: PacketBatch, floor: int, *, alone: bool) -> NDArray[np.int64]:
        """Times by which a batch is merged, none before `floor`."""
        times = np.ascontiguousarray(batch.rows["ts"])
        if alone and not self.waiting:
            return np.array([max(floor, int(times.max()))])  # only the end is asked for
        times = np.where(times == NO_TIME, floor, times)
        return np.maximum.accumulate(np.maximum(_steadied(times), floor))

    def _step(self, limit: int) -> Iterator[PacketBatch]:
        """Hand on what lies up to `limit`, and read on."""
        if len(self._active) == 1 and self._active[0].horizon <= limit:
            yield self._whole(self._active[0])
        else:
            yield self._merged(limit)
        for active in list(self._active):
            if active.taken == len(active.batch.rows):
                self._read_on(active)

    def _read_on(self, active: _Active) -> None:
        batch = next(active.batches, None)
        if batch is None:
            self._reached = max(self._reached, active.horizon)
            self._active.remove(active)
            return
        active.keys = self._keys(batch, active.horizon, alone=len(self._active) == 1)
        active.batch, active.taken = batch, 0

    def _whole(self, active: _Active) -> PacketBatch:
        """The rest of the only capture's batch."""
        rows = active.batch.rows[active.taken :]
        active.taken = len(active.batch.rows)
        first = int(rows["frame"][0])
        start = self.numbering.add(active.capture, first, len(rows))
        if start != first:
            rows["frame"] += np.uint64(start - first)
        batch = PacketBatch(rows, active.batch.data, active.batch.base, active.batch.rare)
        if self.duplicates is None:
            return batch
        return self.duplicates.drop(batch, np.full(len(rows), active.capture, dtype=np.uint16))

    def _merged(self, limit: int) -> PacketBatch:
        """What all captures hold up to `limit`, in one batch with data of its own."""
        parts, keys = [], []
        for active in self._active:
            stop = int(np.searchsorted(active.keys, limit, side="right"))
            if stop > active.taken:
                taken = slice(active.taken, stop)
                batch = PacketBatch(active.batch.rows[taken], active.batch.data, active.batch.base)
                parts.append((active.capture, batch))
                keys.append(active.keys[taken])
                active.taken = stop
        captures = np.repeat(np.array([c for c, _ in parts], np.uint16), [len(b.rows) for _, b in parts])
        first = {capture: int(batch.rows["frame"][0]) for capture, batch in parts}
        rows, data = _together([batch for _, batch in parts])
        order = np.argsort(np.concatenate(keys), kind="stable")
        rows, captures = rows[order], captures[order]
        start = self.numbering.add_mixed(captures, first)
        rows["frame"] = np.arange(start, start + len(rows), dtype=np.uint64)
        merged = PacketBatch(rows, data, 0)
        return self.duplicates.drop(merged, captures) if self.duplicates is not None else merged


def _together(batches: Sequence[PacketBatch]) -> tuple[NDArray[np.void], NDArray[np.uint8]]:
    """Rows of several batches whose offsets are positions in one copy of their data."""
    data, at = [], 0
    for batch in batches:
        offsets = batch.rows["offset"].astype(np.int64) - batch.base
        low, high = int(offsets.min()), int((offsets + batch.rows["caplen"]).max())
        data.append(batch.data[low:high])
        batch.rows["offset"] = offsets - low + at
        at += high - low
    return np.concatenate([batch.rows for batch in batches]), np.concatenate(data)


def _steadied(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Times in which one that is alone far from its neighbours is theirs: the median of each five."""
    if len(times) < 5 or (np.abs(np.diff(times)) <= FAR).all():
        return times
    windows = np.lib.stride_tricks.sliding_window_view(times, 5)
    middle = np.pad(np.sort(windows, axis=1)[:, 2], 2, mode="edge")
    return np.where(np.abs(middle - times) > FAR, middle, times)
