"""Headers lent by one session to another: the right one is found, proven or not, and a wrong one refused."""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import pytest
from builders import write_pcap
from cases import rows
from peers import asf_objects as build
from peers.asf_file import AsfFile
from peers.media import make_asf
from peers.mmst_server import transcript
from peers.recorder import frames_of

import mmsforensics
from mmsforensics.case import borrowing

SERVER = ("192.0.2.10", 1755)
LATER = 1_700_000_100_000_000_000


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_asf(tmp_path_factory.mktemp("media") / "film.wmv", title="Film", author="Somebody")


def viewing(path, *, name="film.wmv", port=40001, start=0, server=SERVER, options=None):
    """Frames of one whole viewing, and what the server sent."""
    conversation, (segment,) = transcript({name: path}, options)
    client = ("192.0.2.20", port)
    return frames_of(conversation, client=client, server=server, start_ns=LATER + start), segment


def middle_of(frames, share=0.5):
    return frames[int(len(frames) * share) :]


def described_only(frames, segment):
    return frames[: next(i for i, (frame, _) in enumerate(frames) if segment.header[-200:] in frame) + 1]


def analyzed(tmp_path, *viewings):
    frames = sorted((f for viewing in viewings for f in viewing), key=lambda f: f[1])
    return mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")


def borrowed(case):
    return [m for m in rows(case, "media") if m["header_from"] is not None]


def changed(path, target, change):
    """The same file with other contents at the end of each packet: header, sizes and times stay."""
    asf = AsfFile.read(path)
    data = bytearray(Path(path).read_bytes())
    size = len(asf.packets[0])
    first = bytes(data).index(asf.packets[0])
    for at in range(first, first + size * len(asf.packets), size):
        data[at + 300] ^= change
    target.write_bytes(data)
    return str(target)


@pytest.mark.parametrize("lender_first", [True, False])
def test_a_header_is_borrowed_from_a_session_before_or_behind(film, tmp_path, program, lender_first):
    whole, _ = viewing(film, port=40001, start=0 if lender_first else 10**10)
    cut, _ = viewing(film, port=40002, start=10**10 if lender_first else 0)
    case = analyzed(tmp_path, whole, middle_of(cut))
    (packets,) = rows(case, "media", kind="packets")
    (playable,) = borrowed(case)
    lender = next(m for m in rows(case, "media", kind="faithful"))
    assert (playable["kind"], playable["session_id"]) == ("playable", packets["session_id"])
    assert (playable["header_from"], playable["header_proof"]) == (lender["media_id"], "proven")
    assert (playable["packets"], playable["title"]) == (packets["packets"], "Film")
    assert any(lender["media_id"] in note for note in playable["notes"])
    path = case.path / playable["path"]
    done = subprocess.run(
        [program("ffprobe"), "-v", "error", "-show_streams", "-show_format", "-of", "json", path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert sorted(s["codec_name"] for s in json.loads(done.stdout)["streams"]) == ["wmav2", "wmv2"]


def test_what_was_borrowed_leads_to_the_frames_of_the_lender(film, tmp_path):
    whole, segment = viewing(film)
    cut, _ = viewing(film, port=40002, start=10**10)
    case = analyzed(tmp_path, whole, middle_of(cut))
    (playable,) = borrowed(case)
    origins = rows(case, "provenance", media_id=playable["media_id"])
    lent = [o for o in origins if o["frame"] is not None and o["file_offset"] < len(segment.header)]
    own = [o for o in origins if o["frame"] is not None and o["file_offset"] >= len(segment.header)]
    assert lent
    assert {o["frame"] <= len(whole) for o in lent} == {True}
    assert {o["frame"] > len(whole) for o in own} == {True}
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


def test_what_the_playable_file_plays_is_in_the_film(film, tmp_path):
    whole, _ = viewing(film)
    cut, _ = viewing(film, port=40002, start=10**10)
    case = analyzed(tmp_path, whole, middle_of(cut, 0.4))
    (playable,) = borrowed(case)
    wanted, found = samples(film), samples(case.path / playable["path"])
    assert len(found) > len(wanted) // 3
    assert set(found) <= set(wanted)


def samples(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


def test_captures_in_files_of_their_own_lend_to_each_other(film, tmp_path):
    whole, _ = viewing(film, start=10**12)
    cut, _ = viewing(film, port=40002)
    paths = [
        write_pcap(tmp_path / "late.pcap", whole),
        write_pcap(tmp_path / "early.pcap", middle_of(cut)),
    ]
    case = mmsforensics.analyze(paths, out=tmp_path / "case")
    (playable,) = borrowed(case)
    assert playable["header_proof"] == "proven"


def test_a_header_that_was_never_played_is_consistent_at_most(film, tmp_path):
    whole, segment = viewing(film)
    cut, _ = viewing(film, port=40002, start=10**10)
    case = analyzed(tmp_path, described_only(whole, segment), middle_of(cut))
    (playable,) = borrowed(case)
    (header,) = rows(case, "media", kind="header")
    assert (playable["header_from"], playable["header_proof"]) == (header["media_id"], "consistent")


def test_of_two_headers_that_fit_the_proven_one_is_taken_and_else_none(film, tmp_path):
    other = make_asf(tmp_path / "other.wmv", title="Other")
    one, segment = viewing(film, port=40001)
    two, other_segment = viewing(other, port=40002, start=10**9, name="other.wmv")
    cut, _ = viewing(film, port=40003, start=10**10)
    described = described_only(one, segment), described_only(two, other_segment)
    assert borrowed(analyzed(tmp_path, *described, middle_of(cut))) == []
    (playable,) = borrowed(analyzed(tmp_path, one, described[1], middle_of(cut)))
    assert (playable["title"], playable["header_proof"]) == ("Film", "proven")


def test_a_medium_to_which_nothing_is_lent_says_that_it_is_not_playable(film, tmp_path):
    cut, _ = viewing(film)
    (packets,) = rows(analyzed(tmp_path, middle_of(cut)), "media")
    assert packets["kind"] == "packets"
    assert any(note.startswith("not playable: no other medium") for note in packets["notes"])


def test_what_a_borrowed_header_says_is_told_of_the_borrower_too(film, tmp_path):
    asf = AsfFile.read(film)
    head = bytearray(asf.header[:-50]) + build.script_command((5500, "URL", "http://example.com/"))
    struct.pack_into("<QI", head, 16, len(head), struct.unpack_from("<I", head, 24)[0] + 1)
    scripted = replace(asf, header=bytes(head) + asf.header[-50:])
    whole, _ = viewing(scripted)
    cut, _ = viewing(scripted, port=40002, start=10**10)
    case = analyzed(tmp_path, whole, middle_of(cut))
    (playable,) = borrowed(case)
    (command,) = rows(case, "script_commands", media_id=playable["media_id"])
    assert (command["type"], command["value"]) == ("URL", "http://example.com/")
    assert 0 < command["frame"] <= len(whole), "the lender's frame shows it"
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


@pytest.mark.parametrize("size", [1600, 6400])
def test_the_size_that_a_header_declares_must_be_reached(film, tmp_path, size):
    """A header that nobody played, of a film long enough for all packets, and of another packet size."""
    other = make_asf(tmp_path / "other.wmv", packet_size=size, seconds=6)
    whole, segment = viewing(other, name="other.wmv")
    cut, _ = viewing(film, port=40002, start=10**10)
    assert borrowed(analyzed(tmp_path, described_only(whole, segment), middle_of(cut))) == []


WRONG = {
    "other packet size": lambda film, t: make_asf(t / "wrong.wmv", packet_size=1600),
    "fewer packets": lambda film, t: make_asf(t / "wrong.wmv", seconds=0.5),
    "no video": lambda film, t: make_asf(t / "wrong.wmv", video=False, packet_size=3200, seconds=60),
    "other contents of the same packets": lambda film, t: changed(film, t / "wrong.wmv", 0x55),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_lender_is_refused(film, tmp_path, wrong):
    whole, _ = viewing(wrong(film, tmp_path), name="wrong.wmv")
    cut, _ = viewing(film, port=40002, start=10**10)
    case = analyzed(tmp_path, whole, middle_of(cut))
    assert len(rows(case, "media", kind="packets")) == 1
    assert borrowed(case) == []


def test_another_server_lends_nothing(film, tmp_path):
    whole, _ = viewing(film, server=("198.51.100.7", 1755))
    cut, _ = viewing(film, port=40002, start=10**10)
    assert borrowed(analyzed(tmp_path, whole, middle_of(cut))) == []


def mp3_in_asf(path, program, rate=44100, kind="libmp3lame"):
    """Three seconds of sound in MPEG audio, muxed by an independent program."""
    source = ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={rate}:duration=3"]
    command = [program("ffmpeg"), "-v", "error", *source, "-c:a", kind, "-b:a", "64k", "-f", "asf", path]
    subprocess.run(command, check=True)
    return path


@pytest.mark.parametrize(("kind", "rate"), [("libmp3lame", 44100), ("libmp3lame", 22050), ("mp2", 48000)])
def test_of_mpeg_audio_a_header_is_made(tmp_path, program, kind, rate):
    """Its frames name their format: what plays is what was sent, and no one is said to have lent anything."""
    path = mp3_in_asf(tmp_path / "song.asf", program, rate, kind)
    cut, _ = viewing(path)
    case = analyzed(tmp_path, middle_of(cut, 0.3))
    (playable,) = rows(case, "media", kind="playable")
    assert (playable["header_from"], playable["header_proof"]) == (None, "synthesised")
    assert any("one was made of what the packets say" in note for note in playable["notes"])
    wanted, found = samples(path), samples(case.path / playable["path"])
    assert len(found) > len(wanted) // 3
    assert set(found) <= set(wanted)
    done = subprocess.run(
        [program("ffmpeg"), "-v", "error", "-i", case.path / playable["path"], "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


def test_a_borrower_is_compared_with_a_few_of_many_lenders(film, tmp_path, monkeypatch):
    """With those that have most of its packets; and parsed once, whatever the number of headers."""
    other = make_asf(tmp_path / "other.wmv", title="Other")
    viewings = [viewing(film, port=40001 + i, start=i * 10**9)[0] for i in range(4)]
    early = [frames[: len(frames) // 2] for frames in viewings[:3]]
    two, segment = viewing(other, port=40006, start=5 * 10**9, name="other.wmv")
    cut = middle_of(viewing(film, port=40007, start=10**10)[0])
    everyone = [*early, viewings[3], described_only(two, segment), cut]
    before = analyzed(tmp_path, *everyone)
    compared, parsed = [], []

    def counted(calls, function):
        return lambda *args: (calls.append(args), function(*args))[1]

    monkeypatch.setattr(borrowing, "LENDERS_COMPARED", 1)
    monkeypatch.setattr(borrowing, "_compared", counted(compared, borrowing._compared))
    monkeypatch.setattr(borrowing, "walk_payloads", counted(parsed, borrowing.walk_payloads))
    again = tmp_path / "again"
    again.mkdir()
    (playable,) = borrowed(analyzed(again, *everyone))
    assert playable["header_proof"] == "proven"
    assert [lender.session_id for _, lender in compared] == [playable["header_from"].rsplit("-", 2)[0]]
    assert len(parsed) == 1
    assert rows(before, "sessions")[3]["session_id"] == compared[0][1].session_id


def test_a_header_whose_lenders_were_not_compared_may_fit_too(film, tmp_path, monkeypatch):
    monkeypatch.setattr(borrowing, "COMPARISONS", 0)
    whole, _ = viewing(film)
    other = make_asf(tmp_path / "other.wmv", title="Other")
    two, _ = viewing(other, port=40002, start=10**9, name="other.wmv")
    cut = middle_of(viewing(film, port=40003, start=10**10)[0])
    assert borrowed(analyzed(tmp_path, whole, two, cut)) == []
