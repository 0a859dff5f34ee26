"""What the streams room hands on: contiguous bytes, holes and datagrams, each traceable to its frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

PIECE = np.dtype(
    [
        ("offset", "i8"),  # stream offset of the first byte
        ("ts", "i8"),  # time stamp of the frame, ns since 1970-01-01 UTC
        ("frame", "i8"),  # frame number in the capture, 1-based
        ("frame_offset", "u4"),  # offset of the first byte in the frame
        ("length", "u4"),  # bytes
    ],
    align=True,
)
"""One contiguous stretch of a stream that came from one frame."""

Bytes = NDArray[np.uint8]
Pieces = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Run:
    """Contiguous bytes of one direction of a stream."""

    offset: int
    """Stream offset of the first byte; 0 is the first byte after the SYN, or the first one captured."""
    data: Bytes
    """The bytes, shape (n,), uint8."""
    pieces: Pieces
    """Dtype `PIECE`, in stream order, covering `data` without hole or overlap."""

    def copy(self) -> Run:
        """The same in memory of its own."""
        return Run(self.offset, self.data.copy(), self.pieces.copy())


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a stream that the capture does not hold."""

    offset: int
    """Stream offset of the first missing byte."""
    length: int
    """Missing bytes."""
    frame: int
    """The frame behind which the hole was noticed: the first one after it, or the last of the flow."""
    ts: int
    """Time stamp of that frame, ns."""
    acked: int | None = None
    """Bytes of it that the receiver acknowledged: lost in the capture, not on the way. None where no
    acknowledgement was captured."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two segments that cover the same stretch with different bytes."""

    offset: int
    """Stream offset of the first byte that differs."""
    length: int
    """Number of bytes that differ."""
    kept_frame: int
    """Frame whose bytes were kept."""
    frame: int
    """Frame whose bytes were set aside."""
    ts: int
    """Time stamp of the latter frame, ns."""
    start: int = 0
    """Stream offset of `kept` and `other`."""
    kept: bytes = b""
    """The contested bytes as they were kept."""
    other: bytes = b""
    """The contested bytes as the other segment has them; as many as `kept`."""


@dataclass(frozen=True, slots=True)
class Datagrams:
    """UDP payloads of one direction of a flow, in order of capture."""

    data: Bytes
    """All payloads, one behind the other."""
    pieces: Pieces
    """Dtype `PIECE`; `offset` is the position in `data`, one row a datagram."""
    wire_length: NDArray[np.uint32]
    """Payload length on the wire; larger than the piece's length when the capture cut the datagram."""


def locate(pieces: Pieces, offset: int) -> tuple[int, int]:
    """Return the frame and time stamp of the byte at a stream offset.

    Parameters
    ----------
    pieces : ndarray of PIECE
        Not empty, in stream order.
    offset : int
        Stream offset; the nearest piece answers for one outside.

    Returns
    -------
    frame, ts : int, int
        1-based frame number and time stamp in ns.
    """
    i = int(np.searchsorted(pieces["offset"], offset, side="right")) - 1
    piece = pieces[max(i, 0)]
    return int(piece["frame"]), int(piece["ts"])


@njit(cache=True, nogil=True)
def span_pieces(start, size, offset, length, frame, ts, first_frame, last_frame, last_ts):
    """The compiled half of `spans`; pieces are given a column each."""
    p = 0
    for i in range(len(start)):
        if offset[p] > start[i]:
            p = 0
        while p + 1 < len(offset) and offset[p] + length[p] <= start[i]:
            p += 1
        q = p
        while q + 1 < len(offset) and offset[q] + length[q] < start[i] + size[i]:
            q += 1
        first_frame[i], last_frame[i], last_ts[i] = frame[p], frame[q], ts[q]


def spans(
    start: NDArray[np.int64], size: NDArray[np.int64], pieces: Pieces
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Frames that stretches of a stream lie in.

    Parameters
    ----------
    start, size : ndarray of int64
        Stretches in the coordinates of `pieces`, in order or nearly so.
    pieces : ndarray of PIECE
        Not empty.

    Returns
    -------
    first_frame, last_frame, last_ts : ndarray of int64
        Frames of the first and last byte, and the latter's time stamp in ns.
    """
    out = np.empty((3, len(start)), dtype=np.int64)
    span_pieces(
        start,
        size,
        np.ascontiguousarray(pieces["offset"]),
        pieces["length"].astype(np.int64),
        np.ascontiguousarray(pieces["frame"]),
        np.ascontiguousarray(pieces["ts"]),
        out[0],
        out[1],
        out[2],
    )
    return out[0], out[1], out[2]
