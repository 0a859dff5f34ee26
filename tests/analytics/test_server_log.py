"""Lines of logs as columns, whatever the lines hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.analytics import TABLES
from mmsforensics.analytics.log_matching import SessionFacts, Sessions
from mmsforensics.analytics.server_log import candidates, columns_of
from mmsforensics.evidence.problem import Problems
from mmsforensics.evidence.w3c_log import read_log

SESSION = SessionFacts(
    session_id="c001-s0001",
    transport="mmst",
    client_ip="192.0.2.20",
    server_ip="192.0.2.10",
    url="mms://h/a.wmv",
    client_version="",
    player_guid="{B1C2D3E4-0001-4002-8003-000000000001}",
    start_ts=0,
    end_ts=1,
    outcome="completed",
    media_bytes=1,
    packets_received=1,
    packets_missing=0,
    acked_unseen=None,
)


def columns(data):
    lines = list(read_log(np.frombuffer(data, dtype=np.uint8), Problems(""), ""))
    return [columns_of(part) for part in lines]


def test_fields_without_a_column_are_kept():
    (found,) = columns(b"#Fields: x-a c-ip x-b\n1 - 2\n- - 3\n- - -\n")
    assert found["other"].to_pylist() == ["x-a=1 x-b=2", "x-b=3", None]


def test_a_column_without_any_value_is_null_throughout():
    (found,) = columns(b"#Fields: x-a date time\n- - -\n- - -\n")
    assert found["other"].to_pylist() == [None, None]
    assert found["ts"].to_pylist() == [None, None]


def test_the_date_may_stand_in_the_header():
    (found,) = columns(b"#Date: 2003-09-27 00:00:00\n#Fields: time\n00:27:24\n")
    assert found["ts"][0].as_py().isoformat() == "2003-09-27T00:27:24+00:00"


def test_days_that_do_not_exist_are_no_time():
    (found,) = columns(b"#Fields: date time\n2003-02-31 00:00:00\n2003-09-27 25:00:00\n1066-01-01 00:00:00\n")
    assert found["ts"].to_pylist() == [None, None, None]


def test_rows_that_may_speak_of_a_session():
    (found,) = columns(
        b"#Fields: c-ip c-playerid cs-uri-stem\n192.0.2.20 - /x\n- - /A.wmv\n203.0.113.1 - /a.wmv\n"
        b"203.0.113.1 {b1c2d3e4-0001-4002-8003-000000000001} /x\n0.0.0.0 - /x\n0.0.0.0 - mms://other/a.wmv?q\n"
    )
    assert candidates(found, Sessions([SESSION])) == [0, 1, 3, 5]


values = st.sampled_from(
    [
        "-",
        "1",
        "1.5",
        "abc",
        "192.0.2.20",
        "2003-09-27",
        "00:27:24",
        "/a.wmv",
        "ü",
        "18446744073709551616",
        "=",
        '"',
    ]
)
names = st.sampled_from(
    ["c-ip", "date", "time", "c-bytes", "c-rate", "x-a", "x-b", "cs(User-Agent)", "cs-uri-stem", "c-playerid"]
)


@given(st.lists(names, min_size=1, max_size=6), st.data())
def test_any_values_give_columns_of_the_table(fields, data):
    lines = data.draw(st.lists(st.lists(values, min_size=len(fields), max_size=len(fields)), max_size=5))
    text = "#Fields: " + " ".join(fields) + "\n" + "".join(" ".join(line) + "\n" for line in lines)
    known = {c.name for c in TABLES["server_log"].columns}
    for found in columns(text.encode()):
        assert {len(column) for column in found.values()} == {len(lines)}
        assert set(found) <= known
        candidates(found, Sessions([SESSION]))
