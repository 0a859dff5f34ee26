"""Traffic disturbed without loss gives the same media; independent reassemblers give the same bytes; with
loss, what was wholly captured is recovered and the rest is counted.

Where another tool differs, the reason stands at the test and in docs/reassembly.md.
"""

import json
import random
import re
import subprocess
from functools import partial

import pytest
from builders import read_pcap, write_pcap
from conftest import SAMPLES
from perturb import duplicated, overlapping, reordered, resegmented, streams, wrapping

import mmsforensics
from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan
from mmsforensics.streams import Gap, Run, TcpReassembler

EXPECTED = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
OVER_TCP = sorted(name for name in EXPECTED if not name.startswith("mmsu"))


def all_of_it(frames, rng):
    for step in (resegmented, overlapping, duplicated, reordered):
        frames = step(frames, rng)
    return wrapping(frames)


PERTURBATIONS = {
    "another order": reordered,
    "later than its ACK": partial(reordered, past_acks=True),
    "duplicates": duplicated,
    "other segments": resegmented,
    "overlaps": overlapping,
    "wrap-around": lambda frames, rng: wrapping(frames),
    "all of it": all_of_it,
}


def perturbed(capture, how):
    """The frames of a sample, disturbed; the same at each call."""
    return PERTURBATIONS[how](read_pcap(SAMPLES / capture), random.Random(f"{capture} {how}"))


# --- without loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", PERTURBATIONS)
@pytest.mark.parametrize("capture", OVER_TCP)
def test_what_lost_nothing_gives_the_same_media(sample_case, tmp_path, capture, how):
    frames = perturbed(capture, how)
    assert frames != read_pcap(SAMPLES / capture)
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    (session,) = case.table("sessions").to_pylist()
    assert (session["packets_received"], session["packets_missing"]) == (EXPECTED[capture]["packets"], 0)
    (medium,) = [m for m in case.table("media").to_pylist() if m["kind"] == "faithful"]
    assert medium["sha256"] == EXPECTED[capture]["sha256"]
    before = [
        m["complete"] for m in sample_case.table("media").to_pylist() if m["sha256"] == medium["sha256"]
    ]
    assert [medium["complete"]] == before
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))


# --- other reassemblers -----------------------------------------------------------------------------------


def reassembled(path):
    """Direction (addresses and ports, as in the frames) to the bytes that the reassembler gives.

    Only captures without loss are put in: a hole would fail.
    """
    ends, found = {}, {}
    with open_evidence(path) as evidence:
        for batch in CaptureScan(evidence, hashing=False):
            tcp = batch.rows[batch.rows["proto"] == 6]
            sides = tcp[["src_lo", "src_port", "dst_lo", "dst_port"]]
            for side in dict.fromkeys(sides.tolist()):
                rows = tcp[[s == side for s in sides.tolist()]]
                start = (rows["offset"] - batch.base + rows["payload"]).astype("i8")
                items = ends.setdefault(side, TcpReassembler()).push(rows, batch.data, start)
                found.setdefault(side, []).extend(items)
    content = {}
    for side, items in found.items():
        items += ends[side].finish()
        assert not any(isinstance(item, Gap) for item in items)
        data = b"".join(item.data.tobytes() for item in items if isinstance(item, Run))
        if data:
            sizes = zip(side, (4, 2, 4, 2), strict=True)
            content[tuple(value.to_bytes(size, "big") for value, size in sizes)] = data
    return content


@pytest.mark.parametrize("how", PERTURBATIONS)
@pytest.mark.parametrize("capture", OVER_TCP)
def test_the_bytes_of_each_direction_are_those_that_were_sent(tmp_path, capture, how):
    """Against a dictionary of the bytes of the capture before it was disturbed."""
    path = write_pcap(tmp_path / "a.pcap", perturbed(capture, how))
    assert reassembled(path) == streams(read_pcap(SAMPLES / capture))


def followed(tshark, path):
    """What tshark gives as the bytes of each direction, stream by stream."""
    content = {}
    opened = ["-Y", "tcp.flags.syn == 1 && tcp.flags.ack == 0", "-T", "fields", "-e", "tcp.stream"]
    count = subprocess.run([tshark, "-r", path, *opened], capture_output=True, text=True, check=True)
    for stream in dict.fromkeys(count.stdout.split()):
        done = subprocess.run(
            [tshark, "-r", path, "-q", "-z", f"follow,tcp,raw,{stream}"],
            capture_output=True,
            text=True,
            check=True,
        )
        lines = done.stdout.splitlines()
        nodes = [line.split(": ")[1] for line in lines if line.startswith("Node ")]
        for back, (source, target) in enumerate((nodes, reversed(nodes))):
            sent = [x for x in lines[6:] if x.startswith("\t") == bool(back) and x.strip("=")]
            if sent:
                content[ends(source, target)] = bytes.fromhex("".join(x.strip() for x in sent))
    return content


def ends(source, target):
    """A direction by two texts ``address:port``."""
    found = ()
    for text in (source, target):
        address, port = text.rsplit(":", 1)
        found += (bytes(int(x) for x in address.split(".")), int(port).to_bytes(2, "big"))
    return found


ACKED_FIRST = "later than its ACK"


@pytest.mark.parametrize("how", [how for how in PERTURBATIONS if how != ACKED_FIRST])
@pytest.mark.parametrize("capture", OVER_TCP)
def test_tshark_gives_the_same_bytes(tmp_path, program, capture, how):
    path = write_pcap(tmp_path / "a.pcap", perturbed(capture, how))
    assert followed(program("tshark"), path) == reassembled(path)


@pytest.mark.parametrize("capture", OVER_TCP)
def test_tshark_gives_up_what_was_acknowledged_before_it_came(tmp_path, program, capture):
    """It takes an ACK for proof that bytes are missing, and passes over the segment that comes behind it.

    A capture says in which order a tap wrote packets down, not in which they were received: the reassembler
    waits. In all that tshark does give it agrees.
    """
    path = write_pcap(tmp_path / "a.pcap", perturbed(capture, ACKED_FIRST))
    theirs, ours = followed(program("tshark"), path), reassembled(path)
    assert theirs.keys() == ours.keys()
    lost = 0
    for direction, data in theirs.items():
        at = 0
        parts = re.split(rb"\[(\d+) bytes missing in capture file\]\0", data)
        for given, missing in zip(parts[::2], [*parts[1::2], b"0"], strict=True):
            assert ours[direction][at : at + len(given)] == given
            at += len(given) + int(missing)
            lost += int(missing)
        assert at == len(ours[direction])
    assert lost > 0


def flows_of_tcpflow(tcpflow, path, folder):
    """What tcpflow gives as the bytes of each direction."""
    subprocess.run([tcpflow, "-r", path, "-o", folder, "-X", "/dev/null"], capture_output=True, check=True)
    content = {}
    for file in folder.iterdir():
        if file.stat().st_size and "-" in file.name:
            sides = [x.rsplit(".", 1) for x in file.name.split("-")]
            content[ends(*(f"{address}:{port}" for address, port in sides))] = file.read_bytes()
    return content


@pytest.mark.parametrize("how", PERTURBATIONS)
@pytest.mark.parametrize("capture", OVER_TCP)
def test_tcpflow_gives_the_same_bytes(tmp_path, program, capture, how):
    path = write_pcap(tmp_path / "a.pcap", perturbed(capture, how))
    (tmp_path / "out").mkdir()
    assert flows_of_tcpflow(program("tcpflow"), path, tmp_path / "out") == reassembled(path)
