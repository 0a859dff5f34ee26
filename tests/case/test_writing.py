"""Files that grow piece by piece, written on a thread."""

import hashlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mmsforensics.case import writing
from mmsforensics.case.spool import Spool
from mmsforensics.case.writing import HashedFile, Spooled, Spools, Writers


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


def grown(tmp_path, files, rounds=6, size=3000):
    """Files that grow in turn, and what was written to each."""
    rng = np.random.default_rng(11)
    with Writers() as writers:
        given = {HashedFile(tmp_path / str(n), writers): b"" for n in range(files)}
        for _ in range(rounds):
            for file in given:
                part = rng.bytes(size)
                given[file] += part
                file.write(part)
        for n, (file, expected) in enumerate(given.items()):
            assert file.hexdigest() == hashlib.sha256(expected).hexdigest()
            assert (tmp_path / str(n)).read_bytes() == expected


def test_more_files_than_may_be_open_grow_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FILES_OPEN", 2)
    grown(tmp_path, 9)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files are open")
def test_no_file_stays_open(tmp_path):
    def opened():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = opened()
    grown(tmp_path, 9)
    assert opened() == before


def test_pages_given_back_to_the_system_are_on_disk(tmp_path, monkeypatch):
    given_back = []
    give_back = writing.give_back
    monkeypatch.setattr(writing, "give_back", lambda fd: (given_back.append(fd), give_back(fd)))
    grown(tmp_path, 3)
    assert not given_back  # a small case stays in the cache
    for file in tmp_path.iterdir():
        file.unlink()
    monkeypatch.setattr(writing, "CACHED", 10_000)
    monkeypatch.setattr(writing, "CACHED_OF_FILE", 5000)
    grown(tmp_path, 3)
    assert given_back


def test_files_grow_from_several_threads(tmp_path, monkeypatch):
    """As they do when media are finished: each file has one thread, and all share the lanes."""
    monkeypatch.setattr(writing, "BYTES_WAITING", 10_000)
    with Writers() as writers, ThreadPoolExecutor(3) as pool:
        files = [HashedFile(tmp_path / str(n), writers) for n in range(6)]

        def fill(n):
            for part in range(40):
                files[n].write(bytes([n, part]) * 700)
            files[n].settle()
            return (tmp_path / str(n)).stat().st_size

        assert list(pool.map(fill, range(6))) == [40 * 1400] * 6
        for n, file in enumerate(files):
            expected = b"".join(bytes([n, part]) * 700 for part in range(40))
            assert file.hexdigest() == hashlib.sha256(expected).hexdigest()


def test_spools_keep_the_order_of_each_file_whenever_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BYTES_SPOOLED", 1000)
    spools, given = Spools(), {Spooled(tmp_path / str(n)): b"" for n in range(3)}
    for i in range(100):
        for n, spooled in enumerate(given):
            part = bytes([i]) * (n + 1) * 10
            spools.append(spooled, part)
            given[spooled] += part
    for spooled, expected in given.items():
        assert (spools.read(spooled), spooled.size) == (expected, len(expected))
        assert not spooled.path.exists()
        spools.flush(spooled)
        assert spooled.path.read_bytes() == expected
        spools.append(spooled, b"more")
        assert spools.read(spooled) == b"more"
        spools.flush(spooled)
        assert spooled.path.read_bytes() == expected + b"more"


def test_what_waits_for_one_spool_is_laid_in_one_piece(tmp_path, monkeypatch):
    """Each piece is written, and later read, by a call of its own."""
    monkeypatch.setattr(writing, "BYTES_SPOOLED", 100)
    spools, spooled, other = Spools(), Spooled(tmp_path / "a"), Spooled(tmp_path / "b")
    for n in range(10):
        spools.append(spooled, bytes([n]) * 6)
        spools.append(other, bytes([n]) * 5)
    assert (spooled.laid, other.laid) == ([(0, 60)], [(60, 45)])
    assert spools.read(spooled) == b"".join(bytes([n]) * 6 for n in range(10))
    assert spools.read(other) == b"".join(bytes([n]) * 5 for n in range(10))
    spools.remove(spooled)
    spools.append(spooled, b"again")
    assert (spools.read(spooled), spooled.size) == (b"again", 5)


def test_a_spool_that_is_removed_leaves_nothing(tmp_path):
    spools, spooled = Spools(), Spooled(tmp_path / "spool")
    spools.append(spooled, b"waiting")
    spools.remove(spooled)
    spools.flush(spooled)
    assert not spooled.path.exists()
    spools.append(spooled, b"written")
    spools.flush(spooled)
    assert spooled.flushed
    spools.remove(spooled)
    assert not (spooled.flushed or spooled.path.exists())


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
