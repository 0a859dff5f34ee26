"""The MMS stream: records and Data packets, cut anywhere, with holes, with noise."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import gap, media, other, run, runs
from test_mms_messages import message, record, u32

from mmsforensics.protocols import Hole, Malformed, MmsMessage, StreamEnd
from mmsforensics.protocols.mms import MmsStreamDecoder


def data_packet(location, flags, payload, incarnation=4):
    """A Data packet [MS-MMSP 2.2.2]."""
    return struct.pack("<IBBH", location, incarnation, flags % 256, 8 + len(payload)) + payload


def asf_like(seed, size):
    """A payload that begins as an ASF data packet does."""
    return b"\x82\0\0" + random.Random(seed).randbytes(size - 3)


SIZES = [random.Random(7).randrange(300, 900) for _ in range(30)]
PACKETS = [(100 + n, 4, n, asf_like(n, size)) for n, size in enumerate(SIZES)]
PING = record(message(0x0004001B, u32(1, 2)))


def stream():
    """Thirty Data packets with a Ping between each ten."""
    parts = []
    for n, (location, incarnation, flags, payload) in enumerate(PACKETS):
        parts.append(data_packet(location, flags, payload, incarnation))
        if n % 10 == 9:
            parts.append(PING)
    return b"".join(parts)


STREAM = stream()


def through(items, direction="server", *, from_start=True):
    decoder = MmsStreamDecoder(direction, from_start=from_start)
    found = []
    for item in items:
        found += decoder.gap(item) if hasattr(item, "length") else decoder.feed(item)
    return found + list(decoder.end("fin", 999, 999_000))


def test_packets_and_messages_in_their_order():
    found = through([run(STREAM)])
    assert media(found) == PACKETS
    assert [m.name for m in found if isinstance(m, MmsMessage)] == ["Ping"] * 3
    assert [type(m) for m in other(found)][-1] is StreamEnd


@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=60))
def test_cutting_changes_nothing(cuts):
    found = through(runs(STREAM, cuts))
    assert media(found) == PACKETS
    assert [m.at.offset for m in found if isinstance(m, MmsMessage)] == [
        m.at.offset for m in through([run(STREAM)]) if isinstance(m, MmsMessage)
    ]


def test_byte_by_byte():
    short = STREAM[: 3 * 900]
    assert media(through(runs(short, range(1, len(short))))) == media(through([run(short)]))


def test_a_packet_names_the_frames_of_its_first_and_last_byte():
    whole = data_packet(1, 0, asf_like(1, 100))
    blocks = [b for b in through(runs(whole, [10, 50], frame=21)) if hasattr(b, "packets")]
    (packet,) = (p for b in blocks for p in b.packets)
    assert (packet["first_frame"], packet["frame"], packet["ts"]) == (21, 23, 23_000)


@given(st.integers(0, len(STREAM) - 1), st.integers(1, 3000))
def test_a_hole_costs_what_it_touches(begin, length):
    """What lies around it is found again, nothing is invented, and the bytes are accounted for."""
    length = min(length, len(STREAM) - begin)
    items = [
        i for i in (*runs(STREAM[:begin]), gap(begin, length, 50)) if not hasattr(i, "data") or len(i.data)
    ]
    items += runs(STREAM[begin + length :], offset=begin + length, frame=60)
    found = through(items)
    got = media(found)
    assert [p for p in PACKETS if p in got] == got
    assert [h.length for h in found if isinstance(h, Hole)] == [length]
    touched, at = set(), 0
    for packet in PACKETS:
        end = at + 8 + len(packet[3])
        if at < begin + length and end > begin:
            touched.add(packet[0])
        at = end + (len(PING) if packet[2] % 10 == 9 else 0)
    lost = {p[0] for p in PACKETS} - {p[0] for p in got}
    assert touched <= lost
    last_proof = PACKETS[-4][0]  # the last few cannot be told from noise behind a hole over a packet's end
    assert {number for number in lost - touched if number < last_proof} == set()


def test_a_hole_inside_a_packet_costs_that_packet_alone():
    at = sum(8 + size for size in SIZES[:5]) + 100
    found = through([*runs(STREAM[:at]), gap(at, 50, 9), *runs(STREAM[at + 50 :], offset=at + 50, frame=10)])
    assert media(found) == PACKETS[:5] + PACKETS[6:]
    assert [m.packets_cut for m in found if isinstance(m, Hole)] == [1]
    assert not [m for m in found if isinstance(m, Malformed)]


def test_a_hole_right_behind_the_header_does_not_hide_the_media():
    """The header's packets are smaller than those of media, and of another incarnation."""
    header = data_packet(0, 0x0C, b"\x30\x26\xb2\x75" + bytes(100), incarnation=2)
    at = len(header) + 20
    items = [run(header + STREAM[:20]), gap(at, SIZES[0], 5), run(STREAM[20 + SIZES[0] :], at + SIZES[0], 6)]
    assert media(through(items))[1:] == PACKETS[2:]


@pytest.mark.parametrize("begin", [1, 333, 2000])
def test_a_start_in_the_middle(begin):
    found = through(runs(STREAM[begin:]), from_start=False)
    got = media(found)
    assert got == PACKETS[-len(got) :]
    assert sum(8 + len(p[3]) for p in PACKETS[: -len(got)]) + 2 * 900 > begin
    assert all(b.inferred for b in found[:2] if hasattr(b, "packets"))


def test_noise_between_two_messages():
    ping, noise = record(message(0x0003001B, u32(1, 2))), b"GET / HTTP/1.0 " * 9
    found = through([run(ping + noise + ping)], "client")
    assert [m.name for m in found if isinstance(m, MmsMessage)] == ["Pong", "Pong"]
    (problem,) = (m for m in found if isinstance(m, Malformed))
    assert (problem.at.offset, problem.length) == (len(ping), len(noise))


@given(
    st.binary(min_size=1, max_size=120),
    st.sampled_from(["client", "server"]),
    st.booleans(),
    st.lists(st.integers(0, 300), max_size=3),
)
def test_any_noise_between_two_messages(noise, direction, media_before, cuts):
    """Noise reads as a Data packet of any size: that it holds a record, and leads nowhere, tells."""
    ping = record(message(0x0003001B, u32(1, 2)))
    before = STREAM[: sum(8 + size for size in SIZES[:2])] if media_before and direction == "server" else b""
    data = before + ping + noise + ping
    found = through(runs(data, [len(before) + c for c in cuts]), direction)
    assert [m.at.offset for m in found if isinstance(m, MmsMessage)] == [len(before), len(data) - len(ping)]


def test_media_that_hold_a_record_are_media_where_the_framing_goes_on():
    """A file of captured traffic, say: the packet behind it proves the first one."""
    payloads = [asf_like(n, 400) + PING + asf_like(n, 20) for n in range(4)]
    data = b"".join(data_packet(n, n, payload) for n, payload in enumerate(payloads))
    for cuts in ([], [500], [len(data) // 4], range(0, len(data), 13)):
        assert [p[3] for p in media(through(runs(data, cuts)))] == payloads


def test_a_hole_behind_a_packet_that_may_be_noise():
    """The first packet holds a record, and ends where the hole begins."""
    first = data_packet(0, 0, asf_like(0, 400) + PING)
    found = through([run(first), gap(len(first), 50, 5), run(STREAM, len(first) + 50, 6)])
    assert media(found)[0] == (0, 4, 0, first[8:])
    assert media(found)[1:] == PACKETS
    assert [m.length for m in found if isinstance(m, Hole)] == [50]


@pytest.mark.parametrize("length", [0, 8, 15, 17, 0xFFFFFFFF])
def test_a_record_length_that_lies(length):
    good = record(message(0x0003001B, u32(1, 2)))
    bad = good[:8] + struct.pack("<I", length) + good[12:]
    found = through([run(bad + good)], "client")
    assert [m.at.offset for m in found if isinstance(m, MmsMessage)] == [len(bad)]


def test_what_is_left_at_the_end_is_told():
    end = through([run(STREAM[:1000])])[-1]
    assert isinstance(end, StreamEnd)
    assert end.left == 1000 - sum(8 + size for size in SIZES[:1])


@given(st.lists(st.binary(max_size=200), max_size=8), st.sampled_from(["client", "server"]), st.booleans())
def test_any_bytes(parts, direction, from_start):
    items, at = [], 0
    for n, part in enumerate(parts):
        if part:
            items.append(run(part, at, n + 1))
            at += len(part)
            if n % 3 == 2:
                items.append(gap(at, 10, n + 1))
                at += 10
    through(items, direction, from_start=from_start)


@given(st.integers(0, 1500), st.lists(st.tuples(st.integers(0, 2999), st.integers(0, 255)), max_size=5))
def test_mutations(cut, changes):
    raw = bytearray((PING + STREAM)[:3000])
    for at, value in changes:
        raw[at] = value
    through(runs(bytes(raw), [cut]))
