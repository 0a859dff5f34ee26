"""MMS sessions with all messages of the specification: trick play, redirects, errors, logins."""

from __future__ import annotations

import json
import struct
from itertools import pairwise

import pytest
from builders import write_pcap
from cases import events, faithful_files, rows
from peers.asf_file import AsfFile, faithful
from peers.media import demux
from peers.mms_client import Script, frames
from peers.mms_server import MmsOptions, stream_bytes
from peers.mmst_server import transcript
from peers.recorder import write_conversation

import mmsforensics
from mmsforensics.sessions.trick_play import selection, start_told
from mmsforensics.sessions.wording import hresult_name, summarise


def details(case, event):
    return [json.loads(e["details"]) for e in rows(case, "events", event=event)]


def summaries(case, event):
    return [e["summary"] for e in rows(case, "events", event=event)]


def sent(segments):
    """What a faithful file holds of several plays of one content."""
    first, *rest = segments
    return faithful(first) + b"".join(faithful(s)[len(s.header) :] for s in rest)


def playing(film, options=None, port=None):
    script = Script({"film.wmv": film}, options, port=port)
    assert script.begin("film.wmv")
    return script


def presented(case, film):
    """Whether the playable file shows what a player gets of the source, as far as packets of it were sent."""
    (playable,) = rows(case, "media", kind="playable")
    got, whole = demux(case.path / playable["path"]), demux(film)
    return got and got == [one for one in whole if one in got]


# --- where a play begins -----------------------------------------------------------------------------


@pytest.mark.parametrize("port", [None, 5005], ids=["mmst", "mmsu"])
@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"seconds": 1.0}, "at 1 s"),
        ({"byte": 40_000}, "at byte 40000"),
        ({"packet": 7}, "at packet 7"),
        ({"seconds": 0.0}, "at 0 s"),
    ],
)
def test_seeks_and_pauses(film, analyzed, tmp_path, where, told, port):
    script = playing(film, port=port)
    script.at()
    script.play(20)
    script.stop()
    script.at(**where)
    script.play(9)
    script.stop()
    script.at(**where)
    script.play()
    script.end()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [sent(script.segments)]
    (session,) = rows(case, "sessions")
    assert (session["outcome"], session["packets_missing"]) == ("completed", 0)
    starts = details(case, "StartPlaying")
    assert [d["start"] for d in starts] == ["at the beginning, or where it stopped", told, told]
    assert f"player starts playing {told}, incarnation 11" in summaries(case, "StartPlaying")
    numbers = {n for s in script.segments for n, _ in s.packets}
    playable = [m for m in rows(case, "media", kind="playable") if m["packets"]]
    assert [m["packets"] for m in playable] == [len(numbers)], "each packet once"
    assert presented(case, film)


def striding(film, rate, port, **options):
    """Some packets, then every so many from one end of the file to the other."""
    script = playing(film, MmsOptions(**options), port=port)
    script.at()
    script.play(30)
    script.stop()
    script.stride(rate, packet=1 if rate > 0 else len(AsfFile.read(film).packets) - 1)
    script.play()
    return script


@pytest.mark.parametrize("port", [None, 5005], ids=["mmst", "mmsu"])
@pytest.mark.parametrize("rate", [5.0, -5.0])
def test_packets_left_out_of_a_stride_are_no_loss(long_film, analyzed, tmp_path, rate, port):
    """The server counts what it sends; the numbers of packets leap, and fall when it rewinds."""
    script = striding(long_film, rate, port)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [sent(script.segments)]
    (session,) = rows(case, "sessions")
    assert (session["packets_missing"], session["outcome"]) == (0, "completed")
    (started,) = details(case, "StartStriding")
    assert (started["rate"], started["start"][:10]) == (rate, "at packet ")
    assert rows(case, "loss") == []
    assert presented(case, long_film)


@pytest.mark.parametrize("port", [None, 5005], ids=["mmst", "mmsu"])
@pytest.mark.parametrize("rate", [5.0, -5.0])
def test_leaps_beyond_the_count_are_no_loss_either(long_film, analyzed, tmp_path, rate, port):
    """Each packet is 300 numbers from the one before; the middle one of three is lost over UDP."""
    script = striding(long_film, rate, port, stride=60)
    strided = len(script.segments[1].packets)
    assert strided >= 3
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, lost={1 + 31})))
    (session,) = rows(case, "sessions")
    missing = 1 if port else 0
    assert session["packets_missing"] == missing
    assert session["packets_received"] == 30 + strided - missing


def test_a_number_lost_within_a_stride_is_counted_where_it_begins_left_out(long_film, analyzed, tmp_path):
    """The first play ends with number 0xFE, the stride begins with 0; 255 of the next round is lost."""
    script = playing(long_film, MmsOptions(stride=1), port=5005)
    script.at()
    script.play(255)
    script.stop()
    script.stride(1.0, packet=0)
    script.play()
    assert len(script.segments[1].packets) > 256
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, lost={1 + 255 + 255})))
    assert rows(case, "sessions")[0]["packets_missing"] == 1


def test_a_stride_that_is_refused(film, analyzed, tmp_path):
    script = playing(film, MmsOptions(stride_error=0xC00D0045))
    script.stride(5.0)
    script.at()
    script.play()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert rows(case, "sessions")[0]["outcome"] == "completed"
    assert "NS_E_STRIDE_REFUSED" in summaries(case, "ReportStartStriding")[0]


# --- which streams -----------------------------------------------------------------------------------


def test_streams_are_chosen_and_thinned(long_film, analyzed, tmp_path):
    script = playing(long_film, port=5005)
    script.select([(1, 0xFFFF, 0), (0xFFFF, 2, 0)])
    script.at()
    script.play(40)
    script.select([(0xFFFF, 1, 1), (2, 0xFFFF, 0)])
    script.play()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script, lost={1 + 45})))
    told = [d["streams"] for d in details(case, "StreamSwitch")]
    assert told == ["1 all, 2 all", "1 nothing, 2 all", "1 key frames only, 2 nothing"]
    assert "player selects streams: 1 key frames only, 2 nothing" in summaries(case, "StreamSwitch")
    (session,) = rows(case, "sessions")
    (segment,) = script.segments
    numbers = [n for n, _ in segment.packets]
    assert max(b - a for a, b in pairwise(numbers)) > 20, "many are left out"
    assert session["packets_missing"] == 1
    del segment.packets[45]
    assert faithful_files(case) == [faithful(segment)]
    thinned = [AsfFile.read(long_film).packets[n] for n, _ in segment.packets[60:]]
    assert all(any(byte & 0x80 for byte in stream_bytes(packet)) for packet in thinned)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ((), "none"),
        (((0xFFFF, 3, 0),), "3 all"),
        (((3, 0xFFFF, 0),), "3 nothing"),
        (((3, 4, 0),), "3 nothing, 4 all"),
        (((3, 3, 1),), "3 key frames only"),
        (((0xFFFF, 3, 2),), "3 nothing"),
        (((0xFFFF, 3, 9),), "3 9"),
    ],
)
def test_selection_in_words(entries, told):
    assert selection({"aStreamEntries": entries})[1] == told


def test_a_start_cut_short_says_what_it_can():
    assert start_told({"openFileId": 1}) == "at the beginning, or where it stopped"


# --- contents ----------------------------------------------------------------------------------------


def test_several_files_on_one_connection(film, song, analyzed, tmp_path):
    script = Script({"film.wmv": film, "song.wma": song})
    script.begin("film.wmv")
    script.at()
    script.play()
    script.send(0x0003000D, bytes(8))
    assert script.open_file("song.wma")
    script.header(incarnation=2)
    script.switch([1])
    script.at()
    script.play(3)
    script.stop()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    assert [m["complete"] for m in rows(case, "media", kind="faithful")] == [True, False]
    assert [d["fileName"] for d in details(case, "OpenFile")] == ["film.wmv", "song.wma"]


def test_another_connect_on_a_connection_is_another_session(film, song, analyzed, tmp_path):
    """As where a port was used again and the SYN was not captured."""
    scripts = []
    for name, path in (("film.wmv", film), ("song.wma", song)):
        script = Script({name: path}, host=f"{name[:4]}.example.com")
        script.begin(name)
        script.at()
        script.play()
        script.end()
        scripts.append(script)
    first, second = scripts
    first.conversation += second.conversation
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(first)))
    told = [(s["url"], s["outcome"]) for s in rows(case, "sessions")]
    assert told == [
        ("mms://film.example.com/film.wmv", "completed"),
        ("mms://song.example.com/song.wma", "completed"),
    ]
    assert faithful_files(case) == [faithful(s) for s in first.segments + second.segments]
    assert rows(case, "flows")[0]["session_ids"] == ["c001-s0001", "c001-s0002"]


@pytest.mark.parametrize("port", [None, 5005], ids=["mmst", "mmsu"])
def test_a_header_that_is_asked_for_again(film, analyzed, tmp_path, port):
    """A part of the header was lost: the client cancels, and asks with the next incarnation [3.1.6.1]."""
    script = Script({"film.wmv": film}, MmsOptions(header_fragment=300), port=port)
    script.connect()
    script.open_file("film.wmv")
    script.header(incarnation=1)
    if port:
        del script.conversation[-1]  # the last part
    script.send(0x00030025, struct.pack("<I", 1))
    script.header(incarnation=2)
    script.switch([1, 2])
    script.at()
    script.play()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    (segment,) = script.segments
    assert faithful_files(case) == [faithful(segment)]
    assert rows(case, "sessions")[0]["packets_missing"] == 0
    assert "CancelReadBlock" in events(case)


def test_a_live_content_has_no_end(film, analyzed, tmp_path):
    script = playing(film, MmsOptions(live=True, first_live=12))
    script.at()
    script.play(5)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    (opened,) = details(case, "ReportOpenFile")
    assert (opened["attributes"], opened["fileDuration"], opened["filePacketCount"]) == (
        "broadcast, live",
        0,
        0,
    )
    assert "; broadcast, live" in summaries(case, "ReportOpenFile")[0]
    (session,) = rows(case, "sessions")
    assert (session["packets_missing"], session["outcome"]) == (0, "stopped by client")


# --- errors, redirects, logins -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hr", "name"),
    [
        (0x80070002, "file not found"),
        (0x80070005, "access denied"),
        (0xC00D000F, "too many sessions"),
        (0xC00D0030, "NS_E_FILE_BANDWIDTH_LIMIT"),
        (0xC00D145E, "NS_E_PUBLISHING_POINT_STOPPED"),
        (0x8007052E, "ERROR_LOGON_FAILURE"),
        (0xC00DFFFF, "0xC00DFFFF"),
    ],
)
def test_a_refusal_is_named(film, analyzed, tmp_path, hr, name):
    script = Script({"film.wmv": film}, MmsOptions(refuse=hr))
    assert not script.begin("film.wmv")
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert rows(case, "sessions")[0]["outcome"] == f"failed: {name}"
    assert hresult_name(hr) == name


def test_a_redirect_names_where_to(film, analyzed, tmp_path):
    script = Script({"film.wmv": film}, MmsOptions(redirect=(1, "mms://b.example.com/ü.wmv")))
    script.connect()
    script.open_file("film.wmv")
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert rows(case, "sessions")[0]["outcome"] == "redirected"
    (redirect,) = details(case, "ReportRedirect")
    assert (redirect["RedirectType"], redirect["wszLocation"]) == (1, "mms://b.example.com/ü.wmv")
    assert summaries(case, "ReportRedirect") == ["server sends the player to mms://b.example.com/ü.wmv"]


REALM = 'realm="films"\0'.encode("utf-16-le")
NTLM = b"\0\0NTLMSSP\0\x02" + bytes(40)


def test_logins_keep_their_tokens(film, analyzed, tmp_path):
    script = Script({"film.wmv": film}, MmsOptions(challenges=(REALM, NTLM), authentication="NTLM"))
    script.connect()
    script.open_file("film.wmv")
    script.answer(b"dXNlcjpwYXNz\0", cookie=1)
    script.answer(b"\0\0NTLMSSP\0\x03", cookie=2)
    script.header()
    script.switch([1, 2])
    script.at()
    script.play()
    path = write_pcap(tmp_path / "a.pcap", frames(script))
    case = mmsforensics.analyze([path], out=tmp_path / "case", show_secrets=True)  # else they are masked
    assert faithful_files(case) == [faithful(s) for s in script.segments]
    asked, answered = details(case, "SecurityChallenge"), details(case, "SecurityResponse")
    assert [bytes.fromhex(d["pToken"]) for d in asked] == [REALM, NTLM]
    assert [bytes.fromhex(d["pToken"]) for d in answered] == [b"dXNlcjpwYXNz\0", b"\0\0NTLMSSP\0\x03"]
    assert [d["cookie"] for d in asked] == [d["cookie"] for d in answered] == [1, 2]
    assert details(case, "ReportConnectedEX")[0]["AuthenPackage"] == "NTLM"
    assert rows(case, "sessions")[0]["outcome"] == "completed"


@pytest.mark.parametrize(
    ("answers", "refuse", "outcome"),
    [(0, 0, "credentials asked for"), (1, 0x80070005, "failed: access denied")],
)
def test_a_login_that_leads_nowhere(film, analyzed, tmp_path, answers, refuse, outcome):
    script = Script({"film.wmv": film}, MmsOptions(challenges=(REALM,), refuse=refuse))
    script.connect()
    script.open_file("film.wmv")
    for _ in range(answers):
        script.answer(b"dXNlcjpwYXNz\0")
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert rows(case, "sessions")[0]["outcome"] == outcome


def test_who_speaks(film, analyzed, tmp_path):
    options = MmsOptions(version="4.1.0.3930", version_info="4.1.0.3933", version_url="http://u.example/")
    script = playing(film, options)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    (session,) = rows(case, "sessions")
    assert session["server_version"] == "4.1.0.3930"
    assert session["client_version"] == "NSPlayer/9.0.0.2980"
    assert session["player_guid"] == "{3300AD50-2C39-46C0-AE0A-70B64F321A80}"
    (connected,) = details(case, "ReportConnectedEX")
    assert (connected["VersionInfo"], connected["VersionUrl"]) == ("4.1.0.3933", "http://u.example/")
    assert details(case, "ReportFunnelInfo")[0]["nCubs"] == 0x1234


def test_pings_and_the_player_s_log(film, analyzed, tmp_path):
    script = playing(film, MmsOptions(ping_at=4))
    script.at()
    script.play()
    script.end()
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames(script)))
    assert events(case).count("Ping") == events(case).count("Pong") == 1
    (log,) = details(case, "Logging")
    assert log["clientLog"]["szURL"] == "mms://media.example.com/film.wmv"
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


def test_a_summary_of_a_message_cut_short_reads():
    assert summarise("ReportOpenFile", {"hr": 0}).startswith("server: ok; ? s")
    assert summarise("StreamSwitch", {}) == "player selects streams: ?"


def test_packet_pairs_over_tcp_are_three_reports(film, analyzed, tmp_path):
    """Their random bytes are no text, and none of the media."""
    conversation, (segment,) = transcript({"film.wmv": film}, packet_pair=True)
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation))
    assert faithful_files(case) == [faithful(segment)]
    assert [d["size"] for d in details(case, "ReportFunnelInfo")] == [480, 480, 1024]
