"""Padding a server stripped comes back: the payloads are those of the packet before."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers.asf_file import AsfFile, select_streams, strip_padding

from mmsforensics.asf import restore_padding, walk_payloads

WIDTHS = (0, 1, 2, 4)

TIMES = struct.pack("<IH", 1234, 50)
REPLICATED = b"\x01\0\0\0\0\x08" + struct.pack("<II", 999, 4000)
"""Object number, offset, length of replicated data; object size and presentation time [ASF 5.2.3.1]."""


def single(data, padding, *, padding_kind=1, packet_kind=0, correction=b"\x82\0\0"):
    """A packet of one payload, as a file holds it: `padding` zeros at its end, and fields that say so."""
    flags = bytes([padding_kind << 3 | packet_kind << 5, 0x5D])
    body = b"\x81" + REPLICATED + data
    widths = WIDTHS[packet_kind] + WIDTHS[padding_kind]
    size = len(correction) + 2 + widths + len(TIMES) + len(body) + padding
    fields = size.to_bytes(WIDTHS[packet_kind], "little") if packet_kind else b""
    fields += padding.to_bytes(WIDTHS[padding_kind], "little") if padding_kind else b""
    return correction + flags + fields + TIMES + body + bytes(padding)


def restored(sent, size):
    """Packets as they came in, padded with zeros and restored: bytes, RESTORED rows."""
    data = np.frombuffer(b"".join(one.ljust(size, b"\0") for one in sent), dtype=np.uint8).copy()
    rows = restore_padding(data, size, np.array([len(one) for one in sent], dtype=np.int64))
    return data, rows


def payloads_of(data, size):
    """What a reader gets of packets: for each payload its fields and bytes."""
    heads, payloads = walk_payloads(np.frombuffer(bytes(data), dtype=np.uint8), size)
    raw = bytes(data)
    names = ("packet", "stream", "key", "object_number", "object_offset", "object_size", "presentation_ms")
    return heads["ok"].tolist(), [
        (*(int(row[name]) for name in names), raw[begin : begin + int(row["length"])])
        for row in payloads
        for begin in [int(row["packet"]) * size + int(row["at"])]
    ]


@given(
    data=st.binary(min_size=1, max_size=300),
    padding=st.integers(0, 250),
    padding_kind=st.integers(1, 3),
    packet_kind=st.sampled_from((0, 2, 3)),
    correction=st.sampled_from((b"", b"\x82\0\0")),
)
def test_what_was_stripped_comes_back_exactly(data, padding, padding_kind, packet_kind, correction):
    """A Padding Length wide enough is there: the packet is again the one of the file, bit for bit."""
    one = single(data, padding, padding_kind=padding_kind, packet_kind=packet_kind, correction=correction)
    back, rows = restored([strip_padding(one, "zero-field")], len(one))
    assert rows["ok"].tolist() == [1]
    if packet_kind:  # its Packet Length still tells where the payload ends: nothing is to be mended ...
        assert payloads_of(back, len(one)) == payloads_of(one, len(one))
    else:
        assert bytes(back) == one
    assert rows["inserted"].tolist() == [0]


@pytest.mark.parametrize(("lack", "inserted"), [(1, 1), (255, 1), (256, 1), (257, 2), (2000, 2)])
def test_a_packet_without_padding_length_gets_one(lack, inserted):
    """It had no padding in the file, but is shorter than the others: bytes for the field are inserted."""
    data = bytes(range(256)) * 2
    short = single(data, 0, padding_kind=0)
    size = len(short) + lack
    back, rows = restored([short], size)
    assert (rows["ok"][0], rows["inserted"][0], rows["written"][0]) == (1, inserted, inserted)
    (ok,), (row,) = payloads_of(back, size)
    assert (ok, row[-1]) == (1, data)
    if lack == 1:
        assert (rows["flags_written"][0], rows["kept"][0]) == (1, len(short))


def test_a_padding_length_too_narrow_grows():
    """One byte says 255 at most; 500 bytes lack."""
    data = bytes(range(200))
    short = strip_padding(single(data, 7, padding_kind=1), "zero-field")
    back, rows = restored([short], len(short) + 500)
    assert (rows["inserted"][0], rows["written"][0], rows["flags_written"][0]) == (1, 2, 1)
    assert payloads_of(back, len(short) + 500)[1][0][-1] == data


def test_a_packet_length_that_was_made_shorter_is_left_alone():
    """It says where the payload ends, so that zeros behind it are padding already."""
    data = b"abcdefgh"
    short = single(data, 0, packet_kind=2)
    back, rows = restored([short], len(short) + 40)
    assert bytes(back) == short + bytes(40)
    assert rows["flags_written"].tolist() == rows["written"].tolist() == [0]
    assert payloads_of(back, len(short) + 40)[1][0][-1] == data


def test_a_packet_length_of_one_byte_cannot_say_the_full_size():
    data = b"abcdefgh"
    one = single(data, 0, packet_kind=1)
    back, rows = restored([one], 1000)
    assert rows["ok"].tolist() == [1]
    assert payloads_of(back, 1000)[1][0][-1] == data


def test_a_full_packet_is_untouched():
    one = single(b"x" * 50, 20)
    back, rows = restored([one, one], len(one))
    assert bytes(back) == one * 2
    assert rows["kept"].tolist() == [len(one)] * 2
    assert not any(rows[name].any() for name in ("flags_written", "length_written", "written", "inserted"))


def test_a_packet_cut_before_its_payload_is_left_as_it_is():
    one = single(b"x" * 50, 20)
    back, rows = restored([one[:9]], len(one))
    assert bytes(back) == one[:9].ljust(len(one), b"\0")
    assert rows["ok"].tolist() == [0]


@given(st.lists(st.binary(max_size=90), max_size=5), st.integers(0, 100))
def test_any_bytes(sent, size):
    """Nothing is read or written outside; a row for each packet; what is not parsed stays."""
    sent = [one[:size] for one in sent]
    data, rows = restored(sent, size)
    assert len(rows) == (len(sent) if size else 0)
    for i, row in enumerate(rows):
        assert row["kept"] + row["inserted"] <= size
        if not row["ok"]:
            assert bytes(data[i * size : (i + 1) * size]) == sent[i].ljust(size, b"\0")


@pytest.mark.parametrize("name", ["tika__testASF.asf", "tika__testWMA.wma", "tika__testWMV.wmv"])
@pytest.mark.parametrize("thinned", [False, True], ids=["stripped", "thinned to one stream"])
def test_files_of_real_encoders(name, thinned, real_asf):
    """As a server sends them: padding stripped, or payloads of other streams cut out."""
    asf = AsfFile.read(real_asf(name))
    whole = asf.packets
    if thinned:
        chosen = (asf.streams[-1],)
        whole = [one for one in (select_streams(p, chosen) for p in whole) if one is not None]
    sent = [strip_padding(one, "zero-field") for one in whole]
    assert any(len(one) < asf.packet_size for one in sent)
    back, rows = restored(sent, asf.packet_size)
    assert rows["ok"].all()
    wanted = [(i, *rest) for i, one in enumerate(whole) for _, *rest in payloads_of(one, len(one))[1]]
    assert payloads_of(back, asf.packet_size) == ([1] * len(sent), wanted)
