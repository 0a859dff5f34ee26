"""A slice holds exactly the frames that a session rests on, as they were captured."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from builders import (
    enhanced_packet,
    ethernet,
    interface_description,
    option,
    pcapng_bytes,
    read_pcap,
    section_header,
    sll,
    tcp_frame,
    udp_frame,
    write_pcap,
)
from click.testing import CliRunner
from conftest import SAMPLES
from perturb import fragmented

import mmsforensics
from mmsforensics.cli import main

CAPTURES = sorted(json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8")))
CAPTURE = SAMPLES / "mmst_mplayer_audio_unicode.pcap"
MMSU = SAMPLES / "mmsu_vlc_small.pcap"
KEPT = ["transport", "url", "client_ip", "client_port", "outcome", "packets_received", "start_ts", "end_ts"]


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def sliced(case, session, out):
    done = run("slice", case.path, session, "-o", out)
    assert done.exit_code == 0, done.output
    return out


def stories(case):
    return sorted(tuple(row[name] for name in KEPT) for row in case.table("sessions").to_pylist())


def media(case, **equal):
    rows = case.table("media").to_pylist()
    return sorted(row["sha256"] for row in rows if all(row[k] == v for k, v in equal.items()))


def is_transport(frame):
    """Whether an Ethernet frame holds TCP or UDP in IPv4: in the samples all of that is the session's."""
    return frame[12:14] == b"\x08\0" and frame[23] in (6, 17)


def own_frames(path):
    return [n for n, (frame, _) in enumerate(read_pcap(path), start=1) if is_transport(frame)]


def read_slice(path):
    """(comment, frame, ns, bytes on the wire, link type) of each packet, by the format alone."""
    raw, at, links, found = path.read_bytes(), 0, [], []
    while at < len(raw):
        kind, total = (int.from_bytes(raw[at + k : at + k + 4], "little") for k in (0, 4))
        body = raw[at + 8 : at + total - 4]
        if kind == 1:
            links.append(int.from_bytes(body[:2], "little"))
            assert option(9, b"\x09") in body
        elif kind == 6:
            interface, high, low, size, wire = (
                int.from_bytes(body[k : k + 4], "little") for k in range(0, 20, 4)
            )
            options = body[20 + size + -size % 4 :]
            assert options[:2] == b"\1\0"
            comment = options[4 : 4 + int.from_bytes(options[2:4], "little")].decode()
            found.append((comment, body[20 : 20 + size], high << 32 | low, wire, links[interface]))
        at += total
    return found


# --- what is in it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", CAPTURES)
def test_a_slice_of_each_sample_holds_its_frames_and_gives_the_same_again(sample_case, tmp_path, capture):
    (row,) = [r for r in sample_case.table("captures").to_pylist() if r["path"].endswith(capture)]
    (session,) = [
        r for r in sample_case.table("sessions").to_pylist() if r["capture_id"] == row["capture_id"]
    ]
    out = sliced(sample_case, session["session_id"], tmp_path / "slice.pcapng")
    whole = read_pcap(SAMPLES / capture)
    assert read_slice(out) == [
        (f"{row['capture_id']} frame {n}", *whole[n - 1], len(whole[n - 1][0]), 1)
        for n in own_frames(SAMPLES / capture)
    ]
    again = mmsforensics.analyze([out], out=tmp_path / "case")
    assert media(again) == media(sample_case, session_id=session["session_id"])
    assert stories(again) == [tuple(session[name] for name in KEPT)]


def test_tshark_reads_times_lengths_and_comments_as_in_the_original(sample_case, program, tmp_path):
    """Frame by frame against the same fields of the capture itself."""
    tshark = program("tshark")
    fields = [f for name in ("time_epoch", "cap_len", "len", "protocols") for f in ("-e", f"frame.{name}")]

    def seen(path, *more):
        command = [tshark, "-r", path, "-T", "fields", *fields, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [line.split("\t") for line in done.stdout.splitlines()]

    (session,) = [r for r in sample_case.table("sessions").to_pylist() if r["transport"] == "mmsu"]
    out = sliced(sample_case, session["session_id"], tmp_path / "slice.pcapng")
    original = seen(MMSU)
    found = seen(out, "-e", "frame.comment")
    assert [line[-1] for line in found] == [f"{session['capture_id']} frame {n}" for n in own_frames(MMSU)]
    assert [line[:-1] for line in found] == [original[n - 1] for n in own_frames(MMSU)]


def test_the_same_slice_is_the_same_file_and_the_custody_log_knows_it(sample_case, tmp_path):
    case = shutil.copytree(sample_case.path, tmp_path / "case")
    opened = mmsforensics.open_case(case)
    session = opened.table("sessions").column("session_id").to_pylist()[0]
    a = sliced(opened, session, tmp_path / "a.pcapng").read_bytes()
    assert a == sliced(opened, session, tmp_path / "b.pcapng").read_bytes()
    entry = json.loads((case / "custody.jsonl").read_text(encoding="utf-8").splitlines()[-1])["entry"]
    assert (entry["action"], entry["session"]) == ("slice", session)
    assert (entry["size"], entry["sha256"]) == (len(a), hashlib.sha256(a).hexdigest())
    assert all(check.ok for check in mmsforensics.verify(opened))


def other_traffic(ts):
    """Packets that are not the session's, though some ports or addresses are."""
    return [
        (tcp_frame("192.0.2.20", "192.0.2.10", 50000, 1755, 1, 1, 24, b"x" * 40), ts),
        (tcp_frame("192.0.2.21", "192.0.2.10", 38154, 1755, 1, 1, 24, b"x" * 40), ts),
        (udp_frame("192.0.2.20", "192.0.2.10", 38154, 1755, b"x" * 40), ts),
        (ethernet(b"\0" * 46, 0x0806), ts),
    ]


def test_other_traffic_and_a_later_flow_of_the_same_ports_are_left_out(tmp_path):
    """The same five-tuple used a second time, for a connection that opens nothing, is another flow."""
    frames, mixed, own = read_pcap(CAPTURE), [], []
    for n, (frame, ts) in enumerate(frames, start=1):
        if n % 9 == 0:
            mixed += other_traffic(ts)
        mixed.append((frame, ts))
        if is_transport(frame):
            own.append(len(mixed))
    ts = frames[-1][1] + 60 * 10**9
    for flags in (2, 24):
        mixed.append(
            (tcp_frame("192.0.2.20", "192.0.2.10", 38154, 1755, 99, 0, flags, b"GET / " * (flags > 2)), ts)
        )
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", mixed)], out=tmp_path / "case")
    out = sliced(case, "c001-s0001", tmp_path / "slice.pcapng")
    assert [line[0] for line in read_slice(out)] == [f"c001 frame {n}" for n in own]


@pytest.mark.parametrize("path", [CAPTURE, MMSU], ids=["TCP", "UDP"])
def test_every_fragment_of_the_session_is_in_the_slice(tmp_path, path):
    rng, frames = random.Random(4), []
    for number, (frame, ts) in enumerate(f for f in read_pcap(path) if is_transport(f[0])):
        frames += [(part, ts) for part in fragmented(frame, 400, number, rng)]
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    out = sliced(case, "c001-s0001", tmp_path / "slice.pcapng")
    assert [(frame, ts) for _, frame, ts, _, _ in read_slice(out)] == frames
    assert media(mmsforensics.analyze([out], out=tmp_path / "again")) == media(case)


def test_fragments_behind_a_missing_one_are_in_the_slice(tmp_path):
    rng, frames, lost = random.Random(4), [], []
    for number, (frame, ts) in enumerate(f for f in read_pcap(CAPTURE) if is_transport(f[0])):
        parts = fragmented(frame, 400, number, rng)
        parts = sorted(parts, key=lambda part: int.from_bytes(part[20:22], "big") & 0x1FFF)
        if number > 60 and len(parts) > 3 and not lost:
            lost.append(parts.pop(1))
        frames += [(part, ts) for part in parts]
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    out = sliced(case, "c001-s0001", tmp_path / "slice.pcapng")
    assert [(frame, ts) for _, frame, ts, _, _ in read_slice(out)] == frames
    kinds = case.table("anomalies").column("kind").to_pylist()
    assert kinds == ["gap", "end_not_captured"]  # nothing was cut or out of order


def test_taps_of_different_links_keep_them_and_nothing_stands_twice(tmp_path):
    """One tap lost frames that the other, with VLAN tags or cooked headers, has."""
    whole = [f for f in read_pcap(CAPTURE) if is_transport(f[0])]
    first = [f for n, f in enumerate(whole) if n % 5 or n < 10]
    cooked = [(sll(frame[14:]), ts) for frame, ts in whole]
    paths = [write_pcap(tmp_path / "a.pcap", first), write_pcap(tmp_path / "b.pcap", cooked, linktype=113)]
    case = mmsforensics.analyze(paths, out=tmp_path / "case")
    found = read_slice(sliced(case, "c001-s0001", tmp_path / "slice.pcapng"))
    assert len(found) == len(whole)
    for comment, frame, ts, _, link in found:
        capture, number = comment.split(" frame ")
        source, dlt = {"c001": (first, 1), "c002": (cooked, 113)}[capture]
        assert (frame, ts, link) == (*source[int(number) - 1], dlt)
    assert {link for *_, link in found} == {1, 113}
    assert [ts for _, _, ts, _, _ in found] == [ts for _, ts in whole]
    again = mmsforensics.analyze([tmp_path / "slice.pcapng"], out=tmp_path / "again")
    assert media(again) == media(case)


def test_tags_of_vlans_and_cut_frames_stay_as_they_are(tmp_path):
    frames = [
        (ethernet(frame[14:], vlan=(100, 7)), ts + 123)  # ns that a pcap of microseconds would not hold
        for frame, ts in read_pcap(CAPTURE)
        if is_transport(frame)
    ]
    evidence = tmp_path / "a.pcapng"
    evidence.write_bytes(pcapng_bytes(frames, snaplen=1200))
    case = mmsforensics.analyze([evidence], out=tmp_path / "case")
    found = read_slice(sliced(case, "c001-s0001", tmp_path / "slice.pcapng"))
    assert [f[1:] for f in found] == [(frame[:1200], ts, len(frame), 1) for frame, ts in frames]
    assert any(wire > len(frame) for _, frame, _, wire, _ in found)


@pytest.mark.parametrize("years", [-20, 0, 100])
def test_times_far_off_are_kept(tmp_path, years):
    """Before 1970 the interface's offset is negative [draft-ietf-opsawg-pcapng 4.2, if_tsoffset]."""
    shift = 0 if not years else (1970 + years - 2026) * 31_556_952
    evidence = tmp_path / "a.pcapng"
    blocks = [section_header(), interface_description(tsresol=9, tsoffset=shift)]
    blocks += [enhanced_packet(frame, ts) for frame, ts in read_pcap(CAPTURE)]
    evidence.write_bytes(b"".join(blocks))
    case = mmsforensics.analyze([evidence], out=tmp_path / "case")
    out = sliced(case, "c001-s0001", tmp_path / "slice.pcapng")
    again = mmsforensics.analyze([out], out=tmp_path / "again")
    assert stories(again) == stories(case)
    assert stories(case)[0][6].year in (1970 + years - 1, 1970 + years, 2026)


# --- what is refused -----------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path):
    """A case of one capture, whose evidence may be changed."""
    evidence = tmp_path / "evidence.pcap"
    shutil.copyfile(CAPTURE, evidence)
    return mmsforensics.analyze([evidence], out=tmp_path / "case"), evidence


def refused(*arguments):
    done = run("slice", *arguments)
    assert done.exit_code == 2
    return done.output


def test_an_unknown_session_is_refused(made, tmp_path):
    assert "no session c001-s0009" in refused(made[0].path, "c001-s0009", "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_nothing_is_written_over(made, tmp_path):
    case, evidence = made
    before = evidence.read_bytes()
    link = tmp_path / "link.pcapng"
    link.symlink_to(tmp_path / "nowhere")
    for out in (evidence, link):
        assert "exists; nothing was written" in refused(case.path, "c001-s0001", "-o", out)
    assert evidence.read_bytes() == before
    assert "lies in the case" in refused(case.path, "c001-s0001", "-o", case.path / "media" / "x.pcapng")
    assert "no such folder" in refused(case.path, "c001-s0001", "-o", tmp_path / "no" / "x.pcapng")
    assert all(check.ok for check in mmsforensics.verify(case))


def test_evidence_that_moved_is_found_where_it_is_said_to_be(made, tmp_path):
    case, evidence = made
    (tmp_path / "moved").mkdir()
    shutil.move(evidence, tmp_path / "moved" / evidence.name)
    out = tmp_path / "slice.pcapng"
    assert "not found" in refused(case.path, "c001-s0001", "-o", out)
    assert not out.exists()
    done = run("slice", case.path, "c001-s0001", "-o", out, "--evidence", tmp_path / "moved")
    assert done.exit_code == 0, done.output
    assert len(read_slice(out)) == len(own_frames(CAPTURE))


def test_evidence_that_is_another_now_is_refused(made, tmp_path):
    case, evidence = made
    data = bytearray(evidence.read_bytes())
    data[-1] ^= 1
    evidence.write_bytes(data)
    assert "is not what was analysed" in refused(case.path, "c001-s0001", "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_evidence_from_a_pipe_is_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(pipe.write_bytes, CAPTURE.read_bytes())
        mmsforensics.analyze([pipe], out=tmp_path / "case")
    assert "came through a pipe" in refused(tmp_path / "case", "c001-s0001", "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_members_of_an_archive_are_taken_out_again(tmp_path):
    archive = tmp_path / "evidence.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(MMSU, "a.pcap")
        file.write(CAPTURE, "b.pcap")
    case = mmsforensics.analyze([archive], out=tmp_path / "case")
    (session,) = [r["session_id"] for r in case.table("sessions").to_pylist() if r["transport"] == "mmst"]
    found = read_slice(sliced(case, session, tmp_path / "slice.pcapng"))
    assert [line[0] for line in found] == [f"c002 frame {n}" for n in own_frames(CAPTURE)]
