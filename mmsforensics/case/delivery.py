"""The client's word on each medium: what of it was acknowledged, apart from what was captured.

Rules of this file:

* a byte of a medium was not acknowledged if it lies in the part of its connection's stream behind the last
  acknowledgement: told frame by frame, for the medium's own frames;
* a hole that was acknowledged belongs to the medium whose packets came last before it; of what came before
  all, to the first one;
* datagrams are not acknowledged; of a connection whose acknowledgements were not captured nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.case.media_files import MediumFile
from mmsforensics.streams import FlowSummary
from mmsforensics.streams.flow import Endpoint

UDP: Final = 17


@dataclass(frozen=True, slots=True)
class Word:
    """What a client said of a medium by its acknowledgements."""

    acked_unseen: int
    """Bytes acknowledged that were not captured."""
    seen_unacked: int
    """Bytes captured that were never acknowledged."""


@dataclass(frozen=True, slots=True)
class _Connection:
    """The server's side of a connection that carried media."""

    unacked: NDArray[np.void]
    """Dtype PIECE: captured bytes behind the last acknowledgement, in order of frames."""
    unseen: NDArray[np.int64]
    """Rows (frame behind the hole, bytes acknowledged)."""


class Delivery:
    """Collects what the clients of a case acknowledged."""

    def __init__(self) -> None:
        self._of: dict[str, list[_Connection]] = {}
        self._by_datagrams: set[str] = set()

    def flow(self, summary: FlowSummary, session_ids: Sequence[str], client: Endpoint | None) -> None:
        """Take note of a finished flow."""
        if summary.flow.proto == UDP:
            self._by_datagrams.update(session_ids)
        if client is None:
            return
        server = summary.sides[1 if client == summary.flow.a else 0]
        if server.acked is None:
            return
        unacked = np.sort(server.unacked, order=("frame", "frame_offset"))
        connection = _Connection(unacked, np.array(server.unseen, dtype=np.int64).reshape(-1, 2))
        for session_id in session_ids:
            self._of.setdefault(session_id, []).append(connection)

    def words(self, media: Iterable[MediumFile]) -> dict[str, Word]:
        """What is known of media, by their identifiers; the media's rows have to be there still."""
        by_session: dict[str, list[tuple[int, MediumFile]]] = {}
        for medium in media:
            streamed = medium.session_id in self._of and medium.session_id not in self._by_datagrams
            if streamed and medium.first_frame:
                by_session.setdefault(medium.session_id, []).append((medium.first_frame, medium))
        found: dict[str, Word] = {}
        for session_id, mine in by_session.items():
            mine.sort(key=lambda m: m[0])
            unseen = self._unseen(session_id, [first for first, _ in mine])
            for (_, medium), count in zip(mine, unseen, strict=True):
                unacked = [c.unacked for c in self._of[session_id] if len(c.unacked)]
                seen = sum(_within(medium.origin_rows(), pieces) for pieces in unacked)
                found[medium.media_id] = Word(int(count), seen)
        return found

    def _unseen(self, session_id: str, firsts: list[int]) -> NDArray[np.int64]:
        counts = np.zeros(len(firsts), dtype=np.int64)
        for connection in self._of[session_id]:
            which = np.searchsorted(firsts, connection.unseen[:, 0], side="right") - 1
            np.add.at(counts, np.maximum(which, 0), connection.unseen[:, 1])
        return counts


def _within(origins: NDArray[np.void], unacked: NDArray[np.void]) -> int:
    """Bytes that origins and unacknowledged pieces have in common; a frame has one piece."""
    late = np.array(origins[origins["frame"] >= unacked["frame"][0]])
    at = np.searchsorted(unacked["frame"], late["frame"])
    at = np.minimum(at, len(unacked) - 1)
    piece = unacked[at]
    low = np.maximum(late["frame_offset"], piece["frame_offset"])
    high = np.minimum(
        late["frame_offset"] + late["length"], piece["frame_offset"].astype(np.int64) + piece["length"]
    )
    same = piece["frame"] == late["frame"]
    return int(np.maximum(high - low, 0)[same].sum())
