"""Messages of MS-MSBD: every one of the specification, holes, noise, and any bytes cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import msb_sender as sender
from runs import gap, run, runs
from test_msb_packets import packets, sent

from mmsforensics.protocols import CutPacket, DataPackets, Hole, Malformed, MsbdMessage, Protocol, detect
from mmsforensics.protocols.msbd import MESSAGE_TYPES, MsbdStreamDecoder, said_by_client

HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(200)

WHOLE = {
    "REQ_PING": (sender.REQ_PING, {}),
    "RES_PING": (sender.RES_PING, {}),
    "REQ_STREAMINFO": (sender.REQ_STREAMINFO, {}),
    "RES_STREAMINFO": (sender.stream_info(7, HEADER, mid=4), {"wStreamId": 7, "cbHeader": len(HEADER)}),
    "IND_STREAMINFO": (
        sender.stream_info(
            0x8007, HEADER, packet_size=1400, total=9, title="Été", bit_rate=64_000, duration=5
        ),
        {"cbPacketSize": 1400, "cTotalPackets": 9, "title": "Été", "dwBitRate": 64_000, "msDuration": 5},
    ),
    "REQ_CONNECT": (sender.req_connect(2), {"dwFlags": 2, "szChannel": "NetShow"}),
    "RES_CONNECT": (
        sender.res_connect(flags=2, group=("239.1.2.3", 5004)),
        {"dwFlags": 2, "sin_family": 2, "sin_port": 5004, "sin_addr": "239.1.2.3"},
    ),
    "IND_EOS": (sender.END, {}),
}


def decoded(data, cuts=(), direction="server", from_start=True):
    decoder = MsbdStreamDecoder(direction, from_start=from_start)
    out = [m for r in runs(data, cuts) for m in decoder.feed(r)]
    return [*out, *decoder.end("fin", 99, 99)][:-1]


def test_every_message_of_the_specification_is_shown_here():
    assert set(WHOLE) | {"IND_PACKET"} == {m.name for m in MESSAGE_TYPES}


@pytest.mark.parametrize("name", WHOLE)
def test_a_message_says_what_was_sent(name):
    raw, wanted = WHOLE[name]
    message = decoded(raw)[0]
    assert isinstance(message, MsbdMessage)
    assert (message.name, message.size, message.fields["wVersion"]) == (name, len(raw), 0x0106)
    assert wanted.items() <= message.fields.items()


def test_a_header_is_handed_on_behind_its_message():
    _, header = decoded(WHOLE["IND_STREAMINFO"][0], cuts=(100, 150))
    assert isinstance(header, DataPackets)
    (row,) = header.packets
    start = int(row["start"])
    assert header.data[start : start + int(row["size"])].tobytes() == HEADER
    assert (header.kind, row["frame"], row["first_frame"]) == ("H", 3, 1)
    assert int(header.pieces["length"].sum()) == len(HEADER)


@pytest.mark.parametrize("noise", [b"noise", b"MSB ", b"MSB \x06\x01\x0a\x00\xff\xff\xff\xff", bytes(3000)])
def test_a_message_then_noise_then_a_message_gives_both(noise):
    messages = decoded(sender.req_connect() + noise + sender.res_connect())
    assert [m.name for m in messages if isinstance(m, MsbdMessage)] == ["REQ_CONNECT", "RES_CONNECT"]
    assert sum(m.length for m in messages if isinstance(m, Malformed)) == len(noise)


def test_a_message_too_short_for_its_fields_is_told_and_costs_nothing_else():
    messages = decoded(sender.message(8, b"\0\0") + sender.END)
    assert [m.name for m in messages if isinstance(m, MsbdMessage)] == ["RES_CONNECT", "IND_EOS"]
    (malformed,) = [m for m in messages if isinstance(m, Malformed)]
    assert malformed.expected == "field dwFlags of RES_CONNECT (MS-MSBD 2.2.8)"


def test_sizes_that_lie_are_told():
    lying = sender.message(10, sent(1)[0].datagram + b"more")
    messages = decoded(lying + sent(1)[0].message)
    assert [m.found for m in messages if isinstance(m, Malformed)] == [str(8 + len(sent(1)[0].asf))]
    assert [p[0] for p in packets(messages)] == [0]


@pytest.mark.parametrize("at", [0, 10, 20, 30, 50])
@pytest.mark.parametrize("length", [1, 5, 40, 57, 60, 130])
def test_a_hole_costs_what_it_cuts(at, length):
    data = b"".join(s.message for s in sent(6))
    size = len(sent(1)[0].message)
    begin = size + at
    decoder = MsbdStreamDecoder("server", from_start=True)
    messages = [
        *decoder.feed(run(data[:begin])),
        *decoder.gap(gap(begin, length, 5)),
        *decoder.feed(run(data[begin + length :], begin + length, 6)),
        *decoder.end("fin", 9, 9),
    ]
    whole = [i for i in range(6) if (i + 1) * size <= begin or i * size >= begin + length]
    assert [p[0] for p in packets(messages)] == whole
    assert [m.length for m in messages if isinstance(m, Hole)] == [length]
    for cut in [m for m in messages if isinstance(m, CutPacket)]:
        assert cut.location == 1
        seen = data[size + 24 : 2 * size]
        assert all(cut.data[a:b].tobytes() == seen[a:b] for a, b in cut.known)


def test_it_is_found_from_the_middle():
    data = b"".join(s.message for s in sent(6))[33:]
    assert detect(data) is Protocol.MSBD
    assert [p[0] for p in packets(decoded(data, from_start=False))] == [1, 2, 3, 4, 5]


def test_who_is_the_client_the_messages_say():
    assert said_by_client(sender.req_connect()) is True
    assert said_by_client(b"??" + sender.REQ_PING) is False
    assert said_by_client(sent(1)[0].message) is False
    assert said_by_client(b"MSB ") is None
    assert detect(b"MSB \x06\x01\x0a\x00\x05\x00\x00\x00") is None  # a length that none can have
    assert detect(b"MSB ") is None


PARTS = st.lists(
    st.sampled_from([raw for raw, _ in WHOLE.values()])
    | st.integers(0, 99).map(lambda n: sender.Sent(n, 5, bytes(n)).message)
    | st.binary(max_size=60),
    max_size=12,
)


@given(PARTS, st.lists(st.integers(0, 2000), max_size=6), st.booleans())
def test_any_bytes_give_the_same_however_they_are_cut(parts, cuts, from_start):
    data = b"".join(parts)
    one, other = decoded(data, (), "server", from_start), decoded(data, cuts, "server", from_start)
    names = [[m.name for m in found if isinstance(m, MsbdMessage)] for found in (one, other)]
    assert names[0] == names[1]
    assert packets(one) == packets(other)
    assert sum(len(p[2]) for p in packets(one)) <= len(data)


@given(PARTS, st.integers(0, 500), st.integers(1, 300))
def test_any_hole_does_no_harm(parts, at, length):
    data = b"".join(parts)
    decoder = MsbdStreamDecoder("server", from_start=True)
    at = min(at, len(data))
    found = [*decoder.feed(run(data[:at]))] if at else []
    found += decoder.gap(gap(at, length, 5))
    if data[at + length :]:
        found += decoder.feed(run(data[at + length :], at + length, 6))
    found += decoder.end("capture ended", 9, 9)
    assert sum(len(p[2]) for p in packets(found)) <= len(data)
