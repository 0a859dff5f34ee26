"""Media finished on threads: whatever ends first, rows come in the order in which they were asked for."""

from threading import Event

import pytest

from mmsforensics.case import closings
from mmsforensics.case.closings import Closings


def test_rows_come_in_the_order_in_which_media_ended():
    """Also where the second is made before the first."""
    made_second, told = Event(), []

    def first():
        assert made_second.wait(10)
        return "first"

    def second():
        made_second.set()
        return "second"

    with Closings() as pending:
        pending.add(first, told.append)
        pending.add(second, told.append)
        pending.settle()
        assert told == ["first", "second"]


def test_few_media_wait_for_their_rows(monkeypatch):
    monkeypatch.setattr(closings, "AHEAD", 2)
    told = []
    with Closings() as pending:
        for n in range(5):
            pending.add(lambda n=n: n, told.append)
            assert told == list(range(n - 1))
    assert told == list(range(5))


def test_what_fails_on_a_thread_is_raised_here_and_nothing_behind_it_is_told():
    def fails():
        raise OSError("disk full")

    told = []
    with pytest.raises(OSError, match="disk full"), Closings() as pending:
        pending.add(lambda: 1, told.append)
        pending.add(fails, told.append)
        pending.add(lambda: 3, told.append)
    assert told == [1]


def test_what_waits_is_left_where_something_else_has_failed():
    told = []
    with pytest.raises(KeyError), Closings() as pending:
        pending.add(lambda: 1, told.append)
        raise KeyError
    assert told == []
