"""Datagrams of MMS: Data packets, requests to send some again, and whatever else comes along."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import media

from mmsforensics.protocols import CutPacket, Hole, Malformed, MmsMessage, decode_datagrams
from mmsforensics.streams import PIECE, Datagrams


def datagrams(*payloads, wire=()):
    """Datagrams, each in a frame of its own; `wire` holds the lengths of those that were cut."""
    pieces = np.zeros(len(payloads), dtype=PIECE)
    pieces["length"] = [len(p) for p in payloads]
    pieces["offset"] = np.cumsum(pieces["length"]) - pieces["length"]
    pieces["frame"] = np.arange(1, len(payloads) + 1)
    pieces["ts"] = 1000 * pieces["frame"]
    data = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    lengths = np.array(wire or pieces["length"], dtype=np.uint32)
    return Datagrams(data, pieces, lengths)


def data_packet(location, flags, payload, incarnation=4):
    """A Data packet [MS-MMSP 2.2.2]."""
    return struct.pack("<IBBH", location, incarnation, flags % 256, 8 + len(payload)) + payload


def request(*numbers, count=None, client=0x2A, source=1):
    """A RequestPacketListResend [MS-MMSP 2.2.5]."""
    count = len(numbers) if count is None else count
    return struct.pack(f"<IIHH{len(numbers)}I", 0xBEEFF00D, client, source, count, *numbers)


def decoded(*payloads, wire=()):
    return list(decode_datagrams(datagrams(*payloads, wire=wire), "server"))


def test_a_request_as_the_specification_lays_it_out():
    raw = bytes.fromhex("0df0efbe2a00000001000300110000001200000014000000")
    assert raw == request(17, 18, 20)
    (found,) = decoded(raw)
    assert isinstance(found, MmsMessage)
    assert (found.name, found.at.direction, found.at.frame, found.size) == (
        "RequestPacketListResend",
        "client",
        1,
        24,
    )
    assert found.fields == {
        "dwClientId": 42,
        "wSourceId": 1,
        "wNumPackets": 3,
        "dwBeginPacketList": (17, 18, 20),
    }


def test_a_request_is_no_data_packet_though_it_may_read_as_one():
    """The client's number stands where a Data packet has its size."""
    found = decoded(request(7, client=16 << 16))
    assert [type(m) for m in found] == [MmsMessage]


def test_requests_among_data():
    packets = [data_packet(n, n, b"\x82\0\0" + bytes(50 + n)) for n in range(4)]
    found = decoded(packets[0], packets[1], request(0), packets[2], b"noise", packets[3])
    assert [p[0] for p in media(found)] == [0, 1, 2, 3]
    assert sum(isinstance(m, MmsMessage) for m in found) == 1


@pytest.mark.parametrize("count", [0, 33])
def test_a_request_for_more_or_fewer_packets_than_may_be(count):
    problem, message = decoded(request(*range(count)))
    assert isinstance(problem, Malformed)
    assert problem.expected == "wNumPackets of 1 to 32 (MS-MMSP 2.2.5)"
    assert isinstance(message, MmsMessage)


@pytest.mark.parametrize("size", [4, 8, 10, 12, 20])
def test_a_request_cut_short_is_malformed(size):
    (problem,) = decoded(request(1, 2, 3)[:size])
    assert isinstance(problem, Malformed)
    assert problem.length == size


def test_a_request_that_announces_more_than_it_holds():
    (problem,) = decoded(request(1, 2, count=32))
    assert "dwBeginPacketList" in problem.expected


def test_a_datagram_cut_by_the_capture_is_a_hole_and_a_hurt_packet():
    whole = data_packet(9, 9, bytes(500))
    found = decoded(whole[:100], data_packet(10, 10, bytes(20)), wire=(len(whole), 28))
    assert [type(m) for m in found[:2]] == [Hole, CutPacket]
    assert [p[0] for p in media(found)] == [10]


@given(st.lists(st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(b"\x0d\xf0\xef\xbe".__add__))))
def test_any_datagrams(payloads):
    """Nothing raises; what comes out is no more than went in."""
    filled = [p for p in payloads if p]
    if filled:
        found = decoded(*filled)
        assert sum(len(p[3]) for p in media(found)) <= sum(map(len, filled))
        asked = [m for m in found if isinstance(m, MmsMessage)]
        assert sum(4 * len(m.fields["dwBeginPacketList"]) for m in asked) <= sum(map(len, filled))


@given(st.binary(min_size=1, max_size=200))
def test_any_noise_between_two_packets(noise):
    """Each datagram stands for itself."""
    first, last = data_packet(0, 0, b"\x82\0\0abc"), data_packet(1, 1, b"\x82\0\0def")
    payloads = [p[3] for p in media(decoded(first, noise, last))]
    assert (payloads[0], payloads[-1]) == (first[8:], last[8:])
