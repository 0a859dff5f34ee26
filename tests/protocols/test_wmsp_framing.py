"""The ``$`` framing of MS-WMSP: written from the specification, cut anywhere, with holes and noise."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import media, other, run, runs

from mmsforensics.protocols import DataPackets, Hole, Malformed, WmspPacket
from mmsforensics.protocols.messages import At
from mmsforensics.protocols.wmsp import WmspDecoder
from mmsforensics.protocols.wmsp_framing import looks_framed


def framed(kind, body, *, b_bit=0):
    """Framing header: B and Frame (0x24), PacketID, PacketLength [MS-WMSP 2.2.3.1.1]."""
    return bytes([0x24 | b_bit << 7]) + kind.encode() + struct.pack("<H", len(body)) + body


def data(kind, location, flags, payload, incarnation=0, **more):
    """An MMS Data packet inside the framing [2.2.3.1.2]."""
    head = struct.pack("<IBBH", location, incarnation, flags % 256, 8 + len(payload))
    return framed(kind, head + payload, **more)


def reason(kind, value):
    return framed(kind, struct.pack("<I", value))


PAYLOADS = [b"\x82\0\0" + random.Random(n).randbytes(random.Random(n).randrange(100, 400)) for n in range(20)]
HEADER = data("H", 0, 0x0C, b"\x30\x26\xb2\x75" + bytes(200))
PACKETS = [data("D", n, n, payload) for n, payload in enumerate(PAYLOADS)]
STREAM = HEADER + b"".join(PACKETS) + reason("E", 0)


def decoded(items):
    """Messages of a body; runs and (offset, length) holes in order."""
    decoder = WmspDecoder("server")
    found = []
    for item in items:
        if isinstance(item, tuple):
            at = At(direction="server", offset=item[0], frame=50, ts=50_000)
            found += decoder.gap(at, item[1])
        else:
            found += decoder.feed(item.offset, item.data, item.pieces)
    return found + list(decoder.end())


def test_header_media_and_end():
    found = decoded([run(STREAM)])
    assert [m.kind for m in found] == ["H", "D", "E"]
    assert [payload for *_, payload in media(found)][1:] == PAYLOADS
    assert [location for location, *_ in media(found)][1:] == list(range(20))
    assert found[-1].reason == 0
    assert found[0].at.offset == 0
    assert found[1].at.offset == len(HEADER)


@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=50))
def test_cutting_changes_nothing(cuts):
    found = decoded(runs(STREAM, cuts))
    assert media(found) == media(decoded([run(STREAM)]))
    assert [m.kind for m in other(found)] == ["E"]


def test_the_b_bit_is_no_part_of_the_mark():
    found = decoded([run(data("D", 1, 1, PAYLOADS[0], b_bit=1) + data("D", 2, 2, PAYLOADS[1]))])
    assert [payload for *_, payload in media(found)] == PAYLOADS[:2]


def test_control_packets():
    body = reason("C", 7) + framed("M", bytes(8) + b"a=b") + reason("E", 1) + reason("E", 0x80070005)
    found = decoded([run(body)])
    assert [(m.kind, m.reason) for m in other(found)] == [("C", 7), ("E", 1), ("E", 0x80070005)]
    assert [b.kind for b in found if isinstance(b, DataPackets)] == ["M"]


def test_repeated_ends_are_one_message():
    """A server pushes data through proxies with them [3.2.4.1]."""
    (end,) = decoded([run(reason("E", 0) * 511)])
    assert (end.kind, end.repeated) == ("E", 511)


@pytest.mark.parametrize("head", [0, 100, 430])
def test_packet_pairs_have_the_length_the_specification_means(head):
    """The length field of the first and third is wrong; Reason is the response head's size [2.2.3.7]."""
    pair = b"".join(
        b"$P" + struct.pack("<HI", stated, head) + bytes(size)
        for stated, size in ((504, 504 - head), (504, 504), (1048, 1048 + head))
    )
    found = decoded([run(pair + STREAM)])
    assert [m.kind for m in other(found)] == ["P", "P", "P", "E"]
    assert len(media(found)) == 21


@given(st.integers(0, len(STREAM) - 2), st.integers(1, 900))
def test_a_hole_costs_what_it_touches(begin, length):
    length = min(length, len(STREAM) - begin - 1)
    behind = begin + length
    found = decoded(
        [*runs(STREAM[:begin]), (begin, length), *runs(STREAM[behind:], offset=behind, frame=60)]
        if begin
        else [(0, length), *runs(STREAM[behind:], offset=behind, frame=60)]
    )
    got = [location for location, *_, payload in media(found) if payload in PAYLOADS]
    assert got == sorted(got)
    touched, at = set(), len(HEADER)
    for n, packet in enumerate(PACKETS):
        if at < behind and at + len(packet) > begin:
            touched.add(n)
        at += len(packet)
    assert touched.isdisjoint(got)
    assert set(range(17)) - touched <= set(got), (
        "all others are found, but for those that lack a proof behind them"
    )
    assert [m.length for m in found if isinstance(m, Hole)] == [length]


def test_noise_between_packets():
    noise = b"neither $ nor sense" * 3
    found = decoded([run(b"".join(PACKETS[:5]) + noise + b"".join(PACKETS[5:]))])
    assert len(media(found)) == 20
    (problem,) = (m for m in found if isinstance(m, Malformed))
    assert (problem.length, problem.at.offset) == (len(noise), sum(map(len, PACKETS[:5])))


def test_an_unfinished_packet_at_the_end():
    found = decoded([run(STREAM[:500])])
    assert isinstance(found[-1], Malformed)


def test_what_looks_framed():
    assert looks_framed(b"$H")
    assert looks_framed(b"\xa4D")
    assert looks_framed(b"$") is None
    assert looks_framed(b"") is None
    assert looks_framed(b"$5 is the price") is False
    assert looks_framed(b"0&") is False


@given(st.lists(st.one_of(st.binary(max_size=80), st.sampled_from([*PACKETS, b"$P", b"$E\4\0"])), max_size=9))
def test_any_bytes(parts):
    items, at = [], 0
    for n, part in enumerate(parts):
        if part:
            items.append(run(part, at, n + 1))
            at += len(part)
        if n % 3 == 2:
            items.append((at, 9))
            at += 9
    for message in decoded(items):
        assert isinstance(message, DataPackets | WmspPacket | Hole | Malformed)


@given(st.lists(st.tuples(st.integers(0, 2999), st.integers(0, 255)), max_size=6), st.integers(1, 2999))
def test_mutations(changes, cut):
    raw = bytearray(STREAM[:3000])
    for at, value in changes:
        raw[at] = value
    decoded(runs(bytes(raw), [cut]))
