"""Packets that holes have hurt: handed on as far as they were seen, in every framing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from runs import gap, media, run
from test_mms_stream import PACKETS, PING, SIZES, STREAM, data_packet, through
from test_wmsp_framing import PAYLOADS, decoded
from test_wmsp_framing import STREAM as BODY

from mmsforensics.protocols import CutPacket, Hole, decode_datagrams
from mmsforensics.streams import PIECE, Datagrams

SENT = {number: (incarnation, flags, payload) for number, incarnation, flags, payload in PACKETS}
FRAME_OFFSET = 54


def cuts(messages):
    return [m for m in messages if isinstance(m, CutPacket)]


def agrees(packet, payload):
    """What is said to be known is what was sent; the rest is zero; pieces cover just the known bytes."""
    assert len(packet.data) == len(payload)
    mask = np.zeros(len(payload), dtype=np.bool_)
    for begin, end in packet.known:
        assert packet.data[begin:end].tobytes() == payload[begin:end]
        mask[begin:end] = True
    assert not packet.data[~mask].any()
    covered = np.zeros(len(payload), dtype=np.bool_)
    for piece in packet.pieces:
        covered[int(piece["offset"]) : int(piece["offset"] + piece["length"])] = True
    assert (covered == mask).all()
    assert packet.seen == np.count_nonzero(mask)


def pieces_of(stream, holes):
    """Runs and holes of a stream, each run in a frame of its own; holes must not overlap."""
    items, at, frame = [], 0, 1
    for begin, length in sorted(holes):
        if begin > at:
            items.append((at, stream[at:begin], frame))
        items.append((begin, length, frame + 1))
        at, frame = begin + length, frame + 2
    return [*items, (at, stream[at:], frame)] if at < len(stream) else items


@given(st.integers(0, len(STREAM) - 1), st.integers(1, 3000))
def test_mms_a_hole_leaves_what_was_seen_of_the_packet_it_begins_in(begin, length):
    length = min(length, len(STREAM) - begin)
    items = [
        run(part, offset, frame) if isinstance(part, bytes) else gap(offset, part, frame)
        for offset, part, frame in pieces_of(STREAM, [(begin, length)])
    ]
    found = cuts(through(items))
    touched = packet_at(begin)
    assert [p.location for p in found] == ([touched] if touched is not None else [])
    for packet in found:
        incarnation, flags, payload = SENT[packet.location]
        assert (packet.incarnation, packet.flags) == (incarnation, flags)
        agrees(packet, payload)


def packet_at(offset):
    """LocationId of the Data packet that a hole at `offset` begins in, if its header stands before it."""
    at = 0
    for number, _, flags, payload in PACKETS:
        if at + 8 <= offset < at + 8 + len(payload):
            return number
        at += 8 + len(payload) + (len(PING) if flags % 10 == 9 else 0)
    return None


def test_two_holes_in_one_packet_leave_three_parts():
    at = sum(8 + size for size in SIZES[:5]) + 8
    holes = [(at + 50, 20), (at + 100, 30)]
    items = [
        run(part, offset, frame) if isinstance(part, bytes) else gap(offset, part, frame)
        for offset, part, frame in pieces_of(STREAM, holes)
    ]
    found = through(items)
    (packet,) = cuts(found)
    assert packet.known == ((0, 50), (70, 100), (130, SIZES[5]))
    assert (packet.first_frame, packet.at.frame) == (1, 5)
    agrees(packet, PACKETS[5][3])
    assert media(found) == PACKETS[:5] + PACKETS[6:]


def test_a_second_hole_that_leaves_the_packet_is_searched_behind():
    """It ends at no boundary: what follows must not be taken for one."""
    at = sum(8 + size for size in SIZES[:5]) + 8
    length = SIZES[5] + SIZES[6]
    items = [
        run(part, offset, frame) if isinstance(part, bytes) else gap(offset, part, frame)
        for offset, part, frame in pieces_of(STREAM, [(at + 50, 20), (at + 100, length)])
    ]
    found = through(items)
    assert [p for p in media(found) if p not in PACKETS] == []
    assert media(found)[:5] == PACKETS[:5]
    assert media(found)[-20:] == PACKETS[-20:]
    assert cuts(found)[0].known == ((0, 50), (70, 100))


@given(st.integers(230, len(BODY) - 20), st.integers(1, 900))
def test_wmsp_what_is_handed_on_is_what_was_sent(begin, length):
    length = min(length, len(BODY) - begin)
    items = [
        run(part, offset, frame) if isinstance(part, bytes) else (offset, part)
        for offset, part, frame in pieces_of(BODY, [(begin, length)])
    ]
    found = decoded(items)
    assert len(cuts(found)) <= 1
    for packet in cuts(found):
        assert packet.kind == "D"
        assert packet.location not in {location for location, *_ in media(found)[1:]}
        agrees(packet, PAYLOADS[packet.location])


def test_wmsp_a_hole_inside_a_packet():
    at = BODY.index(PAYLOADS[4])
    (packet,) = cuts(decoded([run(BODY[: at + 30]), (at + 30, 10), run(BODY[at + 40 :], at + 40, 7)]))
    assert (packet.location, packet.known) == (4, ((0, 30), (40, len(PAYLOADS[4]))))
    agrees(packet, PAYLOADS[4])


def test_wmsp_a_second_hole_that_leaves_the_packet_is_searched_behind():
    at = BODY.index(PAYLOADS[4])
    holes = [(at + 30, 10), (at + 60, len(PAYLOADS[4]) + 40)]
    items = [
        run(part, offset, frame) if isinstance(part, bytes) else (offset, part)
        for offset, part, frame in pieces_of(BODY, holes)
    ]
    found = decoded(items)
    end = at + 60 + len(PAYLOADS[4]) + 40
    want = [p for n, p in enumerate(PAYLOADS) if n < 4 or BODY.index(p) - 12 >= end]
    assert [payload for *_, payload in media(found)][1:] == want


def test_a_datagram_cut_by_the_snapshot_length():
    whole = data_packet(7, 3, PACKETS[7][3])
    kept = whole[:120]
    pieces = np.zeros(1, dtype=PIECE)
    pieces["length"], pieces["frame"], pieces["frame_offset"] = len(kept), 9, FRAME_OFFSET
    wire = np.array([len(whole)], dtype=np.uint32)
    datagrams = Datagrams(np.frombuffer(kept, dtype=np.uint8), pieces, wire)
    found = list(decode_datagrams(datagrams, "server"))
    assert [m.length for m in found if isinstance(m, Hole)] == [len(whole) - 120]
    (packet,) = cuts(found)
    assert (packet.location, packet.flags, packet.reliable) == (7, 3, False)
    assert packet.known == ((0, 112),)
    assert packet.pieces["frame_offset"].tolist() == [FRAME_OFFSET + 8]
    agrees(packet, PACKETS[7][3])
