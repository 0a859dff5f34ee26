"""Captures of the same traffic fill each other's holes, and so do datagrams sent again; each filled byte
keeps its own source."""

from __future__ import annotations

import random

import pytest
from builders import checksum, read_pcap, write_pcap
from cases import rows
from conftest import SAMPLES

import mmsforensics

MMST = SAMPLES / "mmst_mplayer_audio_unicode.pcap"
MMSU = SAMPLES / "mmsu_vlc_small.pcap"
HEADER = 13
"""Position in it of the datagram with the ASF header."""


def origins(case, media_id):
    """Each captured byte's (capture, frame, offset in it), by its offset in the file."""
    found = {}
    for row in rows(case, "provenance", media_id=media_id, kind="captured"):
        for k in range(row["length"]):
            found[row["file_offset"] + k] = (row["capture_id"], row["frame"], row["frame_offset"] + k)
    return found


def whole_case(capture, tmp_path):
    case = mmsforensics.analyze([capture], out=tmp_path / "whole")
    (medium,) = rows(case, "media", kind="faithful")
    return medium, origins(case, medium["media_id"])


def rebuilt(case):
    return [c for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


def udp_media(frames):
    """Positions of the datagrams with media: the header's apart."""
    return [i for i, (frame, _) in enumerate(frames) if frame[23] == 17][1:]


def resent(frame, number):
    """The same datagram as a server sends it again: another IP packet."""
    changed = frame[:18] + number.to_bytes(2, "big") + frame[20:24] + b"\0\0" + frame[26:]
    return changed[:24] + checksum(changed[14:34]).to_bytes(2, "big") + changed[26:]


# --- several taps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", [MMST, MMSU], ids=["mmst", "mmsu"])
@pytest.mark.parametrize("ahead", [0, -3_600_000_000_000], ids=["same clock", "an hour behind"])
def test_each_byte_leads_to_the_tap_that_saw_it(capture, tmp_path, ahead):
    """With a clock that is an hour behind, all that one tap saw comes before all that the other saw: of MMSU
    media without the header, which only the other has."""
    medium, truth = whole_case(capture, tmp_path)
    frames = read_pcap(capture)
    rng = random.Random(11)
    lost_by = [rng.choice("ab  ") for _ in frames]  # no frame is lost by both
    if capture is MMSU:
        lost_by = [gone if frame[23] == 17 else " " for gone, (frame, _) in zip(lost_by, frames, strict=True)]
        lost_by[HEADER] = "b"
    taps = {tap: [i for i, gone in enumerate(lost_by) if gone != tap] for tap in "ab"}
    shift = {"a": 0, "b": ahead}
    paths = [
        write_pcap(tmp_path / f"{tap}.pcap", [(frames[i][0], frames[i][1] + shift[tap]) for i in taps[tap]])
        for tap in "ab"
    ]
    case = mmsforensics.analyze(paths, out=tmp_path / "case")
    (healed,) = rows(case, "media", kind="faithful")
    assert (healed["sha256"], healed["complete"]) == (medium["sha256"], medium["complete"])
    assert {s["outcome"] for s in rows(case, "sessions")} == {"completed"}
    found = origins(case, healed["media_id"])
    assert found.keys() == truth.keys()
    first = "a" if ahead >= 0 else "b"  # the tap whose clock says that it saw a frame earlier
    for at, (_, frame, offset) in truth.items():
        gone = lost_by[frame - 1]
        tap = first if gone == " " else "ab".replace(gone, "")
        assert found[at] == (f"c00{1 + (tap == 'b')}", 1 + taps[tap].index(frame - 1), offset)
    assert {capture_id for capture_id, *_ in found.values()} == {"c001", "c002"}
    assert rebuilt(case)


# --- datagrams sent again ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_resent_datagram_fills_the_place_of_the_lost_one(tmp_path, seed):
    medium, truth = whole_case(MMSU, tmp_path)
    frames = read_pcap(MMSU)
    media = udp_media(frames)
    rng = random.Random(seed)
    lost = sorted({media[0], media[-1], *rng.sample(media, 12)})
    later, comes = [], {}
    for number, i in enumerate(lost):
        frame, ts = frames[i]
        # The longest delay is that of the whole session: the first one comes again behind all the others.
        delay = frames[media[-1]][1] - ts + 1000 if number == 0 else 300_000_000
        later.append((ts + delay, resent(frame, 50_000 + number), i))
    stream = [(ts, frame, i) for i, (frame, ts) in enumerate(frames) if i not in lost] + later
    stream.sort(key=lambda f: f[0])
    path = write_pcap(tmp_path / "a.pcap", [(frame, ts) for ts, frame, _ in stream])
    comes = {i: n for n, (_, _, i) in enumerate(stream, 1)}
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    (healed,) = rows(case, "media", kind="faithful")
    assert healed["sha256"] == medium["sha256"]
    assert (healed["packets_missing"], healed["complete"]) == (0, True)
    assert rows(case, "sessions")[0]["outcome"] == "completed"
    found = origins(case, healed["media_id"])
    assert found == {at: ("c001", comes[frame - 1], offset) for at, (_, frame, offset) in truth.items()}
    assert rebuilt(case)


def test_a_datagram_that_was_cut_is_taken_from_the_one_sent_again(tmp_path):
    medium, truth = whole_case(MMSU, tmp_path)
    frames = read_pcap(MMSU)
    cut = udp_media(frames)[40]
    end = (resent(frames[cut][0], 50_000), frames[cut + 30][1] + 1)
    stream = sorted([*frames, end], key=lambda f: f[1])
    again = stream.index(end) + 1
    path = tmp_path / "a.pcap"
    write_pcap(path, stream)
    raw, at = bytearray(path.read_bytes()), 24
    for _ in range(cut):
        at += 16 + int.from_bytes(raw[at + 8 : at + 12], "little")
    size = int.from_bytes(raw[at + 8 : at + 12], "little")
    del raw[at + 16 + 200 : at + 16 + size]
    raw[at + 8 : at + 12] = (200).to_bytes(4, "little")
    path.write_bytes(raw)
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    (healed,) = rows(case, "media", kind="faithful")
    assert healed["sha256"] == medium["sha256"]
    found = origins(case, healed["media_id"])
    assert {found[at][1] for at, (_, frame, _) in truth.items() if frame == cut + 1} == {again}


def test_one_tap_has_the_datagram_the_other_the_one_sent_again(tmp_path):
    """Two different packets on the wire: the one captured first is taken, and it is one packet of media."""
    medium, truth = whole_case(MMSU, tmp_path)
    frames = read_pcap(MMSU)
    spots = udp_media(frames)[20:120:10]
    again = [(resent(frames[i][0], 50_000 + i), frames[i][1] + 200_000_000) for i in spots]
    tap_a = [f for i, f in enumerate(frames) if i not in spots]
    tap_b = sorted([*(f for i, f in enumerate(frames) if i not in spots[::2]), *again], key=lambda f: f[1])
    paths = [write_pcap(tmp_path / "a.pcap", tap_a), write_pcap(tmp_path / "b.pcap", tap_b)]
    case = mmsforensics.analyze(paths, out=tmp_path / "case")
    (healed,) = rows(case, "media", kind="faithful")
    assert (healed["sha256"], healed["packets"]) == (medium["sha256"], medium["packets"])
    found = origins(case, healed["media_id"])
    for at, (_, frame, _) in truth.items():
        if frame - 1 not in spots:
            continue
        capture, number, _ = found[at]
        seen = again[spots.index(frame - 1)] if frame - 1 in spots[::2] else frames[frame - 1]
        assert (capture, number) == ("c002", tap_b.index(seen) + 1)
    assert rebuilt(case)
