"""The same capture in other wrappings and formats gives the same case."""

import bz2
import gzip
import lzma
import subprocess

import pytest
from builders import netmon_bytes, read_pcap, snoop_bytes
from conftest import SAMPLES

import mmsforensics

CAPTURE = SAMPLES / "mmst_mplayer_audio_unicode.pcap"


def netmon(path):
    """The capture in Network Monitor's format, times counted from its first frame."""
    frames = read_pcap(path)
    return netmon_bytes([(frame, ts - frames[0][1]) for frame, ts in frames], version=(2, 1))


MAKE = {
    "gzip": lambda path: gzip.compress(path.read_bytes()),
    "bzip2 in xz": lambda path: lzma.compress(bz2.compress(path.read_bytes())),
    "snoop": lambda path: snoop_bytes(read_pcap(path)),
    "snoop in gzip": lambda path: gzip.compress(snoop_bytes(read_pcap(path))),
    "Network Monitor": netmon,
}


def of_interest(case):
    """Sessions, media and events without what the file's format decides."""
    sessions = case.sessions.drop(columns=["start_ts", "end_ts"])
    return (
        sessions.to_dict("records"),
        case.media[["media_id", "sha256", "packets", "complete"]].to_dict("records"),
        case.events[["frame", "event", "details"]].to_dict("records"),
        case.provenance.drop(columns=["capture_id"])[["file_offset", "length", "frame_offset"]].to_dict(
            "records"
        ),
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return mmsforensics.analyze([CAPTURE], out=tmp_path_factory.mktemp("plain") / "case")


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_other_kinds_of_files(plain, make, tmp_path):
    (tmp_path / "evidence").write_bytes(make(CAPTURE))
    case = mmsforensics.analyze([tmp_path / "evidence"], out=tmp_path / "case")
    assert of_interest(case) == of_interest(plain)
    assert all(check.ok for check in mmsforensics.verify(case, deep=True))


def test_files_of_an_independent_converter(plain, program, tmp_path):
    for kind in ("snoop", "netmon1", "netmon2", "modpcap", "nokiapcap", "pcapng"):
        subprocess.run([program("editcap"), "-F", kind, CAPTURE, tmp_path / kind], check=True)
        case = mmsforensics.analyze([tmp_path / kind], out=tmp_path / "case")
        assert of_interest(case) == of_interest(plain), kind


def test_a_folder_is_searched_by_content(tmp_path):
    """And by name: a capture whose beginning is damaged is not passed over without a word."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(CAPTURE.read_bytes())
    (folder / "readme.txt").write_text("no capture at all", encoding="utf-8")
    (folder / "wiped.pcap").write_bytes(bytes(24) + CAPTURE.read_bytes()[24:])
    case = mmsforensics.analyze([folder], out=tmp_path / "case")
    captures = case.captures.set_index("path")
    assert list(captures.index) == [str(folder / "holiday.jpg"), str(folder / "wiped.pcap")]
    assert list(captures["format"]) == ["pcap", "unknown"]


def test_compressed_evidence_cut_short_is_told(tmp_path):
    packed = gzip.compress(CAPTURE.read_bytes())
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    case = mmsforensics.analyze([tmp_path / "cut.gz"], out=tmp_path / "case")
    (row,) = case.captures.to_dict("records")
    assert row["truncated"]
    assert row["packets"] > 20
    assert "more gzip data" in row["problems"][0]
