"""Which session an entry speaks of, and how sure that is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.analytics.log_matching import (
    ALLOWANCE_NS,
    QUARTER_NS,
    SessionFacts,
    Sessions,
    disagreements,
    entry_of,
    path_of,
    plain_guid,
    shift_of,
)

SECOND = 10**9
DAY = 86400 * SECOND
START = 1_700_000_000 * SECOND
GUID = "{B1C2D3E4-0001-4002-8003-000000000001}"


def session(number=1, **facts):
    """A session of ten seconds."""
    start = facts.pop("start_ts", START)
    known = {
        "session_id": f"c001-s{number:04d}",
        "transport": "mmst",
        "client_ip": "192.0.2.20",
        "server_ip": "192.0.2.10",
        "url": "mms://host/films/Der%20Film.wmv",
        "client_version": "",
        "player_guid": GUID,
        "start_ts": start,
        "end_ts": start + 10 * SECOND,
        "outcome": "completed",
        "media_bytes": 1000,
        "packets_received": 10,
        "packets_missing": 0,
        "acked_unseen": None,
    }
    return SessionFacts(**{**known, **facts})


def entry(**values):
    """An entry that agrees with `session()` in all that is not given."""
    told = {"guid": GUID, "client": "192.0.2.20", "path": "/films/der_film.wmv", "ts": START, **values}
    columns = {"c_playerid": told["guid"], "cs_uri_stem": told["path"]}
    return entry_of(columns, client=told["client"], server="192.0.2.10", ts=told["ts"])


OTHER = "{B1C2D3E4-0001-4002-8003-000000000009}"
LATE = START + 3600 * SECOND


@pytest.mark.parametrize(
    ("values", "quality"),
    [
        ({}, "strong"),
        ({"guid": None}, "strong"),
        ({"client": "203.0.113.1", "path": "/x"}, "strong"),  # GUID and time; a proxy between
        ({"guid": OTHER}, "fair"),
        ({"ts": LATE}, "fair"),
        ({"guid": None, "path": "/x"}, "fair"),
        ({"client": None, "path": None, "ts": None}, "weak"),
        ({"guid": None, "ts": LATE}, "weak"),
        ({"guid": None, "client": "0.0.0.0"}, "weak"),
        ({"guid": None, "client": "203.0.113.1"}, None),
        ({"guid": None, "path": "/x", "ts": LATE}, None),
        ({"guid": None, "client": None, "ts": None}, None),
    ],
)
def test_how_good_a_match_is(values, quality):
    assert Sessions([session()]).match(entry(**values)).quality == quality


@pytest.mark.parametrize(
    ("off", "agrees"), [(-121, False), (-120, True), (0, True), (130, True), (131, False)]
)
def test_a_time_agrees_from_two_minutes_before_to_two_minutes_after(off, agrees):
    reasons = Sessions([session()]).match(entry(ts=START + off * SECOND)).reasons
    assert ("time" in reasons) == agrees


def test_the_nearest_of_several_is_taken():
    sessions = Sessions([session(i, start_ts=START + i * 60 * SECOND) for i in range(3)])
    assert sessions.match(entry(ts=START + 65 * SECOND)).session.session_id == "c001-s0001"


def test_shifts():
    sessions = [session(i, start_ts=START + i * DAY) for i in range(4)]
    assert shift_of([]) is None
    assert shift_of([(s.start_ts, s) for s in sessions]).ns == 0
    assert shift_of([(s.start_ts - 20 * QUARTER_NS, s) for s in sessions]).ns == -20 * QUARTER_NS
    off = 437 * SECOND
    assert abs(shift_of([(s.start_ts + off, s) for s in sessions]).ns - off) <= ALLOWANCE_NS
    assert shift_of([(s.start_ts + off, s) for s in sessions[:2]]) is None  # two prove no clock
    years = 3 * 365 * DAY
    assert shift_of([(s.start_ts - years, s) for s in sessions]).ns < 0


def test_paths_and_guids_are_compared_alike():
    names = ("http://h/a%20b.wmv?x=1", "/A_b.WMV", "a+b.wmv", "mms://h:1755/a b.wmv")
    assert {path_of(name) for name in names} == {"a_b.wmv"}
    assert path_of("http://[bad/a.wmv") == "a.wmv"
    assert plain_guid("guid/" + GUID.strip("{}")) == plain_guid(GUID)
    assert plain_guid("{0xbabac001-0x..-0x..}") == ""


def test_what_disagrees():
    def fields(values, **facts):
        return [d.field for d in disagreements(values, session(**facts))]

    assert fields({"s_pkts_sent": 10, "c_bytes": 1010, "c_status": 200, "protocol": "mms"}) == []
    assert fields({"s_pkts_sent": 9}) == ["s-pkts-sent"]
    assert fields({"c_pkts_received": 9}) == []  # of what was sent, one was lost behind the capture
    assert fields({"c_pkts_received": 11}) == ["c-pkts-received"]
    assert fields({"c_quality": 100}, packets_missing=1) == ["c-quality"]
    assert fields({"c_pkts_lost_client": 1, "c_quality": 100}, packets_missing=1) == []
    assert fields({"x_duration": 60.0}, outcome="stopped by client") == ["x-duration"]
    assert fields({"x_duration": 60.0}) == []  # all of it was sent, faster than it plays
    assert fields({"c_status": 200}, outcome="failed: file not found") == ["c-status"]
    assert fields({"protocol": "rtsp"}) == ["protocol"]
    assert fields({"s_pkts_sent": 99}, transport="http") == []  # a download has no packets on the wire


@given(st.text(max_size=60), st.text(max_size=60), st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)))
def test_anything_is_matched_or_not(guid, url, ts):
    values = {"c_playerid": guid, "cs_uri_stem": url, "cs_url": guid}
    told = entry_of(values, client=url, server=None, ts=ts)
    found = Sessions([session(), session(2, url=url, player_guid=guid)]).match(told)
    assert found.session is None or found.quality is not None
