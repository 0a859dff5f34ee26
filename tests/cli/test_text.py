"""Tables as a person sees them: on a terminal of any width, or in a pipe."""

from __future__ import annotations

import os
import re
import shutil
import sys

import pytest

from mmsforensics.cli.text import print_table

HEADERS = ["session", "start (UTC)", "summary"]
ROW = ["c001-s0001", "2023-11-14 22:13:20.001060000", "player asks for a film \x1b[2J of a long name"]


@pytest.fixture
def terminal(monkeypatch):
    """Make standard output a terminal of some columns."""

    def make(columns):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((columns, 40)))

    return make


def lines(capsys):
    """What was printed, without styles."""
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()]


def test_in_a_pipe_a_row_is_a_line(capsys):
    print_table("Sessions", HEADERS, [ROW])
    assert lines(capsys) == ["\t".join(HEADERS), "\t".join(ROW).replace("\x1b", "\\x1b")]


def test_a_wide_terminal_gets_columns(capsys, terminal):
    terminal(120)
    print_table("Sessions", HEADERS, [ROW])
    title, head, row = lines(capsys)
    assert title == "Sessions"
    assert head.index("summary") == row.index("player")
    assert row.split("  ") == [cell.replace("\x1b", "\\x1b") for cell in ROW]


def test_on_a_narrower_one_the_widest_text_is_folded_and_nothing_else(capsys, terminal):
    terminal(75)
    print_table("Sessions", HEADERS, [ROW])
    told = lines(capsys)
    assert len(told) > 3
    assert told[2].startswith("c001-s0001  2023-11-14 22:13:20.001060000  player")


def test_on_a_narrow_one_the_last_columns_stand_below_their_row(capsys, terminal):
    terminal(60)
    print_table("Sessions", HEADERS, [ROW])
    assert lines(capsys)[1:] == [
        "session     start (UTC)",
        "c001-s0001  2023-11-14 22:13:20.001060000",
        "    summary: player asks for a film \\x1b[2J of a long name",
    ]


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_sessions_are_read_on_usual_terminals_and_nothing_is_lost(capsys, terminal, columns):
    """The columns of the listing `sessions`: all but a long URL is in one piece, on few lines."""
    headers = [
        *("session", "transport", "start (UTC)", "client", "server", "url", "packets", "missing", "outcome")
    ]
    row = [
        *("c003-s0001", "mmst", "2026-11-23 22:30:00.664066000", "192.168.100.120:44174"),
        *("192.168.100.110:1755", "mms://192.168.100.110/" + "y" * 150, "104", "0", "stopped by client"),
    ]
    terminal(columns)
    print_table("Sessions", headers, [row, row])
    told = lines(capsys)
    assert max(map(len, told)) <= columns
    assert told[2].startswith("c003-s0001  mmst       2026-11-23 22:30:00.664066000  192.168.100.120:44174")
    assert "packets: 104  missing: 0  outcome: stopped by client" in " ".join(told)
    assert "".join(line.strip() for line in told).count("y" * 150) == 2
    assert len(told) <= 2 + 2 * 7


def test_an_empty_table_is_said(capsys, terminal):
    print_table("Sessions", HEADERS, [])
    assert lines(capsys) == ["\t".join(HEADERS)]
    terminal(80)
    print_table("Sessions", HEADERS, [])
    assert lines(capsys) == ["Sessions: none"]
