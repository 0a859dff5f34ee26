"""What commands say and how they end, whatever text evidence holds and whatever the output is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import SAMPLES
from peers import asf_objects as build
from peers import asf_whole as whole

from mmsforensics.cli import main
from mmsforensics.cli.usage import STEERING, json_text, reason

HOSTILE = "a\x1b[2J\x07\x7f\x9b2J\u202e\u2066\ud83d b 😀 Ж"
PLAIN_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mmsforensics", *map(str, arguments)]


def run(*arguments: object):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_json_is_the_same_value_and_steers_no_terminal():
    text = json_text({"title": HOSTILE})
    assert json.loads(text) == {"title": HOSTILE}
    assert text.isprintable()
    assert "😀 Ж" in text
    assert json.loads(json_text([HOSTILE], indent=2)) == [HOSTILE]
    assert not any(c.isprintable() for c in STEERING)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (FileExistsError(17, "File exists", "a.bin"), "a.bin: File exists"),
        (OSError("odd"), "odd"),
    ],
)
def test_an_error_of_the_system_is_told_without_its_number(error, says):
    assert reason(error) == says


def test_names_of_files_and_titles_steer_no_terminal(tmp_path):
    """Of commands for files without a case: such names come from disks of others."""
    film = whole.asf_file([], build.content_description("\x9b31m\u202egnp", "", "", "", ""), size=whole.SMALL)
    file = tmp_path / "\x1b]0;x\x07.wmv"
    file.write_bytes(film)
    blob = tmp_path / "\x1b[7m.bin"
    blob.write_bytes(b"x" * 99 + film + film[:16])
    told = [
        run("extract", file, "--out", tmp_path / "parts"),
        run("asf", file),
        run("asf", file, "--json"),
        run("carve", blob),
        run("carve", blob, "--json"),
    ]
    assert [one.exit_code for one in told] == [0, 0, 0, 0, 0]
    assert all(c.isprintable() or c in "\n\t" for one in told for c in one.output)
    assert json.loads(told[2].stdout)["header"]["title"] == "\x9b31m\u202egnp"


def test_a_file_name_that_is_no_utf8_is_carved_all_the_same(tmp_path):
    blob = tmp_path / os.fsdecode(b"old\xff.img")
    blob.write_bytes(whole.asf_file([], size=whole.SMALL))
    assert run("carve", blob, "--out", tmp_path / "found").exit_code == 0
    row = json.loads((tmp_path / "found" / "carved.jsonl").read_text(encoding="utf-8"))
    assert row["blob"] == str(blob)


def test_an_output_that_cannot_hold_a_title_gets_escapes(sample_case):
    done = subprocess.run(
        command("media", sample_case.path), capture_output=True, env=os.environ | PLAIN_ASCII, check=True
    )
    assert rb"\u041d\u043e\u0447" in done.stdout
    done = subprocess.run(
        command("media", sample_case.path, "--json"),
        capture_output=True,
        env=os.environ | PLAIN_ASCII,
        check=True,
    )
    assert "Ночной эфир – Überraschung 日本語" in [json.loads(x)["title"] for x in done.stdout.splitlines()]


def test_an_output_that_takes_nothing_ends_in_order(sample_case):
    arguments = command("timeline", sample_case.path, "--json")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, check=False)
        assert (done.returncode, done.stderr) == (2, b"error: No space left on device\n")
    done = subprocess.run(
        [*command("sessions", sample_case.path)], preexec_fn=lambda: os.close(1), check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_analysis_that_a_signal_ends_leaves_nothing(tmp_path, number):
    """Exit code 1 would say that it is done."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    running = subprocess.Popen(command("analyze", pipe, "--out", tmp_path / "case"), stderr=subprocess.PIPE)
    with pipe.open("wb") as writer:
        writer.write((SAMPLES / "mmst_small_packets_split_header.pcap").read_bytes()[:30_000])
        writer.flush()
        until = time.monotonic() + 30
        while not list(tmp_path.glob(".case-*/spool/files/*")) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.5)  # until it waits for more: a signal just before a system call is seen after it
        running.send_signal(number)
        running.communicate(timeout=30)
    assert running.returncode == 128 + number
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--at", "5:0"), "5:0: an offset is 0 or more, a length 1 or more"),
        (("--at", "5:-3"), "5:-3: an offset is 0 or more, a length 1 or more"),
        (("--at", "0:10", "--frames", "-1"), "-1 is not in the range x>=0"),
        (("--frame", "c001:" + "9" * 30), "not a frame number"),
        (("--at", "5", "--frame", "c001:1"), "--frame goes with neither --at nor --media"),
    ],
)
def test_explain_refuses_what_it_cannot_mean(sample_case, arguments, says):
    medium = () if arguments[0] == "--frame" else ("--media", "c001-s0001-m1-faithful")
    done = run("explain", sample_case.path, *medium, *arguments)
    assert done.exit_code == 2
    assert says in done.output


def test_what_finds_nothing_to_read_says_so_and_writes_nothing(sample_case, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run("match", sample_case.path, tmp_path / "empty")
    assert (done.exit_code, done.output) == (1, "no file lies in what was given\n")
    shutil.copy(SAMPLES / "mmsu_vlc_small.pcap", tmp_path / "a.img")
    done = run("carve", tmp_path / "a.img", tmp_path / "missing.img", "--out", tmp_path / "found")
    assert done.exit_code == 2
    assert "missing.img: No such file" in done.output
    assert not (tmp_path / "found").exists()
