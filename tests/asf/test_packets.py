"""Data packets and payloads: built from the specification here, read by the compiled walks."""

import struct

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from peers.asf_packets import ERROR_CORRECTION, WIDTHS, field, packet, payload

from mmsforensics.asf import Reason, walk_packets, walk_payloads


def walk(*packets):
    data = np.frombuffer(b"".join(packets), dtype=np.uint8)
    return walk_payloads(data, len(packets[0]))


def data_of(one, row):
    return one[row["at"] : row["at"] + row["length"]]


# --- the worked examples of the protocol notes, written out by hand ----------------------------------

SINGLE = bytes.fromhex("820000 085d 0a e8030000 3200 81 07 00000000 08 0d000000 a00f0000") + (
    b"ABCDEFGHIJKLM" + bytes(10)
)
MULTIPLE = bytes.fromhex(
    "820000 115d 0400 d0070000 1400 82 81 01 00000000 08 04000000 88130000 0400 61616161"
    "02 09 00000000 08 03000000 88130000 0300 626262 00000000"
)
COMPRESSED = bytes.fromhex("820000 005d b80b0000 0000 83 05 70170000 01 14 03 616263 02 6465")


def test_single_payload():
    heads, payloads = walk(SINGLE)
    (head,), (row,) = heads, payloads
    assert head["ok"] == 1
    assert (head["send_time_ms"], head["duration_ms"], head["padding"]) == (1000, 50, 10)
    assert (head["flags_at"], head["length_at"], head["padding_at"], head["body_at"]) == (3, 5, 5, 12)
    assert (row["stream"], row["key"], row["object_number"], row["object_offset"]) == (1, 1, 7, 0)
    assert (row["object_size"], row["presentation_ms"], row["compressed"]) == (13, 4000, 0)
    assert data_of(SINGLE, row) == b"ABCDEFGHIJKLM"
    assert SINGLE[row["time_at"] :][:4] == struct.pack("<I", 4000)


def test_multiple_payloads():
    heads, payloads = walk(MULTIPLE)
    assert (heads[0]["payloads"], heads[0]["padding"], heads[0]["send_time_ms"]) == (2, 4, 2000)
    assert [data_of(MULTIPLE, row) for row in payloads] == [b"aaaa", b"bbb"]
    assert payloads["stream"].tolist() == [1, 2]
    assert payloads["key"].tolist() == [1, 0]
    assert payloads["object_number"].tolist() == [1, 9]
    assert payloads["presentation_ms"].tolist() == [5000, 5000]


@pytest.mark.parametrize(("room", "fits_as_written"), [(60, True), (400, False)])
def test_padding_that_the_packet_length_leaves_out_too(room, fits_as_written):
    """As GStreamer's muxer writes the last packet of a file; taken by the letter no payload would fit."""
    body = bytes([2 << 6 | 2]) + b"".join(
        payload(bytes([k]) * 60, stream=k, replicated=bytes(8), length=2) for k in (1, 2)
    )
    size = len(packet(body, multiple=True, packet_kind=2, padding_kind=2)) + room
    good = packet(body, multiple=True, packet_kind=2, padding_kind=2, size=size)
    twice = packet(body, multiple=True, packet_kind=2, padding_kind=2, size=size, packet_length=size - room)
    (sound,), expected = walk(good)
    (head,), payloads = walk(twice)
    assert walk_packets(np.frombuffer(twice, dtype=np.uint8), size)["ok"].all()
    assert (head["ok"], head["reason"], head["padding"]) == (1, Reason.PADDING_TWICE, room)
    assert (sound["ok"], sound["reason"], sound["padding"]) == (1, Reason.NONE, room)
    assert (payloads == expected).all()
    assert len(payloads) == 2
    wrong = packet(
        body, multiple=True, packet_kind=2, padding_kind=2, size=size, packet_length=size - room - 1
    )
    (head,), payloads = walk(wrong)
    assert (head["ok"], len(payloads)) == (0, 0)
    assert head["reason"] == (Reason.PAYLOAD if fits_as_written else Reason.PADDING)


def test_padding_that_is_counted_once_stays_so():
    """A Packet Length with padding before it, both as the specification means them, that agree by chance."""
    body = bytes([2 << 6 | 1]) + payload(b"abc", replicated=bytes(8), length=2)
    n = len(packet(body, multiple=True, packet_kind=2, padding_kind=2))
    one = packet(body, multiple=True, packet_kind=2, padding_kind=2, size=n + 100, packet_length=n + 50)
    one = one.replace(struct.pack("<HH", n + 50, 100), struct.pack("<HH", n + 50, 50))
    (head,), payloads = walk(one)
    assert (head["ok"], head["reason"], head["padding"]) == (1, Reason.NONE, 100)
    assert data_of(one, payloads[0]) == b"abc"


def test_compressed_payload():
    """Each of the small whole objects is a row; times and numbers count up from the first [ASF 5.2.3.3]."""
    heads, payloads = walk(COMPRESSED)
    assert (heads[0]["ok"], heads[0]["payloads"]) == (1, 1)
    assert payloads["compressed"].tolist() == [1, 1]
    assert payloads["object_number"].tolist() == [5, 6]
    assert payloads["presentation_ms"].tolist() == [6000, 6020]
    assert payloads["object_offset"].tolist() == [0, 0]
    assert payloads["object_size"].tolist() == [3, 2]
    assert [data_of(COMPRESSED, row) for row in payloads] == [b"abc", b"de"]
    assert payloads["time_at"].tolist()[1] == 0  # only the first has a time of its own in the packet
    assert COMPRESSED[payloads[0]["time_at"] :][:4] == struct.pack("<I", 6000)


def objects_of(data):
    """The objects in a compressed payload: each a byte of size, then the bytes."""
    return b"".join(bytes([len(one)]) + one for one in data)


# --- every length type -------------------------------------------------------------------------------

kinds_of_fields = st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 3))


@st.composite
def one_payload(draw, kinds, length_kind):
    """Bytes of a payload, and the rows it must be read as."""
    stream, key = draw(st.integers(1, 127)), draw(st.booleans())
    number = draw(st.integers(0, 2 ** (8 * WIDTHS[kinds[2]]) - 1))
    offset = draw(st.integers(0, 2 ** (8 * WIDTHS[kinds[1]]) - 1))
    size, time = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**32 - 1))
    form = draw(st.sampled_from(("compressed", "plain", "with size and time", "with more")))
    rows = []
    if form == "compressed":
        objects = draw(st.lists(st.binary(max_size=9), max_size=4))
        replicated, data = b"\x14", objects_of(objects)
        for k, one in enumerate(objects):
            if one:
                counted = field(number + k, kinds[2])
                at = (offset + 20 * k) % 2**32
                rows.append((stream, key, int.from_bytes(counted, "little"), 0, len(one), at, one))
    else:
        data = draw(st.binary(max_size=30))
        replicated = {
            "plain": b"",
            "with size and time": struct.pack("<II", size, time),
            "with more": struct.pack("<IIH", size, time, 9),
        }[form]
        rows.append((stream, key, number, offset, *((size, time) if replicated else (0, None)), data))
    raw = payload(
        data,
        stream=stream,
        key=key,
        number=number,
        offset=offset,
        replicated=replicated,
        kinds=kinds,
        length=length_kind,
    )
    return raw, rows


@st.composite
def built(draw):
    """A packet and what it must be read as."""
    kinds = draw(kinds_of_fields)
    multiple = draw(st.booleans())
    count = draw(st.integers(1, 5)) if multiple else 1
    length_kind = draw(st.integers(1, 3)) if multiple else None
    body = bytes([count | length_kind << 6]) if multiple else b""
    wanted = []
    for _ in range(count):
        raw, rows = draw(one_payload(kinds, length_kind))
        body += raw
        wanted += rows
    padding_kind = draw(st.integers(0, 3))
    extra = draw(st.integers(0, 200)) if padding_kind else 0
    options = {
        "multiple": multiple,
        "kinds": kinds,
        "packet_kind": draw(st.sampled_from((0, 2, 3))),
        "sequence_kind": draw(st.integers(0, 3)),
        "padding_kind": padding_kind,
        "send": draw(st.integers(0, 2**32 - 1)),
        "duration": draw(st.integers(0, 2**16 - 1)),
        "correction": draw(st.sampled_from((ERROR_CORRECTION, b"\x81\0", b"\x80", b""))),
    }
    bare = packet(body, **options)
    return packet(body, size=len(bare) + extra, **options), options, extra, wanted


@given(built())
def test_all_length_types(case):
    one, options, extra, wanted = case
    heads, payloads = walk(one, one)
    assume(len(one) >= 12)
    assert heads["ok"].tolist() == [1, 1]
    assert heads["padding"].tolist() == [extra, extra]
    assert heads["send_time_ms"][0] == options["send"]
    assert heads["duration_ms"][0] == options["duration"]
    assert payloads["packet"].tolist() == [0] * len(wanted) + [1] * len(wanted)
    names = ["stream", "key", "object_number", "object_offset", "object_size", "presentation_ms"]
    for row, (*fields, time, data) in zip(payloads, wanted * 2, strict=True):
        time = options["send"] if time is None else time
        assert [row[name] for name in names] == [*fields, time]
        assert data_of(one, row) == data


def test_stated_packet_length_below_the_fixed_one_is_padding():
    body = payload(b"ABC", replicated=struct.pack("<II", 3, 9))
    bare = packet(body, packet_kind=2)
    one = bare + b"\xee" * 20  # Packet Length says where the payload ends
    heads, payloads = walk(one)
    assert heads["padding"][0] == 20
    assert data_of(one, payloads[0]) == b"ABC"


def test_empty_payload_is_legal():
    body = bytes([2 | 2 << 6]) + payload(b"", length=2) + payload(b"x", length=2)
    heads, payloads = walk(packet(body, multiple=True))
    assert heads["ok"][0] == 1
    assert payloads["length"].tolist() == [0, 1]


def test_most_payloads_of_many_packets():
    body = bytes([63 | 1 << 6]) + b"".join(payload(b"", number=i, length=1) for i in range(63))
    one = packet(body, multiple=True)
    heads, payloads = walk(*[one] * 40)
    assert heads["ok"].all()
    assert payloads["object_number"].tolist() == list(range(63)) * 40


WHOLE = payload(b"ABCDEFGH", replicated=struct.pack("<II", 8, 9))


@pytest.mark.parametrize("length", range(16))
def test_error_correction_data_of_any_length(length):
    """Readers go by the length, though the specification wants two bytes [ASF 5.2.1]."""
    one = packet(WHOLE, correction=bytes([0x80 | length]) + bytes(length))
    heads, payloads = walk(one)
    assert (heads["ok"][0], heads["correction"][0], heads["flags_at"][0]) == (1, 0x80 | length, 1 + length)
    assert data_of(one, payloads[0]) == b"ABCDEFGH"


def test_no_error_correction_data():
    heads, _ = walk(packet(WHOLE, correction=b""))
    assert (heads["ok"][0], heads["correction"][0], heads["flags_at"][0]) == (1, 0, 0)


def test_replicated_data_beyond_size_and_time():
    """They are for payload extension systems, which the stream declares [ASF 4.1]."""
    one = packet(payload(b"ABCD", replicated=struct.pack("<II", 4, 9) + b"more"))
    _, (row,) = walk(one)
    assert one[row["extension_at"] :][: row["extension_length"]] == b"more"
    _, (row,) = walk(packet(WHOLE))
    assert (row["extension_at"], row["extension_length"]) == (0, 0)


# --- what does not parse -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (bytes(11), Reason.TOO_SHORT),
        (b"\xa2" + SINGLE[1:], Reason.ERROR_CORRECTION),
        (b"\x8f" + SINGLE[1:12], Reason.TOO_SHORT),
        (SINGLE[:3] + b"\x88" + SINGLE[4:], Reason.LENGTH_TYPES),
        (SINGLE[:5] + b"\xff" + SINGLE[6:], Reason.PADDING),
        (packet(b"\x80" + bytes(20), multiple=True), Reason.PAYLOAD_COUNT),
        (packet(b"\x82" + payload(b"A" * 20, length=2)[:-3], multiple=True), Reason.PAYLOAD),
        (packet(payload(b"ABCDEFGH", replicated=b"12345")), Reason.REPLICATED_DATA),
        (packet(payload(b"\x09ABC", replicated=b"\x14")), Reason.PAYLOAD),
        (packet(WHOLE, packet_kind=2, packet_length=999), Reason.PACKET_LENGTH),
    ],
    ids=lambda value: value.name if isinstance(value, Reason) else "",
)
def test_reason(one, reason):
    heads, payloads = walk(one)
    assert heads["ok"][0] == 0
    assert Reason(int(heads["reason"][0])) is reason
    assert len(payloads) == 0


def test_an_unsound_packet_does_not_stop_the_next():
    bad = SINGLE[:5] + b"\xff" + SINGLE[6:]
    heads, payloads = walk(SINGLE, bad, SINGLE)
    assert heads["ok"].tolist() == [1, 0, 1]
    assert payloads["packet"].tolist() == [0, 2]


# --- any bytes ---------------------------------------------------------------------------------------


def assert_inside(data, size):
    """Whatever the bytes are: as many rows as packets, and offsets within the packet."""
    array = np.frombuffer(data, dtype=np.uint8)
    heads, payloads = walk_payloads(array, size)
    assert len(heads) == len(data) // size
    assert len(walk_packets(array, size)) == len(heads)
    for name in ("flags_at", "length_at", "padding_at", "body_at"):
        assert (heads[name] <= size).all()
    ok = heads["ok"] == 1
    assert (heads["reason"][~ok] != 0).all()
    assert (heads["padding"][ok] <= size).all()
    assert (payloads["at"].astype(np.int64) + payloads["length"] <= size).all()
    assert (payloads["time_at"].astype(np.int64) + 4 <= size).all()
    assert ok[payloads["packet"]].all()


@given(st.binary(max_size=600), st.integers(1, 100))
def test_any_bytes(data, size):
    assert_inside(data, size)


@given(
    st.sampled_from((SINGLE, MULTIPLE, COMPRESSED)),
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 70),
)
def test_mutations(one, changes, cut):
    raw = bytearray(one)
    for at, value in changes:
        raw[at % len(raw)] = value
    assert_inside(bytes(raw) * 3, len(raw))
    if cut:
        short = bytes(raw[:cut])
        assert_inside(short, len(short))
