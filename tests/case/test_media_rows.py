"""Rows of many media on their way to the tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mmsforensics.case import media_rows
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.media_rows import MediaRows
from mmsforensics.sessions import MEDIA_PACKET, PROVENANCE, Reason


class Store:
    """What was appended to tables."""

    def __init__(self):
        self.appended = {}

    def append(self, name, columns):
        values = [c.to_pylist() if isinstance(c, pa.Array) else list(c) for c in columns.values()]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
        self.appended.setdefault(name, []).append(rows)


def media(monkeypatch, row_group):
    monkeypatch.setattr(media_rows, "ROW_GROUP", row_group)
    store, book = Store(), FrameBook(["c001"])
    book.numbering.add(0, 1, 1000)
    return store, MediaRows(store, book)


def test_rows_of_several_media_make_whole_row_groups_in_order(monkeypatch):
    store, rows = media(monkeypatch, 10)
    for n, count in enumerate([3, 0, 4, 25, 1]):
        origins = np.zeros(count, dtype=PROVENANCE)
        origins["file_offset"] = np.arange(count)
        origins["frame"] = n
        rows.provenance(origins, ("s1", f"m{n}"))
    assert [len(told) for told in store.appended["provenance"]] == [10, 10, 10]
    rows.flush(lambda _: {})
    assert [len(told) for told in store.appended["provenance"]] == [10, 10, 10, 3]
    told = [row for part in store.appended["provenance"] for row in part]
    assert [(r["media_id"], r["file_offset"], r["frame"]) for r in told] == [
        (f"m{n}", i, n or None) for n, count in enumerate([3, 0, 4, 25, 1]) for i in range(count)
    ]
    assert {r["capture_id"] for r in told if r["frame"]} == {"c001"}
    assert [r["frame_offset"] for r in told[:4]] == [None, None, None, 0]


def test_packets_and_reasons_wait_for_the_end_where_they_are_few(monkeypatch):
    store, rows = media(monkeypatch, 10)
    packets = np.zeros(2, dtype=MEDIA_PACKET)
    packets["location"], packets["sound"], packets["frame"], packets["first_frame"] = [7, 8], [1, 0], 5, 4
    rows.packets(packets, ("s1", "m1"))
    rows.packets(packets[:1], ("s2", "m2"))
    rows.verdicts([Reason("first", "one"), Reason("second", "two", frame=9)], ("s1", "m1"))
    rows.verdicts([], ("s2", "m2"))
    assert not store.appended
    rows.flush(lambda _: {})
    (told,) = store.appended["media_packets"]
    assert [(r["session_id"], r["media_id"], r["packet_number"], r["sound"]) for r in told] == [
        ("s1", "m1", 7, True),
        ("s1", "m1", 8, False),
        ("s2", "m2", 7, True),
    ]
    assert [(r["send_time_ms"], r["frame"], r["first_frame"]) for r in told] == [
        (0, 5, 4),
        (None, 5, 4),
        (0, 5, 4),
    ]
    (told,) = store.appended["verdicts"]
    assert [(r["media_id"], r["reason"], r["frame"]) for r in told] == [
        ("m1", "first", None),
        ("m1", "second", 9),
    ]
    rows.flush(lambda _: {})
    assert len(store.appended["verdicts"]) == 1
