"""What is named like Windows Media and is none gives no session, no medium and no row but of its flow."""

import random
from pathlib import Path

import pytest
from builders import pcap_bytes, pcapng_bytes, udp_frame, write_pcap
from peers import decoys
from peers.media import make_asf
from peers.mmsh_server import transcript as mmsh_transcript
from peers.mmst_server import transcript as mmst_transcript
from peers.recorder import START, frames_of

import mmsforensics
from mmsforensics.analytics import TABLES

SAMPLES = Path(__file__).parents[2] / "sample_data"
PICTURE = b"\xff\xd8\xff\xe0" + random.Random(7).randbytes(20_000)
GUID = "30 26 B2 75 8E 66 CF 11 A6 D9 00 AA 00 62 CE 6C"
NAMED = {"captures", "flows", "anomalies"}
"""Tables that tell of the evidence and its traffic."""

PAGE = (
    b"<html><h1>NSPlayer/9.0.0.2980 and Cougar</h1><p>xClientGUID, xPlayStrm=1, com.microsoft.wm.predstrm,"
    b' <a href="mms://media.example.com/a.wmv">watch</a> application/x-mms-framed nsserver MMS </p></html>'
)
HEX = f"The header of an ASF file is {GUID}, or {GUID.lower().replace(' ', '')}.\n".encode() * 30

SEARCH = b"GET /?q=nsplayer+asx HTTP/1.1\r\nHost: x\r\n\r\n"

CONVERSATIONS = {
    "manufacturing messages": (102, decoys.manufacturing()),
    "multimedia messages": (80, decoys.multimedia_message(PICTURE)),
    "a page that talks of players": (80, decoys.page(PAGE)),
    "a page with the word at every place": (8080, decoys.page(b"nsplayer " * 3000)),
    "a text with the signature in hex": (80, decoys.page(HEX, content_type=b"text/plain")),
    "a text over a plain connection": (2000, [("c", b"LIST\r\n"), ("s", HEX + PAGE)]),
    "a search for a player": (80, [("c", SEARCH), ("s", b"HTTP/1.1 404 x\r\n\r\n")]),
    "a list of songs": (
        80,
        decoys.page(b"#EXTM3U\nhttp://h/1.mp3\n", content_type=b"audio/x-mpegurl", target=b"/list.m3u"),
    ),
    "the seal of MMS alone": (1755, [("c", b"MMS " * 200), ("s", b"\xce\xfa\x0b\xb0" * 200)]),
}


def nothing(case):
    """Tables with rows, but those that tell of the evidence and its traffic."""
    return {name for name in TABLES if case.arrow(name).count_rows() and name not in NAMED}


@pytest.mark.parametrize(("port", "conversation"), CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
@pytest.mark.parametrize("mss", [1460, 61])
def test_nothing_is_found(tmp_path, port, conversation, mss):
    frames = frames_of(conversation, server=("192.0.2.10", port), mss=mss)
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    assert nothing(case) == set()
    middle = frames[len(frames) // 3 :]
    case = mmsforensics.analyze([write_pcap(tmp_path / "b.pcap", middle)], out=tmp_path / "middle")
    assert nothing(case) == set(), "nor where the beginning was not captured"


def test_multimedia_messages_over_wap_are_no_datagrams_of_mms(tmp_path):
    """WSP over WTP over UDP."""
    frames = []
    for number in range(40):
        body = (
            bytes([0x0A | number % 8, number, 0])
            + b"\x04\x08\x9b\xbe"
            + PICTURE[number * 400 : number * 400 + 700]
        )
        frames.append((udp_frame("192.0.2.10", "192.0.2.20", 9201, 40000, body), START + number * 10**6))
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    assert nothing(case) == set()
    assert case.captures.iloc[0]["unclaimed_datagrams"] == 0


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Captures of real sessions, as bytes."""
    film = (SAMPLES / "http_curl_whole.pcap").read_bytes()
    song = make_asf(tmp_path_factory.mktemp("media") / "song.wma", seconds=1, video=False, packet_size=508)
    mmst, _ = mmst_transcript({"song.wma": song})
    mmsh, _ = mmsh_transcript({"song.wma": song})
    return {
        "a download": film,
        "MMS over TCP": pcap_bytes(frames_of(mmst)),
        "MMS over HTTP": pcapng_bytes(frames_of(mmsh, server=("192.0.2.10", 80))),
    }


@pytest.mark.parametrize("which", ["a download", "MMS over TCP", "MMS over HTTP"])
@pytest.mark.parametrize("way", ["http", "http to the end", "plain", "plain, spoken to"])
def test_a_capture_that_is_downloaded_is_a_file_like_others(tmp_path, captures, which, way):
    data = captures[which]
    conversation = {
        "http": decoys.page(data, content_type=b"application/vnd.tcpdump.pcap", target=b"/a.pcap"),
        "http to the end": [("c", b"GET /a HTTP/1.0\r\n\r\n"), ("s", b"HTTP/1.0 200 OK\r\n\r\n" + data)],
        "plain": [("s", data)],
        "plain, spoken to": [("c", b"SEND a.pcap\n"), ("s", data)],
    }[way]
    frames = frames_of(conversation, server=("192.0.2.10", 8081))
    case = mmsforensics.analyze([write_pcap(tmp_path / "a.pcap", frames)], out=tmp_path / "case")
    assert nothing(case) == set()
