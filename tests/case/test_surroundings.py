"""Redirectors and the sessions they led to; the attempts of one viewing as one story."""

import gzip
import itertools
import json

import pytest
from builders import ACK, RST, SYN, tcp_frame, write_pcap
from cases import rows
from hypothesis import given
from hypothesis import strategies as st
from peers.media import make_asf
from peers.mms_client import Script
from peers.mms_client import frames as mms_frames
from peers.mms_server import MmsOptions
from peers.mmsh_server import transcript as mmsh_transcript
from peers.mmst_server import transcript as mmst_transcript
from peers.recorder import START, frames_of

import mmsforensics
from mmsforensics.case.redirecting import BY_CONTENT, BY_PATH, BY_TARGET
from mmsforensics.case.viewings import Watched, group

SECOND = 10**9
CLIENT, SERVER, WEB = "192.0.2.20", "192.0.2.10", "192.0.2.80"
ASX = (
    b'<ASX version=3.0><Title>News<Entry><Ref href="mms://media.example.com/song.wma">'
    b'<Ref href="http://media.example.com/song.wma"></Entry></ASX>'
)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "song.wma"
    return make_asf(path, seconds=1, video=False, packet_size=508)


def page(body, *, at=0, target=b"/list.asx", status=b"200 OK", headers=b"", port=40001):
    """A request for a text and its answer, as frames."""
    answer = b"HTTP/1.1 " + status + b"\r\n" + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body
    conversation = [("c", b"GET " + target + b" HTTP/1.1\r\nHost: www.example.com\r\n\r\n"), ("s", answer)]
    return frames_of(conversation, client=(CLIENT, port), server=(WEB, 80), start_ns=START + at * SECOND)


def mmst(song, *, at, port=40100, client=CLIENT):
    conversation, _ = mmst_transcript({"song.wma": song})
    return frames_of(
        conversation, client=(client, port), server=(SERVER, 1755), start_ns=START + int(at * SECOND)
    )


def mmsh(song, *, at, port=40200, target=None):
    conversation, _ = mmsh_transcript({"song.wma": song})
    return frames_of(
        conversation, client=(CLIENT, port), server=(SERVER, 80), start_ns=START + int(at * SECOND)
    )


def refused(*, at, server_port, port, answer=True):
    """A SYN, three times without an answer, or once with a reset."""
    now = START + int(at * SECOND)
    syn = tcp_frame(CLIENT, SERVER, port, server_port, 1000, 0, SYN)
    if not answer:
        return [(syn, now + n * SECOND) for n in (0, 3, 9)]
    return [(syn, now), (tcp_frame(SERVER, CLIENT, server_port, port, 0, 1001, RST | ACK), now + 1000)]


@pytest.fixture
def analyzed(tmp_path):
    def analyze(*frames, beside=()):
        path = write_pcap(tmp_path / "a.pcap", sorted(itertools.chain(*frames), key=lambda f: f[1]))
        return mmsforensics.analyze([path, *beside], out=tmp_path / "case")

    return analyze


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_redirector_and_the_session_it_led_to(song, analyzed, coding):
    body, headers = (gzip.compress(ASX), b"Content-Encoding: gzip\r\n") if coding else (ASX, b"")
    case = analyzed(page(body, headers=headers), mmst(song, at=2))
    first, second = rows(case, "redirectors")
    (session,) = rows(case, "sessions")
    assert (first["kind"], first["title"], first["target"]) == (
        "asx",
        "News",
        "mms://media.example.com/song.wma",
    )
    assert (first["session_id"], first["joined_by"]) == (session["session_id"], BY_TARGET)
    assert (second["alternative"], second["session_id"]) == (2, None)
    assert (first["url"], first["client_ip"], first["whole"]) == (
        "http://www.example.com/list.asx",
        CLIENT,
        True,
    )
    (viewing,) = rows(case, "viewings")
    assert viewing["redirector_url"] == first["url"]
    assert viewing["redirector_frame"] == first["frame"]


def test_a_player_that_fetches_a_redirector_has_viewed_nothing_yet(song, analyzed):
    asked = b"GET /list.asx HTTP/1.0\r\nUser-Agent: NSPlayer/9.0.0.2980\r\nHost: www.example.com\r\n\r\n"
    answer = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ASX) + ASX
    fetch = frames_of([("c", asked), ("s", answer)], client=(CLIENT, 40001), server=(WEB, 80), start_ns=START)
    case = analyzed(fetch, mmst(song, at=2))
    carrier, session = rows(case, "sessions")
    assert carrier["outcome"] == "redirected"
    (row, _) = rows(case, "redirectors")
    assert (row["carried_by"], row["session_id"]) == (carrier["session_id"], session["session_id"])
    assert [v["session_ids"] for v in rows(case, "viewings")] == [[session["session_id"]]]


def test_another_client_and_a_session_much_later_were_not_led_there(song, analyzed):
    case = analyzed(page(ASX), mmst(song, at=2, client="192.0.2.21"), mmst(song, at=120, port=40300))
    assert {r["session_id"] for r in rows(case, "redirectors")} == {None}
    assert len(rows(case, "viewings")) == 2


def test_a_playlist_goes_on_where_an_entry_has_ended(song, analyzed):
    twice = b"<asx>" + 2 * b"<entry><ref href='mms://media.example.com/song.wma'></entry>" + b"</asx>"
    case = analyzed(page(twice), mmst(song, at=55), mmst(song, at=110, port=40101))
    led = [(r["entry"], r["session_id"] is not None) for r in rows(case, "redirectors")]
    assert led == [(1, True), (2, True)]
    assert len(rows(case, "viewings")) == 2


def test_a_host_known_by_its_address_alone_is_joined_by_the_path(song, analyzed):
    case = analyzed(page(ASX.replace(b"media.example.com", b"192.0.2.10")), mmst(song, at=2))
    (joined, _) = rows(case, "redirectors")
    assert joined["joined_by"] == BY_PATH


def test_a_chain_of_a_response_and_a_redirector(song, analyzed):
    moved = page(b"", target=b"/now", status=b"302 Found", headers=b"Location: /list.asx\r\n", port=40000)
    other = page(b"", target=b"/x", status=b"302 Found", headers=b"Location: /nsplayer\r\n", port=40002)
    case = analyzed(moved, other, page(ASX, at=1), mmst(song, at=2))
    found = rows(case, "redirectors")
    assert [r["kind"] for r in found] == ["http 302", "asx", "asx"]
    assert found[0]["target"] == found[1]["url"]
    assert "http://www.example.com/nsplayer" not in {r["target"] for r in found}, (
        "an ordinary redirect is none"
    )


def test_a_response_that_sends_the_player_to_a_stream(song, analyzed):
    moved = page(
        b"", target=b"/song", status=b"302 Found", headers=b"Location: mms://media.example.com/song.wma\r\n"
    )
    case = analyzed(moved, mmst(song, at=2))
    (row,) = rows(case, "redirectors")
    (session,) = rows(case, "sessions")
    assert (row["kind"], row["session_id"]) == ("http 302", session["session_id"])


def test_a_server_of_mms_sends_the_player_to_another(song, analyzed):
    elsewhere = MmsOptions(redirect=(1, "mms://media.example.com/song.wma"))
    script = Script({"song.wma": song}, elsewhere, host="old.example.com")
    script.connect()
    script.open_file("song.wma")
    case = analyzed(mms_frames(script), mmst(song, at=2))
    sent, played = rows(case, "sessions")
    (row,) = rows(case, "redirectors")
    assert (row["kind"], row["joined_by"]) == ("mms redirect", BY_TARGET)
    assert (row["carried_by"], row["session_id"]) == (sent["session_id"], played["session_id"])
    assert row["url"] == sent["url"] == "mms://old.example.com/song.wma"
    assert [v["session_ids"] for v in rows(case, "viewings")] == [[played["session_id"]]]


@pytest.mark.parametrize("show", [False, True])
def test_passwords_in_addresses_are_masked(song, tmp_path, show):
    body = ASX.replace(b"mms://", b"mms://anna:hunter2@")
    frames = sorted(page(body) + mmst(song, at=2), key=lambda f: f[1])
    path = write_pcap(tmp_path / "a.pcap", frames)
    case = mmsforensics.analyze([path], out=tmp_path / "case", show_secrets=show)
    first, _ = rows(case, "redirectors")
    password = "hunter2" if show else "********"
    assert first["href"] == first["target"] == f"mms://anna:{password}@media.example.com/song.wma"
    assert first["session_id"] == "c001-s0001"


def test_redirectors_given_as_files(song, analyzed, tmp_path):
    (tmp_path / "saved.asx").write_bytes(ASX)
    (tmp_path / "ref.asf").write_bytes(b"[Reference]\r\nRef1=http://elsewhere.example.com/x\r\n")
    case = analyzed(mmst(song, at=0), beside=[tmp_path / "saved.asx", tmp_path / "ref.asf"])
    (session,) = rows(case, "sessions")
    found = rows(case, "redirectors")
    assert {r["frame"] for r in found} == {None}
    by_target = {r["target"]: (r["capture_id"], r["session_id"], r["joined_by"]) for r in found}
    assert by_target["mms://media.example.com/song.wma"] == ("c002", session["session_id"], BY_CONTENT)
    assert by_target["http://elsewhere.example.com/x"] == ("c003", None, None)


def test_a_player_rolls_over_from_rtsp_to_mms_to_http(song, analyzed):
    """RTSP refused, MMS unanswered, then MMS over HTTP plays: one viewing."""
    case = analyzed(
        page(ASX),
        refused(at=1, server_port=554, port=41000),
        refused(at=2, server_port=1755, port=41001, answer=False),
        mmsh(song, at=15),
    )
    (viewing,) = rows(case, "viewings")
    (session,) = rows(case, "sessions")
    assert viewing["transports"] == ["rtsp", "mmst", "mmsh"]
    assert viewing["failures"] == [f"rtsp {SERVER} port 554: refused", f"mmst {SERVER} port 1755: no answer"]
    assert (viewing["transport"], viewing["session_id"]) == ("mmsh", session["session_id"])
    assert viewing["content"] == "media.example.com/song.wma"
    assert viewing["media_bytes"] == session["media_bytes"] > 0
    assert viewing["first_ts"] < session["start_ts"]
    told = json.loads(viewing["attempts"])
    assert [a.get("transport_inferred", False) for a in told] == [True, True, False]


def test_a_session_that_failed_and_the_one_that_played_are_one_viewing(song, analyzed):
    failed, _ = mmst_transcript({}, name="song.wma")
    frames = frames_of(failed, client=(CLIENT, 40050), server=(SERVER, 1755), start_ns=START)
    case = analyzed(frames, mmsh(song, at=3))
    (viewing,) = rows(case, "viewings")
    assert viewing["transports"] == ["mmst", "mmsh"]
    assert viewing["transport"] == "mmsh"
    assert len(viewing["session_ids"]) == 2
    assert viewing["failures"][0].startswith(f"mmst {SERVER} port 1755: failed")


def test_two_viewings_of_one_content_are_two(song, analyzed):
    case = analyzed(mmst(song, at=0), mmst(song, at=10, port=40101))
    assert [v["transport"] for v in rows(case, "viewings")] == ["mmst", "mmst"]


def test_a_scan_is_no_viewing(analyzed):
    case = analyzed(refused(at=0, server_port=554, port=41000), refused(at=0, server_port=1755, port=41001))
    assert rows(case, "viewings") == rows(case, "sessions") == []


WATCHED = st.builds(
    Watched,
    session_id=st.uuids().map(str),
    transport=st.sampled_from(["mmst", "mmsh", "rtsp", "carved", "msb"]),
    client_ip=st.sampled_from([b"\1\2\3\4", b"\1\2\3\5"]),
    server_ip=st.just(b"\1\2\3\6"),
    server_port=st.just(80),
    url=st.sampled_from(["mms://h/a", "http://h/a", "mms://1.2.3.6/a", "http://h/b", "", "http://[/"]),
    start_ts=st.integers(0, 200).map(lambda s: s * SECOND),
    end_ts=st.integers(200, 300).map(lambda s: s * SECOND),
    outcome=st.sampled_from(["completed", "reset", "failed: 404"]),
    media_bytes=st.just(0),
    packets_received=st.integers(0, 2),
    packets_missing=st.just(0),
    capture_id=st.just("c001"),
    frame=st.just(1),
)


@given(st.lists(WATCHED, max_size=12))
def test_every_session_that_is_a_viewing_s_stands_in_one(sessions):
    viewings = group(sessions, [], {})
    told = [s.session_id for v in viewings for s in v.sessions]
    assert sorted(told) == sorted(s.session_id for s in sessions if s.transport not in ("carved", "msb"))
    for viewing in viewings:
        assert len({s.client_ip for s in viewing.sessions}) == 1
        assert [s.start_ts for s in viewing.sessions] == sorted(s.start_ts for s in viewing.sessions)
