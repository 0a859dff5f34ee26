"""Files of Windows Media in connections of other protocols."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest
from builders import pcap_bytes, write_pcap
from cases import events, faithful_files, rows
from peers.asf_file import AsfFile
from peers.mmst_server import transcript
from peers.recorder import frames_of
from peers.smb_server import read_file, read_file_smb1, written_file

import mmsforensics


@pytest.fixture(scope="module")
def body(film):
    return Path(film).read_bytes()


@pytest.fixture
def carved(tmp_path):
    """Analyse a connection, all but the frames left out; every case is verified deeply."""

    def analyze(conversation, *, port=20, leave_out=(), client=("192.0.2.20", 40001)):
        frames = frames_of(conversation, server=("192.0.2.10", port), client=client)
        big = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1400]
        lost = {big[int(len(big) * share)] for share in leave_out}
        kept = [f for i, f in enumerate(frames) if i not in lost]
        case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", kept)], out=tmp_path / "case")
        assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []
        return case

    return analyze


def the_file(case, body):
    assert faithful_files(case) == [body]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"], session["packets_missing"]) == (
        "carved",
        "completed",
        0,
    )
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["complete"], medium["verdict"]) == (True, "complete")
    assert events(case).count("CarvedFile") == 1
    assert rows(case, "viewings") == []
    return session


def test_an_ftp_data_connection(body, carved):
    """The whole stream is the file, also what its header does not count."""
    session = the_file(
        carved([("s", body + b"a tag that some program has added")]),
        body + b"a tag that some program has added",
    )
    assert (session["client_ip"], session["server_ip"], session["url"]) == ("192.0.2.20", "192.0.2.10", "")


def test_a_file_that_is_sent_by_the_end_that_opened_the_connection(body, carved):
    session = the_file(carved([("c", body)]), body)
    assert (session["client_ip"], session["server_ip"]) == ("192.0.2.10", "192.0.2.20")


def test_files_inside_a_protocol_that_is_not_known(body, carved):
    """Each ends where its sizes say."""
    talk = [("c", b"GIMME 1\n"), ("s", b"HERE:" + body + b":BYE, NEXT:" + body + b":BYE")]
    case = carved(talk, port=9999)
    assert faithful_files(case) == [body, body]
    assert {s["outcome"] for s in rows(case, "sessions")} == {"completed"}


def test_a_hole_stays_a_hole(body, carved):
    asf = AsfFile.parse(body)
    case = carved([("s", body)], leave_out=[0.5])
    (medium,) = rows(case, "media", kind="faithful")
    assert 1 <= medium["packets_missing"] <= 2
    assert medium["packets"] == len(asf.packets) - medium["packets_missing"]
    assert "Gap" in events(case)


def test_a_connection_whose_end_was_not_captured(body, carved):
    case = carved([("c", b"x"), ("s", b"x" + body[: len(body) // 2])])
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["verdict"], medium["complete"]) == ("partial", False)


@pytest.mark.parametrize("ahead", [1, 3])
def test_a_file_read_from_a_file_server(body, carved, ahead):
    """In blocks, which may come in another order than they were asked for."""
    session = the_file(carved(read_file(body, ahead=ahead), port=445), body)
    assert session["url"] == "smb://192.0.2.10/films/film.wmv"
    assert session["client_ip"] == "192.0.2.20"


def test_a_file_read_from_an_old_file_server(body, carved):
    session = the_file(carved(read_file_smb1(body), port=139), body)
    assert session["url"] == "smb://192.0.2.10/film.wmv"


def test_a_file_written_to_a_file_server(body, carved):
    session = the_file(carved(written_file(body), port=445), body)
    assert (session["client_ip"], session["server_ip"]) == ("192.0.2.10", "192.0.2.20")


def test_a_hole_in_a_read_moves_nothing(body, carved):
    asf = AsfFile.parse(body)
    case = carved(read_file(body), port=445, leave_out=[0.3, 0.6])
    (got,) = faithful_files(case)
    size = asf.packet_size
    packets = [got[i : i + size] for i in range(len(asf.header), len(got) - size + 1, size)]
    (medium,) = rows(case, "media", kind="faithful")
    assert medium["packets_missing"] >= 2
    assert set(packets[: medium["packets"]]) <= set(asf.packets)


def pictures(body):
    """An archive in which a picture lies before the film."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in (("a.png", b"\x89PNG" + bytes(100)), ("film.wmv", body)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def test_a_file_in_an_archive_that_is_not_compressed(body, carved):
    the_file(carved([("c", b"RETR"), ("s", pictures(body)[512:])]), body)


# --- what is none ------------------------------------------------------------------------------------


def capture(film):
    conversation, _ = transcript({"film.wmv": film})
    return pcap_bytes(frames_of(conversation))


def in_tar(data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("a.pcap")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()[300:]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_capture_that_is_transferred_holds_no_file(film, carved, wrapped):
    data = capture(film)
    case = carved([("s", in_tar(data) if wrapped else data)])
    assert rows(case, "sessions") == rows(case, "media") == []


@pytest.mark.parametrize("seed", range(4))
def test_a_signature_alone_is_no_file(carved, seed):
    guid = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
    noise = random.Random(seed).randbytes(5000)
    head = [b"", (600).to_bytes(8, "little") + b"\x05\0\0\0\x01\x02", bytes(14), b"\xff" * 14][seed]
    case = carved([("s", guid + head + noise)])
    assert rows(case, "sessions") == rows(case, "media") == []
