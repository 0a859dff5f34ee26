"""Captures that belong together are one: rotated files, several taps, files in any order."""

import bz2
import gzip
import io
import itertools
import json
import lzma
import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from builders import pcap_bytes, pcapng_bytes, read_pcap, write_pcap
from conftest import SAMPLES

import mmsforensics
from mmsforensics.packets import Numbering

CAPTURE = SAMPLES / "mmst_mplayer_audio_unicode.pcap"
MMSU = SAMPLES / "mmsu_vlc_small.pcap"


def hashes(case):
    return sorted(case.media["sha256"])


def analyzed(evidence, tmp_path):
    return mmsforensics.analyze(evidence, out=tmp_path / "case")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return mmsforensics.analyze([CAPTURE], out=tmp_path_factory.mktemp("whole") / "case")


def rotated(path, parts, folder, frames=None):
    """A capture cut into files of about as many frames; returns their paths in order."""
    frames = read_pcap(path) if frames is None else frames
    bounds = [len(frames) * k // parts for k in range(parts + 1)]
    return [
        write_pcap(folder / f"part{k}.pcap", frames[a:b])
        for k, (a, b) in enumerate(itertools.pairwise(bounds))
    ]


def frames_as_in_one(case, sizes):
    """(capture, frame) of each event as the frame number in the capture before it was cut."""
    before = np.concatenate(([0], np.cumsum(sizes)))
    return [
        int(before[int(capture[1:]) - 1]) + int(frame)
        for capture, frame in zip(case.events["capture_id"], case.events["frame"], strict=True)
    ]


# --- rotated files ---------------------------------------------------------------------------------


def test_one_session_over_five_shuffled_files_some_compressed(whole, tmp_path):
    paths = rotated(CAPTURE, 5, tmp_path)
    for k, pack in ((1, gzip.compress), (3, lzma.compress), (4, bz2.compress)):
        path = Path(paths[k])
        path.write_bytes(pack(path.read_bytes()))
    random.Random(3).shuffle(paths)
    case = analyzed(paths, tmp_path)
    assert hashes(case) == hashes(whole)
    (session,) = case.sessions.to_dict("records")
    (expected,) = whole.sessions.to_dict("records")
    for name in ("url", "outcome", "packets_received", "packets_missing", "gap_bytes", "start_ts", "end_ts"):
        assert session[name] == expected[name], name
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))


def test_frames_are_those_of_their_files(whole, tmp_path):
    frames = read_pcap(CAPTURE)
    paths = rotated(CAPTURE, 3, tmp_path)
    sizes = [len(read_pcap(tmp_path / f"part{k}.pcap")) for k in range(3)]
    case = analyzed(paths, tmp_path)
    assert frames_as_in_one(case, sizes) == list(whole.events["frame"])
    assert list(case.captures["packets"]) == sizes
    before = dict(zip(case.captures["capture_id"], np.concatenate(([0], np.cumsum(sizes)[:-1])), strict=True))
    faithful = case.media[case.media["kind"] == "faithful"].iloc[0]
    content = (case.path / faithful["path"]).read_bytes()
    rows = case.provenance[case.provenance["media_id"] == faithful["media_id"]].to_dict("records")
    for row in rows:
        if row["kind"] == "captured":
            frame, _ = frames[int(before[row["capture_id"]]) + row["frame"] - 1]
            part = content[row["file_offset"] : row["file_offset"] + row["length"]]
            assert frame[row["frame_offset"] : row["frame_offset"] + row["length"]] == part


def test_files_that_overlap_count_each_packet_once(whole, tmp_path):
    frames = read_pcap(CAPTURE)
    third = len(frames) // 3
    paths = [
        write_pcap(tmp_path / "a.pcap", frames[: 2 * third]),
        write_pcap(tmp_path / "b.pcap", frames[third:]),
    ]
    case = analyzed(paths, tmp_path)
    assert hashes(case) == hashes(whole)
    assert list(case.captures["frames_duplicate"]) == [0, third]
    assert list(case.events["event"]) == list(whole.events["event"])


def test_the_same_file_twice_is_one_viewing(whole, tmp_path):
    case = analyzed([CAPTURE, CAPTURE], tmp_path)
    assert hashes(case) == hashes(whole)
    assert len(case.sessions) == 1
    first, second = case.captures.to_dict("records")
    assert (first["frames_duplicate"], second["frames_duplicate"]) == (0, second["packets"])
    assert (second["clock_offset_ns"], second["clock_reference"]) == (0, "c001")


# --- several taps ----------------------------------------------------------------------------------


def two_taps(frames, seed, share=0.8):
    """What two taps see that both lose some frames, but no frame both."""
    rng = random.Random(seed)
    seen = [(rng.random() < share, rng.random() < share) for _ in frames]
    first = [f for f, (a, b) in zip(frames, seen, strict=True) if a or not b]
    second = [f for f, (_, b) in zip(frames, seen, strict=True) if b]
    return first, second


@pytest.mark.parametrize(
    "ahead", [0, 250_000_000, -3_600_000_000_000], ids=["same clock", "250 ms", "an hour"]
)
def test_taps_fill_each_others_holes(whole, tmp_path, ahead):
    first, second = two_taps(read_pcap(CAPTURE), seed=1)
    paths = [
        write_pcap(tmp_path / "a.pcap", first),
        write_pcap(tmp_path / "b.pcap", [(frame, ts + ahead) for frame, ts in second]),
    ]
    case = analyzed(paths, tmp_path)
    assert hashes(case) == hashes(whole)
    assert len(case.sessions) == 1
    both = len(first) + len(second) - len(read_pcap(CAPTURE))
    assert case.captures["frames_duplicate"].sum() == both
    later = case.captures.iloc[1 if ahead >= 0 else 0]
    assert later["clock_offset_ns"] == abs(ahead)
    assert any("its clock is" in note for note in later["notes"])


def test_a_tap_for_each_direction(whole, tmp_path):
    frames = read_pcap(CAPTURE)
    port = frames[0][0][34:36]  # of the client, which sends the first frame
    paths = [
        write_pcap(tmp_path / "up.pcap", [f for f in frames if f[0][34:36] == port]),
        write_pcap(tmp_path / "down.pcap", [f for f in frames if f[0][34:36] != port]),
    ]
    case = analyzed(paths, tmp_path)
    assert hashes(case) == hashes(whole)
    assert list(case.captures["frames_duplicate"]) == [0, 0]


def test_a_packet_sent_twice_stays_two(tmp_path):
    """Both taps see the retransmission: it is matched with itself, not with the first sending."""
    frames = read_pcap(CAPTURE)
    again = [*frames[:40], (frames[39][0], frames[39][1] + 1000), *frames[40:]]
    paths = [write_pcap(tmp_path / "a.pcap", again), write_pcap(tmp_path / "b.pcap", again)]
    case = analyzed(paths, tmp_path)
    assert list(case.captures["frames_duplicate"]) == [0, len(again)]


def test_captures_of_different_days_have_nothing_to_do_with_each_other(tmp_path):
    frames = read_pcap(CAPTURE)
    half = len(frames) // 2
    days = 3 * 86_400 * 10**9
    paths = [
        write_pcap(tmp_path / "a.pcap", frames[:half]),
        write_pcap(tmp_path / "b.pcap", [(frame, ts + days) for frame, ts in frames[half:]]),
    ]
    case = analyzed(paths, tmp_path)
    (session,) = case.sessions[case.sessions["capture_id"] == "c001"].to_dict("records")
    assert session["outcome"] == "capture ended"


# --- times that are not to be believed -------------------------------------------------------------


@pytest.mark.parametrize("stray", [0, 4_102_444_800 * 10**9], ids=["1970", "2100"])
def test_a_stray_time_stamp_puts_nothing_out_of_order(whole, tmp_path, stray):
    frames = read_pcap(CAPTURE)
    for k in (0, len(frames) // 2, len(frames) - 1):
        frames[k] = (frames[k][0], min(stray, (2**32 - 1) * 10**9))
    paths = rotated(CAPTURE, 3, tmp_path, frames)
    case = analyzed(list(reversed(paths)), tmp_path)
    assert hashes(case) == hashes(whole)


# --- archives and pipes ----------------------------------------------------------------------------


def zipped(paths, target):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "no capture")
        for k, path in enumerate(paths):
            archive.write(path, f"evidence/{k}.bin")
    return target


def tarred(paths, target, mode="w:gz"):
    with tarfile.open(target, mode) as archive:
        for k, path in enumerate(paths):
            archive.add(path, f"../../evidence/{k}.pcap")
        info = tarfile.TarInfo("readme.txt")
        archive.addfile(info, io.BytesIO())
    return target


@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar.gz"])
def test_captures_in_archives(whole, tmp_path, pack):
    archive = pack(rotated(CAPTURE, 3, tmp_path), tmp_path / "evidence.archive")
    case = analyzed([archive], tmp_path)
    assert hashes(case) == hashes(whole)
    assert list(case.captures["container"]) == [str(archive)] * 3
    assert all(path.startswith(f"{archive}!") for path in case.captures["path"])
    checks = mmsforensics.verify(case, deep=True)
    assert all(check.ok for check in checks)
    assert sum(check.kind == "evidence" for check in checks) == 4
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 1
    archive.write_bytes(raw)
    assert not all(check.ok for check in mmsforensics.verify(case, deep=True))


def test_an_archive_in_an_archive(whole, tmp_path):
    inner = tarred([CAPTURE], tmp_path / "inner.tar", "w")
    outer = zipped([inner], tmp_path / "outer.zip")
    case = analyzed([outer], tmp_path)
    assert hashes(case) == hashes(whole)
    (capture,) = case.captures.to_dict("records")
    assert capture["path"] == f"{outer}!evidence/0.bin!../../evidence/0.pcap"
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))


def test_a_damaged_archive_costs_what_is_damaged(whole, tmp_path):
    archive = zipped([CAPTURE, CAPTURE], tmp_path / "evidence.zip")
    raw = bytearray(archive.read_bytes())
    at = raw.rindex(b"PK\x03\x04")  # the second member; the central directory knows it still
    raw[at + 200 : at + 260] = bytes(60)
    archive.write_bytes(raw)
    case = analyzed([archive], tmp_path)
    assert hashes(case) == hashes(whole)
    assert "archive" in case.problems[0]
    assert list(case.captures["truncated"]) == [False, True]


def test_an_archive_without_an_end_is_told(tmp_path):
    archive = zipped([CAPTURE], tmp_path / "evidence.zip")
    archive.write_bytes(archive.read_bytes()[:-40])
    case = analyzed([archive, CAPTURE], tmp_path)
    assert len(case.sessions) == 1
    assert "more of a zip archive" in case.problems[0]


# --- numbering -------------------------------------------------------------------------------------


def test_numbering_finds_the_way_back():
    numbering = Numbering()
    assert numbering.add(0, 1, 10) == 1
    assert numbering.add(0, 11, 5) == 11
    assert numbering.add_mixed(np.array([1, 0, 1, 1, 0], dtype=np.uint16), {0: 16, 1: 1}) == 16
    assert numbering.add(1, 4, 2) == 21
    captures, frames = numbering.locate(np.array([1, 15, 16, 17, 18, 19, 20, 21, 22]))
    assert captures.tolist() == [0, 0, 1, 0, 1, 1, 0, 1, 1]
    assert frames.tolist() == [1, 15, 1, 16, 2, 3, 17, 4, 5]
    assert [numbering.locate_one(n) for n in (1, 16, 20, 22)] == [(0, 1), (1, 1), (0, 17), (1, 5)]


def test_formats_may_differ_in_a_set(whole, tmp_path):
    frames = read_pcap(CAPTURE)
    (tmp_path / "a").write_bytes(pcap_bytes(frames[:50], byteorder=">"))
    (tmp_path / "b").write_bytes(pcapng_bytes(frames[50:]))
    assert hashes(analyzed([tmp_path / "b", tmp_path / "a"], tmp_path)) == hashes(whole)


def test_mmsu_over_two_taps(tmp_path):
    whole = mmsforensics.analyze([MMSU], out=tmp_path / "whole")
    first, second = two_taps(read_pcap(MMSU), seed=5)
    paths = [write_pcap(tmp_path / "a.pcap", first), write_pcap(tmp_path / "b.pcap", second)]
    assert hashes(analyzed(paths, tmp_path)) == hashes(whole)


@pytest.mark.parametrize("late", [2_000_000, -2_000_000, 10**9, -(10**9)])
def test_a_tap_for_each_direction_whose_clocks_differ(whole, tmp_path, late):
    """Every request may stand behind its answer: it is still one session, and each side's end is one byte."""
    frames = read_pcap(CAPTURE)
    server = [(frame, ts + late) for frame, ts in frames if frame[26:30] == bytes([192, 0, 2, 10])]
    client = [(frame, ts) for frame, ts in frames if frame[26:30] != bytes([192, 0, 2, 10])]
    paths = [write_pcap(tmp_path / "a.pcap", client), write_pcap(tmp_path / "b.pcap", server)]
    case = analyzed(paths, tmp_path)
    assert hashes(case) == hashes(whole)
    assert list(case.sessions["outcome"]) == list(whole.sessions["outcome"])
    assert set(case.media["verdict"]) == set(whole.media["verdict"])
    (flow,) = (f for f in case.table("flows").to_pylist() if f["protocol"] == "tcp")
    assert [flow[f"{who}_acked_unseen_bytes"] for who in ("client", "server")] == [0, 0]


def test_another_way_in_another_capture_is_no_change_of_the_way(tmp_path):
    """Two taps, with a router between them, of which each lost frames that the other has."""
    frames = read_pcap(CAPTURE)
    beyond = [
        (bytes([2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2]) + frame[12:22] + bytes([frame[22] - 1]) + frame[23:], ts)
        for frame, ts in frames
    ]
    paths = [
        write_pcap(tmp_path / "a.pcap", frames[:60] + frames[70:]),
        write_pcap(tmp_path / "b.pcap", beyond[:80] + beyond[90:]),
    ]
    rows = analyzed(paths, tmp_path).table("anomalies").to_pylist()
    changes = [row for row in rows if row["kind"] in ("mac_change", "ttl_change")]
    assert changes
    assert {row["severity"] for row in changes} == {"info"}
    for row in changes:
        before = json.loads(row["details"])["before_capture_id"]
        assert {before, row["capture_id"]} == {"c001", "c002"}
