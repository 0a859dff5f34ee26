"""The header: objects built from the specification's tables here, read by the package."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers.asf_objects import (
    CODEC_LIST,
    DATA,
    EXTENDED_CONTENT,
    FILE_ID,
    HEADER,
    METADATA_LIBRARY,
    STREAM_BITRATES,
    STREAM_PROPERTIES,
    audio,
    content_description,
    data_object,
    extended_content,
    extension,
    file_properties,
    header,
    obj,
    utf16,
    video,
)

from mmsforensics.asf import guid_name, parse_header
from mmsforensics.asf.guids import guid_of
from mmsforensics.asf.header import value_text

# --- what a header says -------------------------------------------------------------------------------


def test_file_properties():
    created = int((datetime(2003, 5, 6, tzinfo=UTC) - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds())
    one = parse_header(header(file_properties(created=created * 10**7)) + data_object())
    assert one.problems == ()
    assert (one.file_id, one.packet_size, one.packet_count, one.max_bitrate) == (FILE_ID, 3200, 7, 64000)
    assert (one.duration_ms, one.preroll_ms) == (3000, 3000)  # 6 s of play duration hold 3 s of preroll
    assert (one.broadcast, one.seekable, one.protected) == (False, True, False)
    assert one.created == datetime(2003, 5, 6, tzinfo=UTC)
    assert (one.data_offset, one.data_packets, one.data_size) == (one.size + 50, 7, 50 + 7 * 3200)


def test_a_live_stream_has_no_duration():
    one = parse_header(header(file_properties(flags=1)))
    assert one.broadcast
    assert one.duration_ms is None
    assert one.data_offset == 0  # no Data Object behind it


def test_a_packet_size_beyond_any_transport_is_not_believed():
    assert parse_header(header(file_properties(size=0xFFFF_FFFF, packets=0))).packet_size == 0


def test_streams_and_their_codecs():
    names = (("Windows Media Video V8", 1, b"WMV2"), ("Windows Media Audio", 2, b"\x61\x01"))
    entries = b"".join(
        struct.pack("<HH", kind, len(name) + 1)
        + utf16(name)
        + struct.pack("<H", 1)
        + b"\0\0"
        + struct.pack("<H", len(information))
        + information
        for name, kind, information in names
    )
    codecs = obj(CODEC_LIST, bytes(16) + struct.pack("<I", len(names)) + entries)
    rates = obj(STREAM_BITRATES, struct.pack("<HHIHI", 2, 1, 64123, 2, 300456))
    one = parse_header(header(video(2, encrypted=True), audio(1), codecs, rates))
    assert one.problems == ()
    first, second = one.streams
    assert (first.number, first.type, first.codec, first.codec_tag) == (1, "audio", "wmav2", "0x0161")
    assert (first.channels, first.sample_rate, first.bits, first.bitrate) == (2, 44100, 16, 64123)
    assert (first.codec_name, first.encrypted) == ("Windows Media Audio", False)
    assert (second.number, second.type, second.codec, second.codec_tag) == (2, "video", "wmv2", "WMV2")
    assert (second.width, second.height, second.bits, second.bitrate) == (320, 240, 24, 300456)
    assert (second.codec_name, second.encrypted) == ("Windows Media Video V8", True)


def test_an_audio_bitrate_follows_from_its_format():
    """Where nothing declares it."""
    assert parse_header(header(audio(1, byte_rate=2000))).streams[0].bitrate == 16000


def test_codecs_without_a_name_show_their_tag():
    one = parse_header(header(audio(1, tag=0x7777), video(2, tag=b"ABCD")))
    assert [s.codec for s in one.streams] == ["0x7777", "ABCD"]


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)


@given(st.tuples(texts, texts, texts, texts, texts))
def test_content_description(five):
    one = parse_header(header(content_description(*five)))
    assert one.problems == ()
    assert (one.title, one.author, one.copyright, one.description, one.rating) == five
    assert [tag.value for tag in one.tags] == [text for text in five if text]


@pytest.mark.parametrize(
    ("kind", "raw", "type_name", "value"),
    [
        (0, utf16("Kammermusik"), "unicode", "Kammermusik"),
        (1, b"\x01\xff", "bytes", "01ff"),
        (2, struct.pack("<I", 1), "bool", "true"),
        (2, struct.pack("<I", 0), "bool", "false"),
        (3, struct.pack("<I", 2**32 - 1), "uint32", str(2**32 - 1)),
        (4, struct.pack("<Q", 2**64 - 1), "uint64", str(2**64 - 1)),
        (5, struct.pack("<H", 65535), "uint16", "65535"),
        (9, b"\x05", "type 9", "05"),
    ],
)
def test_extended_content_description(kind, raw, type_name, value):
    (tag,) = parse_header(header(extended_content(("WM/Genre", kind, raw)))).tags
    assert (tag.name, tag.type, tag.value) == ("WM/Genre", type_name, value)
    assert tag.source_object == "Extended Content Description"


def test_objects_in_the_header_extension():
    record = utf16("WM/Lyrics")
    body = struct.pack("<HHHHHI", 1, 0, 3, len(record), 0, 6) + record + utf16("la")
    one = parse_header(header(extension(obj(METADATA_LIBRARY, body)), file_properties()))
    assert one.problems == ()
    assert [item.name for item in one.walk()] == ["Header Extension", "Metadata Library", "File Properties"]
    assert [(tag.name, tag.value) for tag in one.tags] == [("WM/Lyrics", "la")]


def test_offsets_of_the_tree_cover_the_header():
    raw = header(file_properties(), audio(1), obj(b"?" * 16, b"whatever"))
    one = parse_header(raw)
    at = 30
    for item in one.tree:
        assert (item.offset, raw[at : at + 16]) == (at, item.guid)
        at += item.size
    assert at == len(raw)
    assert one.tree[-1].name == "{3F3F3F3F-3F3F-3F3F-3F3F-3F3F3F3F3F3F}"
    assert one.tree[-1].fields["data"] == b"whatever"


def test_lone_surrogates_can_be_stored():
    assert value_text(0, b"\x00\xd8a\0") == "\\ud800a"


def test_names_of_guids():
    assert guid_name(HEADER) == "Header Object"
    assert guid_of("Data Object") == DATA


# --- what is wrong is told, and costs nothing else ---------------------------------------------------


def problems(raw):
    return [(p.offset, p.expected) for p in parse_header(raw).problems]


def test_a_header_that_states_too_few_bytes_is_read_up_to_the_data_object():
    whole = header(file_properties(), audio(1))
    lying = header(file_properties(), audio(1), size=40) + data_object()
    one = parse_header(lying)
    assert (one.size, len(one.tree), one.data_packets) == (len(whole), 2, 7)
    assert one.problems[0].offset == 16


def test_an_object_that_ends_in_a_field():
    broken = file_properties()[:60]
    raw = header(broken[:16] + struct.pack("<Q", 60) + broken[24:], audio(1))
    one = parse_header(raw)
    assert [s.codec for s in one.streams] == ["wmav2"]
    assert problems(raw) == [(30 + 56, "field Data Packets Count of File Properties (ASF 3.2)")]


def test_an_object_beyond_the_header():
    raw = header(file_properties(), EXTENDED_CONTENT + struct.pack("<Q", 10**6) + b"\0\0")
    assert problems(raw) == [(30 + 104 + 16, "an object of at most 26 bytes")]
    assert parse_header(raw).packet_count == 7


def test_an_object_smaller_than_its_frame_ends_the_reading():
    raw = header(file_properties(), EXTENDED_CONTENT + struct.pack("<Q", 0), audio(1))
    assert problems(raw)[0] == (30 + 104 + 16, "an object size of at least 24")
    assert len(parse_header(raw).tree) == 1


def test_a_wrong_count_of_objects():
    assert problems(header(file_properties(), count=9)) == [(24, "the number of objects in the header, 1")]


def test_a_count_of_records_that_lies_costs_little():
    body = struct.pack("<H", 65535) + b"\0" * 60
    one = parse_header(header(obj(EXTENDED_CONTENT, body), audio(1)))
    assert len(one.problems) == 1
    assert len(one.streams) == 1


def test_nesting_is_bounded():
    raw = extension()
    for _ in range(40):
        raw = extension(raw)
    one = parse_header(header(raw))
    assert any("nested" in p.expected for p in one.problems)


def test_not_asf():
    one = parse_header(b"RIFF")
    assert (one.tree, one.size, len(one.problems)) == ((), 0, 1)


@given(st.binary(max_size=400))
def test_any_bytes(raw):
    parse_header(raw)
    parse_header(HEADER + raw)
    parse_header(header(obj(EXTENDED_CONTENT, raw), extension(raw), obj(STREAM_PROPERTIES, raw)))


SOUND = (
    header(file_properties(), video(2), audio(1), content_description("a", "b", "c", "d", "e"), extension())
    + data_object()
)


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=6), st.integers(0))
def test_mutations(changes, cut):
    raw = bytearray(SOUND)
    for at, value in changes:
        raw[at] = value
    raw = bytes(raw[: len(raw) - cut % len(raw)])
    one = parse_header(raw)
    assert one.size <= len(raw)
    for item in one.walk():
        assert 30 <= item.offset < item.offset + item.size <= one.size
