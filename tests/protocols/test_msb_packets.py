"""Datagrams of MS-MSB: packets, beacons, cut ones, noise; told from MMS over UDP."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import msb_sender as sender

from mmsforensics.protocols import CutPacket, Hole, Malformed, MsbBeacon, MsbPackets, Protocol
from mmsforensics.protocols.datagrams import DATAGRAM_DECODERS, recognise_datagrams
from mmsforensics.streams import PIECE, Datagrams


def datagrams(payloads, wire=None):
    """Payloads as datagrams, each in a frame of its own, from 1."""
    pieces = np.zeros(len(payloads), dtype=PIECE)
    sizes = [len(p) for p in payloads]
    pieces["length"], pieces["offset"] = sizes, np.cumsum(sizes) - sizes
    pieces["frame"] = np.arange(len(payloads)) + 1
    pieces["ts"] = pieces["frame"] * 1000
    data = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    return Datagrams(data, pieces, np.array(wire or sizes, dtype=np.uint32))


def decoded(payloads, wire=None, protocol=Protocol.MSB):
    return list(DATAGRAM_DECODERS[protocol]().feed(datagrams(payloads, wire), "server"))


def packets(messages):
    """(dwPacketID, wStreamID, ASF packet) of all packets."""
    found = []
    for m in messages:
        if isinstance(m, MsbPackets):
            for row in m.block.packets:
                start = int(row["start"])
                payload = m.block.data[start : start + int(row["size"])].tobytes()
                found.append((int(row["location"]), m.stream_id, payload))
    return found


def sent(count=4, first=0, stream=0x39E):
    return [sender.Sent(first + i, stream, b"\x82\x11\x00" + bytes([i]) * 30) for i in range(count)]


def test_a_packet_is_id_stream_and_what_follows():
    (message,) = decoded([sender.Sent(0x01020304, 0x839E, b"payload").datagram])
    assert packets([message]) == [(0x01020304, 0x839E, b"payload")]
    (row,) = message.block.packets
    assert (row["frame"], row["first_frame"], row["flags"], row["incarnation"]) == (1, 1, 4, 1)


def test_a_message_then_noise_then_a_message_gives_both():
    one, two = sent(2)
    noise = b"noise that is no packet"
    messages = decoded([one.datagram, noise, two.datagram])
    assert [p[0] for p in packets(messages)] == [0, 1]
    (malformed,) = [m for m in messages if isinstance(m, Malformed)]
    assert (malformed.length, malformed.at.frame) == (len(noise), 2)


def test_streams_and_numbers_that_go_elsewhere_begin_a_block():
    payloads = [*sent(3), *sent(2, stream=0x12, first=3), *sent(2, first=90_000)]
    blocks = [m for m in decoded([s.datagram for s in payloads]) if isinstance(m, MsbPackets)]
    assert [(b.stream_id, len(b.block.packets)) for b in blocks] == [(0x39E, 3), (0x12, 2), (0x39E, 2)]


def test_beacons_in_a_row_are_one_message():
    messages = decoded([sender.BEACON] * 3 + [sent(1)[0].datagram] + [sender.BEACON])
    assert [(m.at.frame, m.repeated) for m in messages if isinstance(m, MsbBeacon)] == [(1, 3), (5, 1)]


@pytest.mark.parametrize("protocol", [Protocol.MSB, Protocol.MSBD])
def test_a_cut_datagram_is_a_hole_and_what_was_seen(protocol):
    one = sent(1)[0]
    whole = one.datagram if protocol is Protocol.MSB else one.message
    messages = decoded([whole[:-10]], [len(whole)], protocol)
    hole, cut = messages
    assert isinstance(hole, Hole)
    assert hole.length == 10
    assert isinstance(cut, CutPacket)
    assert (cut.location, cut.seen, cut.incarnation | cut.flags << 8) == (0, len(one.asf) - 10, 0x39E)


def test_what_a_direction_carries_is_told_by_structure():
    plain = [s.datagram for s in sent(20)]
    parity = sender.Sent(3, 0x39E, b"\x92\x52\x00" + bytes(30), parity=True).datagram
    assert recognise_datagrams(datagrams(plain), multicast=True) is Protocol.MSB
    assert recognise_datagrams(datagrams(plain)) is Protocol.MMS  # a server of MMS that counts nothing
    assert recognise_datagrams(datagrams([*plain[:4], parity, *plain[4:]])) is Protocol.MSB
    assert recognise_datagrams(datagrams([sender.BEACON])) is Protocol.MSB
    assert recognise_datagrams(datagrams([s.message for s in sent(3)])) is Protocol.MSBD
    counting = [bytes([i, 0, 0, 0, 4, i, 20, 0]) + bytes(12) for i in range(20)]
    assert recognise_datagrams(datagrams(counting)) is Protocol.MMS


PAYLOADS = st.lists(
    st.binary(max_size=80)
    | st.integers(0, 2**32 - 1).map(lambda n: sender.Sent(n, 0x12, b"\x82\x11\0" + bytes(20)).datagram)
    | st.just(sender.BEACON)
    | st.just(sent(1)[0].message),
    max_size=30,
)


@given(PAYLOADS, st.booleans(), st.integers(0, 50))
def test_any_datagrams_are_decoded_without_harm(payloads, multicast, cut):
    wire = [len(p) + (cut if i % 3 == 0 else 0) for i, p in enumerate(payloads)]
    given_ = datagrams(payloads, wire)
    recognise_datagrams(given_, multicast=multicast)
    for protocol in (Protocol.MSB, Protocol.MSBD):
        messages = decoded(payloads, wire, protocol)
        assert sum(len(p[2]) for p in packets(messages)) <= len(given_.data)
        assert all(isinstance(m, MsbPackets | MsbBeacon | Hole | CutPacket | Malformed) for m in messages)
