"""Captures that begin in the middle, hold one direction only, or use another port: every packet that is
wholly inside is recovered, and nothing that is none."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from builders import ACK, PSH, SYN, read_pcap, tcp_frame, udp_frame, write_pcap
from cases import rows
from conftest import SAMPLES

import mmsforensics

TCP, UDP = 6, 17
SERVER = bytes([192, 0, 2, 10])
FRAMED = [
    "mmst_ffmpeg_video.pcap",
    "mmst_mplayer_audio_unicode.pcap",
    "mmst_small_packets_split_header.pcap",
    "mmsu_vlc_small.pcap",
    "mmsh_vlcserver_mplayer.pcap",
]
DOWNLOAD = "http_curl_whole.pcap"


def wanted(sample_case, capture):
    """LocationId, first and last frame and bytes on the wire of each media packet of a whole sample."""
    (evidence,) = [r for r in rows(sample_case, "captures") if Path(r["path"]).name == capture]
    (medium,) = [
        m
        for m in rows(sample_case, "media", kind="faithful")
        if m["session_id"].startswith(evidence["capture_id"])
    ]
    data = (sample_case.path / medium["path"]).read_bytes()
    return [
        (p["packet_number"], p["first_frame"], p["frame"], data[p["file_offset"] :][: p["size"]])
        for p in rows(sample_case, "media_packets", media_id=medium["media_id"])
    ]


def packets_of(case):
    """LocationId and bytes of all media packets of a case, read from the files they are said to be in."""
    paths = {m["media_id"]: case.path / m["path"] for m in rows(case, "media")}
    data = {media_id: path.read_bytes() for media_id, path in paths.items()}
    return [
        (p["packet_number"], data[p["media_id"]][p["file_offset"] :][: p["size"]])
        for p in rows(case, "media_packets")
    ]


def analyzed(frames, tmp_path):
    return mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")


def port_changed(frame, old, new):
    """The frame with one port put for another; its checksum is then that of an off-loading card."""
    ports = [new if port == old else port for port in (frame[34:36], frame[36:38])]
    return frame[:34] + b"".join(ports) + frame[38:]


def is_syn(frame):
    return frame[23] == TCP and frame[47] & SYN


@pytest.mark.parametrize("share", [0.15, 0.3, 0.5, 0.7, 0.85])
@pytest.mark.parametrize("capture", FRAMED)
def test_a_capture_that_begins_in_the_middle(sample_case, tmp_path, capture, share):
    packets = wanted(sample_case, capture)
    first = packets[int(len(packets) * share)][1] + 1
    case = analyzed(read_pcap(SAMPLES / capture)[first - 1 :], tmp_path)
    inside = [(number, data) for number, begin, _, data in packets if begin >= first]
    assert packets_of(case) == inside
    (session,) = rows(case, "sessions")
    assert (session["server_ip"], session["packets_received"]) == ("192.0.2.10", len(inside))
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_a_download_that_began_before_the_capture(sample_case, tmp_path, share):
    """Its packets are known by their fixed size; their numbers in the file are not."""
    packets = wanted(sample_case, DOWNLOAD)
    first = packets[int(len(packets) * share)][1] + 1
    frames = [f for f in read_pcap(SAMPLES / DOWNLOAD)[first - 1 :] if f[0][26:30] == SERVER]
    case = analyzed(frames, tmp_path)
    assert packets_of(case) == [(None, data) for _, begin, _, data in packets if begin >= first]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["server_ip"]) == ("http", "192.0.2.10")


@pytest.mark.parametrize("port", [80, 443, 40000])
@pytest.mark.parametrize("capture", FRAMED)
def test_media_alone_are_recognised_on_any_port(sample_case, tmp_path, capture, port):
    """Neither a SYN nor a control message is there: only frames of the server with media, from the second
    packet to the one before the last, on a port that tells nothing."""
    packets = wanted(sample_case, capture)
    first, last = packets[1][1] + 1, packets[-2][2]
    old = (8080 if capture.startswith("mmsh") else 1755).to_bytes(2, "big")
    proto = UDP if capture.startswith("mmsu") else TCP
    frames = [
        (port_changed(frame, old, port.to_bytes(2, "big")), ts)
        for frame, ts in read_pcap(SAMPLES / capture)[first - 1 : last]
        if frame[26:30] == SERVER and frame[23] == proto
    ]
    case = analyzed(frames, tmp_path)
    inside = [(number, data) for number, begin, end, data in packets if begin >= first and end <= last]
    assert packets_of(case) == inside
    (session,) = rows(case, "sessions")
    assert session["transport"] == capture[:4]
    assert {m["kind"] for m in rows(case, "media")} == {"packets"}


@pytest.mark.parametrize("capture", [*FRAMED, DOWNLOAD])
def test_the_server_s_side_alone_gives_the_medium(sample_case, expected, tmp_path, capture):
    frames = [f for f in read_pcap(SAMPLES / capture) if f[0][26:30] == SERVER]
    case = analyzed(frames, tmp_path)
    (medium,) = [m for m in rows(case, "media") if m["packets"] and m["kind"] != "playable"]
    if capture.startswith("mmsu"):
        # The client's side said at which port it wants the data: they are known by their structure.
        assert medium["packets"] == expected[capture]["packets"]
    else:
        assert (medium["kind"], medium["sha256"]) == ("faithful", expected[capture]["sha256"])


@pytest.mark.parametrize("capture", [*FRAMED, DOWNLOAD])
def test_the_client_s_side_alone_gives_the_session(tmp_path, expected, capture):
    frames = [f for f in read_pcap(SAMPLES / capture) if f[0][26:30] != SERVER]
    case = analyzed(frames, tmp_path)
    if capture.startswith("http"):
        assert rows(case, "sessions") == [], "a browser's request for a file shows no Windows Media"
        return
    (session,) = rows(case, "sessions")
    assert session["url"] == expected[capture]["url"]
    assert (session["client_ip"], session["packets_received"]) == ("192.0.2.20", 0)
    assert rows(case, "media") == []


@pytest.mark.parametrize("capture", FRAMED)
def test_a_connection_without_its_syn_is_whole_all_the_same(expected, tmp_path, capture):
    frames = [f for f in read_pcap(SAMPLES / capture) if not is_syn(f[0])]
    (medium,) = rows(analyzed(frames, tmp_path), "media", kind="faithful")
    assert medium["sha256"] == expected[capture]["sha256"]


@pytest.mark.parametrize("capture", [c for c in FRAMED if not c.startswith("mmsu")])
def test_a_hole_right_behind_the_beginning(sample_case, tmp_path, capture):
    """All that follows waits behind the hole when the connection closes."""
    packets = wanted(sample_case, capture)
    first = packets[len(packets) // 2][1] + 1
    frames = read_pcap(SAMPLES / capture)
    sent = [n for n, (f, _) in enumerate(frames, 1) if n >= first and f[26:30] == SERVER and len(f) > 300]
    lost = sent[1]
    case = analyzed([f for n, f in enumerate(frames, 1) if n >= first and n != lost], tmp_path)
    inside = [(number, data) for number, begin, end, data in packets if begin > lost]
    assert packets_of(case)[-len(inside) :] == inside
    assert len(rows(case, "sessions")) == 1


def test_a_lost_first_segment_is_no_reason_to_give_up(expected, tmp_path):
    """The SYNs were captured, the first request was not: all else of the client waits behind it."""
    capture = "mmst_ffmpeg_video.pcap"
    frames = read_pcap(SAMPLES / capture)
    lost = next(n for n, (f, _) in enumerate(frames) if f[26:30] != SERVER and f[47] & PSH)
    case = analyzed([f for n, f in enumerate(frames) if n != lost], tmp_path)
    (medium,) = rows(case, "media", kind="faithful")
    assert medium["sha256"] == expected[capture]["sha256"]


# --- what is none --------------------------------------------------------------------------------------


def tls(rng):
    sizes = [rng.randrange(100, 16000) for _ in range(60)]
    return b"".join(b"\x17\x03\x03" + n.to_bytes(2, "big") + rng.randbytes(n) for n in sizes)


def mp3(rng):
    return b"".join(b"\xff\xfb\x90\x64" + rng.randbytes(413) for _ in range(1200))


def transport_stream(rng):
    """MPEG video: packets of 188 bytes with a counter, each behind a header with counters of its own."""
    packets = (bytes([0x47, 1, 0, 0x10 | n % 16]) + rng.randbytes(184) for n in range(2800))
    return b"".join(n.to_bytes(4, "little") + b"\0" + bytes([n % 256]) + p for n, p in enumerate(packets))


def table_of_records(rng):
    """Records with counters in many widths, as databases and meters send them."""
    return b"".join(
        n.to_bytes(4, "little") + bytes([1, n % 256]) + (24).to_bytes(2, "big") + rng.randbytes(16)
        for n in range(20000)
    )


NOISE = {
    "random": lambda rng: rng.randbytes(600_000),
    "zeros": lambda rng: bytes(600_000),
    "one byte": lambda rng: b"\x10" * 600_000,
    "TLS": tls,
    "MP3": mp3,
    "video": transport_stream,
    "records": table_of_records,
    "text": lambda rng: b"\r\n".join(b"%x" % rng.randrange(1 << 20) for _ in range(60_000)),
    "dollars": lambda rng: b"$D$E$H$C" * 60_000,
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
@pytest.mark.parametrize("size", [1000, 600_000])
def test_other_traffic_from_the_middle_is_no_media(tmp_path, noise, size):
    data = noise(random.Random(7))[:size]
    frames = [
        (tcp_frame("192.0.2.10", "192.0.2.20", 5000, 40000, at, 1, ACK | PSH, data[at : at + 1460]), at)
        for at in range(0, len(data), 1460)
    ]
    frames += [
        (udp_frame("192.0.2.10", "192.0.2.20", 5001, 40001, data[at : at + 1000]), len(data) + at)
        for at in range(0, len(data), 1000)
    ]
    case = analyzed(frames, tmp_path)
    assert rows(case, "sessions") == rows(case, "media") == []
