"""Evidence files are opened read-only and recognised by content."""

import errno
import hashlib

import numpy as np
import pytest
from builders import pcap_bytes, pcapng_bytes, tcp_frame, write

from mmsforensics.evidence import Problem, hash_file, open_evidence
from mmsforensics.evidence.files import Mapped
from mmsforensics.evidence.hashing import BackgroundHash

FRAMES = [(tcp_frame("192.0.2.1", "192.0.2.2", 1755, 4000, 1, 1, 24, b"abc"), 10**18)]


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        (pcap_bytes(FRAMES), "pcap"),
        (pcap_bytes(FRAMES, byteorder=">"), "pcap"),
        (pcap_bytes(FRAMES, nanosecond=True), "pcap"),
        (pcap_bytes(FRAMES, nanosecond=True, byteorder=">"), "pcap"),
        (pcapng_bytes(FRAMES), "pcapng"),
        (pcapng_bytes(FRAMES, byteorder=">"), "pcapng"),
    ],
)
def test_format_is_known_by_content_whatever_the_name(tmp_path, content, format_):
    path = write(tmp_path / "holiday.jpg", content)
    with open_evidence(path) as evidence:
        assert (evidence.format, evidence.size, evidence.problems) == (format_, len(content), ())
        assert evidence.data.tobytes() == content


def test_evidence_cannot_be_written_to(tmp_path):
    path = write(tmp_path / "a.pcap", pcap_bytes(FRAMES))
    with open_evidence(path) as evidence:
        assert not evidence.data.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            evidence.data[0] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            evidence.data.flags.writeable = True


def test_an_empty_file_is_a_problem_not_an_exception(tmp_path):
    path = write(tmp_path / "a.pcap", b"")
    with open_evidence(path) as evidence:
        assert (evidence.format, evidence.size) == ("empty", 0)
        (problem,) = evidence.problems
        assert problem.found == "an empty file"


@pytest.mark.parametrize("content", [b"GIF89a, not a capture", b"\xa1", b"\xa1\xb2\xc3"])
def test_a_file_that_is_no_capture_is_a_problem_not_an_exception(tmp_path, content):
    path = write(tmp_path / "a.pcap", content)
    with open_evidence(path) as evidence:
        assert evidence.format == "unknown"
        (problem,) = evidence.problems
        assert problem.offset == 0
        assert path in problem.message


def test_formats_of_other_programs_are_named(tmp_path):
    with open_evidence(write(tmp_path / "a.cap", b"XCP\0002.001")) as evidence:
        assert "NetXRay" in evidence.problems[0].message


def test_what_cannot_be_opened_raises_as_python_does(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_evidence(tmp_path / "none.pcap")
    with pytest.raises(IsADirectoryError):
        open_evidence(tmp_path)


def test_data_held_by_somebody_outlives_the_file(tmp_path):
    evidence = open_evidence(write(tmp_path / "a.pcap", pcap_bytes(FRAMES)))
    held = evidence.data[:4]
    evidence.content.release(0, evidence.size)
    evidence.close()
    assert held.tobytes() == bytes.fromhex("d4c3b2a1")


def test_hash_file(tmp_path):
    content = np.random.default_rng(1).bytes(3_000_000)
    seen = []
    assert hash_file(write(tmp_path / "x", content), seen.append) == hashlib.sha256(content).hexdigest()
    assert sum(seen) == len(content)


def test_background_hash_is_of_the_whole_file_and_follows_its_reader(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsforensics.evidence.hashing.HASHED_AT_ONCE", 1 << 16)
    monkeypatch.setattr("mmsforensics.evidence.hashing.LEASH", 1 << 17)
    content = np.random.default_rng(2).bytes(3_000_000)
    with open_evidence(write(tmp_path / "x", content)) as evidence:
        background = BackgroundHash(evidence)
        for pos in range(0, len(content), 100_000):
            background.reach(pos)
        assert background.finish() == hashlib.sha256(content).hexdigest()


def test_background_hash_can_be_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsforensics.evidence.hashing.LEASH", 0)
    with open_evidence(write(tmp_path / "x", bytes(10_000_000))) as evidence:
        BackgroundHash(evidence).stop()


def test_background_hash_meets_a_fault_of_the_medium_first(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsforensics.evidence.hashing.HASHED_AT_ONCE", 1 << 16)
    read_into = Mapped.read_into

    def faulty(self, buffer, at):
        if at >= 1 << 20:
            raise OSError(errno.EIO, "Input/output error")
        return read_into(self, buffer, at)

    monkeypatch.setattr(Mapped, "read_into", faulty)
    with open_evidence(write(tmp_path / "x", bytes(3_000_000))) as evidence:
        background = BackgroundHash(evidence)
        assert background.readable(1 << 18) >= 1 << 18
        assert background.readable(2_000_000) == 1 << 20
        assert background.finish() is None
        assert background.fault == "Input/output error"


def test_a_problem_says_where():
    problem = Problem("case/a.pcap", 40, 3, "a record of 60 captured bytes", "the end of the file after 12")
    assert problem.message == (
        "case/a.pcap: at byte offset 40 (frame 3): expected a record of 60 captured bytes, "
        "found the end of the file after 12"
    )
