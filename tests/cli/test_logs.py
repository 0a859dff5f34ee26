"""The commands `logs` and `credentials`."""

from __future__ import annotations

import json

import pytest
from builders import write_pcap
from click.testing import CliRunner
from peers.media import make_asf
from peers.mmst_server import transcript
from peers.recorder import frames_of

from mmsforensics.cli import main

LOG = (
    b"#Fields: c-ip date time cs-uri-stem s-pkts-sent c-pkts-lost-client\r\n"
    b"192.0.2.20 2023-11-14 22:13:20 /film.wmv 99 0\r\n203.0.113.9 2023-11-14 22:13:20 /film.wmv 1 0\r\n"
)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A case with a player's log, a server's log and a login, made by the command line."""
    folder = tmp_path_factory.mktemp("case")
    film = make_asf(folder / "film.wmv", title="Film")
    conversation, _ = transcript({"film.wmv": film})
    login = b"GET / HTTP/1.1\r\nUser-Agent: NSPlayer/9.0\r\nAuthorization: Basic Ym9iOnMzY3JldA==\r\n\r\n"
    frames = frames_of(conversation) + frames_of(
        [("c", login)], client=("192.0.2.21", 40001), server=("192.0.2.10", 80)
    )
    write_pcap(folder / "a.pcap", frames)
    (folder / "a.log").write_bytes(LOG)
    evidence = [str(folder / "a.pcap"), str(folder / "a.log")]
    for name, more in (("masked", []), ("shown", ["--show-secrets"])):
        result = CliRunner().invoke(main, ["analyze", *evidence, "--out", str(folder / name), "-q", *more])
        assert result.exit_code == 0, result.output
    return folder


def run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_logs(case):
    told = run("logs", case / "masked", "--json").splitlines()
    by_table = {}
    for row in map(json.loads, told):
        by_table.setdefault(row["table"], []).append(row)
    assert by_table["client_log"][0]["carrier"] == "mms logging"
    assert [r["match"] for r in by_table["server_log"]] == ["strong"]
    assert by_table["log_disagreements"][-1]["field"] == "s-pkts-sent"
    assert len(run("logs", case / "masked", "--json", "--all").splitlines()) == len(told) + 1
    text = run("logs", case / "masked")
    assert "100.00%" in text
    assert "client address, path of the URL, time" in text


def test_logs_of_a_session(case):
    session = json.loads(run("sessions", case / "masked", "--json").splitlines()[0])["session_id"]
    told = [json.loads(line) for line in run("logs", case / "masked", "--json", "-s", session).splitlines()]
    assert {r["session_id"] for r in told} == {session}


def test_credentials(case):
    assert "s3cret" not in run("credentials", case / "masked")
    assert "********" in run("credentials", case / "masked")
    assert "s3cret" in run("credentials", case / "shown")
    row = json.loads(run("credentials", case / "masked", "--json"))
    assert (row["user"], row["secret"], row["scheme"]) == ("bob", "********", "basic")
    assert run("credentials", case / "masked", "--hashes") == ""
    assert "s3cret" not in run("timeline", case / "masked")
