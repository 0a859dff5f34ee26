"""MMS sessions, from the server of the specification to the case: what was sent comes back, byte for byte."""

from __future__ import annotations

import json
import random
import struct

import pytest
from builders import write_pcap
from cases import events, faithful_files, rows
from peers.asf_file import faithful
from peers.media import demux
from peers.mmst_server import MmstOptions, MmstServer, data_packet, transcript
from peers.recorder import Recorder, frames_of, write_conversation, write_conversations

import mmsforensics
from mmsforensics.sessions.mms_session import url_host
from mmsforensics.streams.flow import Endpoint

ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")

OPTIONS = {
    "usual": MmstOptions(),
    "padded": MmstOptions(padding="keep"),
    "header in parts": MmstOptions(header_fragment=100),
    "several messages in a record": MmstOptions(combine=True),
    "ping, garbage in the record header, chunkCount of the specification": MmstOptions(
        ping_at=5, record_padding=0xFD, chunk_count="spec"
    ),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("mss", [1460, 97])
def test_what_the_server_sent_comes_back(film, analyzed, tmp_path, options, mss):
    conversation, (segment,) = transcript({"film.wmv": film}, options)
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation, mss=mss, merge=True))
    assert faithful_files(case) == [faithful(segment)]
    (session,) = rows(case, "sessions")
    assert (session["outcome"], session["transport"]) == ("completed", "mmst")
    assert session["url"] == "mms://media.example.com/film.wmv"
    assert session["packets_missing"] == session["gap_bytes"] == 0
    assert session["packets_received"] == len(segment.packets)
    assert not {"Malformed", "Gap"} & set(events(case))


def test_the_port_does_not_matter(song, analyzed, tmp_path):
    conversation, (segment,) = transcript({"song.wma": song})
    path = write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 443))
    case = analyzed(path)
    assert faithful_files(case) == [faithful(segment)]
    (session,) = rows(case, "sessions")
    assert (session["server_ip"], session["server_port"]) == ("192.0.2.10", 443)
    assert session["url"] == "mms://media.example.com:443/song.wma"


NAMED = {
    "::1": "[::1]",  # as FFmpeg and VLC write it
    "::1:45305": "[::1]:45305",
    "2001:db8::a:45305": "[2001:db8::a]:45305",  # no address as a whole
    "[::1]:45305": "[::1]:45305",
    "::1:80": "[::1:80]",  # not this server's port
    "media.example.com:45305": "media.example.com:45305",
    "a:b:c": "a:b:c",
    "": "",
}


@pytest.mark.parametrize("named", NAMED)
def test_an_address_that_a_player_names_gets_its_brackets(named):
    assert url_host(named, Endpoint(bytes(15) + b"\1", 45305)) == NAMED[named]


def test_a_url_with_an_address_of_ipv6(song, analyzed, tmp_path):
    conversation, _ = transcript({"song.wma": song}, host="2001:db8::10")
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation, server=("192.0.2.10", 443)))
    assert rows(case, "sessions")[0]["url"] == "mms://[2001:db8::10]:443/song.wma"


def test_a_seek_goes_on_in_the_same_medium_in_the_order_of_sending(film, analyzed, tmp_path):
    conversation, (first, second) = transcript({"film.wmv": film}, seek=(9, 3), late=2)
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation))
    sent = faithful(first) + faithful(second)[len(second.header) :]
    assert faithful_files(case) == [sent]
    (playable,) = rows(case, "media", kind="playable")
    numbers = [n for n, _ in first.packets] + [n for n, _ in second.packets]
    assert playable["packets"] == len(set(numbers)) < len(numbers)
    assert demux(case.path / playable["path"]) == demux(film)


def test_the_entries_of_a_playlist_are_one_medium_each(film, song, analyzed, tmp_path):
    conversation, segments = transcript({"list": [film, song, film]})
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation))
    assert faithful_files(case) == [faithful(s) for s in segments]
    assert [m["complete"] for m in rows(case, "media", kind="faithful")] == [True, True, True]
    assert events(case).count("ReportStreamChange") == 2


def test_streams_that_were_not_selected_leave_holes_that_are_no_loss(film, analyzed, tmp_path):
    conversation, (segment,) = transcript({"film.wmv": film}, streams=[2])
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation))
    assert faithful_files(case) == [faithful(segment)]
    assert rows(case, "sessions")[0]["packets_missing"] == 0


def test_a_file_that_is_not_there(film, analyzed, tmp_path):
    conversation, segments = transcript({"film.wmv": film}, name="other.wmv")
    assert segments == []
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation))
    (session,) = rows(case, "sessions")
    assert session["outcome"] == "failed: file not found"
    assert session["url"] == "mms://media.example.com/other.wmv"
    assert rows(case, "media") == []


def test_the_player_s_log_is_kept_field_by_field(song, analyzed, tmp_path):
    conversation, _ = transcript({"song.wma": song})
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation))
    (log,) = rows(case, "events", event="Logging")
    fields = json.loads(log["details"])["clientLog"]
    assert fields["szHostExe"] == "wmplayer.exe"
    assert fields["szTransport"] == "TCP"
    assert fields["qwClientVersion"] == 0x0009000000000BA4


def test_two_sessions_at_the_same_time_do_not_mix(film, song, analyzed, tmp_path):
    one, (first,) = transcript({"film.wmv": film}, guid="{11111111-1111-1111-1111-111111111111}")
    two, (second,) = transcript({"song.wma": song}, guid="{22222222-2222-2222-2222-222222222222}")
    case = analyzed(write_conversations(tmp_path / "a.pcap", [one, two]))
    assert faithful_files(case) in (
        [faithful(first), faithful(second)],
        [faithful(second), faithful(first)],
    )
    assert {s["player_guid"][1] for s in rows(case, "sessions")} == {"1", "2"}


def test_a_port_used_again_is_a_new_session(song, analyzed, tmp_path):
    conversation, (segment,) = transcript({"song.wma": song})
    frames = frames_of(conversation) + frames_of(conversation, start_ns=1_800_000_000_000_000_000)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames))
    assert faithful_files(case) == [faithful(segment)] * 2
    assert len(rows(case, "sessions")) == 2


@pytest.mark.parametrize("seed", range(6))
def test_disorder_and_duplicates_change_nothing(film, analyzed, tmp_path, seed):
    conversation, (segment,) = transcript({"film.wmv": film})
    frames = frames_of(conversation)
    rng = random.Random(seed)
    copies = [i for i in range(len(frames)) for _ in range(rng.choice((1, 1, 2)))]
    moved = sorted(copies, key=lambda i: i + rng.uniform(0, 12))
    stamps = sorted(frames[i][1] for i in moved)
    path = write_pcap(tmp_path / "a.pcap", [(frames[i][0], ts) for i, ts in zip(moved, stamps, strict=True)])
    case = analyzed(path)
    assert faithful_files(case) == [faithful(segment)]
    assert "Gap" not in events(case)


@pytest.mark.parametrize("seed", range(8))
def test_lost_frames_cost_the_packets_they_held_and_no_others(film, analyzed, tmp_path, seed):
    conversation, (segment,) = transcript({"film.wmv": film})
    frames = frames_of(conversation)
    rng = random.Random(seed)
    media = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1000 and i > len(frames) // 4]
    lost = set(rng.sample(media, 2 + seed % 3))
    path = write_pcap(tmp_path / "a.pcap", [f for i, f in enumerate(frames) if i not in lost])
    case = analyzed(path)
    got = faithful_files(case)[0]
    size, header = segment.packet_size, len(segment.header)
    want = [payload.ljust(size, b"\0") for _, payload in segment.packets]
    have = [got[i : i + size] for i in range(header, len(got), size)]
    assert got[:header] == segment.header
    missing = [w for w in want if w not in have]
    assert have == [w for w in want if w in have], "what is there stands in order, whole"
    (session,) = rows(case, "sessions")
    assert 0 < len(missing) <= 3 * len(lost)
    assert session["packets_missing"] == len(missing)
    assert session["packets_received"] == len(have)
    assert not rows(case, "media", kind="faithful")[0]["complete"]
    assert session["gap_bytes"] > 0


@pytest.mark.parametrize("begin", [0.3, 0.6])
def test_a_capture_that_begins_in_the_middle_lists_the_packets_it_holds(film, analyzed, tmp_path, begin):
    conversation, (segment,) = transcript({"film.wmv": film})
    frames = frames_of(conversation)
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames[int(len(frames) * begin) :]))
    (session,) = rows(case, "sessions")
    packets = rows(case, "media_packets")
    numbers = [n for n, _ in segment.packets]
    assert [p["packet_number"] for p in packets] == numbers[-len(packets) :]
    assert len(packets) > (1 - begin) * len(numbers) * 0.7
    (medium,) = rows(case, "media")
    assert (medium["kind"], medium["packets"], medium["complete"]) == ("packets", len(packets), False)
    payloads = [payload for _, payload in segment.packets][-len(packets) :]
    assert (case.path / medium["path"]).read_bytes() == b"".join(payloads), "as they were on the wire"
    offsets = [sum(map(len, payloads[:i])) for i in range(len(payloads))]
    assert [(p["media_id"], p["file_offset"]) for p in packets] == [(medium["media_id"], o) for o in offsets]
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []
    assert "MediaWithoutHeader" in events(case)
    assert session["packets_received"] == len(packets)


@pytest.mark.parametrize("location", [0, 5])
def test_media_packets_that_begin_as_a_header_does_are_gone_through(film, analyzed, tmp_path, location):
    """The Header Object's GUID stands in a packet that is no part of a header, or of one that never ends."""
    conversation, (segment,) = transcript({"film.wmv": film})
    false = data_packet(location, 4, 7, ASF_HEADER + struct.pack("<Q", 1 << 62) + bytes(200))
    last = max(i for i, (side, _) in enumerate(conversation) if side == "s")
    conversation[last:last] = [("s", false * 3)]
    case = analyzed(write_conversation(tmp_path / "a.pcap", conversation))
    assert faithful_files(case)[0].startswith(faithful(segment)[: len(segment.header)])
    assert rows(case, "sessions")[0]["packets_received"] >= len(segment.packets)


def test_a_header_that_was_never_played_is_kept_by_itself(film, analyzed, tmp_path):
    conversation, (segment,) = transcript({"film.wmv": film})
    frames = frames_of(conversation)
    described = next(i for i, (frame, _) in enumerate(frames) if segment.header[-200:] in frame) + 1
    case = analyzed(write_pcap(tmp_path / "a.pcap", frames[:described]))
    (medium,) = rows(case, "media")
    assert (medium["kind"], medium["packets"], medium["complete"]) == ("header", 0, False)
    assert (medium["title"], medium["author"]) == ("Film", "Somebody")
    assert (case.path / medium["path"]).read_bytes() == segment.header
    assert {s["media_id"] for s in rows(case, "media_streams")} == {medium["media_id"]}
    assert rows(case, "sessions")[0]["outcome"] == "header only"
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


def test_a_header_that_is_played_later_leaves_no_row_of_its_own(film, analyzed, tmp_path):
    """The player asks for the file and its header twice, as some do, and plays the second time."""
    conversation, (segment,) = transcript({"film.wmv": film})
    opens = next(i for i, (side, data) in enumerate(conversation) if side == "c" and b"f\0i\0l\0m" in data)
    header = next(i for i, (side, data) in enumerate(conversation) if segment.header[-64:] in data) + 1
    twice = conversation[:header] + conversation[opens:]
    case = analyzed(write_conversation(tmp_path / "a.pcap", twice))
    assert faithful_files(case) == [faithful(segment)]
    assert "header" not in {m["kind"] for m in rows(case, "media")}
    assert events(case).count("AsfHeader") == 2


def test_a_capture_of_one_side_only(film, analyzed, tmp_path):
    conversation, (segment,) = transcript({"film.wmv": film})
    frames = frames_of(conversation)
    from_server = [f for f in frames if f[0][26:30] == bytes([192, 0, 2, 10])]
    case = analyzed(write_pcap(tmp_path / "a.pcap", from_server))
    assert faithful_files(case) == [faithful(segment)]
    (session,) = rows(case, "sessions")
    assert session["server_ip"] == "192.0.2.10"
    from_client = [f for f in frames if f not in from_server]
    case = analyzed(write_pcap(tmp_path / "b.pcap", from_client))
    (session,) = rows(case, "sessions")
    assert (session["client_ip"], session["packets_received"]) == ("192.0.2.20", 0)
    assert session["url"].endswith("/film.wmv")


def test_ffmpeg_plays_from_the_server_and_the_exchange_comes_back(film, analyzed, tmp_path):
    want = demux(film)
    with MmstServer({"film.wmv": film}) as server, Recorder(server.port, 1755) as recorder:
        played = demux(f"mmst://127.0.0.1:{recorder.port}/film.wmv", count=len(want), timeout=10)
        server.wait()
        recorder.wait()
        case = analyzed(recorder.write(tmp_path / "a.pcap"))
    assert played == want
    (segment,) = server.sent
    assert faithful_files(case) == [faithful(segment)]
    assert sorted(
        (e["direction"][0], json.loads(e["details"])["mid"])
        for e in rows(case, "events")
        if "mid" in e["details"]
    ) == sorted(server.commands)
