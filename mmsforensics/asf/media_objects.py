"""Media objects (frames of video, blocks of audio, commands) put together from payloads [ASF 5.2.3].

Rules of this file:

* a payload goes on with its stream's open object when object number, presentation time and size are that
  object's and its offset is not 0; otherwise it begins another one (object numbers wrap). One without
  replicated data states neither time nor size, and goes on where the last payload ended;
* an object is complete when its payloads follow each other from offset 0 to the stated size. Where no
  payload states a size, whether it is complete is not known;
* a duration is that of the Sample Duration extension; none is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.extensions import Systems, extension_rows

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
def _assemble(payloads, durations, first_packet, first_payload, objects, states, out):
    """Go on with the open objects; writes those that are done into `out`, returns how many."""
    n = 0
    for p in range(len(payloads)):
        payload = payloads[p]
        stream = np.int64(payload["stream"])
        row, state = objects[stream], states[stream]
        offset, length = np.int64(payload["object_offset"]), np.int64(payload["length"])
        if payload["object_size"] or payload["time_at"]:
            same = (
                row["presentation_ms"] == payload["presentation_ms"] and row["size"] == payload["object_size"]
            )
        else:
            same = offset == state["next"]
        goes_on = state["open"] and offset != 0 and row["object_number"] == payload["object_number"] and same
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
            row["duration_ms"] = durations[p]
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
        durations = self._durations(data, packet_size, payloads)
        n = _assemble(payloads, durations, first_packet, first_payload, self._objects, self._states, out)
        return out[:n] if 2 * n > len(out) else out[:n].copy()

    def _durations(
        self, data: NDArray[np.uint8], packet_size: int, payloads: NDArray[np.void]
    ) -> NDArray[np.int32]:
        """Read the Sample Duration of each payload, UNKNOWN where it has none."""
        durations = np.full(len(payloads), UNKNOWN, dtype=np.int32)
        if (self.systems.durations < 0).all():
            return durations
        rows = extension_rows(data, packet_size, payloads, self.systems)
        rows = rows[(rows["system"] == self.systems.durations[rows["stream"]]) & (rows["length"] == 2)]
        at = rows["packet"] * packet_size + rows["at"]
        durations[rows["payload"]] = data[at].astype(np.int32) | data[at + 1].astype(np.int32) << 8
        return durations

    def end(self) -> NDArray[np.void]:
        """Give the objects that are still open at the end of the data: ndarray of MEDIA_OBJECT."""
        opened = np.flatnonzero(self._states["open"])
        for stream in opened:
            _close(self._objects[stream], self._states[stream])
        return self._objects[opened].copy()
