"""Provenance both ways, and what is found when evidence, a table or a medium is no longer what it was."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import dpkt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from conftest import SAMPLES

import mmsforensics
from mmsforensics.case.evidence_frames import EvidenceFrames
from mmsforensics.case.explain import display_filter, medium_of, origins_of, recovered_from
from mmsforensics.cli import main
from mmsforensics.cli.provenance import hex_lines

CAPTURE = SAMPLES / "mmst_small_packets_split_header.pcap"


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def made(tmp_path):
    """A case of one capture, whose evidence may be changed."""
    evidence = tmp_path / "evidence.pcap"
    shutil.copyfile(CAPTURE, evidence)
    return mmsforensics.analyze([evidence], out=tmp_path / "case"), evidence


def failed(case):
    return {(c.kind, c.path): c.message for c in mmsforensics.verify(case, deep=True) if not c.ok}


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def frame_of(path, number):
    with path.open("rb") as file:
        return list(dpkt.pcap.Reader(file))[number - 1][1]


# --- rebuilt -------------------------------------------------------------------------------------------


def test_every_sample_is_rebuilt_from_its_frames(sample_case):
    assert failed(sample_case) == {}
    rebuilt = [c for c in mmsforensics.verify(sample_case, deep=True) if c.kind == "rebuilt"]
    assert len(rebuilt) == sample_case.table("media").num_rows


def test_a_flipped_byte_of_evidence_is_found_and_named(made):
    case, evidence = made
    origin = origins_of(case, "c001-s0001-m1-faithful", 2000, 1)[0]
    with EvidenceFrames(case) as frames:
        place = frames.capture("c001").places[origin.frame - 1]
    flip(evidence, int(place["offset"]) + origin.frame_offset)
    found = failed(case)
    assert ("evidence", str(evidence)) in found
    message = found["rebuilt", "media/c001-s0001/01-small.faithful.wma"]
    assert message.startswith("byte 2000 is 0x")
    assert f"c001 frame {origin.frame} offset {origin.frame_offset}" in message


def test_a_flipped_byte_of_a_medium_is_found_and_named(made):
    case, _ = made
    medium = case.media_path("c001-s0001-m1-faithful")
    flip(medium, 30_000)
    found = failed(case)
    assert found["rebuilt", "media/c001-s0001/01-small.faithful.wma"].startswith("byte 30000 is 0x")
    assert ("output", "media/c001-s0001/01-small.faithful.wma") in found


@pytest.mark.parametrize("offset", [8, 300, -12])
def test_a_flipped_byte_of_a_table_is_found_and_named(made, offset):
    case, _ = made
    flip(case.path / "tables" / "provenance" / "part-0.parquet", offset)
    assert ("output", "tables/provenance/part-0.parquet") in failed(case)


@pytest.fixture(scope="module")
def every_sample(tmp_path_factory):
    """A case of all samples, whose evidence may be changed."""
    folder = tmp_path_factory.mktemp("every")
    (folder / "evidence").mkdir()
    for path in SAMPLES.glob("*.pcap"):
        shutil.copy(path, folder / "evidence")
    return mmsforensics.analyze([folder / "evidence"], out=folder / "case")


def test_a_flipped_byte_of_any_output_is_found_and_named(every_sample):
    """One after the other, at places that differ: each is the only one that fails by its hash."""
    rng = random.Random(11)
    outputs = [output["path"] for output in every_sample.manifest["outputs"]]
    assert len(outputs) > 15
    for name in outputs:
        path = every_sample.path / name
        before = path.read_bytes()
        flip(path, rng.randrange(len(before)))
        checks = mmsforensics.verify(every_sample)
        assert [(c.kind, c.path) for c in checks if not c.ok] == [("output", name)]
        path.write_bytes(before)
    assert failed(every_sample) == {}


def test_a_flipped_byte_under_any_medium_is_found_and_named(every_sample):
    """In each capture a byte that a medium was copied from: frame and place of it are said."""
    rng = random.Random(12)
    media = [m for m in every_sample.table("media").to_pylist() if m["kind"] == "faithful"]
    assert len(media) == 6
    for medium in media:
        at = rng.randrange(medium["size"])
        origins = origins_of(every_sample, medium["media_id"], at, medium["size"] - at)
        origin = next(o for o in origins if o.kind == "captured")
        with EvidenceFrames(every_sample) as frames:
            place = frames.capture(origin.capture_id).places[origin.frame - 1]
        captures = every_sample.table("captures").to_pylist()
        (evidence,) = [Path(c["path"]) for c in captures if c["capture_id"] == origin.capture_id]
        before = evidence.read_bytes()
        flip(evidence, int(place["offset"]) + origin.frame_offset)
        found = failed(every_sample)
        evidence.write_bytes(before)
        assert ("evidence", str(evidence)) in found
        said = f"byte {origin.file_offset} is 0x"
        assert found["rebuilt", medium["path"]].startswith(said)
        assert f"frame {origin.frame} offset {origin.frame_offset}" in found["rebuilt", medium["path"]]


@pytest.mark.parametrize("column", ["frame", "frame_offset", "length"])
def test_a_wrong_row_of_provenance_is_found(made, column):
    """Even where somebody has taken care that the file is sound Parquet."""
    case, _ = made
    path = case.path / "tables" / "provenance" / "part-0.parquet"
    table = pq.ParquetFile(path).read()
    values = table.column(column).to_pylist()
    values[20] += 1
    at = table.schema.get_field_index(column)
    pq.write_table(
        table.set_column(at, table.schema.field(at), pa.array(values, table.schema.types[at])), path
    )
    assert ("rebuilt", "media/c001-s0001/01-small.faithful.wma") in failed(case)


def test_evidence_that_has_moved_is_found_where_it_is_said_to_be(made, tmp_path):
    case, evidence = made
    (tmp_path / "moved").mkdir()
    shutil.move(evidence, tmp_path / "moved" / evidence.name)
    assert "not found" in failed(case)["rebuilt", "media/c001-s0001/01-small.faithful.wma"]
    done = run("verify", case.path, "--deep", "--evidence", tmp_path / "moved")
    assert done.exit_code == 0, done.output
    assert "rebuilt from frames: 49,854 bytes" in done.output


# --- explained -----------------------------------------------------------------------------------------


def test_any_byte_leads_to_the_frame_that_held_it(made):
    case, evidence = made
    data = case.media_path("c001-s0001-m1-faithful").read_bytes()
    for origin in origins_of(case, "c001-s0001-m1-faithful", 500, 3000):
        frame = frame_of(evidence, origin.frame)
        assert frame[origin.frame_offset :][: origin.length] == data[origin.file_offset :][: origin.length]
        assert origin in recovered_from(case, "c001", origin.frame) or origin.length < 508


def test_a_range_is_cut_where_it_is_asked_for(made):
    case, _ = made
    origins = origins_of(case, "c001-s0001-m1-faithful", 700, 400)
    assert origins[0].file_offset == 700
    assert sum(o.length for o in origins) == 400


def test_explain_prints_frame_and_filter(made):
    case, evidence = made
    medium = case.media_path("c001-s0001-m1-faithful")
    assert medium_of(medium)[1] == "c001-s0001-m1-faithful"
    origin = origins_of(case, "c001-s0001-m1-faithful", 0x340, 1)[0]
    done = run("explain", medium, "--at", "0x340:20")
    assert done.exit_code == 0, done.output
    assert f"frame.number == {origin.frame}" in done.output
    byte = frame_of(evidence, origin.frame)[origin.frame_offset]
    assert f"[{byte:02x}" in done.output


def test_explain_goes_from_a_frame_to_what_came_of_it(made):
    case, _ = made
    origin = origins_of(case, "c001-s0001-m1-faithful", 5000, 1)[0]
    done = run("explain", case.path, "--frame", origin.frame)
    assert "c001-s0001-m1-faithful bytes" in done.output
    assert "no byte of it" in run("explain", case.path, "--frame", "c001:1").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--at", "12"], "is a folder"),
        ([], "which bytes?"),
        (["--media", "c001-s0001-m1-faithful", "--at", "x"], "not OFFSET"),
        (["--media", "c001-s0001-m1-faithful", "--at", "49854"], "it has 49854"),
        (["--media", "c001-s0001-m1-faithful", "--at", "0:0"], "a length 1 or more"),
        (["--media", "nothing", "--at", "0"], "no medium nothing"),
        (["--frame", "c009:1"], "no capture c009"),
        (["--frame", "c001:100000"], "has no frame 100000"),
        (["--frame", "one"], "not a frame number"),
    ],
)
def test_wrong_calls_of_explain_say_what_is_wrong(made, arguments, said):
    case, _ = made
    done = run("explain", case.path, *arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_explain_of_a_file_outside_of_a_case(tmp_path):
    done = run("explain", tmp_path / "film.wmv", "--at", "0")
    assert (done.exit_code, "lies in no case folder" in done.output) == (2, True)


def test_the_display_filter_names_runs_of_frames():
    assert display_filter([7]) == "frame.number == 7"
    assert display_filter([9, 3, 4, 5, 9]) == "frame.number in {3..5, 9}"


def test_marked_bytes_stand_between_brackets():
    lines = hex_lines(bytes(range(20)), {0, 1, 5, 15, 16, 19})
    assert lines[0].startswith("000000 [00 01]02 03 04[05]06")
    assert lines[0].split(" 0e")[1].startswith("[0f]")
    assert lines[1].startswith("000010 [10]11 12[13]")
