"""Files that change, shrink or fail while they are read, and files that may not be read at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from conftest import SAMPLES

import mmsforensics
from mmsforensics.evidence import files, hashing

CAPTURE = SAMPLES / "http_curl_whole.pcap"
WHOLE = CAPTURE.read_bytes()
CUT = 200_000


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch):
    """Let the hash of a sample go in many steps, as that of a large file does."""
    monkeypatch.setattr(hashing, "HASHED_AT_ONCE", 8192)
    monkeypatch.setattr(hashing, "PART", 4096)


@pytest.fixture
def at_read(monkeypatch):
    """Do something when the hash first reads at or behind an offset."""

    def arrange(offset, action):
        read_into = files.Mapped.read_into
        done = []

        def read(self, buffer, at):
            if at >= offset and not done:
                done.append(at)
                action()
            return read_into(self, buffer, at)

        monkeypatch.setattr(files.Mapped, "read_into", read)

    return arrange


def analyzed(path, tmp_path):
    """The capture's row, its problems, and the only session's."""
    case = mmsforensics.analyze([path], tmp_path / "case")
    (capture,) = case.table("captures").to_pylist()
    (session,) = case.table("sessions").to_pylist()
    return capture, case.table("problems").to_pylist(), session


def test_a_file_that_shrinks_while_read(tmp_path, at_read):
    path = tmp_path / "a.pcap"
    path.write_bytes(WHOLE)
    at_read(CUT, lambda: os.truncate(path, CUT))
    capture, problems, session = analyzed(path, tmp_path)
    assert capture["sha256"] is None, "there is no hash of a file that is no longer there"
    assert capture["truncated"]
    assert any(p["offset"] == CUT and "the file ends" in p["found"] for p in problems)
    assert any("shorter" in p["found"] or "shrank" in p["found"] for p in problems)
    assert 0 < session["packets_received"] < 104


def test_a_file_that_grows_while_read(tmp_path, at_read):
    path = tmp_path / "a.pcap"
    path.write_bytes(WHOLE)

    def append():
        with path.open("ab") as file:
            file.write(b"more")

    at_read(CUT, append)
    capture, problems, session = analyzed(path, tmp_path)
    assert capture["sha256"] == hashlib.sha256(WHOLE).hexdigest(), "the hash is of the bytes that were read"
    assert len(problems) == 1
    assert "nobody writes to" in problems[0]["expected"]
    assert session["packets_received"] == 104


def test_a_medium_that_cannot_be_read(tmp_path, at_read):
    path = tmp_path / "a.pcap"
    path.write_bytes(WHOLE)

    def fail():
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    at_read(CUT, fail)
    capture, problems, session = analyzed(path, tmp_path)
    assert capture["sha256"] is None
    assert any(os.strerror(errno.EIO) in p["found"] for p in problems)
    assert 0 < session["packets_received"] < 104


def test_an_unreadable_file_costs_the_others_nothing(tmp_path, monkeypatch):
    """Permission is refused by a patch: the tests may run as a user who may read everything."""
    path = tmp_path / "secret.pcap"
    path.write_bytes(WHOLE)
    open_ = Path.open

    def refuse(self, *args, **options):
        if self == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_(self, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    case = mmsforensics.analyze([path, CAPTURE], tmp_path / "case")
    captures = {row["path"]: row for row in case.table("captures").to_pylist()}
    assert "Permission denied" in captures[str(path)]["problems"][0]
    assert captures[str(path)]["packets"] == 0
    assert case.table("sessions").num_rows == 1
