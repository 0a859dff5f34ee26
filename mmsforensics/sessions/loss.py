"""The loss map of one medium: which packets are missing, and what was seen of them.

Rules of this file:

* a run is what lies between two whole packets that stand beside each other in the faithful file;
* how many packets a run has is counted elsewhere, by sequence numbers or holes; here they get their
  numbers (LocationIds). Where a server leaves numbers out, these only bound the run, and it is inferred;
* what was seen of a hurt packet is put to the run in which it lies.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.messages import UNKNOWN_LOCATION

UNKNOWN = -1

LOSS = np.dtype(
    [
        ("index", "i8"),  # packets of the faithful file before the run
        ("before", "i8"),  # LocationId of the whole packet before, UNKNOWN if there is none
        ("after", "i8"),  # and of the one behind
        ("packets", "i8"),
        ("frame", "i8"),  # frame behind the hole, 0 if there is none
        ("first", "i8"),  # LocationIds of the first and the last packet of the run, or UNKNOWN
        ("last", "i8"),
        ("hurt", "i8"),  # packets of it of which something was seen
        ("bytes_seen", "i8"),
        ("bytes_saved", "i8"),  # of those, the ones that stand in the playable file
        ("payloads", "i8"),  # payloads wholly seen, which stand there
        ("restored", "i8"),  # packets of it that were computed from parity, which stand there
        ("reason", "u1"),  # LossReason
        ("inferred", "u1"),  # whether the numbers only bound the run
    ],
    align=True,
)
"""A run of consecutive packets that are missing or hurt."""

CUT = np.dtype(
    [
        ("index", "i8"),  # packets of the faithful file before it, UNKNOWN for datagrams
        ("location", "i8"),
        ("bytes_seen", "i8"),
        ("bytes_saved", "i8"),
        ("payloads", "i8"),
    ],
    align=True,
)
"""A hurt packet."""


class LossReason(IntEnum):
    """Why packets are missing."""

    NOT_CAPTURED = 0
    """No byte of some of them was seen."""
    HURT = 1
    """Something of each was seen: holes cut them."""
    DATAGRAM_CUT = 2
    """The snapshot length cut their datagrams, or fragments of these are missing."""
    NOT_REACHED = 3
    """The download ended before it reached them."""
    DECLARED = 4
    """The header declares them behind the last packet seen: lost with the end, or never sent."""
    RESTORED = 5
    """None was seen, and all of them could be computed from parity."""


LOSS_WORDS = {
    LossReason.NOT_CAPTURED: "not captured",
    LossReason.HURT: "hurt",
    LossReason.DATAGRAM_CUT: "datagram cut",
    LossReason.NOT_REACHED: "not reached",
    LossReason.DECLARED: "declared",
    LossReason.RESTORED: "restored",
}
"""Words of the column `loss.reason`."""


def runs(
    index: NDArray[np.int64],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    packets: NDArray[np.int64],
    frame: NDArray[np.int64],
) -> NDArray[np.void]:
    """Rows of dtype LOSS, with the numbers that their neighbours tell."""
    rows = np.zeros(len(index), dtype=LOSS)
    rows["index"], rows["before"], rows["after"] = index, before, after
    rows["packets"], rows["frame"] = packets, frame
    room = np.where(after == UNKNOWN, packets, after - before - 1)
    exact = (room == packets) & (after != UNKNOWN)
    told = room >= packets
    joined = (before == UNKNOWN) & (after != UNKNOWN)  # a stream may be joined anywhere: those nearest behind
    rows["first"] = np.where(told, np.where(joined, after - packets, before + 1), UNKNOWN)
    rows["last"] = np.where(told, before + room, UNKNOWN)
    rows["inferred"] = ~exact
    return rows


def run(*, index: int, before: int, after: int, packets: int, frame: int) -> NDArray[np.void]:
    """One row of dtype LOSS."""
    return runs(*(np.array([value], dtype=np.int64) for value in (index, before, after, packets, frame)))


def numbered_run(index: int, before: int, after: int, packets: int, frame: int) -> NDArray[np.void]:
    """A run of missing packets; one beside packets whose numbers are not known has none either."""
    unknown = UNKNOWN_LOCATION in (before, after)
    row = run(index=index, before=before, after=after, packets=packets, frame=frame)
    if unknown:
        for name in ("before", "after", "first", "last"):
            row[name] = UNKNOWN
        row["inferred"] = 1
    return row


class LossMap:
    """Collects runs and hurt packets."""

    __slots__ = ("_cuts", "_restored", "_runs")

    def __init__(self) -> None:
        self._runs: list[NDArray[np.void]] = []
        self._cuts: list[tuple[int, int, int, int, int]] = []
        self._restored: list[tuple[int, int, int]] = []  # LocationId, bytes, payloads

    def add(self, rows: NDArray[np.void]) -> None:
        """Take runs, in the order of the file."""
        if len(rows):
            self._runs.append(rows)

    def cut(self, *, index: int, location: int, bytes_seen: int, bytes_saved: int, payloads: int) -> None:
        """Take a hurt packet; `index` is UNKNOWN for a datagram, which may be sent again."""
        self._cuts.append((index, location, bytes_seen, bytes_saved, payloads))

    def restored(self, location: int, size: int, payloads: int) -> None:
        """Take a packet that was computed from parity."""
        self._restored.append((location, size, payloads))

    def rows(self, last: Iterable[NDArray[np.void]] = ()) -> NDArray[np.void]:
        """All runs, `last` behind them, with what was seen of their packets."""
        rows = np.concatenate([np.empty(0, dtype=LOSS), *self._runs, *last])
        cuts = np.array(self._cuts, dtype=CUT)
        datagram = cuts["index"] == UNKNOWN
        in_stream, datagrams = cuts[~datagram], _once(cuts[datagram])
        for row in rows if len(cuts) else ():
            _settle(row, _within(in_stream, "index", int(row["index"]), int(row["index"]) + 1, row))
            if row["hurt"] == 0:
                _settle(row, _within(datagrams, "location", int(row["before"]) + 1, int(row["after"]), row))
        restored = np.array(sorted(self._restored), dtype=np.int64).reshape(-1, 3)
        for row in rows if len(restored) else ():
            _settle_restored(row, restored)
        return rows


def _settle_restored(row: np.void, restored: NDArray[np.int64]) -> None:
    """Put the packets that were computed from parity to the run in which they lie, also over the wrap."""
    if row["first"] == UNKNOWN and row["after"] >= row["before"]:
        return
    begin, length = int(row["before"]) + 1, (int(row["after"]) - int(row["before"]) - 1) & 0xFFFFFFFF
    if row["before"] == UNKNOWN or row["after"] == UNKNOWN:
        begin, length = int(row["first"]), int(row["last"] - row["first"]) + 1
    mine = restored[((restored[:, 0] - begin) & 0xFFFFFFFF) < length]
    if not len(mine):
        return
    row["restored"] = len(mine)
    row["bytes_saved"] += mine[:, 1].sum()
    row["payloads"] += mine[:, 2].sum()
    if len(mine) == row["packets"] and not row["hurt"]:
        row["reason"] = LossReason.RESTORED


def _once(cuts: NDArray[np.void]) -> NDArray[np.void]:
    """In order of numbers; of a datagram sent again the copy of which most was seen."""
    order = np.lexsort((-cuts["bytes_seen"], cuts["location"]))
    cuts = cuts[order]
    first = np.ones(len(cuts), dtype=np.bool_)
    first[1:] = np.diff(cuts["location"]) != 0
    return cuts[first]


def _within(cuts: NDArray[np.void], key: str, begin: int, end: int, row: np.void) -> NDArray[np.void]:
    """The hurt packets of a run: those with a key from `begin` to `end` whose numbers lie in it."""
    low = int(np.searchsorted(cuts[key], begin))
    high = len(cuts) if end == UNKNOWN else max(int(np.searchsorted(cuts[key], end)), low)
    mine = cuts[low:high]
    if row["after"] != UNKNOWN and row["after"] > row["before"]:
        mine = mine[(mine["location"] > row["before"]) & (mine["location"] < row["after"])]
    return mine


def _settle(row: np.void, cuts: NDArray[np.void]) -> None:
    if not len(cuts):
        return
    row["hurt"] = min(len(cuts), int(row["packets"]))
    for name in ("bytes_seen", "bytes_saved", "payloads"):
        row[name] = cuts[name].sum()
    if len(cuts) != row["packets"]:
        return
    datagrams = (cuts["index"] == UNKNOWN).all()
    row["reason"] = LossReason.DATAGRAM_CUT if datagrams else LossReason.HURT
    row["first"], row["last"] = cuts["location"][0], cuts["location"][-1]
    row["inferred"] = int(row["last"] - row["first"] + 1 != row["packets"])
