"""The commands for ASF files: asf, carve."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmsforensics.cli import main

FILES = Path(__file__).parent.parent / "asf" / "files"


def run(*arguments):
    return CliRunner().invoke(main, [str(one) for one in arguments])


# --- asf ----------------------------------------------------------------------------------------------


def test_asf_says_what_is_in_a_file():
    done = run("asf", FILES / "tika__testASF.asf")
    assert done.exit_code == 0
    for told in ("48 of 1,272 bytes, 48 sound", "14,976 ms", "Bitrate Mutual Exclusion", "msmpeg4v2 160x120"):
        assert told in done.output


def test_asf_as_json_holds_everything():
    told = json.loads(run("asf", FILES / "tika__testWMA.wma", "--json", "--validate").output)
    names = [child["name"] for child in told["tree"][0]["children"]]
    assert {"File Properties", "Marker", "Stream Properties"} <= {*names}
    assert told["packets"]["count"] == told["packets"]["sound"] == 10
    assert [one["objects"] for one in told["media_objects"]] == [10]
    assert told["header"]["duration_ms"] == 3299
    assert [one["section"] for one in told["violations"]] == ["3.7"]


@pytest.mark.parametrize(
    ("name", "code"), [("tika__testWMV.wmv", 0), ("tinytag__lossless.wma", 1), ("tinytag__detect_asf.x", 1)]
)
def test_asf_validate_ends_with_one_when_a_rule_is_broken(name, code):
    done = run("asf", FILES / name, "--validate")
    assert done.exit_code == code
    assert ("no rule" in done.output) == (code == 0)


def test_asf_shows_fields():
    assert "Block Alignment" in run("asf", FILES / "tika__testWMA.wma", "--fields").output


def test_asf_of_what_is_none(tmp_path):
    (tmp_path / "a").write_bytes(b"RIFF")
    assert run("asf", tmp_path / "a").exit_code == 2
    done = run("asf", tmp_path / "missing")
    assert (done.exit_code, "No such file" in done.output) == (2, True)


def test_asf_prints_no_control_characters(tmp_path):
    """Tags come from evidence."""
    raw = (FILES / "tinytag__silence.wma").read_bytes()
    title = raw.index("W\0M\0".encode("latin-1"))
    path = tmp_path / "a.wma"
    path.write_bytes(raw[:title] + b"\x1b\0[\0" + raw[title + 4 :])
    assert "\x1b" not in run("asf", path).output


# --- carve --------------------------------------------------------------------------------------------


@pytest.fixture
def blob(tmp_path):
    """Two files in a blob, the second cut."""
    raw = [(FILES / name).read_bytes() for name in ("tika__testWMA.wma", "music-metadata__elephant.asf")]
    path = tmp_path / "disk.img"
    path.write_bytes(b"\xaa" * 1000 + raw[0] + b"\xaa" * 1000 + raw[1][:50_000] + b"\xaa" * 100_000)
    return path


def test_carve_lists_what_it_finds(blob):
    done = run("carve", blob)
    assert done.exit_code == 0
    assert "1,000\t27,747\tcomplete\t10" in done.output
    assert "cut" in done.output


def test_carve_writes_files_and_a_listing(blob, tmp_path):
    out = tmp_path / "out"
    rows = [json.loads(line) for line in run("carve", blob, "--out", out, "--json").output.splitlines()]
    assert rows == [json.loads(line) for line in (out / "carved.jsonl").read_text().splitlines()]
    assert Path(rows[0]["path"]).read_bytes() == (FILES / "tika__testWMA.wma").read_bytes()
    assert [row["verdict"] for row in rows] == ["complete", "cut"]
    for row in rows:
        raw = Path(row["path"]).read_bytes()
        assert (row["size"], row["sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())
    done = run("carve", blob, "--out", out)
    assert (done.exit_code, "exists" in done.output) == (2, True)


def test_carve_of_several_blobs(blob, tmp_path):
    done = run("carve", blob, blob, "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert len(list((tmp_path / "out").glob("b2-*.wm*"))) == 2


def test_carve_of_what_is_not_there(tmp_path):
    assert run("carve", tmp_path / "missing").exit_code == 2
