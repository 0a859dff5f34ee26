"""Reading ahead changes no answer, hides no error, and leaves no thread behind."""

import threading

import pytest
from builders import pcap_bytes, tcp_frame, write

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan, read_ahead

FRAMES = [
    (tcp_frame("192.0.2.1", "192.0.2.2", 1755, 4000, n, 1, 24, bytes([n % 256]) * 50), n * 10**9)
    for n in range(2000)
]


def threads():
    return {t.name for t in threading.enumerate()}


def test_the_same_batches(tmp_path):
    path = write(tmp_path / "a", pcap_bytes(FRAMES))
    with open_evidence(path) as one, open_evidence(path) as other:
        plain = [b.rows.tobytes() for b in CaptureScan(one, window=4096)]
        scan = CaptureScan(other, window=4096)
        ahead = [b.rows.tobytes() for b in read_ahead(iter(scan))]
        assert ahead == plain
        assert scan.summary.packets == len(FRAMES)
        assert one.sha256 == other.sha256 is not None


def test_an_error_comes_where_it_would_have():
    def failing():
        yield from (1, 2)
        raise ValueError("no more")

    ahead = read_ahead(failing())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="no more"):
        next(ahead)
    assert "read-ahead" not in threads()


def test_who_leaves_early_ends_it(tmp_path):
    with open_evidence(write(tmp_path / "a", pcap_bytes(FRAMES))) as evidence:
        ahead = read_ahead(iter(CaptureScan(evidence, window=4096)))
        next(ahead)
        ahead.close()
        assert not {"read-ahead", "sha256"} & threads()
