"""Every transport in one capture, whole and hurt in every way: the case contradicts itself nowhere."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from builders import write_pcap
from consistency import contradictions
from peers import msb_sender
from peers.asf_file import AsfFile
from peers.media import make_asf
from peers.mms_client import Script
from peers.mms_client import frames as mms_over_udp
from peers.mmsh_server import transcript as mmsh
from peers.mmst_server import transcript as mmst
from peers.push_encoder import pushed
from peers.range_server import part, request, whole
from peers.recorder import frames_of
from peers.rtsp_wire import rtp_stream, sdp, tcp_session, udp_session
from peers.smb_server import read_file
from perturb import dropped, duplicated, reordered

import mmsforensics

SERVER = "192.0.2.10"
SECRET = "Secret-Pa55word"
FORMAT = 0x39E
ASX = b'<ASX version="3.0"><Entry><Ref href="mms://media.example.com/film.wmv"/></Entry></ASX>'


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """One second, in packets that datagrams hold."""
    path = tmp_path_factory.mktemp("media") / "film.wmv"
    return make_asf(path, seconds=1, title="Film", packet_size=1400)


def http(target, body, headers=""):
    """A request and its answer."""
    head = f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode()
    return [("c", request(target)), ("s", head + body)]


def over_tcp(film):
    """Conversations with the server's port."""
    body, asf = Path(film).read_bytes(), AsfFile.read(film)
    half = len(body) // 2
    yield 1755, mmst({"film.wmv": film})[0]
    yield 1755, mmst({"film.wmv": film}, seek=(8, 20))[0]
    yield 80, mmsh({"film.wmv": film})[0]
    yield from ((8080, conversation) for conversation in pushed(film)[0])
    yield 554, tcp_session(sdp(asf), rtp_stream(list(enumerate(asf.packets))))
    yield 7007, msb_sender.session([msb_sender.entry(asf, 0x12)], [asf])
    yield 80, http("/list.asx", ASX)
    yield 80, http("/station.nsc", msb_sender.station_file([(FORMAT, asf.header)]))
    yield 80, http("/zipped.wmv", gzip.compress(body, mtime=0), "Content-Encoding: gzip\r\n")
    yield 80, [("c", request("/a.wmv")), ("s", whole(body, cut=half))]
    yield 80, [("c", request("/a.wmv", ranges=f"{half // 2}-")), ("s", part(body, half // 2, len(body)))]
    yield 80, [("c", request(f"/b.wmv?password={SECRET}", more=f"Authorization: Bearer {SECRET}\r\n"))]
    yield 445, read_file(body)
    yield 20, [("s", body)]
    yield 9999, [("c", b"GIMME\n"), ("s", b"HERE:" + body + b":BYE")]


@pytest.fixture(scope="module")
def frames(film):
    """All transports, each begun a tenth of a second behind the one before."""
    asf = AsfFile.read(film)
    found = []
    for n, (port, conversation) in enumerate(over_tcp(film)):
        start = 1_700_000_000_000_000_000 + n * 100_000_000
        found += frames_of(
            conversation, client=("192.0.2.20", 41000 + n), server=(SERVER, port), start_ns=start
        )
    script = Script({"film.wmv": film}, port=5005)
    script.begin("film.wmv")
    script.at()
    script.play()
    script.end()
    found += mms_over_udp(script)
    found += udp_session(sdp(asf), rtp_stream(list(enumerate(asf.packets))))
    found += msb_sender.frames([packet.datagram for packet in msb_sender.entry(asf, FORMAT)])
    return sorted(found, key=lambda f: f[1])


HURT = {
    "whole": lambda frames, rng: [frames],
    "frames lost": lambda frames, rng: [dropped(frames, rng, 0.03)[0]],
    "many frames lost": lambda frames, rng: [dropped(frames, rng, 0.4)[0]],
    "servers alone": lambda frames, rng: [[f for f in frames if f[0][26:30] == bytes([192, 0, 2, 10])]],
    "clients alone": lambda frames, rng: [[f for f in frames if f[0][26:30] != bytes([192, 0, 2, 10])]],
    "from the middle": lambda frames, rng: [frames[len(frames) // 3 :]],
    "cut by the snapshot length": lambda frames, rng: [[(frame[:700], ts) for frame, ts in frames]],
    "bits flipped": lambda frames, rng: [[(flipped(frame, rng), ts) for frame, ts in frames]],
    "out of order and twice": lambda frames, rng: [duplicated(reordered(frames, rng), rng)],
    "two taps with losses": lambda frames, rng: [dropped(frames, rng, 0.1)[0] for _ in "ab"],
    "two files": lambda frames, rng: [frames[: len(frames) // 2], frames[len(frames) // 2 :]],
}


def flipped(frame, rng):
    """Now and then a bit fell over behind the headers."""
    if rng.random() > 0.05 or len(frame) < 60:
        return frame
    at = rng.randrange(54, min(len(frame), 200))
    return frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8)]) + frame[at + 1 :]


@pytest.mark.parametrize("hurt", HURT.values(), ids=HURT)
def test_no_row_contradicts_another(frames, tmp_path, hurt):
    captures = hurt(frames, random.Random(5))
    paths = [write_pcap(tmp_path / f"{n}.pcap", capture) for n, capture in enumerate(captures)]
    case = mmsforensics.analyze(paths, out=tmp_path / "case", merge=True)
    assert contradictions(case, secrets=[SECRET]) == []
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


def test_every_transport_is_there(frames, tmp_path):
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    found = {row["transport"] for row in case.table("sessions").to_pylist()}
    assert found == {"mmst", "mmsu", "mmsh", "rtsp", "push", "msb", "msbd", "http", "carved"}
