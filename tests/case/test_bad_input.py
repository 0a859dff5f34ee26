"""Damaged evidence costs what lies behind the damage, and nothing else; it is named, located and recorded."""

from __future__ import annotations

import hashlib

import pytest
from builders import read_pcap
from click.testing import CliRunner
from conftest import SAMPLES

import mmsforensics
from mmsforensics.cli import main

CAPTURE = SAMPLES / "mmst_small_packets_split_header.pcap"


def analyzed(path, tmp_path):
    done = CliRunner().invoke(main, ["analyze", str(path), "--out", str(tmp_path / "case")])
    return done, mmsforensics.open_case(tmp_path / "case")


@pytest.mark.parametrize(
    ("name", "content", "format_", "says"),
    [
        ("empty.pcap", b"", "empty", "offset 0"),
        ("letter.pcap", b"Dear Sir or Madam, this is no capture.\n" * 9, "unknown", "offset 0"),
    ],
)
def test_what_is_no_capture(tmp_path, name, content, format_, says):
    path = tmp_path / name
    path.write_bytes(content)
    done, case = analyzed(path, tmp_path)
    assert done.exit_code == 1
    assert f"warning: {path}" in done.output
    assert says in done.output
    (row,) = case.arrow("captures").to_table().to_pylist()
    assert (row["format"], row["packets"]) == (format_, 0)
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert row["problems"]


@pytest.mark.parametrize("cut", [3, 17, 700])
def test_a_capture_cut_in_a_record_keeps_what_stands_before(tmp_path, cut):
    whole = CAPTURE.read_bytes()
    path = tmp_path / "cut.pcap"
    path.write_bytes(whole[:-cut])
    done, case = analyzed(path, tmp_path)
    assert done.exit_code == 1
    (row,) = case.arrow("captures").to_table().to_pylist()
    assert row["truncated"]
    assert "offset" in row["problems"][0]
    (session,) = case.arrow("sessions").to_table().to_pylist()
    assert session["packets_received"] >= 95
    assert session["start_ts"] is not None


def test_an_impossible_length_in_the_middle(tmp_path):
    raw = bytearray(CAPTURE.read_bytes())
    at, frames = 24, 0
    while frames < 60:
        at += 16 + int.from_bytes(raw[at + 8 : at + 12], "little")
        frames += 1
    raw[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    path = tmp_path / "lie.pcap"
    path.write_bytes(raw)
    done, case = analyzed(path, tmp_path)
    assert done.exit_code == 1
    (row,) = case.arrow("captures").to_table().to_pylist()
    assert row["packets"] == len(read_pcap(CAPTURE)) - 1
    assert row["truncated"]
    (problem,) = case.arrow("problems").to_table().to_pylist()
    assert problem["message"] == row["problems"][0]
    assert (problem["offset"], problem["frame"], problem["skipped_offset"]) == (at + 8, 61, at)
    (session,) = case.arrow("sessions").to_table().to_pylist()
    assert session["outcome"] == "completed"
    assert session["gap_bytes"] > 0


def test_one_bad_file_costs_the_others_nothing(tmp_path):
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(b"nonsense" * 100)
    case = mmsforensics.analyze([bad, CAPTURE], out=tmp_path / "case")
    assert len(case.problems) == 1
    assert list(case.sessions["capture_id"]) == ["c002"]


def test_two_runs_give_the_same_bytes(tmp_path):
    contents = []
    for name in ("a", "b"):
        case = mmsforensics.analyze([SAMPLES], out=tmp_path / name)
        files = {
            p.relative_to(case.path): p.read_bytes()
            for p in case.path.rglob("*")
            if p.is_file() and p.name != "custody.jsonl"
        }
        contents.append(files)
    assert contents[0] == contents[1]
