"""Traffic disturbed without loss gives the same media; independent reassemblers give the same bytes; with
loss, what was wholly captured is recovered and the rest is named.

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
from perturb import dropped, duplicated, overlapping, reordered, resegmented, segments, streams, wrapping

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


# --- with loss --------------------------------------------------------------------------------------------


def media_packets(stream, transport, count):
    """(first byte, behind the last byte) of each media packet in what a server sent, its header included.

    By the framing alone: MS-MMSP 2.2.2 and 2.2.3, MS-WMSP 2.2.3.1. The ASF header's packets come first. Of a
    download the packets as they lie in the file.
    """
    found, at = [], 0 if transport == "mmst" else stream.index(b"\r\n\r\n") + 4
    if transport == "http":
        at += header_size(stream[at:])
        return [(begin, begin + 3200) for begin in range(at, at + 3200 * count, 3200)]
    while at < len(stream):
        if transport == "mmsh":
            size, data = (
                4 + int.from_bytes(stream[at + 2 : at + 4], "little"),
                stream[at + 1 : at + 2] == b"D",
            )
        elif stream[at + 4 : at + 8] == b"\xce\xfa\x0b\xb0":
            size, data = 16 + int.from_bytes(stream[at + 8 : at + 12], "little"), False
        else:
            size, data = int.from_bytes(stream[at + 6 : at + 8], "little"), True
        if data:
            found.append((at, at + size))
        at += size
    assert at == len(stream)
    return found[-count:]


def carriers(frames, capture):
    """For each media packet of a sample the numbers, from 0, of the frames that hold it."""
    want = EXPECTED[capture]
    if want["transport"] == "mmsu":  # a packet in each datagram of the server
        datagrams = [{n} for n, (f, _) in enumerate(frames) if f[23] == 17 and f[34:36] == b"\x06\xdb"]
        return datagrams[-want["packets"] :]
    server, at, origin = None, 0, []
    content = streams(frames)
    largest = max(content, key=lambda key: len(content[key]))
    for n, (part, _, _) in enumerate(segments(frames)):
        if part is not None and part.direction == largest and part.payload:
            assert server is None or part.seq == server, "the samples have no retransmissions"
            server = (part.seq + len(part.payload)) % 2**32
            origin.append((at, at + len(part.payload), n))
            at += len(part.payload)
    return [
        {n for begin, end, n in origin if begin < stop and end > start}
        for start, stop in media_packets(content[largest], want["transport"], want["packets"])
    ]


FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def header_size(data):
    """Bytes of an ASF file before its first data packet [ASF 3.1, 5.1]."""
    return int.from_bytes(data[16:24], "little") + 50


def packets_of(case, medium):
    """Header and data packets of a faithful file, by the file alone; packets have one size [ASF 3.2]."""
    data = (case.path / medium["path"]).read_bytes()
    at = data.index(FILE_PROPERTIES) + 92
    size, begin = int.from_bytes(data[at : at + 4], "little"), header_size(data)
    return data[:begin], [data[begin + size * k :][:size] for k in range(medium["packets"])]


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory):
    """The cases of samples, each by itself: their media are known by hash (see test_samples)."""
    made = {}

    def case_of(capture):
        if capture not in made:
            out = tmp_path_factory.mktemp("undamaged") / "case"
            made[capture] = mmsforensics.analyze([SAMPLES / capture], out=out)
        return made[capture]

    return case_of


def faithful(case):
    (medium,) = [m for m in case.table("media").to_pylist() if m["kind"] == "faithful"]
    return medium


def named_lost(case):
    """Numbers of the packets that the loss map names, in order."""
    runs = {row["run"]: row for row in case.table("loss").to_pylist()}
    assert all(row["packets"] == row["last_packet"] - row["first_packet"] + 1 for row in runs.values())
    return [n for row in runs.values() for n in range(row["first_packet"], row["last_packet"] + 1)]


def lossy(capture, seed, share):
    """A sample of which frames are lost: those kept, the packets wholly captured, the number of all packets.

    Only frames behind the header are lost: without it there would be no file to judge. A download's header
    ends in the frame in which its first packet begins.
    """
    frames = read_pcap(SAMPLES / capture)
    held = carriers(frames, capture)
    first = min(held[0]) + (EXPECTED[capture]["transport"] == "http")
    rng = random.Random(f"{capture} {seed}")
    kept, gone = dropped(frames, rng, share, spared=lambda n: n < first)
    return kept, [k for k, numbers in enumerate(held) if not numbers & gone], len(held)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("capture", sorted(EXPECTED))
def test_every_packet_that_was_wholly_captured_is_recovered(undamaged, tmp_path, program, capture, seed):
    """Of a capture without 1 % of its frames."""
    kept, whole, sent = lossy(capture, seed, 0.01)
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", kept)], out=tmp_path / "case")
    (session,) = case.table("sessions").to_pylist()
    assert (session["packets_received"], session["packets_missing"]) == (len(whole), sent - len(whole))
    if session["transport"] in ("http", "mmst"):  # their servers say that all was sent
        assert session["outcome"] == "completed"
    numbers = undamaged(capture).table("media_packets").column("packet_number").to_pylist()
    assert named_lost(case) == [numbers[k] for k in range(sent) if k not in whole]
    header, packets = packets_of(undamaged(capture), faithful(undamaged(capture)))
    assert packets_of(case, faithful(case)) == (header, [packets[k] for k in whole])
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))
    all_of_it = played(program, undamaged(capture).path / faithful(undamaged(capture))["path"])
    for medium in case.table("media").to_pylist():
        shown = played(program, case.path / medium["path"])
        assert (len(whole) / sent - 0.1) * all_of_it <= shown <= all_of_it


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("capture", sorted(EXPECTED))
def test_packets_between_many_holes_are_recovered(undamaged, tmp_path, capture, seed):
    """Of a capture without 10 % of its frames, where no three packets may follow each other any more.

    Behind the last packet that is there a hole says only that there was more, not how many packets.
    """
    kept, whole, sent = lossy(capture, seed, 0.1)
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", kept)], out=tmp_path / "case")
    header, packets = packets_of(undamaged(capture), faithful(undamaged(capture)))
    assert packets_of(case, faithful(case)) == (header, [packets[k] for k in whole])
    (session,) = case.table("sessions").to_pylist()
    behind = sent - 1 - whole[-1]
    surely = whole[-1] + 1 - len(whole)
    assert session["packets_received"] == len(whole)
    assert surely <= session["packets_missing"] <= surely + behind


def played(program, path):
    """How many frames of picture and sound ffmpeg decodes; neither it nor ffprobe finds an error in the file.

    What its picture decoders say of pictures that rest on a lost one is none: that the first is no key frame,
    and that a brightness runs over.
    """
    probe = [program("ffprobe"), "-v", "error", "-show_entries", "stream=codec_type", "-of", "csv=p=0", path]
    assert subprocess.run(probe, capture_output=True, text=True, check=True).stderr == ""
    play = [program("ffmpeg"), "-v", "error", "-i", path, "-f", "framecrc", "-"]
    done = subprocess.run(play, capture_output=True, text=True, check=True)
    said = (
        r"\[wmv\d @ \w+\] (warning: first frame is no keyframe|dc overflow- .*)|    Last message repeated .*"
    )
    assert [line for line in done.stderr.splitlines() if line and not re.fullmatch(said, line)] == []
    return sum(not line.startswith("#") for line in done.stdout.splitlines())
