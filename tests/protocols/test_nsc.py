"""Station files: the specification's own samples, what is wrong with them, and any bytes at all."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import msb_sender as sender

from mmsforensics.protocols.nsc import decode_block, is_station_file, parse

SAMPLES = [
    ("029G0000000008Cm0k0300000", 0x25, "3.0", True),
    ("0230000000000UCG0r03S0BW0r03K0BW0n03G0E\r\nG0k0340C00o0000", 0x0C, "157.55.149.102", True),
    ("020G000000000UCW0p03a0BW0n03a0CW0k03G0E00k0340Dm0v0000", 0x01, "239.192.48.179", True),
    ("020W0000000002000", 0x02, "", True),
    ("029W000000000YJG1P05y0Gm1F04q0K01L05G0HG1I02m0801Y0700S00000", 0x26, "MY_COMPUTER, bpp", False),
    ("029m000000000SLm1f06u0P01l07S0Sm0W04q0PG1a06a0OG0000", 0x27, "Windows Media", True),
]
"""Blocks of MS-MSB 4.3: text, CRC, string, whether the CRC is right. The authors edited two of them."""

FORMAT = "02X0000vu000EfC2QoTOvcpn6csG2g06BER7S30000000020000042pdNu"
"""The begin of the format block of MS-MSB 4.3, as far as it is printed."""

FILE = f"""[Address]
Name={SAMPLES[4][0]}
NSC Format Version={SAMPLES[0][0]}
Multicast Adapter={SAMPLES[1][0]}
IP Address={SAMPLES[2][0]}
IP Port=0x00004A41
Time To Live=0x00000020
Default Ecc=0x0000000A
Log URL={SAMPLES[3][0]}
Unicast URL={SAMPLES[3][0]}
Allow Splitting=0x00000001
Allow Caching=0x00000001
Cache Expiration Time=0x00015180
Network Buffer Time=0x000001F4
[Formats]
Format1={FORMAT}
Description1={SAMPLES[5][0]}
"""


@pytest.mark.parametrize(("text", "crc", "string", "right"), SAMPLES)
def test_the_blocks_of_the_specification_decode_to_what_it_prints(text, crc, string, right):
    block = decode_block(text)
    assert (block.crc, block.text, block.crc_ok, block.key, block.whole) == (crc, string, right, 0, True)


def test_the_format_block_of_the_specification_says_its_id_and_length():
    block = decode_block(FORMAT)
    assert (block.crc, block.key, block.length) == (0x84, 0x39E, 0x3A9)
    assert block.data[:24].hex() == "3026b2758e66cf11a6d900aa0062ce6c7703000000000000"
    assert not block.whole
    assert int.from_bytes(block.data[16:24], "little") + 50 == block.length


def test_the_file_of_the_specification_is_read_and_what_is_wrong_with_it_is_told():
    file = parse(FILE.replace("\n", "\r\n").encode())
    assert (file.address, file.port, file.text("Name")) == ("239.192.48.179", 19009, "MY_COMPUTER, bpp")
    assert (file.text("Multicast Adapter"), file.number("time to live")) == ("157.55.149.102", 32)
    assert (file.number("Cache Expiration Time"), file.text("Log URL")) == (86400, "")
    (only,) = file.formats
    assert (only.format_id, only.description, only.whole) == (0x39E, "Windows Media", False)
    assert file.problems == (
        "Name: the checksum 0x26 is not that of its bytes",
        f"Format1: states 937 bytes, has {len(only.header)}",
    )


@pytest.mark.parametrize("encode", [True, False])
def test_what_a_station_says_is_read_encoded_or_not(encode):
    header = random.Random(1).randbytes(901)
    data = sender.station_file([(0x7FF, header), (1, header[:200])], encode=encode, descriptions=("a", "b"))
    file = parse(data)
    assert [(f.format_id, f.header, f.crc_ok) for f in file.formats] == [
        (0x7FF, header, True),
        (1, header[:200], True),
    ]
    assert (file.address, file.port, file.problems) == (*sender.GROUP, ())
    assert file.formats[1].description == "b"


def test_a_wrong_checksum_is_a_warning():
    header = b"header" * 50
    file = parse(sender.station_file([(5, header)], crc=0))
    assert file.formats[0].header == header
    assert not file.formats[0].crc_ok
    assert len(file.problems) == 1


def test_properties_of_windows_2000_are_kept():
    file = parse(b"[Address]\nPlayer URL=http://a/\nChannel Version=0x0000000A\n[Formats]\n")
    assert dict(file.properties) == {"Player URL": "http://a/", "Channel Version": "10"}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_byte_order_marks_are_passed_over(mark):
    text = "\r\n[Address]\r\nName=x\r\n"
    data = mark + text.encode("utf-16-le" if mark == b"\xff\xfe" else "utf-8")
    assert is_station_file(data)
    assert parse(data).text("Name") == "x"


@given(st.binary(max_size=2000), st.integers(0, 0x7FF))
def test_what_is_encoded_is_decoded(data, key):
    block = decode_block(sender.encoded(data, key))
    assert (block.data, block.key, block.crc_ok, block.whole) == (data, key, True, True)


@given(st.binary(max_size=4000) | st.text(alphabet="02=[]\r\nFormat Id{}\0é", max_size=400).map(str.encode))
def test_any_bytes_are_read_without_harm(data):
    file = parse(b"[Address]\r\n" + data)
    assert sum(len(f.header) for f in file.formats) <= len(data)


@given(st.data())
def test_a_damaged_file_is_read_without_harm(data):
    whole = bytearray(sender.station_file([(5, bytes(300))], encode=True))
    for _ in range(data.draw(st.integers(1, 20))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    parse(bytes(whole))


def test_large_blocks_take_time_in_proportion():
    block = decode_block(sender.encoded(bytes(2000))[:40] + "0" * (8 << 20))
    assert block is not None
