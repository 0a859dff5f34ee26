"""The framing of push distribution [MS-WMHTTP 2.2.3]: cut anywhere, with holes and noise."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import media, other, run, runs

from mmsforensics.protocols import BodyEnd, DataPackets, Hole, HttpDecoder, Malformed, WmspPacket
from mmsforensics.protocols.messages import At
from mmsforensics.protocols.wmsp import WmspDecoder
from mmsforensics.protocols.wmsp_framing import looks_pushed


def packet(kind, payload):
    return b"$" + kind.encode() + struct.pack("<H", len(payload)) + payload


def reason(kind, value, payload=b""):
    return packet(kind, struct.pack("<I", value) + payload)


PAYLOADS = [b"\x82\0\0" + random.Random(n).randbytes(random.Random(n).randrange(100, 400)) for n in range(20)]
HEADER = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(200)
PACKETS = [packet("D", payload) for payload in PAYLOADS]
STREAM = packet("H", HEADER) + b"".join(PACKETS) + packet("F", bytes(90)) + reason("E", 0)


def decoded(items):
    """Messages of a body; runs and (offset, length) holes in order."""
    decoder = WmspDecoder("client", pushed=True)
    found = []
    for item in items:
        if isinstance(item, tuple):
            at = At(direction="client", offset=item[0], frame=50, ts=50_000)
            found += decoder.gap(at, item[1])
        else:
            found += decoder.feed(item.offset, item.data, item.pieces)
    return found + list(decoder.end())


def payloads(found):
    return [payload for *_, payload in media(found)]


def test_header_media_filling_and_end():
    found = decoded([run(STREAM)])
    assert payloads(found) == [HEADER, *PAYLOADS]
    assert [(m.kind, m.reason) for m in other(found)] == [("F", None), ("E", 0)]


@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=50))
def test_cutting_changes_nothing(cuts):
    found = decoded(runs(STREAM, cuts))
    assert payloads(found) == [HEADER, *PAYLOADS]
    assert [m.kind for m in other(found)] == ["F", "E"]


def test_a_change_carries_the_new_header():
    found = decoded(
        [run(STREAM[: len(HEADER) + 4] + reason("E", 1) + reason("C", 0, HEADER + b"x") + PACKETS[0])]
    )
    assert payloads(found) == [HEADER, HEADER + b"x", PAYLOADS[0]]
    assert [(m.kind, m.reason) for m in other(found)] == [("E", 1), ("C", 0)]


def test_filling_is_one_message_however_much_there_is():
    (message,) = decoded([run(packet("F", b"\1") * 2000)])
    assert (message.kind, message.repeated) == ("F", 2000)


@pytest.mark.parametrize("first", ["H", "D"])
def test_data_headers_are_told_from_none(first):
    """As FFmpeg's muxer has them."""

    def framed(kind, number, payload):
        head = struct.pack("<IBBH", number, 0, number % 256, 8 + len(payload))
        return packet(kind, head + payload)

    units = [framed("H", 0, HEADER)] * (first == "H") + [framed("D", n, p) for n, p in enumerate(PAYLOADS)]
    found = decoded(runs(b"".join(units), [5]))
    assert payloads(found) == [HEADER] * (first == "H") + PAYLOADS
    assert [location for location, *_ in media(found)][-1] == 19


def test_a_body_that_begins_with_media():
    """As that of every PushStart but the first may [2.2.2.2]."""
    assert payloads(decoded([run(b"".join(PACKETS))])) == PAYLOADS


@given(st.integers(30, len(STREAM) - 2), st.integers(1, 900))
def test_a_hole_costs_what_it_touches(begin, length):
    length = min(length, len(STREAM) - begin - 1)
    behind = begin + length
    parts = [*runs(STREAM[:begin]), (begin, length), *runs(STREAM[behind:], offset=behind, frame=60)]
    found = decoded(parts)
    got = [PAYLOADS.index(p) for p in payloads(found) if p in PAYLOADS]
    assert got == sorted(got)
    touched, at = set(), len(HEADER) + 4
    for n, unit in enumerate(PACKETS):
        if at < behind and at + len(unit) > begin:
            touched.add(n)
        at += len(unit)
    assert touched.isdisjoint(got)
    assert set(range(17)) - touched <= set(got)
    assert [m.length for m in found if isinstance(m, Hole)] == [length]


def test_noise_between_packets():
    noise = b"neither $ nor sense" * 3
    found = decoded([run(b"".join(PACKETS[:5]) + noise + b"".join(PACKETS[5:]))])
    assert payloads(found) == PAYLOADS
    (problem,) = (m for m in found if isinstance(m, Malformed))
    assert problem.length == len(noise)


@given(
    st.lists(
        st.one_of(st.binary(max_size=80), st.sampled_from([*PACKETS, b"$F", b"$E\4\0", b"$C\0\0"])),
        max_size=9,
    )
)
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


POST = b"POST /p HTTP/1.1\r\nContent-Type: application/x-wms-pushstart\r\nContent-Length: %d\r\n\r\n"


def http(data):
    decoder = HttpDecoder()
    found = list(decoder.feed("client", run(data)))
    return found + list(decoder.end("client", "fin", 9, 9))


def test_in_the_body_of_a_request():
    found = http(POST % len(STREAM) + STREAM + b"POST /q HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    assert payloads(found) == [HEADER, *PAYLOADS]
    assert [m.complete for m in found if isinstance(m, BodyEnd)] == [True, True]


def test_a_pushed_header_needs_no_content_type():
    plain = (POST % len(STREAM)).replace(b"application/x-wms-pushstart", b"application/octet-stream")
    assert payloads(http(plain + STREAM)) == [HEADER, *PAYLOADS]
    assert looks_pushed(STREAM[:16])
    assert not looks_pushed(b"$H is the price of it")
    assert payloads(http(plain + STREAM.replace(b"\x30\x26\xb2", b"\1\1\1"))) == []


def test_a_granted_tunnel_has_no_body():
    decoder = HttpDecoder()
    asked = b"CONNECT a:80 HTTP/1.0\r\n\r\nGET /x HTTP/1.0\r\n\r\n"
    list(decoder.feed("client", run(asked)))
    found = list(
        decoder.feed("server", run(b"HTTP/1.0 200 OK\r\n\r\nHTTP/1.0 404 No\r\nContent-Length: 0\r\n\r\n"))
    )
    assert [m.status for m in found if hasattr(m, "status")] == [200, 404]
