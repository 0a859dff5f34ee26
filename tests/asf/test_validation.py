"""A file held against the specification: real files, and each rule broken in a file that breaks none."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.asf_objects import audio, extension, guid, obj, utf16, video
from peers.asf_packets import packet
from peers.asf_whole import asf_file, fragment, packet_of

from mmsforensics import asf
from mmsforensics.asf.rules import RULES
from mmsforensics.asf.validation import validate

SIZE = 120


def opened(folder, raw):
    path = folder / "one.asf"
    path.write_bytes(raw)
    return asf.open(path)


def violations(folder, raw):
    with opened(folder, raw) as one:
        return validate(one)


def told(folder, raw):
    return [(v.section, v.object, v.rule, v.offset) for v in violations(folder, raw)]


def packets(n=3):
    return [
        packet_of([fragment(b"abcd", stream=1, number=k, size=4, time=k)], SIZE, send=100 * k)
        for k in range(n)
    ]


@pytest.mark.parametrize(
    "name",
    ["tika__testASF.asf", "tika__testWMV.wmv", "tinytag__mp3_audio.asf", "tinytag__silence.wma"],
)
def test_files_of_real_encoders_break_no_rule(real_asf, name):
    with asf.open(real_asf(name)) as one:
        assert validate(one) == ()


def test_a_file_as_the_specification_wants_it(tmp_path):
    assert violations(tmp_path, asf_file(packets(), audio(1), extension(), size=SIZE)) == ()


WHOLE = asf_file(packets(), audio(1), video(2), extension(), size=SIZE)
DATA_AT = WHOLE.index(guid("75B22636-668E-11CF-A6D9-00AA0062CE6C"))
AUDIO_AT, VIDEO_AT = (WHOLE.index(one) for one in (audio(1), video(2)))
EXTENSION_AT = WHOLE.index(extension())


@pytest.mark.parametrize(
    ("at", "raw", "section", "what", "rule"),
    [
        (28, b"\2", "3.1", "Header Object", "Reserved 1"),
        (29, b"\1", "3.1", "Header Object", "Reserved 2"),
        (24, b"\x09\0\0\0", "2.1", "Header Object", "sizes and counts"),
        (30 + 40, b"\1", "3.2", "File Properties", "File Size"),
        (30 + 56, b"\1", "3.2", "File Properties", "Data Packets Count"),
        (30 + 88, b"\6", "3.2", "File Properties", "Flags"),
        (30 + 92, b"\1", "3.2", "File Properties", "Minimum Data Packet Size"),
        (AUDIO_AT + 72, b"\x01\x40", "3.3", "Stream Properties", "Flags"),
        (VIDEO_AT + 72, b"\x01", "3.3", "Stream Properties", "Flags"),
        (VIDEO_AT + 78 + 8, b"\x01", "9.2", "Stream Properties", "Reserved Flags"),
        (VIDEO_AT + 78 + 9, b"\x29", "9.2", "Stream Properties", "Format Data Size"),
        (EXTENSION_AT + 24, b"\0", "3.4", "Header Extension", "Reserved Field 1"),
        (EXTENSION_AT + 40, b"\7", "3.4", "Header Extension", "Reserved Field 2"),
        (DATA_AT + 16, b"\0", "5.1", "Data Object", "Object Size"),
        (DATA_AT + 24, b"\xff", "5.1", "Data Object", "File ID"),
        (DATA_AT + 40, b"\7", "5.1", "Data Object", "Total Data Packets"),
        (DATA_AT + 48, b"\0", "5.1", "Data Object", "Reserved"),
        (DATA_AT + 50, b"\xa2", "5.2.1", "Data Packet", "payloads"),
        (DATA_AT + 50 + 4, b"\x1d", "5.2.2", "Data Packet", "Stream Number Length Type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rule_broken_is_located(tmp_path, at, raw, section, what, rule):
    found = told(tmp_path, WHOLE[:at] + raw + WHOLE[at + len(raw) :])
    assert at in [offset for *named, offset in found if named == [section, what, rule]]


@pytest.mark.parametrize("correction", [b"\x92\0\0", b"\x85" + bytes(5)])
def test_opaque_data_and_odd_error_correction_should_not_be(tmp_path, correction):
    part = fragment(b"abcd", stream=1, number=0, size=4, time=0)
    one = packet(b"\x81" + part, multiple=True, size=SIZE, padding_kind=2, correction=correction)
    (found,) = violations(tmp_path, asf_file([one], audio(1), extension(), size=SIZE))
    assert (found.section, found.level, found.found) == ("5.2.1", "should", f"0x{correction[0]:02x}")


def test_records_are_located_one_by_one(tmp_path):
    records = b"".join(
        struct.pack("<HHHHI", 0, stream, len(utf16("ab")), 3, 4) + utf16("ab") + bytes(4)
        for stream in (0, 9, 1)
    )
    metadata = obj(guid("C5F8CBEA-5BAF-4877-8467-AA8C44FA4CCA"), struct.pack("<H", 3) + records)
    raw = asf_file(packets(), audio(1), extension(metadata), size=SIZE)
    record = len(records) // 3
    at = raw.index(metadata) + 24 + 2 + record + 2
    assert told(tmp_path, raw) == [("4.7", "Metadata", "Stream Number", at)]


def test_mandatory_objects(tmp_path):
    found = told(tmp_path, asf_file([], size=SIZE))
    assert [one[2] for one in found if one[0] == "3.1"] == ["Header Extension", "Stream Properties"]


def test_objects_that_stand_twice(tmp_path):
    raw = asf_file(packets(), audio(1), extension(), extension(), size=SIZE)
    assert told(tmp_path, raw) == [("3.1", "Header Extension", "number of objects", raw.rindex(extension()))]


def test_a_payload_of_a_stream_nobody_declared(tmp_path):
    one = packet_of([fragment(b"abcd", stream=5, number=0, size=4, time=0)], SIZE)
    (found,) = violations(tmp_path, asf_file([one], audio(1), extension(), size=SIZE))
    assert (found.section, found.rule, found.found) == ("5.2.3", "Stream Number", "5")


def test_media_objects_that_are_not_whole(tmp_path):
    one = packet_of([fragment(b"abcd", stream=1, number=3, size=40, time=0)], SIZE)
    (found,) = violations(tmp_path, asf_file([one], audio(1), extension(), size=SIZE))
    assert (found.object, found.rule) == ("Media Object", "completeness")
    assert found.expected == "40 bytes in order"
    assert found.found == "4 in 1 payloads (object 3 of stream 1)"


def test_very_many_media_objects_that_are_not_whole_are_counted(tmp_path):
    parts = [packet_of([fragment(b"a", stream=1, number=k % 256, size=9, time=k)], SIZE) for k in range(3000)]
    found = violations(tmp_path, asf_file(parts, audio(1), extension(), size=SIZE))
    assert len(found) == 101
    assert sum(v.count for v in found) == 3000


def test_an_index_beyond_the_packets(tmp_path):
    entries = struct.pack("<IHIH", 0, 1, 77, 1)
    body = bytes(16) + struct.pack("<QII", 10_000_000, 1, 2) + entries
    index = obj(guid("33000890-E5B1-11CF-89F4-00A0C90349CB"), body)
    raw = asf_file(packets(), audio(1), video(2), extension(), size=SIZE, behind=index)
    assert told(tmp_path, raw) == [("6.1", "Simple Index Object", "Packet Number", len(raw) - 6)]


def test_what_a_live_recording_need_not_state(tmp_path):
    raw = bytearray(asf_file(packets(), audio(1), extension(), size=SIZE, flags=1))
    raw[30 + 40 : 30 + 64] = bytes(24)  # file size, creation, count
    at = raw.index(guid("75B22636-668E-11CF-A6D9-00AA0062CE6C"))
    raw[at + 16 : at + 24] = raw[at + 40 : at + 48] = bytes(8)
    assert violations(tmp_path, bytes(raw)) == ()


def test_very_many_violations_are_counted(tmp_path):
    bad = packet(b"\x80" + bytes(20), multiple=True)
    found = violations(tmp_path, asf_file([bad] * 5000, audio(1), extension(), size=len(bad)))
    assert len(found) == 101
    assert sum(v.count for v in found) == 5000


def test_every_rule_names_a_declared_field():
    from mmsforensics.asf.guids import guid_of
    from mmsforensics.asf.layout import Records
    from mmsforensics.asf.objects import LAYOUTS

    for rule in RULES:
        section, layout = LAYOUTS[guid_of(rule.object)]
        path, _, name = rule.field.rpartition("/")
        if path:
            layout = next(one.layout for one in layout if isinstance(one, Records) and one.name == path)
        assert name in [one[1] for one in layout if isinstance(one, tuple)]
        assert rule.section == section


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=5))
def test_any_damage_is_judged_without_an_error(tmp_path_factory, changes):
    raw = bytearray(WHOLE)
    for at, value in changes:
        raw[at] = value
    try:
        found = violations(tmp_path_factory.mktemp("a"), bytes(raw))
    except asf.AsfError:
        return
    assert all(0 <= v.offset <= len(raw) for v in found)
