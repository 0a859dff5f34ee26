"""Every logical request of Windows Media RTSP and every RTCP packet, in a session that plays on beside it."""

from __future__ import annotations

import json
import struct

import pytest
from builders import write_pcap
from cases import events, faithful_files, rows
from peers.asf_file import AsfFile, Segment, faithful
from peers.mmsh_server import packet_pair
from peers.recorder import write_conversation
from peers.rtsp_wire import (
    AGENT,
    CLIENT,
    FEC_PT,
    MEDIA_AT,
    SERVER,
    SESSION,
    SPACING,
    URL,
    Datagram,
    request,
    response,
    rtcp,
    rtp,
    rtp_stream,
    sdp,
    tcp_session,
    udp_session,
)

import mmsforensics

SSRC = 0x927717DE
ENDS = {"client": (CLIENT, 40001), "server": (SERVER, 554)}
EVENT = b"<WMPlayer><Event>playlistend</Event></WMPlayer>"


@pytest.fixture(scope="module")
def tune(song):
    return AsfFile.read(song)


def packets(asf):
    return [(i, asf.sent(i, "keep")) for i in range(len(asf.packets))]


def details(case, event):
    return [json.loads(e["details"]) for e in rows(case, "events", event=event)]


@pytest.fixture
def played(tune, analyzed, tmp_path):
    """A session over TCP with something said between the media and their end; the media must not suffer."""

    def play(*between):
        items = tcp_session(sdp(tune), rtp_stream(packets(tune)), between=between)
        case = analyzed(write_conversation(tmp_path / "a.pcap", items, **ENDS))
        assert faithful_files(case) == [faithful(Segment(tune.header, tune.packet_size, packets(tune)))]
        assert rows(case, "sessions")[0]["outcome"] == "completed"
        assert [c for c in mmsforensics.verify(case, deep=True) if not c.ok] == []
        return case

    return play


def exchange(method, kind="", body=b"", *answer, status=200):
    headers = [AGENT, SESSION] + ([("Content-Type", kind)] if kind else [])
    return [("c", request(method, URL, 50, *headers, body=body)), ("s", response(50, *answer, status=status))]


REQUESTS = {
    "KeepAlive": exchange("GET_PARAMETER"),
    "GetContentInfo": exchange("GET_PARAMETER", "application/x-wms-getcontentinfo", b"\0"),
    "SendEvent": exchange("SET_PARAMETER", "application/x-wms-sendevent", EVENT),
    "LogConnect": exchange(
        "SET_PARAMETER", "application/x-wms-Logconnectstats;charset=UTF-8", b"<XML></XML>"
    ),
    "UdpPacketPair": exchange(
        "SET_PARAMETER",
        "application/x-rtsp-udp-packetpair",
        b"type: high-entropy-packetpair variable-size\r\n",
    ),
    "OPTIONS": exchange("OPTIONS"),
    "SET_PARAMETER": exchange("SET_PARAMETER", "text/parameters", b"volume: 11\r\n"),
}
"""By the name of the logical request; methods without one keep their own."""


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_told_by_its_name_and_costs_nothing(played, name):
    case = played(*REQUESTS[name])
    asked = [d for d in details(case, "RtspRequest") if d["cseq"] == 50]
    answered = [d for d in details(case, "RtspResponse") if d["cseq"] == 50]
    assert [d["operation"] for d in asked] == [d["operation"] for d in answered] == [name]


def test_a_keep_alive_or_a_log_that_is_refused_fails_nothing(played):
    played(
        *exchange("GET_PARAMETER", status=454), *exchange("SET_PARAMETER", "text/xml", b"<a/>", status=400)
    )


def test_packet_pairs_over_tcp_are_counted_and_are_no_media(played):
    """Three $P packets in the answer; the length of the first counts the head of the response [2.2.7.12]."""
    kind = "application/x-rtsp-packetpair"
    head = response(50, SESSION, ("Content-Type", kind), body=b"x" * 1500)[:-1500]
    body = b"".join(packet_pair(head))
    answer = ("s", response(50, SESSION, ("Content-Type", kind), body=body))
    case = played(exchange("GET_PARAMETER", kind)[0], answer)
    assert details(case, "PacketPair") == [{"packets": 3}]
    (told,) = details(case, "RtspBody")[:1]
    assert (told["content_type"], told["length"], "text" in told) == (kind, len(body), False)


def test_streams_are_switched(played):
    body = (
        b"SSEntry: 1 4294967295 0\r\nSSEntry: 4294967295 2 1 rtsp://h/audio rtsp://h/video\r\nSSEntry: x\r\n"
    )
    case = played(*exchange("SET_PARAMETER", "application/x-wms-streamswitch", body))
    (told,) = [d for d in details(case, "RtspBody") if "streams" in d]
    assert told["streams"] == [
        {"from": 1, "to": None, "thinning": 0, "urls": []},
        {"from": None, "to": 2, "thinning": 1, "urls": ["rtsp://h/audio", "rtsp://h/video"]},
    ]


def test_a_server_sends_the_player_elsewhere(analyzed, tmp_path):
    """REDIRECT comes from the server [RFC 2326 10.10], before anything was played."""
    items = [
        ("c", request("OPTIONS", URL, 1, AGENT)),
        ("s", response(1)),
        ("s", request("REDIRECT", URL, 7, ("Location", "rtsp://192.0.2.30/film.wmv"))),
        ("c", response(7)),
    ]
    case = analyzed(write_conversation(tmp_path / "a.pcap", items, **ENDS))
    assert rows(case, "sessions")[0]["outcome"] == "redirected"
    (row,) = rows(case, "redirectors")
    assert (row["kind"], row["target"]) == ("rtsp redirect", "rtsp://192.0.2.30/film.wmv")
    assert (row["server_ip"], row["carried_by"]) == (SERVER, "c001-s0001")


def test_reports_feedback_and_forward_error_correction_are_no_media(tune, analyzed, tmp_path):
    """Receiver report, PSFB and a packet type that nobody knows [RFC 3550 6.4.2, RFC 4585 6.3]."""
    stream = rtp_stream(packets(tune))
    block = struct.pack(">IIIIII", SSRC, 0x20FFFFFE, 17, 5, 0, 0)
    said = [
        rtcp(201, 1, struct.pack(">I", 77) + block),
        rtcp(206, 15, struct.pack(">II", 77, SSRC) + b"full"),
        rtcp(199, 0, struct.pack(">I", 77)),
    ]
    more = [Datagram(MEDIA_AT + i * SPACING + 7, p, 5005, 2463, from_client=True) for i, p in enumerate(said)]
    description = sdp(tune).replace(b"RTP/AVP 96\r\n", b"RTP/AVP 96 98\r\na=rtpmap:98 x-wms-fec/1000\r\n")
    more += [Datagram(MEDIA_AT + 9 * SPACING + i, rtp(i, 5, 0x0FEC, bytes(40), pt=FEC_PT)) for i in range(3)]
    case = analyzed(write_pcap(tmp_path / "a.pcap", udp_session(description, stream, more=more)))
    assert faithful_files(case) == [faithful(Segment(tune.header, tune.packet_size, packets(tune)))]
    (report,) = details(case, "RtcpReceiverReport")
    assert (report["reports"][0]["fraction_lost"], report["reports"][0]["lost"]) == (0x20, -2)
    (feedback,) = details(case, "RtcpPayloadFeedback")
    assert (feedback["source"], feedback["format"], feedback["data"]) == (SSRC, 15, b"full".hex())
    assert "RtcpRTCP199" in events(case)
    assert details(case, "RtpForwardErrorCorrection") == [{"packets": 3}]
