"""The command line, as a person uses it and as a person gets it wrong."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import write_pcap
from click.testing import CliRunner
from conftest import ROOT, SAMPLES
from peers import asf_objects as build
from peers import asf_whole as whole
from peers.recorder import frames_of, write_conversation

from mmsforensics.analytics import TABLES
from mmsforensics.case.custody import check_chain
from mmsforensics.cli import main
from mmsforensics.cli.commands import SECTIONS
from mmsforensics.cli.usage import printable
from mmsforensics.sessions.automaton import TRANSITIONS

CAPTURE = SAMPLES / "mmst_small_packets_split_header.pcap"


def run(*arguments: object):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.mark.parametrize("command", [None, *sorted(main.commands)])
def test_help_keeps_its_examples_in_lines(command):
    done = run(*([command] if command else []), "--help")
    assert done.exit_code == 0
    assert "\\b" not in done.output
    assert "\b" not in done.output


def test_help_imports_nothing_heavy():
    """So that it answers at once."""
    code = (
        "import sys; from mmsforensics.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'numba', 'pyarrow', 'pandas', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "analyze" in done.stdout


def test_analyze_prints_what_it_found_and_where(tmp_path):
    done = run("analyze", CAPTURE, "--out", tmp_path / "case")
    assert done.exit_code == 0, done.output
    assert "1 evidence file, 174 frames, 1 session, 1 media file" in done.output
    assert "mms://192.0.2.10/small.wma" in done.output
    assert str(tmp_path / "case" / "media" / "c001-s0001" / "01-small.faithful.wma") in done.output


def test_the_lists(sample_case):
    sessions = run("sessions", sample_case.path)
    assert sessions.exit_code == 0
    assert sessions.output.count("completed") == 5
    rows = [json.loads(line) for line in run("sessions", sample_case.path, "--json").output.splitlines()]
    assert {r["transport"] for r in rows} == {"mmst", "mmsu", "mmsh", "http"}
    media = run("media", sample_case.path).output
    assert "Ночной эфир" in media
    assert "audio:wmav2" in media
    timeline = run("timeline", sample_case.path, "--session", "c003-s0001").output.splitlines()
    events = [line.split("\t")[4] for line in timeline[1:]]
    assert events[:3] == ["Connect", "ReportConnectedEX", "FunnelInfo"]
    viewings = run("viewings", sample_case.path).output
    assert viewings.count("c00") >= 5
    shown = [json.loads(line) for line in run("viewings", sample_case.path, "--json").output.splitlines()]
    assert sorted(s for v in shown for s in v["session_ids"]) == sorted(r["session_id"] for r in rows)
    info = run("info", sample_case.path).output
    assert "mmsu_vlc_small.pcap" in info
    assert "media_packets" in info


def test_verify_sees_a_changed_output(sample_case, tmp_path):
    case = tmp_path / "case"
    shutil.copytree(sample_case.path, case)
    assert run("verify", case).exit_code == 0
    medium = next((case / "media").rglob("*.wma"))
    with medium.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")
    done = run("verify", case)
    assert done.exit_code == 1
    assert f"FAILED  output    {medium.relative_to(case).as_posix()}: SHA-256" in done.output


def test_verify_sees_changed_evidence_and_a_changed_log(tmp_path):
    evidence = tmp_path / "evidence.pcap"
    shutil.copy(CAPTURE, evidence)
    assert run("analyze", evidence, "-o", tmp_path / "case", "-q").exit_code == 0
    with evidence.open("ab") as file:
        file.write(b"x")
    assert "FAILED  evidence" in run("verify", tmp_path / "case").output
    evidence.unlink()
    assert "not found" in run("verify", tmp_path / "case").output
    log = tmp_path / "case" / "custody.jsonl"
    log.write_text(log.read_text().replace('"action": "analyze"', '"action": "analyse"'))
    done = run("verify", tmp_path / "case")
    assert done.exit_code == 1
    assert "line 1 was changed" in done.output


def test_verify_names_a_log_of_which_any_byte_is_another(tmp_path):
    """Also one that is no text any more, and one that changes nothing of what is said."""
    assert run("analyze", CAPTURE, "-o", tmp_path / "case", "-q").exit_code == 0
    log = tmp_path / "case" / "custody.jsonl"
    log_bytes = log.read_bytes()
    for at in range(0, len(log_bytes), 7):
        log.write_bytes(log_bytes[:at] + bytes([log_bytes[at] ^ 1]) + log_bytes[at + 1 :])
        assert check_chain(log), at
    for at, byte in ((20, b"\xff"), (9, b"\t"), (len(log_bytes) - 1, b"\v")):
        log.write_bytes(log_bytes[:at] + byte + log_bytes[at + 1 :])
        done = run("verify", tmp_path / "case")
        assert (done.exit_code, done.exception.__class__) == (1, SystemExit)
        assert "FAILED  custody   custody.jsonl" in done.output


def test_a_case_is_replaced_and_its_custody_log_goes_on(tmp_path):
    for _ in range(2):
        assert run("analyze", CAPTURE, "-o", tmp_path / "case", "-q").exit_code == 0
    lines = (tmp_path / "case" / "custody.jsonl").read_text().splitlines()
    assert [json.loads(line)["entry"]["action"] for line in lines] == ["analyze", "analyze"]
    assert [p.name for p in tmp_path.iterdir()] == ["case"], "nothing is left behind"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("analyze",), "Missing argument"),
        (("analyze", CAPTURE), "Missing option"),
        (("analize", CAPTURE), "No such command"),
        (("sessions", ROOT / "docs"), "no case folder"),
        (("sessions", ROOT / "nowhere"), "no case folder"),
        (("schema", "sesions"), "no table sesions"),
        (("info", ROOT / "docs"), "no evidence"),
        (("carve", CAPTURE, "--out", ROOT / "docs"), "exists; nothing was written"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, says):
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in done.output


def test_a_missing_path_writes_nothing(tmp_path):
    done = run("analyze", tmp_path / "missing.pcap", CAPTURE, "--out", tmp_path / "case")
    assert done.exit_code == 2
    assert "missing.pcap: no such file" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_case_is_left_alone(tmp_path):
    out = tmp_path / "photos"
    out.mkdir()
    (out / "cat.jpg").write_bytes(b"meow")
    done = run("analyze", CAPTURE, "--out", out)
    assert done.exit_code == 2
    assert "is no case folder; nothing was written" in done.output
    assert [p.name for p in tmp_path.rglob("*")] == ["photos", "cat.jpg"]


def test_an_unknown_session_is_named(sample_case):
    done = run("timeline", sample_case.path, "--session", "c009-s0001")
    assert done.exit_code == 2
    assert "no session c009-s0001" in done.output


def test_help_tells_every_command_in_one_section_and_whole():
    told = run("--help").output
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(main.commands)
    for name in main.commands:
        assert told.count(f"\n  {name} ") == 1
    assert "..." not in told.split("Cases:")[1]


def test_names_from_evidence_do_not_steer_the_terminal():
    assert printable("a\x1b[31mb\u202ec\n") == "a\\x1b[31mb\\u202ec\\n"


def test_no_command_prints_control_characters_of_evidence(tmp_path):
    request = b"GET /\x1b[2Ja.wmv HTTP/1.1\r\nHost: \x1b[7m\r\nUser-Agent: NSPlayer/9\x07.0\r\n\r\n"
    talk = [("c", request), ("s", b"HTTP/1.1 404 \x1b[31mgone\r\nContent-Length: 0\r\n\r\n")]
    capture = write_conversation(tmp_path / "a.pcap", talk, server=("192.0.2.10", 80))
    made = run("analyze", capture, "--out", tmp_path / "case").output
    assert "\\x1b[31mgone" in made
    told = [run(name, tmp_path / "case").output for names in SECTIONS.values() for name in names]
    assert not any("\x1b" in text or "\x07" in text for text in [made, run("info", capture).output, *told])


def test_the_documentation_of_the_tables_is_the_one_that_schema_prints():
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert run("schema", "--markdown").output.strip() in text
    assert all(f"## {name}\n" in text for name in TABLES)


def test_the_documentation_of_the_automaton_is_the_table():
    text = (ROOT / "docs" / "sessions.md").read_text(encoding="utf-8")
    for event, changes in TRANSITIONS.items():
        for before, after in changes.items():
            assert f"| {event} | {before} | {after} |" in text


def test_readme_names_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {
        line.split("mmsforensics ")[1].split()[0] for line in text.splitlines() if "bin/mmsforensics " in line
    }
    assert named == set(main.commands)
    assert Path(ROOT / "notebooks" / "first_look.ipynb").exists()


def test_info_of_captures_makes_no_case(tmp_path):
    """Also of compressed and of damaged ones."""
    capture = ROOT / "sample_data" / "mmst_mplayer_audio_unicode.pcap"
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(capture.read_bytes()))
    done = run("info", capture, packed)
    assert done.exit_code == 0
    assert done.output.count("33 packets, 0 missing  (completed)") == 2
    assert "pcap in gzip" in done.output
    assert "176" in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["a.gz"]
    assert run("info", tmp_path).output.count("33 packets") == 1, "a folder is what lies in it"
    packed.write_bytes(capture.read_bytes()[:-7])
    done = run("info", packed)
    assert done.exit_code == 1
    assert "warning:" in done.output
    assert run("info", tmp_path / "nothing.pcap").exit_code == 2


def test_a_session_of_unknown_content_says_so(tmp_path):
    """Its beginning was not captured."""
    reply = b"RTSP/1.0 200 OK\r\nServer: WMServer/9.1.1.3814\r\nCSeq: 5\r\nSession: 7;timeout=60\r\n\r\n"
    frames = frames_of([("s", reply)], server=("192.0.2.10", 554))
    write_pcap(tmp_path / "a.pcap", [frame for frame in frames if b"RTSP/1.0" in frame[0]])
    for done in (
        run("analyze", tmp_path / "a.pcap", "--out", tmp_path / "c"),
        run("info", tmp_path / "a.pcap"),
    ):
        assert "rtsp  (what was asked for is not known)  0 packets" in done.output


def test_scripts_lists_what_media_told_the_player_to_do(tmp_path):
    body = whole.asf_file([], build.script_command((5500, "URL", "http://x/\x1b[2J")), size=whole.SMALL)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    talk = [("c", b"GET /a.wmv HTTP/1.1\r\nHost: a\r\n\r\n"), ("s", head + body)]
    write_conversation(tmp_path / "a.pcap", talk, server=("192.0.2.10", 80))
    assert run("analyze", tmp_path / "a.pcap", "--out", tmp_path / "case").exit_code == 0
    assert [run(name, tmp_path / "case", "-s", "nope").exit_code for name in ("logs", "anomalies")] == [2, 2]
    result = run("scripts", tmp_path / "case")
    assert result.exit_code == 0
    assert "2.500 s\tURL\thttp://x/\\x1b[2J\theader\tc001" in result.output
    assert run("scripts", tmp_path / "case", "-s", "nope").exit_code == 2
