"""The order in which lists tell what a case holds."""

from __future__ import annotations

import json
import struct

import pytest
from click.testing import CliRunner
from conftest import SAMPLES

from mmsforensics.cli import main

CAPTURE = (SAMPLES / "mmst_ffmpeg_video.pcap").read_bytes()
RECORD = 16


def records():
    """The records of the sample, header and frame."""
    at, found = 24, []
    while at < len(CAPTURE):
        size = RECORD + struct.unpack_from("<I", CAPTURE, at + 8)[0]
        found.append(bytearray(CAPTURE[at : at + size]))
        at += size
    return found


def timeline(tmp_path, parts):
    """The events of the one session of captures, given in this order."""
    files = []
    for number, part in enumerate(parts):
        files.append(tmp_path / f"{number}.pcap")
        files[-1].write_bytes(CAPTURE[:24] + b"".join(part))
    CliRunner().invoke(main, ["analyze", *map(str, files), "--out", str(tmp_path / "case"), "-q"])
    (session,) = CliRunner().invoke(main, ["sessions", str(tmp_path / "case"), "--json"]).output.splitlines()
    name = json.loads(session)["session_id"]
    told = CliRunner().invoke(main, ["timeline", str(tmp_path / "case"), "-s", name, "--json"]).output
    return [json.loads(line)["event"] for line in told.splitlines()]


@pytest.fixture(scope="module")
def in_order(tmp_path_factory):
    return timeline(tmp_path_factory.mktemp("whole"), [records()])


def test_a_timeline_over_files_given_in_any_order_is_in_that_of_time(tmp_path, in_order):
    all_of_it = records()
    assert timeline(tmp_path, [all_of_it[200:], all_of_it[:200]]) == in_order
    assert in_order[0] == "Connect"
    assert in_order[-1] == "StreamEnd"


def test_a_time_stamp_that_jumps_back_disorders_no_timeline(tmp_path, in_order):
    all_of_it = records()
    for record in (all_of_it[17], *all_of_it[474:476]):  # of StreamSwitch, of the end
        struct.pack_into("<I", record, 0, 0)
    assert timeline(tmp_path, [all_of_it]) == in_order
