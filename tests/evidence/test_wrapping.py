"""Compressed evidence: unpacked to the last byte before damage, hashed as it lies on disk."""

import bz2
import gzip
import hashlib
import lzma
import random

import pyarrow as pa
import pytest
from builders import pcap_bytes, tcp_frame, write
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.evidence import is_capture, open_evidence, wrapping
from mmsforensics.packets import CaptureScan

FRAMES = [
    (tcp_frame("192.0.2.1", "192.0.2.2", 1755, 4000, n, 1, 24, random.Random(n).randbytes(900)), n * 10**9)
    for n in range(300)
]
CAPTURE = pcap_bytes(FRAMES)


def arrow(codec):
    def compress(data):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()

    return compress


COMPRESS = {
    "gzip": gzip.compress,
    "zstd": arrow("zstd"),
    "lz4": arrow("lz4"),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("kind", COMPRESS)
def test_compressed_captures_are_read_as_if_they_were_not(tmp_path, kind):
    packed = COMPRESS[kind](CAPTURE)
    with open_evidence(write(tmp_path / "a.bin", packed), spool=tmp_path) as evidence:
        assert (evidence.format, evidence.wrapping, evidence.problems) == ("pcap", (kind,), ())
        assert evidence.data.tobytes() == CAPTURE
        assert evidence.size == len(packed)
        steps = []
        scan = CaptureScan(evidence, progress=steps.append, window=1 << 16)
        assert sum(len(batch.rows) for batch in scan) == len(FRAMES)
        assert evidence.sha256 == hashlib.sha256(packed).hexdigest()
        assert sum(steps) == len(packed)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"], "nothing is left behind"


@pytest.mark.parametrize("kind", COMPRESS)
def test_data_in_several_parts(tmp_path, kind):
    """As `cat a.gz b.gz` and parallel compressors write them."""
    packed = b"".join(COMPRESS[kind](CAPTURE[at : at + 50_000]) for at in range(0, len(CAPTURE), 50_000))
    with open_evidence(write(tmp_path / "a", packed)) as evidence:
        assert evidence.data.tobytes() == CAPTURE
        assert evidence.problems == ()


HELD_BACK = {"gzip": 40_000, "zstd": 200_000, "lz4": 5_000_000, "xz": 100_000, "bzip2": 1_000_000}
"""Bytes that a decompressor may hold back: of zstd, lz4 and bzip2 a block, as large as it was made."""


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("kept", [0.6, 0.999])
def test_data_cut_short_are_kept_as_far_as_they_go(tmp_path, kind, kept):
    content = CAPTURE + random.Random(9).randbytes(2_000_000)
    packed = COMPRESS[kind](content)
    with open_evidence(write(tmp_path / "a", packed[: int(len(packed) * kept)])) as evidence:
        got = evidence.data.tobytes()
        assert content.startswith(got)
        assert len(got) > kept * len(content) - HELD_BACK[kind]
        problem = evidence.problems[0]
        assert f"more {kind} data" in problem.message
        assert problem.offset == len(got)


def test_compressed_twice(tmp_path):
    with open_evidence(write(tmp_path / "a", gzip.compress(lzma.compress(CAPTURE)))) as evidence:
        assert evidence.wrapping == ("gzip", "xz")
        assert evidence.data.tobytes() == CAPTURE


def test_a_bomb_is_bounded_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(wrapping, "ROOM", 100_000)
    monkeypatch.setattr(wrapping, "MAX_RATIO", 50)
    packed = gzip.compress(CAPTURE[:24] + bytes(10_000_000))
    with open_evidence(write(tmp_path / "a", packed)) as evidence:
        assert len(evidence.data) == max(50 * len(packed), 100_000)
        assert "at most" in evidence.problems[0].message


def test_compressed_data_that_are_no_capture(tmp_path):
    with open_evidence(write(tmp_path / "a", gzip.compress(b"Dear diary"))) as evidence:
        assert evidence.format == "unknown"
        assert "44 65 61 72" in evidence.problems[0].message
        assert "unpacked" in evidence.problems[0].message


def test_a_problem_inside_says_that_its_offset_is_one_of_the_content(tmp_path):
    with open_evidence(write(tmp_path / "a", gzip.compress(CAPTURE[:-5]))) as evidence:
        scan = CaptureScan(evidence)
        list(scan)
        (problem,) = scan.summary.problems
        assert "a (unpacked): at byte offset" in problem.message


def test_what_begins_like_a_capture(tmp_path):
    assert is_capture(write(tmp_path / "a", CAPTURE))
    assert is_capture(write(tmp_path / "b", gzip.compress(b"")))
    assert not is_capture(write(tmp_path / "c", b"# README"))
    assert not is_capture(write(tmp_path / "d", b""))


@given(kind=st.sampled_from(sorted(COMPRESS)), data=st.data())
def test_any_damage(tmp_path_factory, kind, data):
    """Nothing raises; what was unpacked before the damage may be used."""
    packed = bytearray(COMPRESS[kind](CAPTURE[:20_000]))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    path = write(
        tmp_path_factory.mktemp("any") / "a", bytes(packed[: data.draw(st.integers(0, len(packed)))])
    )
    with open_evidence(path) as evidence:
        list(CaptureScan(evidence))
