"""Tables of a case: what is given in many small batches."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsforensics.case import store
from mmsforensics.case.store import ContentHash, TableStore

VALUES = pa.table(
    {
        "text": pa.array(["a", None, "", "bcd", "é"], pa.string()),
        "whole_text": pa.array(["a", "", "bcd", "é", "é"], pa.string()),
        "number": pa.array([1, None, 3, 4, 5], pa.uint32()),
        "whole_number": pa.array([1, 2, 3, 4, 5], pa.uint64()),
        "ts": pa.array([None, 1, 2, 3, 4], pa.timestamp("ns", tz="UTC")),
        "whole_ts": pa.array([5, 1, 2, 3, 4], pa.timestamp("ns", tz="UTC")),
        "flag": pa.array([True, None, False, True, True], pa.bool_()),
        "whole_flag": pa.array([True, False, False, True, True], pa.bool_()),
        "list": pa.array([["x"], [], None, ["y", "z"], []], pa.list_(pa.string())),
    }
)


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


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_the_hash_of_values_is_what_it_was_however_they_are_cut(rows):
    """A case says it of its tables: it must not change."""
    content = ContentHash(VALUES.schema)
    for begin in range(0, len(VALUES), rows):
        content.update(VALUES.slice(begin, rows))
    assert content.hexdigest() == "cba6949a3b90dc3ef297672d2dade3fab43e9ec0e9c795f9472d7788ce2b26fc"
