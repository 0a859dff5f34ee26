"""Servers' logs: headers that change, encodings, broken lines, any bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.evidence import w3c_log
from mmsforensics.evidence.problem import MAX_PROBLEMS, Problems
from mmsforensics.evidence.w3c_log import LogHeader, read_log

HEAD_9 = (
    "#StartDate: 2007-02-23 17:40:00\r\n#EndDate: 2007-02-23 18:00:00\r\n#TimeFormat: Local(480)\r\n"
    "#EncodingFormat: UTF-8\r\n#ServerName: WMS2205\r\n#ServerIP: 192.0.2.10, 192.0.2.11\r\n"
    "#Software: Windows Media Services\r\n#Version: 9.5.6001.18281\r\n"
    "#Fields: c-ip date time cs(User-Agent)\r\n"
)


def read(data):
    """(lines, problems) of a log."""
    problems = Problems("a.log")
    lines = list(read_log(np.frombuffer(data, dtype=np.uint8), problems, "a.log"))
    return lines, list(problems)


def table_rows(lines):
    return [tuple(r.values()) for part in lines for r in part.table.to_pylist()]


def test_a_log_of_the_9_series():
    lines, problems = read((HEAD_9 + "10.0.0.1 2007-02-23 09:45:00 NSPlayer/9.0\r\n").encode())
    assert table_rows(lines) == [("10.0.0.1", "2007-02-23", "09:45:00", "NSPlayer/9.0")]
    header = lines[0].header
    assert (header.behind_utc_min, header.server, header.software) == (
        480,
        "WMS2205",
        "Windows Media Services",
    )
    assert header.addresses == ("192.0.2.10", "192.0.2.11")
    assert lines[0].lines.tolist() == [10]
    assert problems == []


def test_version_4_1_ends_each_line_with_a_blank():
    lines, problems = read(b"#Fields: a b\r\n1 2 \r\n3 4 \r\n")
    assert table_rows(lines) == [("1", "2"), ("3", "4")]
    assert problems == []


def test_fields_may_change_in_the_file():
    lines, problems = read(b"#Fields: a b\n1 2\n#Software: X\n#Fields: a b c\n1 2 3\n4 5 6\n")
    assert [part.table.column_names for part in lines] == [["a", "b"], ["a", "b", "c"]]
    assert [part.lines.tolist() for part in lines] == [[2], [5, 6]]
    assert problems == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [(b"1", "2 values"), (b"1 2 3", "2 values"), (b"1 \x002", "a line of text"), (b"1  2", "2 values")],
)
def test_a_broken_line_costs_itself_alone(line, expected):
    lines, (problem,) = read(b"#Fields: a b\n1 2\n" + line + b"\n3 4\n")
    assert table_rows(lines) == [("1", "2"), ("3", "4")]
    assert problem.expected.startswith(expected)
    assert (problem.offset, problem.passed_over) == (17, (17, 17 + len(line)))
    assert "line 3" in problem.found


def test_the_last_line_may_be_cut():
    lines, problems = read(b"#Fields: a b\n1 2\n3")
    assert table_rows(lines) == [("1", "2")]
    assert len(problems) == 1
    assert table_rows(read(b"#Fields: a b\n1 2")[0]) == [("1", "2")]


def test_lines_before_the_first_header_are_told():
    lines, (problem,) = read(b"#Software: x\n1 2\n#Fields: a b\n3 4\n")
    assert table_rows(lines) == [("3", "4")]
    assert problem.expected == "#Fields before the first line"


def test_a_line_that_is_too_long():
    lines, (problem,) = read(b"#Fields: a\n" + b"x" * (w3c_log.LINE_LIMIT + 1) + b"\ny\n")
    assert table_rows(lines) == [("y",)]
    assert problem.offset == 11


def test_encodings():
    text = "#Fields: a b\nfür été\n"
    assert table_rows(read(text.encode())[0]) == [("für", "été")]
    assert table_rows(read(b"\xef\xbb\xbf" + text.encode())[0]) == [("für", "été")]
    assert table_rows(read(text.encode("utf-16"))[0]) == [("für", "été")]
    assert table_rows(read(text.encode("utf-16-le"))[0]) == [("für", "été")]
    mixed = text.encode("cp1252") + "für été\n".encode()  # ANSI before, UTF-8 behind
    assert table_rows(read(mixed)[0]) == [("für", "été"), ("für", "été")]


def test_places_in_utf_16_are_those_of_the_file():
    data = "#Fields: a b\nfür été\nbroken\n".encode("utf-16")
    _, (problem,) = read(data)
    start, stop = problem.passed_over
    assert data[start:stop].decode("utf-16-le") == "broken"


def test_quotes_and_escapes_mean_nothing():
    lines, _ = read(b'#Fields: a b\n"x y\n\\" \'z\n')
    assert table_rows(lines) == [('"x', "y"), ('\\"', "'z")]


def test_a_header_that_names_a_field_twice():
    lines, _ = read(b"#Fields: a a\n1 2\n")
    assert table_rows(lines) == [("1", "2")]


@pytest.mark.parametrize(
    ("value", "minutes", "local"),
    [("UTC", 0, False), ("Local(-60)", -60, False), ("local( 480 )", 480, False), ("Local", None, True)],
)
def test_time_formats(value, minutes, local):
    header = LogHeader().told("timeformat", value)
    assert (header.behind_utc_min, header.local) == (minutes, local)


def test_windows_give_what_the_whole_gives(monkeypatch):
    lines = [f"{i} {'x' * (i % 50)}y" for i in range(2000)]
    lines[700] = "#Fields: c d"
    lines[1100] = "broken"
    for code in ("utf-8", "utf-16"):
        data = ("#Fields: a b\n" + "\n".join(lines)).encode(code)
        whole, told = read(data)
        monkeypatch.setattr(w3c_log, "WINDOW", 1000)
        parts, told_in_parts = read(data)
        monkeypatch.undo()
        assert table_rows(parts) == table_rows(whole)
        assert (
            np.concatenate([p.lines for p in parts]).tolist()
            == np.concatenate([p.lines for p in whole]).tolist()
        )
        assert told == told_in_parts


def test_many_broken_lines_are_counted():
    _, problems = read(b"#Fields: a b\n" + b"x\n" * 5000)
    assert len(problems) == MAX_PROBLEMS + 1
    assert f"{5000 - MAX_PROBLEMS} more" in problems[-1].found


def test_more_headers_than_anybody_writes(monkeypatch):
    monkeypatch.setattr(w3c_log, "HEADER_LIMIT", 3)
    lines, (problem,) = read(b"#Fields: a\n1\n#x: \n2\n#y: \n3\n#z: \n4\n5\n")
    assert table_rows(lines) == [("1",), ("2",), ("3",)]
    assert problem.expected == "at most 3 header lines"


pieces = st.sampled_from(
    [
        b"#Fields: a b c\n",
        b"#Fields:\n",
        b"#TimeFormat: Local(\n",
        b"1 2 3\n",
        b" ",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xff\xfe",
    ]
)


@given(st.lists(st.one_of(pieces, st.binary(max_size=20)), max_size=20).map(b"".join))
def test_any_bytes_are_read(data):
    lines, _ = read(data)
    for part in lines:
        assert part.table.num_rows == len(part.lines)
        assert part.table.num_columns == len(part.header.fields)
