"""Windows Media RTSP from a capture to a case: independent clients, and sessions written from the specification."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from builders import write_pcap
from peers.asf_file import AsfFile, Segment, faithful
from peers.media import demux
from peers.recorder import Recorder, frames_of, write_conversation
from peers.rtsp_server import RtspOptions, RtspServer
from peers.rtsp_wire import (
    Payloading,
    rtp_stream,
    sdp,
    tcp_session,
    udp_session,
)
from test_mms import events, faithful_files, rows

import mmsforensics

RTSP = 554


def sent(asf, padding="zero-field"):
    """What a server sends of a file: LocationIds and ASF packets."""
    return [(i, asf.sent(i, padding)) for i in range(len(asf.packets))]


def truth(asf, padding="zero-field", without=()):
    """The faithful file of a whole play, but for some packets."""
    packets = [p for p in sent(asf, padding) if p[0] not in without]
    return faithful(Segment(asf.header, asf.packet_size, packets))


def sound(case):
    assert [c for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


# --- independent clients ---------------------------------------------------------------------------

LIVE = {
    "fragments": RtspOptions(payloading=Payloading(length="counted")),
    "stripped": RtspOptions(padding="zero-field", payloading=Payloading(length="counted")),
    "location": RtspOptions(payloading=Payloading(length="counted", locid=True, relative=True)),
}


@pytest.mark.parametrize("options", LIVE.values(), ids=LIVE)
@pytest.mark.parametrize("lower", ["tcp", "udp"])
def test_what_ffmpeg_plays_is_recovered(film, analyzed, tmp_path, options, lower):
    want = demux(film)
    with RtspServer({"film.wmv": film}, options) as server, Recorder(server.port, RTSP) as recorder:
        url = f"rtsp://127.0.0.1:{recorder.port}/film.wmv"
        assert demux(url, count=len(want), options={"rtsp_transport": lower}, timeout=10) == want
        server.wait()
        recorder.wait()
        path = Path(recorder.write(tmp_path / "tcp.pcap"))
        frames = [(d.frame(i), d.ts) for i, d in enumerate(server.datagrams)]
        (segment,) = server.sent
        assert not server.errors
    from builders import read_pcap

    merged = sorted([*read_pcap(path), *frames], key=lambda item: item[1])
    case = analyzed(write_pcap(tmp_path / "a.pcap", merged))
    assert faithful_files(case) == [faithful(segment)]
    (session,) = rows(case, "sessions")
    assert (session["transport"], session["packets_missing"]) == ("rtsp", 0)
    assert session["url"].endswith("/film.wmv")
    sound(case)
