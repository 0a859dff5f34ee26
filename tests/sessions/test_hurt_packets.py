"""Frames dropped at random: what is saved of hurt packets was sent just so, whatever carried it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from builders import read_pcap, write_pcap
from cases import rows
from conftest import SAMPLES
from peers.asf_file import AsfFile
from peers.mmsh_server import MmshOptions
from peers.mmsh_server import transcript as mmsh_transcript
from peers.mmst_server import MmstOptions, transcript
from peers.recorder import frames_of
from test_download import conversation

import mmsforensics
from mmsforensics.asf import parse_header, walk_payloads

FIELDS = ("stream", "object_number", "object_offset", "object_size", "presentation_ms")


def payloads_of(data, size):
    """Every payload of data packets, with its bytes."""
    packets = np.frombuffer(data, dtype=np.uint8)
    heads, found = walk_payloads(packets, size)
    assert heads["ok"].all()
    return [
        (*(int(p[n]) for n in FIELDS), packets[at : at + int(p["length"])].tobytes())
        for p in found
        for at in [int(p["packet"]) * size + int(p["at"])]
    ]


def played(case):
    """The payloads of the playable file."""
    (medium,) = rows(case, "media", kind="playable")
    data = (case.path / medium["path"]).read_bytes()
    header = parse_header(data)
    begin = header.size + 50
    return payloads_of(data[begin : begin + medium["packets"] * header.packet_size], header.packet_size)


def over_mmst(film):
    return transcript({"film.wmv": film})[0]


def over_mmst_padded(film):
    return transcript({"film.wmv": film}, MmstOptions(padding="keep"))[0]


def over_mmsh(film):
    return mmsh_transcript({"film.wmv": film})[0]


def over_mmsh_in_chunks(film):
    return mmsh_transcript({"film.wmv": film}, MmshOptions(chunked="always"))[0]


def as_download(film):
    return conversation(Path(film).read_bytes())


WAYS = [over_mmst, over_mmst_padded, over_mmsh, over_mmsh_in_chunks, as_download]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_in_the_playable_file_that_was_not_sent(film, analyzed, tmp_path, way):
    asf = AsfFile.read(film)
    sent = payloads_of(b"".join(asf.packets), asf.packet_size)
    port = 1755 if "mmst" in way.__name__ else 80
    frames = frames_of(way(film), server=("192.0.2.10", port))
    begin = next(i for i, (frame, _) in enumerate(frames) if len(frame) > 1400) + 8
    saved = 0
    for seed in range(4):
        rng = random.Random(seed)
        kept = [f for i, f in enumerate(frames) if i < begin or rng.random() > 0.05]
        case = analyzed(write_pcap(tmp_path / "a.pcap", kept))
        found = played(case)
        chosen = set(found)
        assert [p for p in sent if p in chosen] == found, "in their order, each once"
        runs = {r["run"]: r for r in rows(case, "loss")}.values()
        saved += sum(r["payloads_recovered"] for r in runs)
        assert all(r["bytes_recovered"] <= r["bytes_seen"] for r in runs)
        assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []
    assert saved > 0


def test_a_cut_datagram_that_was_sent_again_whole_is_no_loss(sample_case, tmp_path):
    frames = read_pcap(SAMPLES / "mmsu_vlc_small.pcap")
    (session,) = rows(sample_case, "sessions", transport="mmsu")
    packet = rows(sample_case, "media_packets", session_id=session["session_id"])[60]
    i = packet["frame"] - 1
    path = Path(write_pcap(tmp_path / "a.pcap", [*frames[: i + 1], *frames[i : i + 9], *frames[i + 9 :]]))
    raw, at = bytearray(path.read_bytes()), 24
    for _ in range(i):
        at += 16 + int.from_bytes(raw[at + 8 : at + 12], "little")
    size = int.from_bytes(raw[at + 8 : at + 12], "little")
    del raw[at + 16 + 700 : at + 16 + size]
    raw[at + 8 : at + 12] = (700).to_bytes(4, "little")
    path.write_bytes(raw)
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    assert rows(case, "loss") == []
    (medium,) = rows(case, "media", kind="faithful")
    (whole,) = rows(sample_case, "media", session_id=session["session_id"], kind="faithful")
    assert (medium["sha256"], medium["verdict"]) == (whole["sha256"], "complete")
