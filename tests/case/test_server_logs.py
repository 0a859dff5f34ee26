"""Servers' logs beside captures: typed, matched with sessions, and held against them."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta

import pytest
from builders import write_pcap
from cases import rows
from peers.media import make_asf
from peers.mmst_server import transcript
from peers.recorder import START, frames_of

import mmsforensics

GUID = "{B1C2D3E4-0001-4002-8003-000000000%03d}"
FIELDS = (
    "c-ip date time c-dns cs-uri-stem c-starttime x-duration c-rate c-status c-playerid c-playerversion "
    "c-playerlanguage cs(User-Agent) cs(Referer) c-hostexe c-hostexever c-os c-osversion c-cpu "
    "filelength filesize avgbandwidth protocol transport audiocodec videocodec channelURL sc-bytes c-bytes "
    "s-pkts-sent c-pkts-received c-pkts-lost-client c-pkts-lost-net c-pkts-lost-cont-net c-resendreqs "
    "c-pkts-recovered-ECC c-pkts-recovered-resent c-buffercount c-totalbuffertime c-quality s-ip "
    "s-dns s-totalclients s-cpu-util"
)
BEGIN = datetime.fromtimestamp(START // 10**9, UTC)


def entry(
    *,
    client="192.0.2.20",
    after=0,
    guid="-",
    stem="/film.wmv",
    packets=10,
    size="-",
    lost=0,
    status=200,
    protocol="mms",
    duration=2,
    more="",
):
    """A line of the 44 fields of version 4.1, `after` seconds behind the capture's beginning."""
    at = BEGIN + timedelta(seconds=after)
    return (
        f"{client} {at:%Y-%m-%d %H:%M:%S} - {stem} 0 {duration} 1 {status} {guid} 9.0.0.2980 en-US "
        f"Mozilla/4.0+(compatible;+MSIE+6.0) - wmplayer.exe 9.0.0.2980 Windows_XP 5.1.0.2600 Pentium 2 "
        f"268885 364000 {protocol} TCP Windows_Media_Audio_9 Windows_Media_Video_9 - {size} {size} "
        f"{packets} {packets} {lost} {lost} {lost} 0 0 0 1 0 "
        f"{100 if not lost else 90} 192.0.2.10 WMS 1 7{more}"
    )


def log(
    *entries, header="#Software: Windows Media Services\r\n#Version: 4.1\r\n", fields=FIELDS, end=" \r\n"
):
    return (header + f"#Fields: {fields}\r\n" + "".join(e + end for e in entries)).encode()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_asf(tmp_path_factory.mktemp("media") / "film.wmv", title="Film")


@pytest.fixture(scope="module")
def viewing(film, tmp_path_factory):
    """A capture of three viewings by three clients, an hour apart, and how many packets each has."""
    frames = []
    for i in range(3):
        conversation, segments = transcript({"film.wmv": film}, guid=GUID % i)
        frames += frames_of(
            conversation, client=(f"192.0.2.{20 + i}", 40001), start_ns=START + i * 3600 * 10**9
        )
    return write_pcap(tmp_path_factory.mktemp("captures") / "a.pcap", frames), len(segments[0].packets)


def case_of(tmp_path, capture, *logs):
    paths = []
    for i, data in enumerate(logs):
        paths.append(tmp_path / f"{i}.log")
        paths[-1].write_bytes(data)
    return mmsforensics.analyze([*([capture] if capture else []), *paths], out=tmp_path / "case")


def test_every_field_is_typed(tmp_path):
    case = case_of(tmp_path, None, log(entry(packets=33, size=106434)))
    (row,) = rows(case, "server_log")
    assert row["ts"].isoformat() == BEGIN.isoformat()
    assert (row["ts_basis"], row["line"], row["software_version"]) == ("assumed UTC", 4, "4.1")
    assert (row["sc_bytes"], row["s_pkts_sent"], row["x_duration"]) == (106434, 33, 2.0)
    assert row["cs_user_agent"] == "Mozilla/4.0+(compatible;+MSIE+6.0)"  # as it stands
    assert (row["c_dns"], row["other"], row["problems"]) == (None, None, [])
    assert (row["session_id"], row["match"]) == (None, None)
    assert rows(case, "captures")[0]["problems"] == []


def test_the_42_columns_of_the_specification_are_all_there(tmp_path):
    case = case_of(tmp_path, None, log(entry()))
    columns = case.table("server_log").column_names
    for name in (
        FIELDS.lower().replace("(", "-").replace(")", "").replace("channelurl", "c-channelurl").split()
    ):
        assert name.replace("-", "_") in columns


def test_lines_find_their_sessions(viewing, tmp_path):
    capture, sent = viewing
    lines = [
        entry(client=f"192.0.2.{20 + i}", after=3600 * i, guid=GUID % i, packets=sent) for i in (2, 0, 1)
    ]
    strangers = [entry(client="203.0.113.9"), entry(client="192.0.2.20", after=86400, stem="/other.wmv")]
    case = case_of(tmp_path, capture, log(*lines, *strangers))
    by_client = {s["client_ip"]: s["session_id"] for s in rows(case, "sessions")}
    found = rows(case, "server_log")
    assert [r["session_id"] for r in found] == [by_client[f"192.0.2.{20 + i}"] for i in (2, 0, 1)] + [
        None,
        None,
    ]
    assert [r["match"] for r in found] == ["strong"] * 3 + [None, None]
    assert found[0]["match_reasons"] == [
        "player GUID",
        "client address",
        "server address",
        "path of the URL",
        "time",
    ]
    assert rows(case, "log_disagreements") == []


def test_the_time_zone_of_a_log_is_stated_or_found(viewing, tmp_path):
    capture, _ = viewing
    lines = [entry(client=f"192.0.2.{20 + i}", after=3600 * i - 480 * 60, guid=GUID % i) for i in range(3)]
    stated = case_of(tmp_path, capture, log(*lines, header="#TimeFormat: Local(480)\r\n"))
    found = rows(stated, "server_log")
    assert {(r["ts_basis"], r["match"]) for r in found} == {("stated offset", "strong")}
    assert found[0]["ts"].isoformat() == BEGIN.isoformat()
    assert found[0]["match_reasons"][-1] == "time"

    silent = case_of(tmp_path, capture, log(*lines))
    found = rows(silent, "server_log")
    assert {(r["ts_basis"], r["match"]) for r in found} == {("assumed UTC", "strong")}
    assert found[0]["match_reasons"][-1] == "time, time zone of the log -480 minutes from what it says"
    assert abs(found[0]["time_difference_s"]) < 1


def test_a_clock_that_is_off_is_found_by_several_sessions(viewing, tmp_path):
    capture, _ = viewing
    lines = [entry(client=f"192.0.2.{20 + i}", after=3600 * i + 437) for i in range(3)]
    found = rows(case_of(tmp_path, capture, log(*lines)), "server_log")
    assert [r["match"] for r in found] == ["strong"] * 3
    assert "clock of the log 437 s ahead, by 3 sessions" in found[0]["match_reasons"][-1]
    one = rows(case_of(tmp_path, capture, log(lines[0])), "server_log")
    assert (one[0]["match"], one[0]["match_reasons"][-1]) == ("weak", "path of the URL")  # one proves nothing


def test_a_guid_that_many_players_share_proves_nothing(film, tmp_path):
    constant = "{7E667F5D-A661-495E-A512-F55686DDA178}"
    conversation, _ = transcript({"film.wmv": film}, guid=constant)
    capture = write_pcap(tmp_path / "a.pcap", frames_of(conversation))
    case = case_of(tmp_path, capture, log(entry(guid=constant, client="203.0.113.9")))
    assert rows(case, "server_log")[0]["match"] is None


def test_what_fits_two_sessions_as_well_fits_none(film, tmp_path):
    frames = []
    for i in range(2):
        conversation, _ = transcript({"film.wmv": film}, guid=GUID % 1)
        frames += frames_of(conversation, client=("192.0.2.20", 40001 + i), start_ns=START + i)
    capture = write_pcap(tmp_path / "a.pcap", sorted(frames, key=lambda f: f[1]))
    (row,) = rows(case_of(tmp_path, capture, log(entry(guid=GUID % 1))), "server_log")
    assert (row["session_id"], row["match"]) == (None, "ambiguous")
    assert "c001-s0001, c001-s0002" in row["match_reasons"][0]


def test_disagreements_are_told(viewing, film, tmp_path):
    _, sent = viewing
    conversation, _ = transcript({"film.wmv": film}, guid=GUID % 0)
    data = [i for i, (side, u) in enumerate(conversation) if side == "s" and u[4:8] != b"\xce\xfa\x0b\xb0"]
    gone = conversation[data[-sent + 9]][1][:300]
    capture = write_pcap(tmp_path / "a.pcap", [f for f in frames_of(conversation) if gone not in f[0]])
    line = entry(guid=GUID % 0, packets=sent, size=10, protocol="http", status=404)
    case = case_of(tmp_path, capture, log(line))
    told = {r["field"]: r for r in rows(case, "log_disagreements") if r["log"] == "server"}
    assert set(told) == {
        "s-pkts-sent",
        "c-pkts-received",
        "sc-bytes",
        "c-bytes",
        "c-pkts-lost-client",
        "protocol",
        "c-status",
    }
    lost = told["c-pkts-lost-client"]
    assert (lost["logged"], lost["captured"], lost["line"]) == ("0", "1 packets missing", 4)
    assert "were acknowledged and not captured: the capture lost them" in lost["text"]
    assert lost["session_id"] == rows(case, "sessions")[0]["session_id"]


def test_several_lines_of_a_session_are_added_up(viewing, tmp_path):
    capture, sent = viewing
    parts = [entry(guid=GUID % 0, packets=count) for count in (sent - 5, 5)]
    assert rows(case_of(tmp_path, capture, log(*parts)), "log_disagreements") == []
    case = case_of(tmp_path, capture, log(*parts, entry(guid=GUID % 0, packets=3)))
    told = rows(case, "log_disagreements")
    assert {(r["field"], r["logged"], r["line"]) for r in told} == {
        ("s-pkts-sent", str(sent + 3), 6),
        ("c-pkts-received", str(sent + 3), 6),
    }
    assert told[0]["text"].startswith("in 3 entries together, the log counts 3 packets")


def test_fields_of_the_9_series_and_undocumented_ones(tmp_path):
    fields = (
        FIELDS
        + " cs-user-name s-session-id s-content-path cs-url cs-media-name c-max-bandwidth cs-media-role "
    )
    fields += "s-proxied x-strange"
    more = " CORP\\bob 77 c:\\wmpub\\film.wmv mms://wms/film.wmv film.wmv - - 0 odd"
    (row,) = rows(case_of(tmp_path, None, log(entry(more=more), fields=fields, end="\r\n")), "server_log")
    assert (row["cs_user_name"], row["s_session_id"], row["s_proxied"]) == ("CORP\\bob", "77", "0")
    assert (row["cs_url"], row["other"]) == ("mms://wms/film.wmv", "x-strange=odd")


def test_values_of_another_type_are_problems_of_their_row(tmp_path):
    data = log(entry(), entry(packets="many"), entry())
    found = rows(case_of(tmp_path, None, data), "server_log")
    assert [len(r["problems"]) for r in found] == [0, 2, 0]
    assert found[1]["problems"][0] == "s-pkts-sent: expected a count, found many"
    assert found[1]["s_pkts_sent"] is None


def test_broken_lines_are_located_and_cost_nothing_else(viewing, tmp_path):
    capture, sent = viewing
    data = log(
        entry(guid=GUID % 0, packets=sent), "192.0.2.20 2023-11-14", entry(guid=GUID % 0, packets=sent)
    )
    case = case_of(tmp_path, capture, data)
    assert [r["match"] for r in rows(case, "server_log")] == ["strong", "strong"]
    (problem,) = rows(case, "problems")
    assert (problem["capture_id"], problem["expected"]) == ("c002", "44 values")
    assert data[problem["skipped_offset"] :][: problem["skipped"]].rstrip() == b"192.0.2.20 2023-11-14"
    assert len(rows(case, "sessions")) == 3


def test_several_logs_and_a_packed_one(viewing, tmp_path):
    capture, _ = viewing
    (tmp_path / "b.log.gz").write_bytes(
        gzip.compress(log(entry(guid=GUID % 1, client="192.0.2.21", after=3600)))
    )
    (tmp_path / "a.log").write_bytes(log(entry(guid=GUID % 0)))
    case = mmsforensics.analyze([tmp_path / "b.log.gz", capture, tmp_path / "a.log"], out=tmp_path / "case")
    assert [(r["capture_id"], r["match"]) for r in rows(case, "server_log")] == [
        ("c001", "strong"),
        ("c003", "strong"),
    ]


def test_passwords_in_logs_are_masked(tmp_path):
    data = log(entry(stem="mms://bob:Secret-1@wms/film.wmv"))
    (row,) = rows(case_of(tmp_path, None, data), "server_log")
    assert row["cs_uri_stem"] == "mms://bob:********@wms/film.wmv"


def test_time_without_a_zone_that_is_known_is_no_time(tmp_path):
    (row,) = rows(case_of(tmp_path, None, log(entry(), header="#TimeFormat: Local\r\n")), "server_log")
    assert (row["ts"], row["ts_basis"], row["time"]) == (None, None, BEGIN.strftime("%H:%M:%S"))


def test_a_case_with_logs_is_made_the_same_twice_and_verifies(viewing, tmp_path):
    capture, _ = viewing
    (tmp_path / "a.log").write_bytes(log(entry(guid=GUID % 0), "broken"))
    cases = [
        mmsforensics.analyze([capture, tmp_path / "a.log"], out=tmp_path / name) for name in ("one", "two")
    ]
    hashes = [[o["sha256"] for o in case.manifest["outputs"]] for case in cases]
    assert hashes[0] == hashes[1]
    assert all(check.ok for check in mmsforensics.verify(cases[0], deep=True))
