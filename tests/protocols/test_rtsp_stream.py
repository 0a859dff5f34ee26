"""RTSP over TCP, RTP and session descriptions: framing, resynchronisation, hostile bytes."""

from __future__ import annotations

import base64
import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers.rtsp_wire import Payloading, interleaved, nack, request, response, rtp, rtp_stream, sender_report
from runs import gap, run, runs

from mmsforensics.protocols import (
    Body,
    BodyEnd,
    DataPackets,
    Hole,
    Malformed,
    Protocol,
    Request,
    Response,
    RtcpPacket,
    RtpPackets,
    detect,
)
from mmsforensics.protocols.asf_rtp import AsfAssembler, RtpLoss
from mmsforensics.protocols.messages import At
from mmsforensics.protocols.rtp import RtpDatagrams, parse_rtcp
from mmsforensics.protocols.rtp_order import RtpOrder
from mmsforensics.protocols.rtsp import RtspStreamDecoder
from mmsforensics.protocols.sdp import parse_sdp
from mmsforensics.streams import PIECE, Datagrams

AT = At(direction="server", offset=0, frame=1, ts=1000)
URL = "rtsp://192.0.2.10/a.wmv"


def asf_packet(number, size=300):
    """A packet that begins as ASF packets do; what is in it does not matter here."""
    head = b"\x82\0\0\x08\x5d\0" + struct.pack("<IH", 100 * number, 100)
    return head + bytes((number + k) % 251 for k in range(size - len(head)))


PACKETS = [(n, asf_packet(n, 300 + n)) for n in range(30)]
MIXED = (
    response(1, ("Content-Type", "text/parameters"), body=b"a: 1\r\n")
    + b"".join(interleaved(0, p) for p in rtp_stream(PACKETS))
    + interleaved(1, sender_report(7, 30, 900))
    + request("SET_PARAMETER", URL, 9)
)


def decode(data, cuts=(), *, from_start=True):
    decoder = RtspStreamDecoder("server", from_start=from_start)
    found = []
    for part in runs(data, cuts):
        found += decoder.feed(part)
    return found + list(decoder.end("fin", 99, 99))


def told(messages):
    """What was said, without where."""
    found = []
    for m in messages:
        match m:
            case Request():
                found.append((m.method, m.number))
            case Response():
                found.append((m.status, m.number))
            case Body():
                found.append(m.data.tobytes())
            case RtcpPacket():
                found.append(m.kind)
            case RtpPackets():
                found += m.packets["sequence"].tolist()
    return found


WHOLE = [(200, 1), b"a: 1\r\n", *range(30), "SenderReport", ("SET_PARAMETER", 9)]


@given(st.lists(st.integers(1, len(MIXED) - 1), max_size=12))
def test_cuts_change_nothing(cuts):
    found = told(decode(MIXED, cuts))
    bodies = b"".join(x for x in found if isinstance(x, bytes))
    assert bodies == b"a: 1\r\n"
    assert [x for x in found if not isinstance(x, bytes)] == [x for x in WHOLE if not isinstance(x, bytes)]


@given(st.binary(max_size=3000), st.booleans())
def test_no_bytes_make_the_decoder_raise(data, from_start):
    decode(data, from_start=from_start)


@given(st.binary(max_size=200), st.integers(0, len(MIXED)), st.integers(0, len(MIXED)))
def test_no_bytes_among_messages_make_it_raise(noise, where, end):
    decode(MIXED[:where] + noise + MIXED[end:])


@given(st.binary(min_size=1, max_size=400).filter(lambda b: b"RTSP" not in b and b"$" not in b))
def test_a_message_noise_and_a_message_give_both(noise):
    found = told(decode(response(1) + noise + b"\r\n" + request("ANNOUNCE", URL, 5)))
    assert [x for x in found if isinstance(x, tuple)] == [(200, 1), ("ANNOUNCE", 5)]


@given(st.integers(1, len(MIXED) - 2), st.integers(1, 700))
def test_a_hole_costs_what_it_hurts(where, length):
    length = min(length, len(MIXED) - where)
    decoder = RtspStreamDecoder("server", from_start=True)
    found = list(decoder.feed(run(MIXED[:where])))
    found += decoder.gap(gap(where, length, 2))
    if where + length < len(MIXED):
        found += decoder.feed(run(MIXED[where + length :], where + length, 3))
    found += decoder.end("fin", 99, 99)
    assert sum(m.length for m in found if isinstance(m, Hole)) == length
    whole = [m for m in found if isinstance(m, RtpPackets)]
    seen = [int(row["sequence"]) for m in whole for row in m.packets if row["size"] == row["wire"]]
    # A packet needs two behind it to be found again, or a message.
    hurt = 30 - len(seen)
    assert seen == sorted(set(seen))
    assert hurt <= length // 300 + 4


def test_a_body_that_a_hole_hurts_is_not_whole():
    data = response(3, body=b"x" * 100) + response(4)
    decoder = RtspStreamDecoder("server", from_start=True)
    cut = len(data) - len(response(4)) - 60
    found = list(decoder.feed(run(data[:cut])))
    found += decoder.gap(gap(cut, 20, 2))
    found += decoder.feed(run(data[cut + 20 :], cut + 20, 3))
    (end,) = [m for m in found if isinstance(m, BodyEnd)]
    assert (end.length, end.complete, end.ended) == (100, False, True)
    assert [m.number for m in found if isinstance(m, Response)] == [3, 4]


def test_heads_without_an_end_are_passed_over_at_once():
    data = b"RTSP/1.0 200 OK\r\n" * 200_000
    assert any(isinstance(m, Malformed) for m in decode(data))


@pytest.mark.parametrize(
    "first",
    [
        request("DESCRIBE", URL, 1),
        response(1),
        b"xx\r\n" + response(2),
        interleaved(0, b"\x80" * 20) + response(3),
    ],
)
def test_rtsp_is_told_by_its_first_bytes(first):
    assert detect(first) is Protocol.RTSP
    assert detect(b"GET / HTTP/1.1\r\n\r\n") is Protocol.HTTP


# --- RTCP and session descriptions -----------------------------------------------------------------


def test_requests_to_send_again_name_every_packet():
    found = list(parse_rtcp(nack(77, 0x1234, 65535, 0b101), AT))
    assert [p.kind for p in found] == ["ReceiverReport", "SourceDescription", "Nack"]
    assert found[1].fields["cname"].endswith("@WMS:7ff42e07-3c7c-4eb5-9c17-6bdd11ad90de")
    assert found[2].fields["lost"] == [65535, 0, 2]


@given(st.binary(max_size=500))
def test_no_bytes_make_rtcp_or_sdp_raise(data):
    list(parse_rtcp(data, AT))
    list(parse_rtcp(b"\x81\xcd" + data, AT))
    parse_sdp(data)
    parse_sdp(b"a=pgmpu:data:application/vnd.ms.wms-hdr.asfv1;base64," + data)


def test_a_header_is_decoded_where_it_stands():
    header = bytes(range(200))
    text = base64.b64encode(header)
    line = b"a=pgmpu:data:application/vnd.ms.wms-hdr.asfv1;base64,"
    sdp = parse_sdp(b"v=0\r\n" + line + text + b"\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 x-asf-pf/1000\r\n")
    assert (sdp.header, sdp.header_at) == (header, 5 + len(line))
    assert sdp.payload_types("x-asf-pf") == {96}
    escaped = parse_sdp(line + text.replace(b"=", b"%3D"))
    assert (escaped.header, escaped.header_at) == (header, -1)
    assert parse_sdp(line + b"A").problem


# --- RTP to ASF packets ----------------------------------------------------------------------------


def datagrams(packets, first_frame=1):
    sizes = np.array([len(p) for p in packets], dtype=np.int64)
    pieces = np.zeros(len(packets), dtype=PIECE)
    pieces["offset"], pieces["length"] = np.cumsum(sizes) - sizes, sizes
    pieces["frame"] = np.arange(first_frame, first_frame + len(packets))
    pieces["ts"], pieces["frame_offset"] = pieces["frame"] * 1000, 42
    data = np.frombuffer(b"".join(packets), dtype=np.uint8)
    return Datagrams(data, pieces, sizes.astype(np.uint32))


def through(groups):
    """ASF packets of datagrams fed in groups, and what is missing."""
    order, assembler = RtpOrder(), AsfAssembler()
    items, frame = [], 1
    for group in groups:
        for block in RtpDatagrams().feed(datagrams(group, frame), "server") if group else ():
            if isinstance(block, RtpPackets):
                items += assembler.feed(order.feed(block), "server", reliable=False)
        frame += len(group)
    items += assembler.feed(order.flush(), "server", reliable=False, final=True)
    packets = [
        bytes(block.data[p["start"] : p["start"] + p["size"]])
        for block in items
        if isinstance(block, DataPackets)
        for p in block.packets
    ]
    return packets, [item for item in items if isinstance(item, RtpLoss)]


HOWS = [Payloading(size=n, several=s, locid=loc) for n in (100, 350, 1400) for s in (0, 1) for loc in (0, 1)]


@given(st.sampled_from(HOWS), st.integers(0, 65535), st.randoms(use_true_random=False), st.data())
def test_disorder_gives_every_packet_once_in_order(how, sequence, rng, data):
    stream = rtp_stream(PACKETS, how, sequence=sequence)
    order = [0, *sorted(range(1, len(stream)), key=lambda i: i + rng.uniform(0, 8))]
    order += rng.sample(range(len(stream)), min(5, len(stream)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    edges = [0, *cuts, len(order)]
    groups = [[stream[i] for i in order[a:b]] for a, b in pairwise(edges)]
    assert through(groups) == ([packet for _, packet in PACKETS], [])


@given(st.sampled_from(HOWS), st.sets(st.integers(1, 60), min_size=1, max_size=10))
def test_loss_costs_the_packets_it_hurts_and_is_told(how, lost):
    stream = rtp_stream(PACKETS, how)
    lost = {i for i in lost if i < len(stream) - 1}
    packets, losses = through([[p for i, p in enumerate(stream) if i not in lost]])
    whole = [packet for _, packet in PACKETS]
    missing = [p for p in whole if p not in packets]
    assert [p for p in whole if p in packets] == packets
    assert bool(missing) == bool(lost)
    assert sum(item.rtp for item in losses) == len(lost)
    assert sum(item.packets for item in losses) <= len(missing)


@given(st.lists(st.binary(max_size=60).map(lambda b: rtp(len(b), 0, 7, b, marker=True)), max_size=20))
def test_no_payload_makes_the_assembler_raise(packets):
    through([packets])


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_no_datagram_makes_the_decoder_raise(packets):
    through([packets])
