"""MMS over HTTP, from the server of the specification to the case."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from builders import read_pcap, write_pcap
from cases import events, faithful_files, rows
from conftest import SAMPLES
from peers.asf_file import faithful
from peers.media import demux
from peers.mmsh_server import MmshOptions, MmshServer, transcript, transcripts
from peers.recorder import Recorder, frames_of, write_conversation, write_conversations

import mmsforensics

OPTIONS = {
    "usual": MmshOptions(),
    "chunked": MmshOptions(chunked="always"),
    "tiny chunks": MmshOptions(chunked="always", chunk_limit=7),
    "header in parts": MmshOptions(header_fragment=100),
    "B bit": MmshOptions(b_bit=9),
    "repeated $E": MmshOptions(end_repeats=511),
    "octet-stream": MmshOptions(octet_stream=True, padding="keep", metadata=False),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("mss", [1460, 131])
def test_what_the_server_sent_comes_back(film, analyzed, tmp_path, options, mss):
    conversation, segments = transcript({"film.wmv": film}, options)
    path = write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 8080), mss=mss)
    case = analyzed(path)
    sent = [s for s in segments if s.packets]
    assert faithful_files(case) == [faithful(s) for s in sent]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("mmsh", "completed")
    assert session["packets_received"] == len(sent[0].packets)
    assert session["packets_missing"] == 0
    assert not {"Malformed", "Gap"} & set(events(case))


def test_packet_pairs_are_told_from_media(film, analyzed, tmp_path):
    conversation, segments = transcript({"film.wmv": film}, MmshOptions(packet_pair=True), packet_pair=True)
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80)))
    assert faithful_files(case) == [faithful(s) for s in segments if s.packets]
    assert events(case).count("WmspPacketPair") == 3
    assert "Malformed" not in events(case)


def test_describe_and_play_on_connections_of_their_own_are_one_session(film, analyzed, tmp_path):
    conversations, segments = transcripts({"film.wmv": film}, keep_alive=False)
    assert len(conversations) > 1
    path = write_conversations(
        tmp_path / "a.pcap", conversations, server=("192.0.2.10", 80), gap_ns=5_000_000_000
    )
    case = analyzed(path)
    assert faithful_files(case) == [faithful(s) for s in segments if s.packets]
    assert len(rows(case, "sessions")) == 1


REAL = SAMPLES / "mmsh_vlcserver_mplayer.pcap"
"""A server whose AFFlags do not count (all are 0), and that closes without an $E."""


def media_frames(found):
    """Positions of the full frames of the play connection, behind its header."""
    return [i for i, (frame, _) in enumerate(found) if len(frame) > 1000][2:]


@pytest.mark.parametrize("seed", range(6))
def test_loss_shows_in_the_locations_where_the_server_does_not_count(sample_case, analyzed, tmp_path, seed):
    found = read_pcap(REAL)
    lost = set(random.Random(seed).sample(media_frames(found)[:-4], 1 + seed))
    case = analyzed(write_pcap(tmp_path / "a.pcap", [f for i, f in enumerate(found) if i not in lost]))
    (whole,) = rows(sample_case, "sessions", transport="mmsh")
    (session,) = rows(case, "sessions")
    assert 0 < session["packets_missing"] <= 2 * len(lost)
    assert session["packets_received"] + session["packets_missing"] == whole["packets_received"]
    assert not rows(case, "media", kind="faithful")[0]["complete"]


def test_a_play_whose_first_packet_was_lost_keeps_its_header(analyzed, tmp_path):
    """The describing connection is over by then; its end must not close the medium."""
    found = read_pcap(REAL)
    first = media_frames(found)[0]
    case = analyzed(write_pcap(tmp_path / "a.pcap", [f for i, f in enumerate(found) if i != first]))
    (medium,) = rows(case, "media", kind="faithful")
    (session,) = rows(case, "sessions")
    assert medium["packets"] == session["packets_received"] == 43
    assert "MediaWithoutHeader" not in events(case)


def test_the_entries_of_a_playlist_are_one_medium_each(film, song, analyzed, tmp_path):
    conversation, segments = transcript({"list": [film, song]}, MmshOptions(chunked="always"))
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80)))
    assert faithful_files(case) == [faithful(s) for s in segments if s.packets]
    assert events(case).count("WmspStreamChange") == 1


def test_a_file_that_is_not_there(film, analyzed, tmp_path):
    conversation, _ = transcript({"film.wmv": film}, name="other.wmv")
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80)))
    (session,) = rows(case, "sessions")
    assert session["outcome"].startswith("failed: 404")
    assert rows(case, "media") == []


def test_what_the_player_reports_is_kept(film, analyzed, tmp_path):
    conversation, _ = transcript({"film.wmv": film}, MmshOptions(chunked="always"), log=True)
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80)))
    (log,) = rows(case, "events", event="HttpRequestBody")
    assert "<XML>" in json.loads(log["details"])["text"]


@pytest.mark.parametrize("chunked", ["never", "always"])
def test_ffmpeg_plays_from_the_server_and_the_exchange_comes_back(film, analyzed, tmp_path, chunked):
    options = MmshOptions(chunked=chunked)
    with MmshServer({"film.wmv": film}, options) as server, Recorder(server.port, 80) as recorder:
        played = demux(f"mmsh://127.0.0.1:{recorder.port}/film.wmv", timeout=10)
        server.wait()
        recorder.wait()
        case = analyzed(recorder.write(tmp_path / "a.pcap"))
    assert played == demux(film)
    sent = [s for s in server.sent if s.packets]
    assert faithful_files(case) == [faithful(s) for s in sent]
    assert len(rows(case, "sessions")) == 1


@pytest.mark.parametrize("share", [0.35, 0.6])
@pytest.mark.parametrize("limit", [None, 7, 1500, 100_000])
def test_a_body_whose_response_was_not_captured(film, tmp_path, limit, share):
    """Framing is found in the middle of a body, whole, in tiny chunks, in usual ones, in very large ones."""
    options = MmshOptions(chunked="never" if limit is None else "always", chunk_limit=limit or 1)
    conversation, segments = transcript({"film.wmv": film}, options, packet_pair=False)
    path = write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80), mss=1460)
    packets = rows(mmsforensics.analyze([path], out=tmp_path / "whole"), "media_packets")
    first = packets[int(len(packets) * share)]["first_frame"] + 1
    frames = read_pcap(Path(path))[first - 1 :]
    case = mmsforensics.analyze([write_pcap(tmp_path / "b.pcap", frames)], out=tmp_path / "part")
    found = rows(case, "media_packets")
    inside = [p["packet_number"] for p in packets if p["first_frame"] >= first]
    assert [p["packet_number"] for p in found] == inside
    (medium,) = rows(case, "media")
    sent = dict(next(s for s in segments if s.packets).packets)
    assert (case.path / medium["path"]).read_bytes() == b"".join(sent[n] for n in inside)


def test_a_response_lost_in_a_hole(film, analyzed, tmp_path):
    """The SYN was captured, the head of the Play response was not, and an answer follows the media."""
    conversation, segments = transcript({"film.wmv": film})
    frames = read_pcap(Path(write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 80))))
    heads = [i for i, (frame, _) in enumerate(frames) if frame[54:59] == b"HTTP/"]
    play = next(i for i in heads if b"x-mms-framed" in frames[i][0])
    case = analyzed(write_pcap(tmp_path / "b.pcap", frames[:play] + frames[play + 1 :]))
    numbers = [n for n, _ in next(s for s in segments if s.packets).packets]
    found = [p["packet_number"] for p in rows(case, "media_packets")]
    assert found == numbers[-len(found) :]
    assert len(found) >= len(numbers) - 2
    assert events(case).count("HttpResponse") == len(heads) - 1


def test_one_side_whose_first_segment_was_lost_is_recognised(song, tmp_path):
    """Its SYN was captured, its beginning was not, and nobody else says what it is."""
    conversation, _ = transcript({"song.wma": song}, MmshOptions())
    frames = frames_of(conversation, server=("192.0.2.10", 80))
    server = [f for f in frames if f[0][26:30] == bytes([192, 0, 2, 10])]
    del server[1]
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", server)], out=tmp_path / "case")
    assert {r["transport"] for r in rows(case, "sessions")} == {"mmsh"}
