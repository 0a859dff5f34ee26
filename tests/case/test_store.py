"""Tables of a case: what is given in many small batches."""

from __future__ import annotations

import pyarrow.parquet as pq

from mmsforensics.case import store
from mmsforensics.case.store import TableStore


def resends(first, count):
    """Rows of a table, column by column."""
    return {"session_id": ["s1"] * count, "ts": list(range(first, first + count))}


def test_small_batches_are_made_one_and_change_nothing(tmp_path, monkeypatch):
    """A batch costs memory of its own, however few its rows."""
    monkeypatch.setattr(store, "ROW_GROUP", 5000)
    by_threes, at_once = TableStore(tmp_path / "threes"), TableStore(tmp_path / "once")
    most = 0
    for first in range(0, 12_000, 3):
        by_threes.append("events", resends(first, 3))
        most = max(most, len(by_threes._pending["events"]))
    at_once.append("events", resends(0, 12_000))
    assert most <= 5000 // (3 * store.SMALL_TABLES) + store.SMALL_TABLES
    assert by_threes.close() == at_once.close()
    path = "tables/events/part-0.parquet"
    assert (tmp_path / "threes" / path).read_bytes() == (tmp_path / "once" / path).read_bytes()
    assert pq.read_table(tmp_path / "threes" / path)["ts"].cast("int64").to_pylist() == list(range(12_000))
