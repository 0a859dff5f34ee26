"""Aggregated frames of 802.11 (A-MSDU) taken apart: a row for each packet in them, of the same frame.

Layout: destination, source, length, then what an ordinary data frame carries, each padded to a multiple of
four [IEEE 802.11-2020 9.3.2.2].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.packets.table import PacketBatch, Status

SUBFRAME_HEADER: Final = 14


def unfold(batch: PacketBatch) -> PacketBatch:
    """Return the batch with the rows of aggregates replaced by those of the packets in them."""
    if not batch.rare:
        return batch
    places = np.flatnonzero(batch.rows["status"] == Status.AGGREGATE)
    if not len(places):
        return batch
    rows: list[NDArray[np.void]] = []
    done = 0
    for i in places.tolist():
        rows += [batch.rows[done:i], *_packets(batch, i)]
        done = i + 1
    return PacketBatch(np.concatenate([*rows, batch.rows[done:]]), batch.data, batch.base)


def _packets(batch: PacketBatch, index: int) -> Iterator[NDArray[np.void]]:
    from mmsforensics.packets.slow import decode_inside  # dpkt is loaded only where it is needed

    frame = batch.frame(index).tobytes()
    at = int(batch.rows[index]["payload"])
    end = at + int(batch.rows[index]["payload_len"])
    while at + SUBFRAME_HEADER <= end:
        length = int.from_bytes(frame[at + 12 : at + 14], "big")
        inside = at + SUBFRAME_HEADER
        row = batch.rows[index : index + 1].copy()
        decode_inside(frame, inside, inside + length, row.reshape(()))
        yield row
        at = inside + length + (-(SUBFRAME_HEADER + length) & 3)
