"""The tables `flows` and `anomalies` of a case, and both versions of contested bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest
from builders import checksum, pseudo_header, read_pcap, write_pcap
from click.testing import CliRunner
from conftest import SAMPLES

import mmsforensics
from mmsforensics.cli import main

CAPTURE = SAMPLES / "mmst_small_packets_split_header.pcap"
HEAD = 66
"""Ethernet, IPv4 and TCP with time stamps."""
MEDIA = 60
"""A frame in the middle of the media, full of payload."""


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def forged(frame):
    """The frame with other payload of the same length, its TCP checksum right."""
    body = frame[:HEAD] + bytes(b ^ 0x55 for b in frame[HEAD:])
    segment = body[34:50] + b"\0\0" + body[52:]
    total = checksum(pseudo_header("192.0.2.10", "192.0.2.20", 6, len(segment)) + segment)
    return body[:50] + total.to_bytes(2, "big") + body[52:]


@pytest.fixture(scope="module")
def injected(tmp_path_factory):
    """A sample in which somebody has sent a segment a second time with other bytes."""
    folder = tmp_path_factory.mktemp("injected")
    frames = read_pcap(CAPTURE)
    frame, ts = next((f, t) for f, t in frames[MEDIA:] if len(f) > 400)
    at = frames.index((frame, ts)) + 1
    frames.insert(at, (forged(frame), ts + 1000))
    path = write_pcap(folder / "injected.pcap", frames)
    return mmsforensics.analyze([path], out=folder / "case"), frame, at


def test_both_versions_of_contested_bytes_are_kept(injected):
    case, frame, at = injected
    (row,) = [r for r in case.table("anomalies").to_pylist() if r["kind"] == "overlap_conflict"]
    assert (row["severity"], row["direction"], row["frame"]) == ("high", "server", at + 1)
    assert (row["session_id"], row["flow_id"]) == ("c001-s0001", "c001-f0001")
    details = json.loads(row["details"])
    assert details["kept_frame"] == at
    for word, payload in (("kept", frame[HEAD:]), ("set_aside", forged(frame)[HEAD:])):
        data = (case.path / details[f"{word}_path"]).read_bytes()
        assert data == payload
        assert details[f"{word}_sha256"] == hashlib.sha256(payload).hexdigest()


def test_what_came_first_is_the_medium(injected, expected):
    case, _, _ = injected
    (medium,) = [m for m in case.table("media").to_pylist() if m["kind"] == "faithful"]
    assert medium["sha256"] == expected[CAPTURE.name]["sha256"]


def test_exported_versions_are_outputs_of_the_case(injected):
    case, _, _ = injected
    checks = mmsforensics.verify(case)
    assert len([c for c in checks if c.path.startswith("conflicts/")]) == 2
    assert all(c.ok for c in checks)


def test_the_overlap_policy_stands_in_the_manifest(tmp_path):
    case = mmsforensics.analyze([CAPTURE], out=tmp_path / "case", overlap="linux")
    assert case.manifest["parameters"]["overlap_policy"] == "linux"
    plain = mmsforensics.analyze([CAPTURE], out=tmp_path / "case")
    assert plain.manifest["parameters"]["overlap_policy"] == "first"
    wrong = run("analyze", CAPTURE, "-o", tmp_path / "other", "--overlap", "amiga")
    assert wrong.exit_code == 2
    assert "'amiga' is not one of" in wrong.output


def test_the_lists(injected):
    case, _, at = injected
    flows = run("flows", case.path)
    assert flows.exit_code == 0
    assert "192.0.2.20:49712" in flows.output
    assert "mms over tcp" in flows.output
    lines = run("anomalies", case.path, "-s", "c001-s0001", "--json").output.splitlines()
    assert "overlap_conflict" in {json.loads(line)["kind"] for line in lines}
    assert f"c001:{at + 1}" in run("anomalies", case.path).output
    assert run("anomalies", case.path, "-s", "nobody").exit_code == 2


@pytest.mark.parametrize("capture", sorted(p.name for p in SAMPLES.glob("*.pcap")))
def test_an_independent_dissector_counts_the_same(capture, tmp_path, program):
    """Packets, bytes and the first round trip of each TCP connection."""
    case = mmsforensics.analyze([SAMPLES / capture], out=tmp_path / "case")
    fields = ["tcp.stream", "ip.src", "tcp.srcport", "frame.len", "tcp.len", "tcp.analysis.initial_rtt"]
    printed = subprocess.run(
        [
            *(program("tshark"), "-r", SAMPLES / capture, "-Y", "tcp", "-T", "fields", "-E", "occurrence=f"),
            *(part for name in fields for part in ("-e", name)),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = [line.split("\t") for line in printed.splitlines()]
    flows = {f["client_port"]: f for f in case.table("flows").to_pylist() if f["protocol"] == "tcp"}
    assert len({r[0] for r in rows}) == len(flows)
    for stream in {r[0] for r in rows}:
        mine = [r for r in rows if r[0] == stream]
        flow = flows[int(mine[0][2])]
        for who, port in (("client", flow["client_port"]), ("server", flow["server_port"])):
            sent = [r for r in mine if int(r[2]) == port]
            assert flow[f"{who}_packets"] == len(sent)
            assert flow[f"{who}_bytes"] == sum(int(r[3]) for r in sent)
            assert flow[f"{who}_payload_bytes"] == sum(int(r[4]) for r in sent)
        trip = next(float(r[5]) for r in mine if r[5])
        assert flow["rtt_ns"] == round(trip * 1e9)


def test_a_dissector_sees_the_same_retransmissions(tmp_path, program):
    """Every tenth segment of the server sent a second time, half a second later."""
    frames = read_pcap(CAPTURE)
    sent = [(f, t) for f, t in frames if f[26:30] == bytes([192, 0, 2, 10]) and len(f) > 60]
    again = [(f[:18] + bytes([1, n]) + f[20:], t + 500_000_000) for n, (f, t) in enumerate(sent[::10])]
    path = write_pcap(tmp_path / "again.pcap", sorted(frames + again, key=lambda x: x[1]))
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    printed = subprocess.run(
        [
            *(program("tshark"), "-r", path, "-Y", "tcp.analysis.retransmission"),
            *("-T", "fields", "-e", "frame.number"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    kinds = ("retransmission", "spurious_retransmission")
    mine = [r["frame"] for r in case.table("anomalies").to_pylist() if r["kind"] in kinds]
    assert mine == [int(n) for n in printed.split()]
    assert len(mine) == len(again)


def test_the_client_has_what_the_tap_missed(tmp_path, expected):
    """A media frame that the capture lost was acknowledged: delivered, and said so."""
    frames = read_pcap(CAPTURE)
    lost = next(f for f, _ in frames[MEDIA:] if len(f) > 400)
    path = write_pcap(tmp_path / "lost.pcap", [x for x in frames if x[0] is not lost])
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    (session,) = case.table("sessions").to_pylist()
    assert session["gap_bytes"] == session["acked_unseen_bytes"] == len(lost) - HEAD
    assert session["seen_unacked_bytes"] == 0
    (gap,) = [r for r in case.table("anomalies").to_pylist() if r["kind"] == "gap"]
    assert json.loads(gap["details"])["lost"] == "in the capture"


def test_the_clients_word_on_a_medium(tmp_path):
    """The last acknowledgements cut off: what they would have covered may not have been delivered."""
    frames = read_pcap(CAPTURE)
    sent = [i for i, (f, _) in enumerate(frames) if f[26:30] == bytes([192, 0, 2, 10]) and len(f) > 400]
    case = mmsforensics.analyze(
        [write_pcap(tmp_path / "cut.pcap", frames[: sent[-3]])], out=tmp_path / "case"
    )
    (session,) = case.table("sessions").to_pylist()
    (medium,) = [m for m in case.table("media").to_pylist() if m["kind"] == "faithful"]
    last = int.from_bytes(frames[sent[-4]][0][38:42], "big") + len(frames[sent[-4]][0]) - HEAD
    acks = [f for f, _ in frames[: sent[-3]] if f[26:30] == bytes([192, 0, 2, 20])]
    acked = max(int.from_bytes(f[42:46], "big") for f in acks)
    assert session["seen_unacked_bytes"] == last - acked > 0
    assert 0 < medium["seen_unacked_bytes"] <= session["seen_unacked_bytes"]
    assert (session["acked_unseen_bytes"], medium["acked_unseen_bytes"]) == (0, 0)


def test_a_hole_in_a_medium_that_was_acknowledged(tmp_path):
    frames = read_pcap(CAPTURE)
    lost = next(f for f, _ in frames[MEDIA:] if len(f) > 400)
    path = write_pcap(tmp_path / "lost.pcap", [x for x in frames if x[0] is not lost])
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    for medium in case.table("media").to_pylist():
        assert medium["acked_unseen_bytes"] == len(lost) - HEAD
        assert medium["seen_unacked_bytes"] == 0


def test_datagrams_have_no_word_of_the_client(sample_case):
    for medium in sample_case.table("media").to_pylist():
        told = medium["acked_unseen_bytes"], medium["seen_unacked_bytes"]
        assert told == ((None, None) if "udp1400" in medium["path"] else (0, 0))


def test_who_closed_first_is_told_by_the_fin(sample_case):
    """VLC's server sends its FIN in frame 257, MPlayer its own in 258; an ACK of the server comes last."""
    (session,) = [s for s in sample_case.table("sessions").to_pylist() if s["transport"] == "mmsh"]
    assert session["outcome"] == "closed by server"
    (reason,) = [
        r
        for r in sample_case.table("verdicts").to_pylist()
        if r["session_id"] == session["session_id"] and "closed" in r["reason"]
    ]
    assert (reason["reason"], reason["frame"]) == ("server closed", 257)
