"""Gathering changes when packets of wanted flows are handed on, and nothing else."""

import numpy as np
import pytest
from builders import ACK, tcp_frame, write_pcap

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan
from mmsforensics.streams import FlowTable, gathering

FLOWS = 5


@pytest.fixture
def capture(tmp_path):
    """Flows at the port of MMS, side by side, with 60 segments each."""
    frames = [
        tcp_frame("192.0.2.1", "192.0.2.9", 1755, 40000 + n, 100 + 1000 * i, 1, ACK, bytes([n, i]) * 500)
        for i in range(60)
        for n in range(FLOWS)
    ]
    return write_pcap(tmp_path / "a.pcap", [(frame, 10**18 + n) for n, frame in enumerate(frames)])


def handed_on(path, gather):
    """(uid, frames, payloads) in the order in which packets are handed on."""
    table, out = FlowTable(gather), []

    def take(packets):
        for part in packets:
            ends = part.start + part.rows["payload_len"]
            payloads = [bytes(part.data[a:b]) for a, b in zip(part.start, ends, strict=True)]
            out.append((part.flow.uid, part.rows["frame"].tolist(), payloads))

    with open_evidence(path) as evidence:
        for batch in CaptureScan(evidence, window=20_000):
            take(table.feed(batch))
        take(table.finish())
    return out


def whole(parts):
    """Frames and payloads of each flow, whatever the parts."""
    flows = {}
    for uid, frames, payloads in parts:
        flows.setdefault(uid, []).extend(zip(frames, payloads, strict=True))
    return flows


@pytest.mark.parametrize("gather", [1, 50_000, 1 << 20])
def test_each_flow_gets_the_same_packets_in_the_same_order(gather, capture):
    assert whole(handed_on(capture, gather)) == whole(handed_on(capture, 0))


def test_enough_room_makes_one_run_of_each_flow(capture):
    parts = handed_on(capture, 1 << 20)
    assert [uid for uid, _, _ in parts] == list(range(FLOWS))
    assert len(handed_on(capture, 0)) > 5 * FLOWS


def test_few_flows_do_not_wait_until_the_buffer_is_full(capture, monkeypatch):
    monkeypatch.setattr(gathering, "SHARE", 10_000)
    parts = handed_on(capture, 1 << 20)
    assert FLOWS < len(parts) < len(handed_on(capture, 0))


def test_much_of_one_flow_is_handed_on_in_parts(capture, monkeypatch):
    monkeypatch.setattr(gathering, "PART", 25_000)
    parts = handed_on(capture, 1 << 20)
    assert [len(frames) for uid, frames, _ in parts if uid == 0] == [24, 25, 11]
    assert whole(parts) == whole(handed_on(capture, 0))


def test_rows_are_apart_from_the_buffer_that_is_used_again(capture):
    table = FlowTable(1 << 20)
    with open_evidence(capture) as evidence:
        for batch in CaptureScan(evidence):
            assert list(table.feed(batch)) == []
        parts = list(table.finish())
    assert list(table.finish()) == []
    assert all((np.diff(p.rows["frame"].astype(np.int64)) == FLOWS).all() for p in parts)
