"""RTP packets with the bytes they lie in, and each byte's frame, cut out and joined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.protocols.messages import RTP_PACKET
from mmsforensics.streams import PIECE
from mmsforensics.streams.keeping import gather


@dataclass(slots=True)
class RtpBytes:
    """RTP packets with the bytes they lie in, whichever blocks they came in."""

    rows: NDArray[np.void]
    """Dtype `RTP_PACKET`; `start` counts in `data`."""
    number: NDArray[np.int64]
    """Their sequence numbers, wraps counted; shape as `rows`."""
    lost: NDArray[np.int64]
    """RTP packets of the same source missing before each, -1 if unknown; shape as `rows`."""
    data: NDArray[np.uint8]
    pieces: NDArray[np.void]
    """Dtype `PIECE`, offsets in `data`."""

    @classmethod
    def none(cls) -> RtpBytes:
        """No packets."""
        empty = np.empty(0, dtype=np.int64)
        nothing = np.empty(0, dtype=np.uint8)
        return cls(np.empty(0, dtype=RTP_PACKET), empty, empty, nothing, np.empty(0, dtype=PIECE))

    def take(self, index: NDArray[np.integer] | slice) -> RtpBytes:
        """Some of the packets, in any order, with the same bytes."""
        return RtpBytes(self.rows[index], self.number[index], self.lost[index], self.data, self.pieces)

    def settled(self) -> RtpBytes:
        """The same packets with a copy of their own bytes alone."""
        start, size = self.rows["start"].astype(np.int64), self.rows["size"].astype(np.int64)
        data, pieces = cut_out(self.data, start, size, self.pieces, 0)
        rows = self.rows.copy()
        rows["start"] = np.cumsum(size) - size
        return RtpBytes(rows, self.number.copy(), self.lost.copy(), data, pieces)

    def joined(self, other: RtpBytes) -> RtpBytes:
        """These packets and others behind them."""
        if not len(self.rows):
            return other
        if not len(other.rows):
            return self
        rows, pieces = other.rows.copy(), other.pieces.copy()
        rows["start"] += len(self.data)
        pieces["offset"] += len(self.data)
        return RtpBytes(
            np.concatenate((self.rows, rows)),
            np.concatenate((self.number, other.number)),
            np.concatenate((self.lost, other.lost)),
            np.concatenate((self.data, other.data)),
            np.concatenate((self.pieces, pieces)),
        )


@njit(cache=True, nogil=True)
def _cut_pieces(start, size, pieces, out):
    """Pieces of stretches laid one behind the other; returns their number, or -1 when `out` is too small."""
    n = 0
    to = np.int64(0)
    for i in range(len(start)):
        at, end = start[i], start[i] + size[i]
        low, high = 0, len(pieces)
        while low < high:  # the first piece that ends behind `at`
            middle = (low + high) >> 1
            if pieces[middle]["offset"] + np.int64(pieces[middle]["length"]) > at:
                high = middle
            else:
                low = middle + 1
        while low < len(pieces) and pieces[low]["offset"] < end:
            if n == len(out):
                return -1
            piece = pieces[low]
            begin = max(at, piece["offset"])
            stop = min(end, piece["offset"] + np.int64(piece["length"]))
            out[n]["offset"] = to + begin - at
            out[n]["ts"], out[n]["frame"] = piece["ts"], piece["frame"]
            out[n]["frame_offset"] = piece["frame_offset"] + np.uint32(begin - piece["offset"])
            out[n]["length"] = np.uint32(stop - begin)
            n += 1
            low += 1
        to += size[i]
    return n


def cut_out(
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    size: NDArray[np.int64],
    pieces: NDArray[np.void],
    base: int,
) -> tuple[NDArray[np.uint8], NDArray[np.void]]:
    """Copy stretches of bytes one behind the other, with the pieces that they came in.

    Parameters
    ----------
    data : ndarray of uint8
    start, size : ndarray of int64
        Stretches, by position in `data`.
    pieces : ndarray of PIECE
        In the coordinates of ``data[0]`` at `base`.

    Returns
    -------
    data : ndarray of uint8
    pieces : ndarray of PIECE
        Offsets count in the new bytes.
    """
    out = np.empty(int(size.sum()), dtype=np.uint8)
    gather(data, start, size, out)
    room = len(pieces) + 2 * len(start) + 1
    while True:
        cut = np.empty(room, dtype=PIECE)
        n = int(_cut_pieces(start + base, size, pieces, cut))
        if n >= 0:
            return out, cut[:n].copy()
        room *= 2
