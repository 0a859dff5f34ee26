"""The loss map: on captures with frames dropped it names exactly the packets that are not there."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from builders import ethernet, ipv4, read_pcap, write_pcap
from cases import rows
from conftest import SAMPLES

import mmsforensics
from mmsforensics.asf import parse_header, restore_padding, walk_payloads

CAPTURES = sorted(json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8")))
ONE_PERCENT = 0.01


def runs_of(case):
    """The rows of `loss`, one for each run."""
    return list({(r["media_id"], r["run"]): r for r in rows(case, "loss")}.values())


def named(case):
    """How often each packet number is named."""
    found = Counter()
    for run in runs_of(case):
        found.update(range(run["first_packet"], run["last_packet"] + 1))
    return found


def numbers(case):
    return [p["packet_number"] for p in rows(case, "media_packets")]


def analyzed(tmp_path, frames):
    return mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Each sample undamaged: its frames, its case, and the last frame with a part of the header."""
    found = {}
    for capture in CAPTURES:
        case = mmsforensics.analyze([SAMPLES / capture], out=tmp_path_factory.mktemp("whole") / "case")
        (medium,) = rows(case, "media", kind="faithful")
        origins = rows(case, "provenance", media_id=medium["media_id"])
        first = rows(case, "media_packets")[0]["file_offset"]
        header = max(o["frame"] for o in origins if o["file_offset"] < first)
        found[capture] = read_pcap(SAMPLES / capture), case, header
    return found


def dropped(whole, capture, seed, share=ONE_PERCENT):
    """Frames with some behind the header dropped; of a live stream, which has no stated bounds, none of its
    first and last packet."""
    frames, case, header = whole[capture]
    packets = rows(case, "media_packets")
    low, high = header, len(frames)
    if "vlcserver" in capture:
        low, high = packets[0]["frame"], packets[-1]["first_frame"] - 1
    rng = random.Random(seed)
    lost = {i for i in range(low, high) if rng.random() < share}
    return [f for i, f in enumerate(frames) if i not in lost]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("capture", CAPTURES)
def test_the_packets_named_are_the_ones_missing(whole, tmp_path, capture, seed):
    case = analyzed(tmp_path, dropped(whole, capture, seed, ONE_PERCENT * (1 + 2 * seed)))
    missing = set(numbers(whole[capture][1])) - set(numbers(case))
    assert named(case) == dict.fromkeys(missing, 1)
    counted = sum(r["packets"] for r in runs_of(case) if r["reason"] not in ("declared", "not reached"))
    assert counted == rows(case, "media", kind="faithful")[0]["packets_missing"]
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


def test_a_clean_capture_has_no_loss(sample_case):
    assert sample_case.table("loss").num_rows == 0


# --- what was saved ------------------------------------------------------------------------------------


def payloads_of(case, medium):
    """Every payload of a file's packets, by packet number where the file is the faithful one."""
    path = case.path / medium["path"]
    data = path.read_bytes()
    header = parse_header(data)
    size, begin = header.packet_size, header.size + 50
    count = medium["packets"]
    packets = np.frombuffer(data[begin : begin + count * size], dtype=np.uint8).copy()
    sizes = np.full(count, size, dtype=np.int64)
    if medium["kind"] == "faithful":
        sizes = np.array([p["size"] for p in rows(case, "media_packets")], dtype=np.int64)
    restore_padding(packets, size, sizes)
    heads, found = walk_payloads(packets, size)
    assert heads["ok"].all()
    names = ("stream", "object_number", "object_offset", "presentation_ms")
    return [
        (*(int(p[n]) for n in names), packets[b : b + int(p["length"])].tobytes())
        for p in found
        for b in [int(p["packet"]) * size + int(p["at"])]
    ]


@pytest.mark.parametrize("capture", ["mmst_ffmpeg_video.pcap", "http_curl_whole.pcap"])
def test_the_playable_file_has_the_payloads_seen_and_plays(whole, tmp_path, capture, program):
    """All those of whole packets, and those saved: in their order, and nothing that was not sent."""
    case = analyzed(tmp_path, dropped(whole, capture, 1, 3 * ONE_PERCENT))
    faithful, playable = rows(case, "media")
    (original,) = rows(whole[capture][1], "media", kind="faithful")
    sent = payloads_of(whole[capture][1], original)
    kept, played = payloads_of(case, faithful), payloads_of(case, playable)
    assert [p for p in sent if p in set(played)] == played
    assert set(kept) < set(played)
    saved = sum(r["payloads_recovered"] for r in runs_of(case))
    assert len(played) - len(kept) == saved > 0
    done = subprocess.run(
        [program("ffprobe"), "-v", "error", "-count_packets", "-show_streams", case.path / playable["path"]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "codec_name=" in done.stdout
    done = subprocess.run(
        [program("ffmpeg"), "-v", "fatal", "-i", case.path / playable["path"], "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_bytes_saved_come_from_the_frames_that_provenance_names(whole, tmp_path):
    case = analyzed(tmp_path, dropped(whole, "mmst_ffmpeg_video.pcap", 1, 3 * ONE_PERCENT))
    playable = rows(case, "media", kind="playable")[0]
    frames = read_pcap(tmp_path / "a.pcap")
    data = (case.path / playable["path"]).read_bytes()
    for piece in rows(case, "provenance", media_id=playable["media_id"], kind="captured"):
        begin, length = piece["frame_offset"], piece["length"]
        frame = frames[piece["frame"] - 1][0]
        assert frame[begin : begin + length] == data[piece["file_offset"] :][:length]


# --- when ----------------------------------------------------------------------------------------------


def test_the_times_are_those_of_the_payloads_around(whole, tmp_path):
    case = analyzed(tmp_path, dropped(whole, "mmst_ffmpeg_video.pcap", 2, 3 * ONE_PERCENT))
    faithful = rows(case, "media", kind="faithful")[0]
    data = (case.path / faithful["path"]).read_bytes()
    header = parse_header(data)
    size = header.packet_size
    packets = rows(case, "media_packets")
    body = np.frombuffer(data[header.size + 50 :], dtype=np.uint8).copy()
    restore_padding(body, size, np.array([p["size"] for p in packets], dtype=np.int64))
    _, payloads = walk_payloads(body, size)
    streams = {s["stream_number"] for s in rows(case, "media_streams", media_id=faithful["media_id"])}
    for run in runs_of(case):
        mine = rows(case, "loss", run=run["run"])
        assert {r["stream_number"] for r in mine} == streams
        for row in mine:
            own = payloads[payloads["stream"] == row["stream_number"]]
            place = np.array([packets[i]["packet_number"] for i in own["packet"]])
            times = own["presentation_ms"].astype(np.int64) - header.preroll_ms
            before, behind = times[place < run["first_packet"]], times[place > run["last_packet"]]
            assert row["start_ms"] == (before[-1] if len(before) else None)
            assert row["end_ms"] == (behind[0] if len(behind) else None)


# --- why -----------------------------------------------------------------------------------------------


def test_a_hole_in_one_packet_leaves_it_hurt(whole, tmp_path):
    """One frame in the middle of a packet of 3200 bytes that no other packet has a part of."""
    frames, case, _ = whole["mmst_ffmpeg_video.pcap"]
    packet = next(p for p in rows(case, "media_packets")[20:] if p["frame"] - p["first_frame"] >= 2)
    middle = packet["first_frame"]  # 0-based: the frame behind the first one
    case = analyzed(tmp_path, [f for i, f in enumerate(frames) if i != middle])
    (run,) = runs_of(case)
    assert (run["first_packet"], run["last_packet"], run["packets"]) == (packet["packet_number"],) * 2 + (1,)
    assert (run["reason"], run["inferred"], run["packets_hurt"]) == ("hurt", False, 1)
    assert 0 < run["bytes_seen"] < packet["size"]
    assert run["bytes_recovered"] <= run["bytes_seen"]
    assert run["frame"] is not None


def test_datagrams_cut_by_the_snapshot_length(whole, tmp_path):
    frames, case, _ = whole["mmsu_vlc_small.pcap"]
    cut = {p["frame"] - 1: p["packet_number"] for p in rows(case, "media_packets")[50:52]}
    path = Path(write_pcap(tmp_path / "a.pcap", frames))
    raw, out, at = path.read_bytes(), bytearray(path.read_bytes()[:24]), 24
    for i in range(len(frames)):
        size = int.from_bytes(raw[at + 8 : at + 12], "little")
        kept = 400 if i in cut else size
        out += raw[at : at + 8] + kept.to_bytes(4, "little") + raw[at + 12 : at + 16 + kept]
        at += 16 + size
    path.write_bytes(out)
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    (run,) = runs_of(case)
    assert (run["reason"], run["packets"]) == ("datagram cut", 2)
    assert named(case) == dict.fromkeys(cut.values(), 1)


def test_a_datagram_with_a_missing_fragment(whole, tmp_path):
    """The bytes up to the hole are seen; the datagram counts as cut."""
    frames, case, _ = whole["mmsu_vlc_small.pcap"]
    packet = rows(case, "media_packets")[60]
    frame, ts = frames[packet["frame"] - 1]
    src, dst = (".".join(str(b) for b in frame[at : at + 4]) for at in (26, 30))
    header = 14 + 4 * (frame[14] & 15)
    datagram = frame[header : header + int.from_bytes(frame[header + 4 : header + 6], "big")]
    parts = [
        (ethernet(ipv4(src, dst, 17, datagram[a : a + 480], ip_id=7, fragment=a // 8 | more << 13)), ts)
        for a in range(0, len(datagram), 480)
        for more in [a + 480 < len(datagram)]
    ]
    i = packet["frame"] - 1
    case = analyzed(tmp_path, [*frames[:i], parts[0], *parts[2:], *frames[i + 1 :]])
    (run,) = runs_of(case)
    assert named(case) == {packet["packet_number"]: 1}
    assert (run["reason"], run["packets_hurt"]) == ("datagram cut", 1)
    assert run["bytes_seen"] == 480 - 16


def test_a_hurt_packet_right_behind_the_last_whole_one_is_rebuilt(whole, tmp_path):
    """The two lie beside each other in the playable file, and in two files where they come from."""
    frames, case, _ = whole["mmst_ffmpeg_video.pcap"]
    packets = rows(case, "media_packets")
    last = next(p for p in reversed(packets) if p["frame"] - p["first_frame"] >= 2)
    behind = {p["frame"] - 1 for p in packets if p["packet_number"] > last["packet_number"]}
    lost = {last["frame"] - 1} | behind
    cut = analyzed(tmp_path, [f for i, f in enumerate(frames) if i not in lost])
    assert any("payloads wholly seen" in note for m in rows(cut, "media") for note in m["notes"])
    failed = [c.message for c in mmsforensics.verify(cut, deep=True) if not c.ok]
    assert failed == []
