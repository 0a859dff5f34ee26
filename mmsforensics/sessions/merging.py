"""Which packets the copies of one content hold, which versions of each there are, and which one is taken.

Rules of this file:

* a packet is known by its LocationId; by its send time as well where one copy holds two under one number;
* what a server sent again to one viewer counts once, the version with most bytes, as in the playable copy;
* versions are compared byte for byte, with padding that a server stripped restored, so that padding stripped
  for one viewer and not for another makes no difference;
* most copies decide, and of versions that equally many hold the one captured first; the bytes are then taken
  from the first copy that has that version.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

HELD = np.dtype(
    [
        ("row", "i8"),  # among the copy's packets
        ("file_offset", "i8"),  # in the copy's file
        ("frame", "i8"),  # frame that completed it
        ("location", "u4"),
        ("send_time_ms", "u4"),
        ("copy", "u4"),  # number of the copy, in order of capture
        ("size", "u4"),  # bytes on the wire
        ("sequence", "u1"),
        ("sound", "u1"),
    ],
    align=True,
)
"""A packet that a copy holds."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The versions of some packets, and which were taken. Packet i is that of ``starts[i]:starts[i + 1]``."""

    starts: NDArray[np.int64]
    version: NDArray[np.int64]
    """For each row of HELD the number of its version, from 0 in order of the copies."""
    chosen: NDArray[np.int64]
    """For each packet the row that is taken."""
    disputed: NDArray[np.int64]
    """Packets of which there is more than one version."""


def held_packets(rows: NDArray[np.void], begin: int, copy: int) -> NDArray[np.void]:
    """Rows of HELD for rows of MEDIA_PACKET, the first of which is row `begin` of copy number `copy`."""
    held = np.zeros(len(rows), dtype=HELD)
    for name in ("file_offset", "frame", "location", "send_time_ms", "size", "sequence", "sound"):
        held[name] = rows[name]
    held["row"] = begin + np.arange(len(rows))
    held["copy"] = copy
    return held


def once_each(held: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Put packets in order, each once for each copy.

    Parameters
    ----------
    held : ndarray of HELD
        All rows of some LocationIds.

    Returns
    -------
    held : ndarray of HELD
        In order of LocationId, send time where that tells packets apart, and copy.
    starts : ndarray of int64
        Where the rows of each packet begin; the last is the number of rows.
    """
    apart = np.where(_used_twice(held), held["send_time_ms"], 0).astype(np.int64)
    order = np.lexsort((held["frame"], -held["size"].astype(np.int64), held["copy"], apart, held["location"]))
    held, apart = held[order], apart[order]
    packet = _changes(held["location"].astype(np.int64), apart)
    first = packet | _changes(held["copy"].astype(np.int64))
    held, packet = held[first], packet[first]
    return held, np.append(np.flatnonzero(packet), len(held))


def _changes(*columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    out = np.zeros(len(columns[0]), dtype=np.bool_)
    out[:1] = True
    for column in columns:
        out[1:] |= np.diff(column) != 0
    return out


def _used_twice(held: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether one copy holds packets of different send times under the row's LocationId."""
    sound = held[held["sound"] != 0]
    sound = sound[np.lexsort((sound["send_time_ms"], sound["copy"], sound["location"]))]
    same = (np.diff(sound["location"].astype(np.int64)) == 0) & (np.diff(sound["copy"].astype(np.int64)) == 0)
    twice = sound["location"][1:][same & (np.diff(sound["send_time_ms"].astype(np.int64)) != 0)]
    return np.isin(held["location"], twice)


@njit(cache=True, nogil=True)
def gather_packets(file, offsets, places, out):
    """Copy the packets at `offsets` of a file to the rows `places` of `out`."""
    for i in range(len(offsets)):
        at, to = np.uint64(offsets[i]), places[i]
        for k in range(np.uint64(out.shape[1])):
            out[to, k] = file[at + k]


@njit(cache=True, nogil=True)
def first_difference(a, b):
    """Index of the first byte in which two packets differ, -1 for none."""
    for k in range(len(a)):
        if a[k] != b[k]:
            return k
    return -1


@njit(cache=True, nogil=True)
def _vote(data, starts, frame, version, chosen):
    """Number the versions of each packet and choose one; returns how many packets have several."""
    disputed = 0
    for p in range(len(starts) - 1):
        a, b = starts[p], starts[p + 1]
        versions = 0
        for i in range(a, b):
            version[i] = -1
            known = 0  # versions that have been compared
            for j in range(a, i):
                if version[j] == known:
                    known += 1
                    if first_difference(data[i], data[j]) < 0:
                        version[i] = version[j]
                        break
            if version[i] < 0:
                version[i] = versions
                versions += 1
        best, most, earliest = 0, 0, np.int64(0)
        for v in range(versions if versions > 1 else 0):
            votes, seen = 0, np.int64(0)
            for i in range(a, b):
                if version[i] == v:
                    seen = frame[i] if votes == 0 else min(seen, frame[i])
                    votes += 1
            if votes > most or (votes == most and seen < earliest):
                best, most, earliest = v, votes, seen
        chosen[p] = a
        while version[chosen[p]] != best:
            chosen[p] += 1
        disputed += versions > 1
    return disputed


def vote(held: NDArray[np.void], starts: NDArray[np.int64], data: NDArray[np.uint8]) -> Ballot:
    """Find the versions of packets and choose one of each.

    Parameters
    ----------
    held, starts
        As `once_each` gives them.
    data : ndarray of uint8, shape (len(held), packet size)
        The packets, comparable; those that one copy alone holds are not looked at.
    """
    version = np.zeros(len(held), dtype=np.int64)
    chosen = np.zeros(len(starts) - 1, dtype=np.int64)
    disputed = np.empty(0, dtype=np.int64)
    if _vote(data, starts, np.ascontiguousarray(held["frame"]), version, chosen):
        disputed = np.flatnonzero(np.maximum.reduceat(version, starts[:-1]) > 0)
    return Ballot(starts, version, chosen, disputed)


def unsent_behind(held: NDArray[np.void], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a copy shows that nothing was sent between a packet and the next one.

    It does where it received one right after the other, with sequence numbers [MS-MMSP 2.2.2] that follow
    each other: a server leaves out packets of which a viewer wants no stream.
    """
    packet = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    order = np.lexsort((packet, held["copy"]))
    rows, packet = held[order], packet[order]
    neighbours = (np.diff(rows["copy"].astype(np.int64)) == 0) & (np.diff(packet) == 1)
    neighbours &= np.diff(rows["row"]) == 1
    neighbours &= np.diff(rows["sequence"]) == 1  # both of 8 bits, so that 255 is followed by 0
    out = np.zeros(len(starts) - 1, dtype=np.bool_)
    out[packet[:-1][neighbours]] = True
    return out


def agreement(
    a: NDArray[np.void], b: NDArray[np.void], limit: int
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Packets that two sets have in common, to be compared.

    Parameters
    ----------
    a, b : ndarray of HELD
        Each LocationId once, in order.
    limit : int
        Packets to compare at most, taken evenly from all in common.

    Returns
    -------
    common : int
        LocationIds in common.
    in_a, in_b : ndarray of int64
        Rows to compare.
    """
    _, in_a, in_b = np.intersect1d(a["location"], b["location"], assume_unique=True, return_indices=True)
    take = np.unique(np.linspace(0, len(in_a) - 1, min(limit, len(in_a))).astype(np.int64))
    return len(in_a), in_a[take], in_b[take]


def sampled(held: NDArray[np.void], shift: int) -> NDArray[np.void]:
    """One LocationId in ``2**shift``, the same ones of every copy, each once and in order."""
    spread = held["location"] * np.uint32(0x9E3779B1)  # Knuth's multiplicative hash
    held = held[(spread >> np.uint32(32 - shift)) == 0] if shift else held
    _, first = np.unique(held["location"], return_index=True)
    return held[first]
