"""Script commands, markers, pictures and protection, by files written from the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import asf_objects as build
from peers import asf_whole as whole

from mmsforensics.asf import (
    CommandReader,
    markers,
    parse_header,
    pictures,
    protections,
    script_commands,
    walk_payloads,
)


def header_of(*objects):
    return parse_header(whole.asf_file([], *objects, size=whole.SMALL))


def streamed(packets, stream=3):
    data = np.frombuffer(b"".join(packets), dtype=np.uint8)
    _, payloads = walk_payloads(data, whole.SMALL)
    return list(CommandReader(stream).feed(data, whole.SMALL, payloads))


def test_commands_of_the_header_come_with_time_type_and_value():
    given_ = (3000, "URL", "http://example.com/a?b=1"), (9000, "CAPTION", "été"), (9001, "URL", "")
    found = script_commands(header_of(build.script_command(*given_)))
    assert [(c.time_ms, c.type, c.value) for c in found] == list(given_)
    assert {(c.stream, c.packet) for c in found} == {(0, -1)}


def test_a_command_of_a_type_that_is_not_declared_says_its_number():
    raw = bytearray(build.script_command((0, "URL", "x")))
    raw[-6:-4] = b"\x09\x00"
    (command,) = script_commands(header_of(bytes(raw)))
    assert command.type == "type 9"


def test_a_command_stream_carries_two_texts_an_object():
    body = build.bare("caption\0sub 1\0")
    packets = [
        whole.single(100, b"\xff" * 40, stream=1, number=0),
        whole.single(200, body, stream=3, number=0, at_ms=5933),
        whole.single(300, build.bare("URL\0http://x/"), stream=3, number=1, at_ms=6000),
    ]
    found = streamed(packets)
    assert [(c.time_ms, c.type, c.value, c.packet) for c in found] == [
        (5933, "caption", "sub 1", 1),
        (6000, "URL", "http://x/", 2),
    ]


def test_a_command_over_several_packets_is_put_together_and_one_with_a_hole_is_not():
    body = build.bare("TEXT\0" + "long " * 100 + "\0")
    parts = [(at, body[at : at + 400]) for at in range(0, len(body), 400)]
    packets = [
        whole.single(0, part, stream=3, number=7, offset=at, whole=len(body), at_ms=1) for at, part in parts
    ]
    (command,) = streamed(packets)
    assert command.value == "long " * 100
    assert streamed([packets[0], *packets[2:]]) == []
    assert streamed(packets[1:]) == []


def test_markers_are_in_ms():
    found = markers(header_of(build.marker((1579, "02"), (70_000, "Kapitel ß"))))
    assert [(m.time_ms, m.description) for m in found] == [(1579, "02"), (70_000, "Kapitel ß")]


def test_pictures_are_told_by_type_and_kept_byte_for_byte():
    raw = build.picture(3, "image/png", "cover", b"\x89PNG\r\n\x1a\nxyz")
    cut = build.picture(99, "", "", b"abc", stated=1000)
    found = pictures(header_of(build.attributes(("WM/Picture", raw), ("Other", b"1"), ("WM/Picture", cut))))
    assert [(p.type, p.mime, p.description, p.data, p.whole) for p in found] == [
        ("front cover", "image/png", "cover", b"\x89PNG\r\n\x1a\nxyz", True),
        ("type 99", "", "", b"abc", False),
    ]


def test_protection_says_system_key_and_where_a_licence_is_asked_for():
    xml = (
        '<WRMHEADER version="2.0.0.0"><DATA><SECURITYVERSION>2.2</SECURITYVERSION>'
        "<LAINFO>http://licence.example.com/?x=1</LAINFO><KID>EAAAAA==</KID></DATA></WRMHEADER>"
    )
    header = header_of(
        build.content_encryption("DRM", "key-1", "http://old.example.com/"),
        build.extended_encryption(xml),
    )
    old, new = protections(header)
    assert (old.system, old.key_id, old.licence_url) == ("DRM", "key-1", "http://old.example.com/")
    assert (new.system, new.key_id) == ("WRMHEADER 2.0.0.0", "EAAAAA==")
    assert (new.licence_url, new.text) == ("http://licence.example.com/?x=1", xml)
    assert header.protected


@given(st.lists(st.binary(max_size=80), max_size=4), st.binary(max_size=60))
def test_any_bytes_are_read_without_harm(values, script):
    noise = build.attributes(*(("WM/Picture", value) for value in values))
    header = header_of(noise, build.obj(build.SCRIPT_COMMAND, script), build.obj(build.MARKER, script))
    assert len(pictures(header)) == len(values)
    script_commands(header)
    markers(header)
    protections(header_of(build.obj(build.EXTENDED_ENCRYPTION, script)))


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_command_of_odd_or_no_bytes_is_a_command_of_what_is_there(size):
    found = streamed([whole.single(0, b"a\0b"[:size], stream=3, number=1, at_ms=1)])
    assert [c.value for c in found] in ([], [""])
