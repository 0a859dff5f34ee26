"""Plain HTTP downloads of ASF files: the file as downloaded, and what a hole in it costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import write_pcap
from cases import events, faithful_files, rows
from peers.asf_file import AsfFile
from peers.recorder import frames_of, write_conversation

import mmsforensics

REQUEST = b"GET /film.wmv HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: wget\r\n\r\n"


def conversation(body: bytes, *, chunked: bool = False, cut: int | None = None, status: bytes = b"200 OK"):
    """A request for a picture, then one for the film, on one connection."""
    picture = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: image/png\r\n\r\n\x89PNG\n"
    if chunked:
        head = b"Transfer-Encoding: chunked"
        pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
    else:
        head, sent = b"Content-Length: %d" % len(body), body
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Type: text/html\r\n" + head + b"\r\n\r\n" + sent
    return [
        ("c", b"GET /logo.png HTTP/1.1\r\nHost: www.example.com\r\n\r\n"),
        ("s", picture),
        ("c", REQUEST),
        ("s", answer[:cut]),
    ]


@pytest.mark.parametrize("chunked", [False, True])
def test_the_file_comes_back_whatever_its_content_type_says(film, analyzed, tmp_path, chunked):
    body = Path(film).read_bytes()
    path = tmp_path / "a.pcap"
    write_conversation(path, conversation(body, chunked=chunked), server=("192.0.2.10", 8000))
    case = analyzed(path)
    assert faithful_files(case) == [body]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["outcome"]) == ("http", "completed")
    assert session["url"] == "http://www.example.com:8000/film.wmv"
    (medium,) = rows(case, "media", kind="faithful")
    assert medium["complete"]
    assert medium["packets"] == len(AsfFile.read(film).packets)
    requests = rows(case, "events", event="HttpRequest")
    assert len(requests) == 1, "the picture leaves no trace"


def test_a_file_of_a_header_alone_is_no_complete_medium(film, analyzed, tmp_path):
    body = AsfFile.read(film).header
    write_conversation(tmp_path / "a.pcap", conversation(body), server=("192.0.2.10", 80))
    case = analyzed(tmp_path / "a.pcap")
    (medium,) = rows(case, "media", kind="faithful")
    assert (medium["verdict"], medium["complete"], medium["packets"]) == ("header only", False, 0)
    assert "body whole" in [r["reason"] for r in rows(case, "verdicts")]


def test_a_download_that_was_broken_off_is_kept_as_far_as_it_came(film, analyzed, tmp_path):
    body = Path(film).read_bytes()
    whole = conversation(body)
    cut = len(whole[3][1]) - len(body) // 2
    path = tmp_path / "a.pcap"
    write_conversation(path, conversation(body, cut=cut), server=("192.0.2.10", 80))
    case = analyzed(path)
    (got,) = faithful_files(case)
    assert body.startswith(got)
    assert len(got) == len(body) - len(body) // 2
    (medium,) = rows(case, "media", kind="faithful")
    assert not medium["complete"]
    assert medium["packets_missing"] > 0


def test_a_hole_costs_the_packets_it_touches_and_no_other(film, analyzed, tmp_path):
    asf = AsfFile.read(film)
    frames = frames_of(conversation(Path(film).read_bytes()), server=("192.0.2.10", 80))
    big = [i for i, (frame, _) in enumerate(frames) if len(frame) > 1400]
    lost = {big[len(big) // 2], big[len(big) // 4]}
    case = analyzed(write_pcap(tmp_path / "a.pcap", [f for i, f in enumerate(frames) if i not in lost]))
    (got,) = faithful_files(case)
    size, header = asf.packet_size, len(asf.header)
    assert got[:header] == asf.header
    tail = Path(film).read_bytes()[header + size * len(asf.packets) :]
    have = [got[i : i + size] for i in range(header, len(got) - len(tail) * got.endswith(tail), size)]
    assert all(packet in asf.packets for packet in have)
    (medium,) = rows(case, "media", kind="faithful")
    assert len(asf.packets) - len(have) == medium["packets_missing"]
    assert 2 <= medium["packets_missing"] <= 4
    assert events(case).count("Gap") == 2
    assert [r["reason"] for r in rows(case, "verdicts")].count("hole") == 2


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_download_whose_beginning_was_not_captured(film, tmp_path, share):
    """Its packets are known by their fixed size, and made playable with the header of another download."""
    body = Path(film).read_bytes()
    frames = frames_of(conversation(body), server=("192.0.2.10", 80))
    later = frames_of(
        conversation(body),
        server=("192.0.2.10", 80),
        client=("192.0.2.20", 40009),
        start_ns=1_800_000_000 * 10**9,
    )
    whole = rows(
        mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "a"), "media_packets"
    )
    first = whole[int(len(whole) * share)]["first_frame"] + 1
    case = mmsforensics.analyze(
        [write_pcap(tmp_path / "b.pcap", frames[first - 1 :] + later)], out=tmp_path / "b"
    )
    (medium,) = rows(case, "media", kind="packets")
    inside = [p for p in whole if p["first_frame"] >= first]
    packets = AsfFile.read(film).packets[-len(inside) :]
    assert (case.path / medium["path"]).read_bytes() == b"".join(packets)
    found = rows(case, "media_packets", media_id=medium["media_id"])
    assert [p["send_time_ms"] for p in found] == [p["send_time_ms"] for p in inside]
    assert {p["packet_number"] for p in found} == {None}, "its number in the file is not known"
    (playable,) = rows(case, "media", kind="playable")
    assert (playable["header_proof"], playable["packets"]) == ("proven", len(packets))
    (session,) = rows(case, "sessions", session_id=medium["session_id"])
    assert (session["transport"], session["server_ip"]) == ("http", "192.0.2.10")
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []
