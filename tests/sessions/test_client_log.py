"""Logs of players, from the wire to the tables `client_log` and `log_disagreements`."""

from __future__ import annotations

import pytest
from builders import write_pcap
from cases import rows
from peers.mmsh_server import MmshOptions
from peers.mmsh_server import transcript as mmsh
from peers.mmst_server import logging_body, message, record
from peers.mmst_server import transcript as mmst
from peers.recorder import START, frames_of, write_conversation

import mmsforensics

GUID = "{3300AD50-2C39-46C0-AE0A-B4C904C7848E}"
LINE = (
    "0.0.0.0 2023-11-14 22:13:42 - {url} 0 2 1 200 {guid} 9.0.0.2980 en-US "
    "WMFSDK/9.0.0.2980_WMPlayer/9.0.0.3008 - wmplayer.exe 9.0.0.2980 Windows_XP 5.1.0.2600 Pentium "
    "2 268885 364000 {protocol} TCP "
    "Windows_Media_Audio_9 Windows_Media_Video_9 - - {size} - {packets} 0 0 0 0 0 0 1 0 100 - - - -"
)


def line(url, *, packets, size, protocol="http", guid=GUID):
    return LINE.format(url=url, guid=guid, packets=packets, size=size, protocol=protocol)


def post(target, headers, body=b""):
    head = [f"POST {target} HTTP/1.1", "User-Agent: NSPlayer", "Host: 192.0.2.10"]
    head += [*headers, f"Content-Length: {len(body)}"]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


NO_CONTENT = b"HTTP/1.1 204 No Content\r\nServer: Cougar/9.01.01.5001\r\nContent-Length: 0\r\n\r\n"


def media_units(conversation, count):
    """Indices of the media packets: the last Data packets of an MMST conversation."""
    data = [
        i for i, (side, unit) in enumerate(conversation) if side == "s" and unit[4:8] != b"\xce\xfa\x0b\xb0"
    ]
    return data[-count:]


def with_log(conversation, body):
    """An MMST conversation with another Logging message at its end."""
    return [*conversation, ("c", record([message(0x00030032, body)], 99))]


def test_the_logging_message_of_mms(film, analyzed, tmp_path):
    conversation, segments = mmst({"film.wmv": film})
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation))
    (log,) = rows(case, "client_log")
    assert (log["carrier"], log["form"], log["match"]) == ("mms logging", "binary", "carrier")
    assert log["session_id"] == rows(case, "sessions")[0]["session_id"]
    sent = len(segments[0].packets)
    assert log["captured_packets"] == sent
    assert log["captured_packets_missing"] == 0
    assert log["c_playerversion"] == "9.0.0.2980"
    assert log["c_os"] == "Windows_XP"
    assert (log["c_pkts_received"], log["completeness"], log["completeness_basis"]) == (sent, 1.0, "packets")


@pytest.mark.parametrize("lost", [0, 1, 7])
def test_completeness_is_the_share_of_what_the_player_counts(film, analyzed, tmp_path, lost):
    conversation, segments = mmst({"film.wmv": film}, log=False, close=False)
    sent = len(segments[0].packets)
    body = logging_body("mms://media.example.com/film.wmv", packets=sent, received=1)
    media = media_units(conversation, sent)
    kept = with_log(conversation, body)
    frames = frames_of(kept)
    gone = {conversation[i][1][:300] for i in media[5 : 5 + lost]}
    left = [f for f in frames if not any(g in f[0] for g in gone)]
    case = analyzed(write_pcap(tmp_path / "a.pcap", left))
    (log,) = rows(case, "client_log")
    assert log["captured_packets"] == sent - lost
    assert log["completeness"] == (sent - lost) / sent
    told = {(r["log"], r["field"]) for r in rows(case, "log_disagreements")}
    if lost:
        assert {("client", "c-pkts-received"), ("client", "c-pkts-lost-client")} <= told
    else:
        assert ("client", "c-pkts-received") not in told


def test_a_log_line_in_a_pragma_header(film, analyzed, tmp_path):
    conversation, segments = mmsh({"film.wmv": film}, MmshOptions(), log=False)
    sent = len(segments[-1].packets)
    size = sum(len(p) for p in segments[-1].packets)
    entry = line("http://192.0.2.10/film.wmv", packets=sent, size=size)
    request = post("/film.wmv", ["User-Agent: NSPlayer/9.0.0.2980", f"Pragma: log-line={entry}"])
    conversation += [("c", request), ("s", NO_CONTENT)]
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80)))
    (log,) = rows(case, "client_log")
    assert (log["carrier"], log["kind"], log["posted_to"]) == ("log-line", "legacy", "/film.wmv")
    assert log["problems"] == []
    assert log["completeness"] == 1.0
    assert log["c_playerid"] == GUID
    assert log["logged_ts"].isoformat() == "2023-11-14T22:13:42+00:00"


def test_an_xml_log_in_a_post(film, analyzed, tmp_path):
    conversation, _ = mmsh({"film.wmv": film}, MmshOptions(chunked="always"), log=True)
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80)))
    log = rows(case, "client_log")[0]
    assert (log["carrier"], log["form"], log["match"]) == ("x-wms-logstats", "xml", "carrier")


def test_a_log_posted_to_a_web_server_finds_its_session(film, analyzed, tmp_path):
    conversation, segments = mmst({"film.wmv": film}, log=False)
    sent = len(segments[0].packets)
    entry = line(
        "mms://media.example.com/film.wmv",
        packets=sent,
        size=7,
        protocol="mms",
        guid="{AAAAAAAA-1111-1111-1111-111111111111}",
    )
    body = b"MX_STATS_LogLine: \t" + entry.encode()
    request = post("/scripts/nsiislog.dll", ["Content-Type: text/plain;charset=UTF-8"], body)
    frames = frames_of(conversation) + frames_of(
        [("c", request), ("s", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")],
        client=("192.0.2.20", 41000),
        server=("192.0.2.99", 80),
        start_ns=START + 3_000_000_000,
    )
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    (session,) = rows(case, "sessions")
    (log,) = rows(case, "client_log")
    assert (log["carrier"], log["posted_to"]) == ("web server", "/scripts/nsiislog.dll")
    assert log["session_id"] == session["session_id"]
    assert log["match"] == "fair"  # the GUID is another one
    assert {"client address", "path of the URL", "time", "player GUID differs"} <= set(log["match_reasons"])
    assert log["captured_packets"] == sent
    assert log["completeness"] == 1.0


def test_two_logs_speak_of_the_stretch_since_the_one_before(film, analyzed, tmp_path):
    conversation, segments = mmst({"film.wmv": film}, log=False, close=False)
    media = media_units(conversation, len(segments[0].packets))
    first = ("c", record([message(0x00030032, logging_body("mms://h/film.wmv", packets=20))], 98))
    second = (
        "c",
        record([message(0x00030032, logging_body("mms://h/film.wmv", packets=len(media) - 20))], 99),
    )
    conversation = [*conversation[: media[20]], first, *conversation[media[20] :], second, second]
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation))
    counts = [(log["captured_packets"], log["completeness"]) for log in rows(case, "client_log")]
    assert counts == [(20, 1.0), (len(media) - 20, 1.0), (len(media) - 20, 1.0)]


def test_a_capture_that_holds_much_more_is_not_called_complete(film, analyzed, tmp_path):
    conversation, _ = mmst({"film.wmv": film}, log=False, close=False)
    case = analyzed(
        write_conversation(tmp_path / "a.pcap", with_log(conversation, logging_body("mms://h/f", packets=3)))
    )
    (log,) = rows(case, "client_log")
    assert log["completeness"] is None
    assert "another stretch" in log["completeness_note"]


def test_a_case_with_logs_is_made_the_same_twice(film, tmp_path):
    conversation, _ = mmst({"film.wmv": film})
    path = write_conversation(tmp_path / "a.pcap", conversation)
    cases = [mmsforensics.analyze([path], out=tmp_path / name) for name in ("one", "two")]
    hashes = [[o["sha256"] for o in case.manifest["outputs"]] for case in cases]
    assert hashes[0] == hashes[1]
    assert all(check.ok for check in mmsforensics.verify(cases[0], deep=True))
