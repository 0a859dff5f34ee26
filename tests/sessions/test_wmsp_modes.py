"""MS-WMSP beyond the plain case: pipelined and not, seeks, playlists, proxies, challenges, redirects."""

from __future__ import annotations

import json
import random
import struct
import subprocess

import pytest
from builders import write_pcap
from cases import events, faithful_files, rows
from peers.asf_file import AsfFile
from peers.mmsh_server import content_description, framed, in_parts
from peers.push_encoder import PushOptions, pushed
from peers.recorder import START, frames_of, hung_up, write_conversations
from peers.wmsp_script import FRAMED, GUID, UNUSED, Sender, Talk, change, end, header

import mmsforensics

ID = "client-id=297067864"
CHUNKED = (f"Content-Type: {FRAMED}", f"Pragma: no-cache, {ID}, timeout=60000", "Transfer-Encoding: chunked")
PLAYED = (f"Content-Type: {FRAMED}", f"Pragma: no-cache, {ID}")
DESCRIBED = ("Content-Type: application/vnd.ms.wms-hdr.asfv1", f"Pragma: no-cache, {ID}")
SECOND = 1_000_000_000


@pytest.fixture
def asf(film):
    return AsfFile.read(film)


@pytest.fixture
def case_of(analyzed, tmp_path):
    """The case of connections that begin `gap` seconds after each other."""

    def make(*talks, port=80, gap=2):
        path = write_conversations(
            tmp_path / "a.pcap", talks, server=("192.0.2.10", port), gap_ns=gap * SECOND
        )
        return analyzed(path)

    return make


def details(case, event):
    return [json.loads(e["details"]) for e in rows(case, "events", event=event)]


def kinds(case):
    return [d["request"] for d in details(case, "HttpRequest")]


def pipelined(asf):
    """Describe, Pipeline, Play, KeepAlive, SelectStream, Stop, Log, Play elsewhere: one connection."""
    talk, sender = Talk(), Sender(asf)
    talk.ask("GET", "/audio", UNUSED, "pipeline-experiment=1")
    talk.answer("200 OK", *DESCRIBED, "Pragma: pipeline-experiment=1", body=header(asf))
    talk.ask("GET", "/audio", "no-cache", "pipeline-request=1", ID)
    talk.ask("GET", "/audio", "no-cache", "pipeline-request=1", ID)
    talk.head("200 OK", *CHUNKED).chunks(framed("T", b"")).last_chunk()
    talk.answer("204 No Content", f"Pragma: no-cache, {ID}, pipeline-result=1")
    accelerated = "LinkBW=2147483647, AccelBW=2147483647, AccelDuration=18000, Speed=91268.055"
    talk.play("/audio", "version11-enabled=1", UNUSED, ID, accelerated)
    talk.head("200 OK", *CHUNKED, "Pragma: AccelBW=3500000, AccelDuration=18000, Speed=5.000")
    talk.chunks(header(asf), *sender.packets(0, 8))
    talk.ask("OPTIONS", "*", ID, guid="")
    talk.chunks(*sender.packets(8, 10))
    talk.ask("GET", "/audio", "version11-enabled=1", ID, "stream-switch-entry=1:1:2")
    talk.chunks(*sender.packets(10, 11)).last_chunk()
    talk.answer("200 OK", f"Pragma: {ID}, timeout=60000", "Public: GET, POST, OPTIONS")
    talk.head("200 OK", *CHUNKED).chunks(*sender.packets(11, 15, streams={2}))
    talk.ask("POST", "/audio", ID, "xStopStrm=1")
    talk.chunks(*sender.packets(15, 17, streams={2})).last_chunk().answer("200 OK")
    talk.ask("POST", "/audio", ID, headers=["Content-Type: application/x-wms-LogStats"], body=b"<XML></XML>")
    talk.answer("204 No Content")
    again = "rate=1.000,stream-time=100,stream-offset=4294967295:4294967295,packet-num=4294967295"
    talk.play("/audio", "version11-enabled=1", again, ID)
    talk.head("200 OK", *CHUNKED).chunks(header(asf), *sender.packets(3, 999), end()).last_chunk()
    return talk, sender


def test_pipelined_mode(asf, case_of):
    talk, sender = pipelined(asf)
    case = case_of(talk)
    assert faithful_files(case) == [sender.faithful()]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"], session["packets_missing"]) == ("mmsh", "completed", 0)
    assert session["url"] == "mmsh://SampleServer/audio"
    assert session["player_guid"] == GUID
    assert not {"Malformed", "Gap"} & set(events(case))
    assert events(case).count("WmspPipelineTest") == 1
    play_log_play = ["Play", "KeepAlive", "SelectStream", "Stop", "Log", "Play"]
    assert kinds(case) == ["Describe", "Pipeline", "Pipeline", *play_log_play]
    assert [d["request"] for d in details(case, "HttpResponse")] == kinds(case)
    (medium,) = rows(case, "media", kind="faithful")
    assert medium["complete"]


def test_which_streams_were_selected_when(asf, case_of):
    case = case_of(pipelined(asf)[0])
    found = details(case, "WmspStreamSelection")
    assert [(d["selected"], d["off"]) for d in found] == [([1, 2], []), ([2], [1]), ([1, 2], [])]
    assert found[1]["entries"] == [{"from": 1, "to": 1, "thinning": 2}]


def test_fast_start_and_seek_are_in_the_details(asf, case_of):
    case = case_of(pipelined(asf)[0])
    first, second = (d for d in details(case, "HttpRequest") if d["request"] == "Play")
    assert first["pragma"]["AccelDuration"] == 18000
    assert first["pragma"]["Speed"] == 91268.055
    assert (first["from"], second["from"]) == ({"stream-time": 0}, {"stream-time": 100})
    granted = [d["pragma"] for d in details(case, "HttpResponse") if d["request"] == "Play"]
    assert (granted[0]["AccelBW"], granted[0]["Speed"]) == (3500000, 5.0)


def test_a_stop_is_one(asf, case_of):
    talk, _ = pipelined(asf)
    log = next(i for i, (_, data) in enumerate(talk) if b"LogStats" in data)
    case = case_of(talk[:log])
    assert rows(case, "sessions")[0]["outcome"] == "stopped by client"
    assert rows(case, "media", kind="faithful")[0]["verdict"] == "partial"


def unpipelined(asf, client_id=ID, guid=GUID):
    """Describe, Play, SelectStream, KeepAlive, Play from another packet, Log, each on its connection."""
    old, sender = {"version": "1.0", "guid": guid}, Sender(asf)
    describe = Talk().ask("GET", "/film", UNUSED, **old)
    describe.answer("200 OK", f"Pragma: no-cache, {client_id}", body=header(asf), version="1.0")
    play = Talk().play("/film", UNUSED, client_id, **old)
    play.head("200 OK", f"Content-Type: {FRAMED}", version="1.0").send(header(asf), *sender.packets(0, 12))
    select = Talk().ask("POST", "/film", client_id, "stream-switch-entry=ffff:2:2", **old)
    select.answer("204 No Content", version="1.0")
    alive = Talk().ask("POST", "/film", client_id, "xKeepAliveInPause=1", **old)
    alive.answer("200 OK", "Pragma: timeout=60000", version="1.0")
    again = Talk().play("/film", UNUSED.replace("packet-num=4294967295", "packet-num=5"), client_id, **old)
    sender.sequence = 40  # what was in the air when the connection was cut off was numbered too
    again.head("200 OK", f"Content-Type: {FRAMED}", version="1.0")
    again.send(header(asf), *sender.packets(5, 999), end())
    line = "0.0.0.0 2003-09-27 00:27:24 - http://SampleServer/film 0 42 1 200 {3300AD50}"
    log = (
        Talk()
        .ask("POST", "/film", client_id, f"log-line={line}", **old)
        .answer("204 No Content", version="1.0")
    )
    return [describe, play, select, alive, again, log], sender


@pytest.mark.parametrize("gap", [2, 100], ids=["at once", "after a long pause"])
def test_non_pipelined_mode(asf, case_of, gap):
    """A client-id joins the connections, however long the pause."""
    talks, sender = unpipelined(asf)
    case = case_of(*talks, gap=gap)
    (session,) = rows(case, "sessions")
    assert (session["outcome"], session["packets_missing"]) == ("completed", 0)
    assert kinds(case) == ["Describe", "Play", "SelectStream", "KeepAlive", "Play", "Log"]
    assert faithful_files(case) == [sender.faithful()]
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["complete"], medium["packets"]) == (True, len(sender.sent))
    assert details(case, "HttpRequest")[4]["from"] == {"packet-num": 5}


def connected(talk, number, at):
    """Frames of the connection with a number, begun so many seconds after the first; messages 10 ms apart."""
    begin = START + round(at * SECOND)
    timed = [(side, data, begin + i * SECOND // 100) for i, (side, data) in enumerate(talk)]
    ends = {"client": ("192.0.2.20", 40001 + number), "server": ("192.0.2.10", 80)}
    return frames_of(timed, start_ns=begin, **ends)


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("pause", [0.001, 100], ids=["at once", "after a long pause"])
def test_a_seek_by_a_new_connection_while_media_are_on_their_way(asf, analyzed, tmp_path, how, pause):
    """The player hangs up and asks elsewhere; what the server had sent till it noticed comes in between."""
    (describe, play, _, _, again, log), sender = unpipelined(asf)
    frames = connected(describe, 0, 0)
    old = hung_up(connected(play, 1, 1), how, late=3)
    left = (old[-4 if how == "reset" else -5][1] - START) / SECOND
    frames += old + connected(again, 2, left + pause) + connected(log, 3, left + pause + 9)
    case = analyzed(write_pcap(tmp_path / "a.pcap", sorted(frames, key=lambda item: item[1])))
    (session,) = rows(case, "sessions")
    assert (session["outcome"], session["packets_missing"]) == ("completed", 0)
    assert faithful_files(case) == [sender.faithful()]
    assert rows(case, "media", kind="faithful")[0]["verdict"] == "complete"


@pytest.mark.parametrize("how", ["reset", "close", "open"])
def test_the_end_of_a_connection_that_only_described_is_not_the_media_s(asf, analyzed, tmp_path, how):
    """How it ends may be known last: a connection that was reset is decoded to the end of the capture."""
    (describe, play, *_), _ = unpipelined(asf)
    frames = hung_up(connected(describe, 0, 0), how) + hung_up(connected(play, 1, 1), "open")
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    assert rows(case, "sessions")[0]["outcome"] == "capture ended"
    assert [v["frame"] for v in rows(case, "verdicts", reason="capture ended")] == [len(frames) - 1]
    assert not rows(case, "verdicts", reason="reset")


def test_one_client_id_for_two_players(asf, case_of):
    """As an old server behind which all players look alike: the GUIDs keep them apart."""
    ours, one = unpipelined(asf)
    others, two = unpipelined(asf, guid="{00000000-55EC-4AE4-A5A9-0B0D307F4B72}")
    case = case_of(*(talk for pair in zip(ours, others, strict=True) for talk in pair), gap=1)
    assert len(rows(case, "sessions")) == 2
    assert sorted(faithful_files(case)) == sorted([one.faithful(), two.faithful()])


def test_two_players_that_nothing_tells_apart(asf, case_of):
    """Both described, then both play, at once: none of them takes the other's packets."""
    ours, others = unpipelined(asf)[0][:2], unpipelined(asf)[0][:2]
    case = case_of(ours[0], others[0], ours[1], others[1], gap=0)
    assert len(rows(case, "sessions")) == 2
    assert [s["packets_received"] for s in rows(case, "sessions")] == [12, 12]


def challenged(asf, status, header_name):
    talk, sender = Talk(), Sender(asf)
    talk.ask("GET", "/film", UNUSED)
    talk.answer(
        f"{status} Who", f"{header_name}: NTLM", f'{header_name}: Digest realm="a, Basic b", nonce="1"'
    )
    answer = header_name.replace("WWW-Authenticate", "Authorization").replace("Authenticate", "Authorization")
    talk.ask("GET", "/film", UNUSED, headers=[f"{answer}: NTLM TlRMTVNTUAABAAAA"])
    talk.answer("200 OK", *DESCRIBED, body=header(asf))
    talk.play("/film", UNUSED, ID)
    talk.head("200 OK", *PLAYED).send(header(asf), *sender.packets(0, 999), end())
    return talk, sender


@pytest.mark.parametrize(("status", "name"), [(401, "WWW-Authenticate"), (407, "Proxy-Authenticate")])
def test_a_challenge_is_no_failure_once_it_is_met(asf, case_of, status, name):
    talk, sender = challenged(asf, status, name)
    case = case_of(talk)
    assert rows(case, "sessions")[0]["outcome"] == "completed"
    assert faithful_files(case) == [sender.faithful()]
    (asked,) = details(case, "HttpChallenge")
    assert (asked["schemes"], asked["realms"]) == (["NTLM", "Digest"], ["a, Basic b"])
    assert asked["by"] == ("server" if status == 401 else "proxy")
    assert details(case, "HttpCredentials")[0]["scheme"] == "NTLM"


def test_a_challenge_that_nobody_meets(asf, case_of):
    case = case_of(challenged(asf, 401, "WWW-Authenticate")[0][:2])
    assert rows(case, "sessions")[0]["outcome"] == "failed: 401 Who"


def test_a_challenge_met_on_another_connection(asf, case_of):
    talk, sender = challenged(asf, 401, "WWW-Authenticate")
    case = case_of(talk[:2], talk[2:])
    assert [s["outcome"] for s in rows(case, "sessions")] == ["completed"]
    assert faithful_files(case) == [sender.faithful()]


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "305 Use Proxy", "307 Elsewhere"])
def test_redirects(case_of, status):
    talk = Talk().ask("GET", "/film", UNUSED).answer(status, "Location: http://198.51.100.7/film")
    case = case_of(talk)
    assert rows(case, "sessions")[0]["outcome"] == "redirected"
    (told,) = details(case, "HttpRedirect")
    assert told["location"] == "http://198.51.100.7/film"
    (row,) = rows(case, "redirectors")
    assert (row["kind"], row["target"]) == (f"http {status[:3]}", "http://198.51.100.7/film")
    assert row["carried_by"] == "c001-s0001"
    assert rows(case, "viewings") == []


def test_a_log_that_is_sent_elsewhere_sends_no_session_there(asf, case_of):
    talks, _ = unpipelined(asf)
    talks[-1] = Talk(talks[-1][:1]).answer("302 Found", "Location: http://198.51.100.7/log")
    case = case_of(*talks[:2], talks[-1])
    assert rows(case, "sessions")[0]["outcome"] == "stopped by client"
    assert [r["target"] for r in rows(case, "redirectors")] == ["http://198.51.100.7/log"]


def test_a_refused_log_fails_nothing(asf, case_of):
    talks, _ = unpipelined(asf)
    talks[-1] = Talk(talks[-1][:1]).answer("500 Internal Server Error")
    case = case_of(*talks[:2], talks[-1])
    assert rows(case, "sessions")[0]["outcome"] == "stopped by client"


def test_through_a_proxy_and_a_tunnel(asf, case_of):
    """Absolute URIs, Via, the cache's own requests; and a CONNECT behind which HTTP goes on."""
    sender, cache = Sender(asf), "WMCacheProxy/9.0.0.3177"
    ask = {"agent": cache, "headers": [f"Via: HTTP/1.1 WMCacheProxy ({cache})", "Max-Forwards: 9"]}
    url = "http://content.example.net/film.asf?WMCache=0"
    talk = Talk()
    talk.append(("c", b"CONNECT content.example.net:80 HTTP/1.0\r\nUser-Agent: NSPlayer/9.0.0.2980\r\n\r\n"))
    talk.append(("s", b"HTTP/1.0 200 Connection established\r\n\r\n"))
    info = [*ask["headers"], "Content-Type: application/x-wms-getcontentinfo"]
    talk.ask("POST", url, agent=cache, headers=info, body=b"\0")
    talk.answer("200 OK", "Cache-Control: no-cache, x-wms-content-size=2139795, max-age=86399, proxy-public")
    talk.ask("GET", url, UNUSED, 'proxy-client-agent="NSPlayer/9.0.0.0"', **ask)
    talk.answer("200 OK", *DESCRIBED, body=header(asf))
    talk.play(url, UNUSED, ID, **ask)
    talk.head("200 OK", *PLAYED).send(header(asf), *sender.packets(0, 999), end())
    case = case_of(talk, port=3128)
    (played,) = rows(case, "sessions")
    assert (played["url"], played["outcome"]) == (
        "mmsh://content.example.net/film.asf?WMCache=0",
        "completed",
    )
    assert faithful_files(case) == [sender.faithful()]
    asked = {d["request"]: d for d in details(case, "HttpRequest")}
    assert asked["Describe"]["pragma"]["proxy-client-agent"] == "NSPlayer/9.0.0.0"
    assert asked[""]["method"] == "CONNECT"
    assert asked["Play"]["via"].startswith("HTTP/1.1 WMCacheProxy")
    told = next(d for d in details(case, "HttpResponse") if d["request"] == "GetContentInfo")
    assert told["cache_control"] == {
        "no-cache": True,
        "x-wms-content-size": 2139795,
        "max-age": 86399,
        "proxy-public": True,
    }
    assert not {"Malformed", "Gap"} & set(events(case))


def test_content_from_a_cache_and_its_event(asf, case_of):
    """A cache that plays what it holds tells the origin with SendEvent [2.2.2.9, 2.2.5]."""
    talk = Talk().ask(
        "POST",
        "/film.asf",
        agent="WMCacheProxy/9.0.0.3177",
        headers=["Content-Type: application/x-wms-sendevent"],
        body=b"1\r\n1,28,0\r\n",
    )
    case = case_of(talk.answer("204 No Content"))
    assert kinds(case) == ["SendEvent"]
    assert rows(case, "sessions")[0]["outcome"] == "no content opened"
    assert rows(case, "media") == []


def test_a_server_pulls_from_an_encoder(asf, case_of):
    """Pull distribution, after MS-WMSP 4.11: no length and no end is announced; it is joined late."""
    sender, pull = Sender(asf, sequence=9), {"agent": "NSServer/9.0.0.3171", "version": "1.0"}
    pull["guid"] = "{00000000-0000-0000-0000-000000000000}"
    talk = Talk().ask("GET", "/", UNUSED, **pull)
    said = ("Pragma: client-id=1543854732", 'Pragma: features="broadcast,playlist"', "Connection: Keep-Alive")
    talk.answer("200 OK", *said, body=header(asf), version="1.0")
    burst = "LinkBW=2147483647, BurstBW=3500000, BurstDuration=5000"
    talk.play("/", UNUSED, "client-id=1543854732", burst, **pull)
    talk.head("200 OK", *said[:2], version="1.0").send(header(asf), *sender.packets(9, 20))
    case = case_of(talk, port=8080)
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["client_version"]) == ("mmsh", "NSServer/9.0.0.3171")
    assert faithful_files(case) == [sender.faithful()]
    assert details(case, "HttpResponse")[0]["pragma"]["features"] == ["broadcast", "playlist"]
    assert session["packets_missing"] == 0


def test_playlists_in_pipelined_mode(film, song, case_of):
    """$E with reason 1, $C, $M and $H; the player confirms with PlayNextEntry, skips with pl-offset."""
    one, two = AsfFile.read(film), AsfFile.read(song)
    first, second, third = Sender(one), Sender(two), Sender(one)
    talk = Talk().play("/list", "version11-enabled=1", UNUSED, ID, "playlist-seek-id=66")
    talk.head("200 OK", *CHUNKED).chunks(header(one), *first.packets(0, 999), end(1))
    second.sequence = first.sequence
    talk.chunks(change(), header(two), *second.packets(0, 10))
    next_entry = (
        "version11-enabled=1",
        ID,
        "xPlayNextEntry=1",
        "client-lag=0",
        "stream-switch-entry=ffff:1:0",
    )
    talk.ask("GET", "/list", *next_entry)
    talk.last_chunk().head("200 OK", *CHUNKED).chunks(*second.packets(10, 20))
    talk.ask("POST", "/list", ID, "xStopStrm=1").last_chunk().answer("200 OK")
    third.sequence = second.sequence
    talk.play("/list", f"pl-offset=-1,{UNUSED}", ID, "playlist-seek-id=67", "version11-enabled=1")
    back = 0x400D14BE
    talk.head("200 OK", *CHUNKED).chunks(
        change(back), header(one), *third.packets(0, 999), end()
    ).last_chunk()
    case = case_of(talk)
    assert faithful_files(case) == [s.faithful() for s in (first, second, third)]
    assert len(rows(case, "sessions")) == 1
    assert rows(case, "sessions")[0]["packets_missing"] == 0
    meanings = [d["meaning"] for e in ("WmspStreamChange", "WmspEndOfStream") for d in details(case, e)]
    assert meanings[:2] == ["the next entry", "the previous entry"]
    assert meanings[2:] == ["this entry was sent, others follow", "all was sent"]
    assert details(case, "HttpRequest")[-1]["pragma"]["pl-offset"] == -1


def test_a_session_made_anew_for_an_old_player(asf, case_of):
    """xResetStrm for a client below 7.0: $H, $E with reason 1, $C, $H again [3.2.5.6]."""
    sender, old = Sender(asf), {"agent": "NSPlayer/6.4.7.1028", "version": "1.0"}
    talk = Talk().play("/film", UNUSED, "client-id=4711", "request-context=2", **old)
    talk.head("200 OK", "Pragma: no-cache, client-id=9, xResetStrm=1", version="1.0")
    talk.send(header(asf), end(1), change(), header(asf), *sender.packets(0, 999), end())
    case = case_of(talk)
    assert faithful_files(case) == [sender.faithful()]
    assert [m["kind"] for m in rows(case, "media") if m["kind"] == "header"] == []
    assert details(case, "HttpResponse")[0]["pragma"]["xResetStrm"] == 1


ENDS = {
    0x000D2F09: ("the beginning was reached going backwards", "completed"),
    0x80070005: ("access denied", "failed: access denied"),
    0xC00D001A: ("file not found", "failed: file not found"),
    0xC00DFFFF: ("0xC00DFFFF", "failed: 0xC00DFFFF"),
}


@pytest.mark.parametrize("reason", ENDS)
def test_reasons_of_an_end_are_named(asf, case_of, reason):
    talk = Talk().play("/film", UNUSED)
    talk.head("200 OK", *PLAYED).send(header(asf), *Sender(asf).packets(0, 5), end(reason))
    case = case_of(talk)
    meaning, outcome = ENDS[reason]
    assert details(case, "WmspEndOfStream")[0]["meaning"] == meaning
    assert rows(case, "sessions")[0]["outcome"] == outcome


@pytest.mark.parametrize("part", [60000, 50])
def test_metadata_whole_and_in_parts(asf, case_of, part):
    url = "C:\\wmpub\\wmroot\\a, b.wmv"
    text = 'playlist-gen-id=12, broadcast-id=3, features="seekable,stridable"\0' + content_description(
        ("language", 31, "en-us"),
        ("title", 31, "Été, 1"),
        ("WMS_CONTENT_DESCRIPTION_PLAYLIST_ENTRY_DURATION", 3, "2000"),
        ("WMS_CONTENT_DESCRIPTION_PLAYLIST_ENTRY_URL", 31, url),
    ).replace("5,title,31,7,", "5,title,31,8,")
    units = in_parts("M", text.encode(), part)
    talk = Talk().ask("GET", "/film", UNUSED)
    case = case_of(talk.answer("200 OK", *DESCRIBED, body=b"".join(units) + header(asf)))
    (told,) = details(case, "WmspMetadata")
    assert (told["playlist_gen_id"], told["broadcast_id"]) == (12, 3)
    assert told["features"] == ["seekable", "stridable"]
    (description,) = told["descriptions"]
    assert description["language"] == "en-us"
    values = {name: value for name, _, value in description["values"]}
    assert values["title"] == "Été, 1"
    assert values["WMS_CONTENT_DESCRIPTION_PLAYLIST_ENTRY_URL"] == url
    assert values["WMS_CONTENT_DESCRIPTION_PLAYLIST_ENTRY_DURATION"] == 2000


def test_frames_sent_at_once_are_counted(asf, case_of):
    """The B bit [2.2.3.1.1]."""
    units = Sender(asf).packets(0, 9)
    units[:4] = [bytes([unit[0] | 0x80]) + unit[1:] for unit in units[:4]]
    talk = Talk().play("/film", UNUSED)
    case = case_of(talk.head("200 OK", *PLAYED).send(header(asf), *units, end()))
    assert details(case, "HttpBodyEnd")[0]["packets_sent_at_once"] == 4
    assert rows(case, "sessions")[0]["packets_received"] == 9


def test_a_live_stream_has_no_end(asf, case_of):
    """The broadcast flag of the header [ASF 3.2]; the player leaves, packets are numbered from anywhere."""
    raw = bytearray(asf.header)
    at = bytes(raw).index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")) + 88
    struct.pack_into("<I", raw, at, 1)
    live = AsfFile(bytes(raw), asf.packet_size, asf.packets, asf.streams, 0.0, asf.bit_rate)
    sender = Sender(live, sequence=77)
    talk = Talk().play("/live", UNUSED)
    case = case_of(talk.head("200 OK", *PLAYED).send(header(live), *sender.packets(9, 19)))
    assert faithful_files(case) == [sender.faithful()]
    assert rows(case, "sessions")[0]["outcome"] == "stopped by client"
    assert "joined a live stream" in [v["reason"] for v in rows(case, "verdicts")]


def test_tshark_counts_as_many_requests(asf, case_of, program, tmp_path):
    talks, _ = unpipelined(asf)
    case = case_of(pipelined(asf)[0], *talks)
    command = [program("tshark"), "-r", str(tmp_path / "a.pcap"), "-Y", "http.request", "-T", "fields"]
    done = subprocess.run([*command, "-e", "http.request.method"], capture_output=True, text=True, check=True)
    theirs = [m for line in done.stdout.split() for m in line.split(",")]
    assert sorted(d["method"] for d in details(case, "HttpRequest")) == sorted(theirs)


@pytest.mark.parametrize("part", [60000, 100])
def test_a_header_whose_number_is_not_0(asf, case_of, part):
    """As VLC sends it to a listener that joins late: the LocationId of the next media packet."""
    sender = Sender(asf)
    parts = [
        bytes(p[:4]) + struct.pack("<I", 23 + n) + p[8:]
        for n, p in enumerate(in_parts("H", asf.header, part))
    ]
    talk = Talk().play("/live", UNUSED)
    case = case_of(talk.head("200 OK", *PLAYED).send(*parts, *sender.packets(23, 30)))
    assert faithful_files(case) == [sender.faithful()]


def redirecting(asf, url):
    """The file's header with one script command of type FILENAME [ASF 3.6] put behind its other objects."""

    def chars(text):
        return text.encode("utf-16-le")

    kind, command = chars("FILENAME"), chars(url + "\0")
    body = bytes.fromhex("e3cb1a4b0b10d011a39b00a0c90348f6") + struct.pack("<HH", 1, 1)
    body += struct.pack("<H", len(kind) // 2) + kind
    body += struct.pack("<IHH", 479, 0, len(command) // 2) + command
    item = bytes.fromhex("301afb1e620bd011a39b00a0c90348f6") + struct.pack("<Q", 24 + len(body)) + body
    size, count = struct.unpack_from("<QI", asf.header, 16)
    raw = bytearray(asf.header[:size] + item + asf.header[size:])
    struct.pack_into("<QI", raw, 16, size + len(item), count + 1)
    return bytes(raw)


def test_a_header_that_sends_an_old_player_elsewhere(asf, case_of):
    """Players below 7.0 do not know 302 [3.2.5.4]."""
    body = in_parts("H", redirecting(asf, "http://198.51.100.7/film"), 60000)[0]
    talk = Talk().ask("GET", "/film", UNUSED, agent="NSPlayer/6.4.7.1028", version="1.0")
    case = case_of(talk.answer("200 OK", *DESCRIBED, body=body, version="1.0"))
    assert rows(case, "sessions")[0]["outcome"] == "redirected"
    assert details(case, "HttpRedirect")[0]["location"] == "http://198.51.100.7/film"
    (row,) = rows(case, "redirectors")
    assert (row["kind"], row["target"]) == ("script filename", "http://198.51.100.7/film")


def test_what_a_client_and_its_proxy_accept(asf, case_of):
    said = (
        "X-Accept-Authentication: Negotiate, NTLM,Digest",
        "X-Accept-Proxy-Authentication: Basic",
        "X-Proxy-Client-Verb: DESCRIBE",
    )
    talk = Talk().ask("GET", "/film", UNUSED, headers=said)
    (told,) = details(case_of(talk.answer("404 Not Found")), "HttpRequest")
    assert told["accepts"] == ["Negotiate", "NTLM", "Digest"]
    assert (told["accepts_of_proxy"], told["client_verb"]) == (["Basic"], "DESCRIBE")


@pytest.mark.parametrize("mss", [1460, 61, 7])
def test_a_connection_that_stays_open_behind_an_unchunked_play(asf, analyzed, tmp_path, mss):
    """512 $E push the last packets through proxies [3.2.4.1]; then responses follow on the connection."""
    sender, ask = Sender(asf), {"version": "1.0", "headers": ["Connection: Keep-Alive"]}
    talk = Talk().play("/film", UNUSED, ID, **ask)
    talk.head("200 OK", *PLAYED, version="1.0").send(header(asf), *sender.packets(0, 9), end() * 512)
    talk.ask("POST", "/film", ID, "log-line=0.0.0.0 2003-09-27", **ask).answer(
        "204 No Content", version="1.0"
    )
    talk.play("/film", UNUSED, ID, **ask)
    talk.head("200 OK", *PLAYED, version="1.0").send(header(asf), *sender.packets(2, 999), end())
    path = write_conversations(tmp_path / "a.pcap", [talk], server=("192.0.2.10", 80), mss=mss)
    case = analyzed(path)
    assert faithful_files(case) == [sender.faithful()]
    assert [d["status"] for d in details(case, "HttpResponse")] == [200, 204, 200]
    assert [d["repeated"] for d in details(case, "WmspEndOfStream")] == [512, 1]
    assert not {"Malformed", "Gap"} & set(events(case))


HOSTILE = [
    b"http://[",
    b"*",
    b"\0",
    b"=",
    b",",
    b'"',
    b"{",
    b"$C\0\0",
    b"$E\4\0",
    b"0\r\n\r\n",
    b"HTTP/1.1 ",
    b"\r\n\r\n",
]


@pytest.mark.parametrize("seed", range(12))
def test_damaged_conversations_end_in_a_case(asf, analyzed, tmp_path, seed):
    """Bytes changed, left out, put in: heads, directives, framing and lengths of both directions."""
    dice = random.Random(seed)
    talks = [pipelined(asf)[0], *unpipelined(asf)[0], *pushed([asf, asf], PushOptions(length=20_000))[0]]
    hurt = []
    for talk in talks:
        told = []
        for side, data in talk:
            raw = bytearray(data)
            for _ in range(dice.choice([0, 0, 1, 3])):
                at = dice.randrange(min(len(raw), 900) or 1)
                change = dice.choice([bytes([dice.randrange(256)]), b"", dice.choice(HOSTILE)])
                raw[at : at + dice.randrange(4)] = change
            if raw and dice.random() > 0.03:
                told.append((side, bytes(raw)))
        hurt.append(told)
    path = write_conversations(tmp_path / "a.pcap", hurt, server=("192.0.2.10", 80), gap_ns=SECOND)
    case = analyzed(path)
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))


@pytest.mark.parametrize(
    "target", ["http://[::1/x", "http://]/", "*", "//", "http://", "/" + "a" * 5000, "/\x1b[31m"]
)
def test_targets_that_are_no_urls(case_of, target):
    case = case_of(Talk().ask("GET", target, UNUSED).answer("404 No"))
    assert rows(case, "sessions")[0]["outcome"].startswith("failed: 404")


def test_the_url_of_what_goes_through_a_tunnel(asf, case_of):
    """Host and port are the origin's, not the proxy's."""
    sender, talk = Sender(asf), Talk()
    talk.append(("c", b"CONNECT content.example.net:8080 HTTP/1.0\r\nUser-Agent: NSPlayer/9.0\r\n\r\n"))
    talk.append(("s", b"HTTP/1.0 200 Connection established\r\n\r\n"))
    talk.play("/film", UNUSED)
    talk.head("200 OK", *PLAYED).send(header(asf), *sender.packets(0, 999), end())
    case = case_of(talk, port=3128)
    (session,) = rows(case, "sessions")
    assert session["url"] == "mmsh://SampleServer:8080/film"
    assert faithful_files(case) == [sender.faithful()]


def test_a_tunnel_that_is_refused(case_of):
    talk = Talk([("c", b"CONNECT content.example.net:80 HTTP/1.0\r\nUser-Agent: NSPlayer/9.0\r\n\r\n")])
    case = case_of(talk.answer("407 Proxy Authentication Required", "Proxy-Authenticate: NTLM"), port=3128)
    (session,) = rows(case, "sessions")
    assert (session["outcome"], session["url"]) == (
        "failed: 407 Proxy Authentication Required",
        "mmsh://content.example.net:80/",
    )
    assert details(case, "HttpChallenge")[0]["by"] == "proxy"


def test_a_log_of_another_kind_that_is_refused(asf, case_of):
    """Posted to an extension of a web server [MS-WMLOG 2.3]: no request of MS-WMSP."""
    talk, sender = Talk(), Sender(asf)
    talk.play("/film", UNUSED)
    talk.head("200 OK", *CHUNKED).chunks(header(asf), *sender.packets(0, 5)).last_chunk()
    talk.ask("POST", "/film", body=b"MX_STATS_LogLine: 0.0.0.0").answer("404 Not Found")
    assert rows(case_of(talk), "sessions")[0]["outcome"] == "stopped by client"
