"""A session seen through other links and tunnels is the same session."""

import gzip
import random
import struct
import subprocess
from pathlib import Path

import pytest
from builders import ethernet, ipv4, read_pcap, udp, write_pcap
from conftest import SAMPLES
from perturb import fragmented

import mmsforensics

CAPTURE = SAMPLES / "mmst_mplayer_audio_unicode.pcap"
MMSU = SAMPLES / "mmsu_vlc_small.pcap"
OUTER = ("10.0.0.1", "10.0.0.2")
SNAP = bytes.fromhex("aaaa030000000800")
MAC = bytes(range(2, 8))

WRAP = {
    "PPPoE in QinQ": (
        1,
        lambda f: ethernet(
            struct.pack(">BBHHH", 0x11, 0, 9, len(f) - 12, 0x21) + f[14:], 0x8864, vlan=(5, 6)
        ),
    ),
    "radiotap": (127, lambda f: b"\0\0\x08\0\0\0\0\0\x08\x01\0\0" + MAC * 3 + b"\x10\0" + SNAP + f[14:]),
    "Token Ring": (6, lambda f: b"\x10\x40" + MAC + MAC + SNAP + f[14:]),
    "Frame Relay": (107, lambda f: b"\x18\x41\x03\xcc" + f[14:]),
    "VXLAN": (1, lambda f: ethernet(ipv4(*OUTER, 17, udp(*OUTER, 9, 4789, b"\x08" + bytes(7) + f)))),
    "ERSPAN II": (1, lambda f: ethernet(ipv4(*OUTER, 47, b"\x10\0\x88\xbe" + bytes(12) + f))),
    "IP in IP": (1, lambda f: ethernet(ipv4(*OUTER, 4, f[14:]))),
}


def outcome(case):
    session = case.sessions.to_dict("records")
    return (
        sorted(case.media["sha256"]),
        [(s["url"], s["outcome"], s["packets_received"], s["packets_missing"]) for s in session],
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return {
        path: mmsforensics.analyze([path], out=tmp_path_factory.mktemp("whole") / "case")
        for path in (CAPTURE, MMSU)
    }


@pytest.mark.parametrize(("link", "wrap"), WRAP.values(), ids=WRAP)
def test_links_and_tunnels(whole, tmp_path, link, wrap):
    frames = [(wrap(frame), ts) for frame, ts in read_pcap(CAPTURE)]
    case = mmsforensics.analyze(
        [write_pcap(tmp_path / "a.pcap", frames, linktype=link)], out=tmp_path / "case"
    )
    assert outcome(case) == outcome(whole[CAPTURE])


@pytest.mark.parametrize("path", [CAPTURE, MMSU], ids=["TCP", "UDP"])
def test_fragments(whole, tmp_path, path):
    rng, frames = random.Random(4), []
    for number, (frame, ts) in enumerate(read_pcap(path)):
        frames += [(part, ts) for part in fragmented(frame, 400, number, rng)]
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    assert outcome(case) == outcome(whole[path])
    assert case.captures["packets_incomplete"].tolist() == [0]
    for medium in case.media.to_dict("records"):
        content = (case.path / medium["path"]).read_bytes()
        rows = case.provenance[case.provenance["media_id"] == medium["media_id"]]
        assert rows["length"].sum() == len(content)
        for row in rows[rows["kind"] == "captured"].to_dict("records"):
            at, n = row["frame_offset"], row["length"]
            part = content[row["file_offset"] : row["file_offset"] + n]
            assert frames[row["frame"] - 1][0][at : at + n] == part


def test_captures_that_independent_programs_made(whole, program, tmp_path):
    """Cut into a ring of files, shuffled, one compressed; merged again; written from text."""
    subprocess.run([program("editcap"), "-c", "40", CAPTURE, tmp_path / "ring.pcapng"], check=True)
    ring = sorted(tmp_path.glob("ring*"))
    assert len(ring) > 3
    packed = Path(f"{ring[1]}.gz")
    packed.write_bytes(gzip.compress(ring[1].read_bytes()))
    ring[1] = packed
    case = mmsforensics.analyze(reversed(ring), out=tmp_path / "ring")
    assert outcome(case) == outcome(whole[CAPTURE])
    merged = tmp_path / "merged.pcapng"
    plain = [p for p in sorted(tmp_path.glob("ring_*")) if p.suffix == ".pcapng"]
    subprocess.run([program("mergecap"), "-w", merged, *reversed(plain)], check=True)
    case = mmsforensics.analyze([merged], out=tmp_path / "merged")
    assert outcome(case) == outcome(whole[CAPTURE])
    text = tmp_path / "text"
    lines = []
    for frame, ts in read_pcap(CAPTURE):
        lines.append(f"{ts // 10**9}.{ts % 10**9 // 1000:06d}")
        lines += [
            f"{k:06x} " + " ".join(f"{b:02x}" for b in frame[k : k + 16]) for k in range(0, len(frame), 16)
        ]
    text.write_text("\n".join(lines) + "\n", encoding="ascii")
    written = tmp_path / "written.pcapng"
    subprocess.run([program("text2pcap"), "-t", "%s.%f", text, written], check=True, capture_output=True)
    case = mmsforensics.analyze([written], out=tmp_path / "written")
    assert outcome(case) == outcome(whole[CAPTURE])
