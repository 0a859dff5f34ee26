"""Of a direction that was not captured nothing is told, by whatever protocol: no event, no time."""

from pathlib import Path

import pytest
from builders import write_pcap
from peers import msb_sender
from peers.asf_file import AsfFile
from peers.media import make_asf
from peers.mmsh_server import transcript as mmsh_transcript
from peers.mmst_server import transcript as mmst_transcript
from peers.range_server import request, whole
from peers.recorder import START, frames_of

import mmsforensics


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "song.wma"
    return make_asf(path, seconds=1, video=False, packet_size=508)


def talk(transport, song):
    if transport == "http":
        return [("c", request("/song.wma")), ("s", whole(Path(song).read_bytes()))], 80
    if transport == "mmsh":
        return mmsh_transcript({"song.wma": song})[0], 80
    if transport == "msbd":
        asf = AsfFile.read(Path(song))
        return msb_sender.session([msb_sender.entry(asf, 0x12, strip=False)], [asf]), 7007
    return mmst_transcript({"song.wma": song})[0], 1755


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("transport", ["mmst", "mmsh", "http", "msbd"])
def test_only_what_was_seen_is_told(song, tmp_path, transport, side):
    conversation, port = talk(transport, song)
    frames = frames_of(conversation, client=("192.0.2.20", 40001), server=("192.0.2.10", port))
    sent_from = (40001 if side == "client" else port).to_bytes(2, "big")
    path = write_pcap(tmp_path / "a.pcap", [f for f in frames if f[0][34:36] == sent_from])
    case = mmsforensics.analyze([path], out=tmp_path / "case")
    events = case.table("events").to_pylist()
    assert {e["direction"] for e in events} <= {side}
    assert all(e["frame"] and e["ts"].value >= START for e in events)
    ends = [e for e in events if e["event"] == "StreamEnd"]
    assert len(ends) == len(case.table("sessions"))
