"""Media objects (frames of video, blocks of audio, commands) put together from payloads [ASF 5.2.3].

Rules of this file:

* a payload goes on with its stream's open object when object number, presentation time and size are that
  object's and its offset is not 0; otherwise it begins another one (object numbers wrap);
* an object is complete when its payloads follow each other from offset 0 to the stated size. Where no
  payload states a size, whether it is complete is not known;
* a duration is that of the Sample Duration extension; none is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.extensions import Systems, split_extension

UNKNOWN = -1

MEDIA_OBJECT = np.dtype(
    [
        ("first_payload", "i8"),  # index of the first payload
        ("first_packet", "i8"),  # index of the packet of the first payload
        ("last_packet", "i8"),
        ("first_at", "u4"),  # offset of the first payload's data in its packet
        ("object_number", "u4"),
        ("presentation_ms", "u4"),  # preroll included
        ("size", "u4"),  # as stated, 0 when no payload says
        ("received", "u4"),  # bytes in the payloads
        ("payloads", "u4"),
        ("duration_ms", "i4"),  # UNKNOWN when the payloads do not say
        ("stream", "u1"),
        ("key", "u1"),
        ("compressed", "u1"),  # whether it stood in a compressed payload
        ("complete", "i1"),  # 1, 0 or UNKNOWN
    ],
    align=True,
)

_OPEN = np.dtype([("next", "i8"), ("open", "u1"), ("ordered", "u1")], align=True)
"""Of a stream's open object: where its next payload must go on, and whether all did so."""


@njit(cache=True, nogil=True)
def _close(row, state):
    if row["size"] == 0:
        row["complete"] = -1
    else:
        row["complete"] = 1 if state["ordered"] and row["received"] == row["size"] else 0
    state["open"] = 0


@njit(cache=True, nogil=True)
def _duration(data, base, payload, systems, starts, wanted, found):
    """Read the Sample Duration of a payload, -1 when it has none."""
    stream = np.int64(payload["stream"])
    if payload["extension_length"] == 0 or wanted[stream] < 0:
        return -1
    begin, length = base + np.int64(payload["extension_at"]), np.int64(payload["extension_length"])
    n = split_extension(data, begin, length, systems, starts[stream], starts[stream + 1], found)
    for k in range(n):
        if found[k, 0] == wanted[stream] and found[k, 2] == 2:
            return np.int64(data[found[k, 1]]) | np.int64(data[found[k, 1] + 1]) << 8
    return -1


@njit(cache=True, nogil=True)
def _assemble(
    data, size, payloads, first_packet, first_payload, objects, states, systems, starts, wanted, found, out
):
    """Go on with the open objects; writes those that are done into `out`, returns how many."""
    n = 0
    for p in range(len(payloads)):
        payload = payloads[p]
        stream = np.int64(payload["stream"])
        row, state = objects[stream], states[stream]
        offset, length = np.int64(payload["object_offset"]), np.int64(payload["length"])
        goes_on = (
            state["open"]
            and offset != 0
            and row["object_number"] == payload["object_number"]
            and row["presentation_ms"] == payload["presentation_ms"]
            and row["size"] == payload["object_size"]
        )
        if not goes_on:
            if state["open"]:
                _close(row, state)
                out[n] = row
                n += 1
            row["first_payload"] = first_payload + p
            row["first_packet"] = first_packet + payload["packet"]
            row["first_at"] = payload["at"]
            row["object_number"], row["presentation_ms"] = (
                payload["object_number"],
                payload["presentation_ms"],
            )
            row["size"], row["received"], row["payloads"] = payload["object_size"], 0, 0
            row["stream"], row["key"], row["compressed"] = stream, payload["key"], payload["compressed"]
            base = np.int64(payload["packet"]) * size
            row["duration_ms"] = _duration(data, base, payload, systems, starts, wanted, found)
            state["open"], state["ordered"], state["next"] = 1, 1, 0
        if offset != state["next"]:
            state["ordered"] = 0
        state["next"] = offset + length
        row["last_packet"] = first_packet + payload["packet"]
        row["received"] += length
        row["payloads"] += 1
        if row["size"] and state["ordered"] and state["next"] >= row["size"]:
            _close(row, state)
            out[n] = row
            n += 1
    return n


@dataclass(slots=True)
class Assembler:
    """Puts the media objects of consecutive blocks of packets together."""

    systems: Systems
    _objects: NDArray[np.void] = field(default_factory=lambda: np.zeros(128, dtype=MEDIA_OBJECT))
    _states: NDArray[np.void] = field(default_factory=lambda: np.zeros(128, dtype=_OPEN))

    def feed(
        self,
        data: NDArray[np.uint8],
        packet_size: int,
        payloads: NDArray[np.void],
        *,
        first_packet: int,
        first_payload: int,
    ) -> NDArray[np.void]:
        """Take the payloads of a block of packets.

        Parameters
        ----------
        data : ndarray of uint8, shape (n * packet_size,)
        packet_size : int
            Bytes of a packet.
        payloads : ndarray of PAYLOAD
            As `walk_payloads` found them in `data`.
        first_packet, first_payload : int
            Indexes of the block's first packet and payload in the file.

        Returns
        -------
        ndarray of MEDIA_OBJECT
            The objects that are done, in the order of their ends.
        """
        out = np.empty(len(payloads) + 128, dtype=MEDIA_OBJECT)
        spans = np.diff(self.systems.starts)
        found = np.empty((int(spans.max()) + 2, 3), dtype=np.int64)
        n = _assemble(
            data,
            packet_size,
            payloads,
            first_packet,
            first_payload,
            self._objects,
            self._states,
            self.systems.rows,
            self.systems.starts,
            self.systems.durations,
            found,
            out,
        )
        return out[:n] if 2 * n > len(out) else out[:n].copy()

    def end(self) -> NDArray[np.void]:
        """Give the objects that are still open at the end of the data: ndarray of MEDIA_OBJECT."""
        opened = np.flatnonzero(self._states["open"])
        for stream in opened:
            _close(self._objects[stream], self._states[stream])
        return self._objects[opened].copy()
