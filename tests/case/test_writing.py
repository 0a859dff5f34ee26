"""Files that grow piece by piece, written on a thread."""

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest

from mmsforensics.case import writing
from mmsforensics.case.media_files import Spool
from mmsforensics.case.writing import HashedFile, Spools, Writers


def test_files_that_grow_in_turn_hold_what_was_given_in_order(tmp_path):
    rng = np.random.default_rng(7)
    with Writers() as writers:
        files = [HashedFile(tmp_path / "a" / str(n), writers) for n in range(20)]
        given = [b""] * len(files)
        for _ in range(5):
            for n, file in enumerate(files):
                part = rng.integers(0, 256, size=int(rng.integers(0, 5000)), dtype=np.uint8)
                given[n] += part.tobytes()
                assert file.write(part) == len(part)
        for n, file in enumerate(files):
            assert file.hexdigest() == hashlib.sha256(given[n]).hexdigest()
            assert file.size == len(given[n])
            assert (tmp_path / "a" / str(n)).read_bytes() == given[n]


def test_no_more_than_so_many_bytes_wait(monkeypatch):
    """What was given first is done before too much waits behind it."""
    monkeypatch.setattr(writing, "BYTES_WAITING", 100)
    done = []
    with Writers() as writers:
        for n in range(10):
            writers.submit(0, lambda n=n: done.append(n), 60)
            assert done[:n] == list(range(n))
        writers.submit(0, lambda: done.append(10), 1000)
    assert done == list(range(11))


def test_a_failure_to_write_is_raised(tmp_path):
    with Writers() as writers:
        file = HashedFile(tmp_path / "folder" / "file", writers)
        (tmp_path / "folder").rmdir()
        file.write(b"lost")
        with pytest.raises(FileNotFoundError):
            file.hexdigest()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_with_the_file(monkeypatch):
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    with Writers() as writers:
        file = HashedFile(Path("/dev/full"), writers)
        file.write(b"lost")
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            file.hexdigest()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("media-writer")]


def test_spools_keep_the_order_of_each_file_whenever_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BYTES_SPOOLED", 1000)
    spools, given = Spools(), {tmp_path / str(n): b"" for n in range(3)}
    for i in range(100):
        for n, path in enumerate(given):
            part = bytes([i]) * (n + 1) * 10
            spools.append(path, part)
            given[path] += part
    for path, expected in given.items():
        assert (spools.read(path), spools.size(path)) == (expected, len(expected))
        assert not path.exists()
        spools.flush(path)
        assert path.read_bytes() == expected
        spools.append(path, b"more")
        assert spools.read(path) == b"more"
        spools.flush(path)
        assert path.read_bytes() == expected + b"more"


def test_a_spool_that_is_removed_leaves_nothing(tmp_path):
    spools, path = Spools(), tmp_path / "spool"
    spools.append(path, b"waiting")
    spools.remove(path)
    spools.flush(path)
    assert not path.exists()
    spools.append(path, b"written")
    spools.flush(path)
    assert spools.flushed(path)
    spools.remove(path)
    assert not (spools.flushed(path) or path.exists())


def test_the_system_is_not_asked_for_spools_that_are_no_files(tmp_path, monkeypatch):
    """To ask costs as much as to read some bytes, and a medium has seven of them."""

    def asked(*_args, **_more):
        raise AssertionError

    spools, path = Spools(), tmp_path / "spool"
    spool = Spool(path, np.dtype("u1"), spools)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", asked)
        patch.setattr(Path, "unlink", asked)
        spool.append(np.arange(3, dtype="u1"))
        assert spool.rows().tolist() == [0, 1, 2]
        spool.remove()
        assert spool.rows().tolist() == []
