"""A case as its users open it, in Python and on the command line, whole or damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from click.testing import CliRunner
from conftest import SAMPLES

import mmsforensics
from mmsforensics.case import verification
from mmsforensics.cli import main

CAPTURE = SAMPLES / "mmst_small_packets_split_header.pcap"


@pytest.fixture
def copy(sample_case, tmp_path):
    """A case that may be damaged."""
    return shutil.copytree(sample_case.path, tmp_path / "copy")


def run(*arguments: object):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_one_path_is_one_piece_of_evidence(tmp_path):
    """And not a sequence of names of one letter."""
    for given in (CAPTURE, str(CAPTURE)):
        case = mmsforensics.analyze(given, tmp_path / "case")
        assert list(case.captures["path"]) == [str(CAPTURE)]


def test_an_empty_path_does_not_mean_the_folder_one_is_in(tmp_path, monkeypatch):
    """As a shell gives it for a variable that is not set."""
    shutil.copy(CAPTURE, tmp_path)
    monkeypatch.chdir(tmp_path)
    for arguments in (("analyze", "", "--out", "case"), ("info", "")):
        done = run(*arguments)
        assert done.exit_code == 2
        assert "an empty path was given as evidence" in done.output
    assert not (tmp_path / "case").exists()


def test_an_unknown_policy_writes_nothing(tmp_path):
    with pytest.raises(mmsforensics.CaseError, match="no overlap policy vista; there are first, last, bsd"):
        mmsforensics.analyze([CAPTURE], tmp_path / "case", overlap="vista")
    assert list(tmp_path.iterdir()) == []


def test_an_interpreter_is_told_the_names_of_the_api():
    code = "import mmsforensics, sys; print(*dir(mmsforensics)); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, heavy = done.stdout.splitlines()
    assert {"analyze", "open_case", "verify", "asf", "Case", "CaseError"} <= set(names.split())
    assert heavy == "False", "asking for names loads nothing"


def test_tables_are_frames_with_arrow_types(sample_case):
    assert all(isinstance(t, pd.ArrowDtype) for t in sample_case.sessions.dtypes)
    assert "sessions" in dir(sample_case)
    with pytest.raises(AttributeError, match="no table 'nope'"):
        sample_case.nope  # noqa: B018
    with pytest.raises(KeyError, match="no table 'nope'"):
        sample_case.arrow("nope")


@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_table_is_told_as_one(copy, damage):
    part = copy / "tables" / "sessions" / "part-0.parquet"
    if damage == "missing":
        shutil.rmtree(part.parent)
    else:
        part.write_bytes(part.read_bytes()[: 900 if damage == "cut" else 0])
    case = mmsforensics.open_case(copy)
    for ask in (lambda: case.sessions, lambda: case.arrow("sessions")):
        with pytest.raises(mmsforensics.CaseError, match=r"sessions: .*; see: mmsforensics verify"):
            ask()
    for command in (("sessions",), ("info",), ("timeline", "-s", "c001-s0001")):
        done = run(command[0], copy, *command[1:])
        assert done.exit_code == 2
        assert "sessions: " in done.output
    assert run("flows", copy).exit_code == 0, "what is not damaged can be read"


def test_a_damaged_table_fails_a_deep_verification(copy):
    (copy / "tables" / "provenance" / "part-0.parquet").write_bytes(b"")
    done = run("verify", copy, "--deep")
    assert done.exit_code == 1
    assert "FAILED  rebuilt   tables: cannot be read" in done.output


def test_a_case_that_cannot_be_written_to_is_verified_all_the_same(copy, monkeypatch):
    """As it lies in an evidence locker."""

    def refused(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(verification, "append_entry", refused)
    done = run("verify", copy)
    assert done.exit_code == 0
    assert (
        "--      custody   custody.jsonl: this verification could not be recorded: Read-only" in done.output
    )
    assert "checked, 0 failed, 1 without a record" in done.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 1000, "version": "9.9"}, "has schema 1000, made by version 9.9"),
        ({"evidence": None}, "is damaged"),
        ({"schema_version": None}, "is damaged"),
    ],
)
def test_a_case_of_a_later_schema_or_without_evidence_is_refused(copy, change, says):
    manifest = json.loads((copy / "case.json").read_text(encoding="utf-8"))
    (copy / "case.json").write_text(json.dumps(manifest | change), encoding="utf-8")
    with pytest.raises(mmsforensics.CaseError, match=says):
        mmsforensics.open_case(copy)
    assert run("info", copy).exit_code == 2


def test_a_case_in_a_folder_that_is_no_utf8_is_refused(sample_case, tmp_path):
    """Its tables could be neither written nor opened."""
    folder = tmp_path / os.fsdecode(b"f\xe4lle")
    folder.mkdir()
    for ask in (
        lambda: mmsforensics.analyze(CAPTURE, folder / "case"),
        lambda: mmsforensics.open_case(shutil.copytree(sample_case.path, folder / "copy")),
    ):
        with pytest.raises(mmsforensics.CaseError, match="the path of a case must be UTF-8"):
            ask()
    assert [p.name for p in folder.iterdir()] == ["copy"]


@pytest.mark.parametrize("moved", [False, True])
def test_evidence_whose_name_is_no_utf8_is_found_again(tmp_path, moved):
    """Names of old file systems; tables and manifest hold them with escapes."""
    capture = tmp_path / os.fsdecode(b"\xc4rger.pcap")
    shutil.copy(CAPTURE, capture)
    assert run("analyze", capture, "--out", tmp_path / "case").exit_code == 0
    where = ()
    if moved:
        (tmp_path / "new").mkdir()
        capture.rename(tmp_path / "new" / capture.name)
        where = ("--evidence", tmp_path / "new")
    done = run("verify", tmp_path / "case", "--deep", *where)
    assert done.exit_code == 0, done.output
    assert "rger.pcap: as recorded" in done.output
    assert run("explain", tmp_path / "case", "--frame", "1", *where).exit_code == 0
