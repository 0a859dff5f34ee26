"""What a medium carries beside its streams comes to the tables, with the frame that shows it."""

import hashlib

import pytest
from cases import rows
from peers import asf_objects as build
from peers import asf_whole as whole
from peers.recorder import write_conversation, write_conversations

import mmsforensics

PNG = b"\x89PNG\r\n\x1a\npicture"
PACKETS = [
    whole.single(0, b"\0" * 300, stream=1, number=0, at_ms=3000),
    whole.single(500, build.bare("URL\0http://evil.example.com/\0"), stream=3, number=0, at_ms=4500),
]


def case_of(tmp_path, objects):
    body = whole.asf_file(PACKETS, build.command_stream(3), *objects, size=whole.SMALL)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    talk = [("c", b"GET /film.wmv HTTP/1.1\r\nHost: a\r\n\r\n"), ("s", head + body)]
    write_conversation(tmp_path / "a.pcap", talk, server=("192.0.2.10", 80))
    return mmsforensics.analyze([tmp_path / "a.pcap"], out=tmp_path / "case")


def test_commands_of_header_and_stream(tmp_path):
    case = case_of(tmp_path, [build.script_command((8000, "FILENAME", "mms://other/"))])
    header, stream = rows(case, "script_commands")
    assert (header["type"], header["value"], header["time_ms"], header["play_ms"]) == (
        "FILENAME",
        "mms://other/",
        8000,
        5000,
    )
    assert (header["stream_number"], header["packet"]) == (None, None)
    assert (stream["type"], stream["value"], stream["play_ms"]) == ("URL", "http://evil.example.com/", 1500)
    packet = rows(case, "media_packets")[1]
    assert (stream["stream_number"], stream["packet"]) == (3, 1)
    assert (stream["frame"], stream["ts"]) == (packet["frame"], packet["ts"])
    assert header["frame"] == min(o["frame"] for o in rows(case, "provenance") if o["frame"])
    (sent,) = rows(case, "redirectors")  # a link that led nowhere is none
    assert (sent["kind"], sent["target"]) == ("script filename", "mms://other/")
    assert sent["frame"] == header["frame"] + 1, "where the header is whole"
    assert sent["carried_by"] == "c001-s0001"


@pytest.mark.parametrize("preroll", [1 << 63, (1 << 64) - 1])
def test_a_preroll_beyond_all_times_ends_no_analysis(tmp_path, preroll):
    objects = [build.script_command((8000, "TEXT", "a")), build.marker((0, "b"), (8000, "c"))]
    body = bytearray(whole.asf_file(PACKETS, build.command_stream(3), *objects, size=whole.SMALL))
    at = body.index(build.FILE_PROPERTIES) + 80
    body[at : at + 8] = preroll.to_bytes(8, "little")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    talk = [("c", b"GET /film.wmv HTTP/1.1\r\nHost: a\r\n\r\n"), ("s", head + bytes(body))]
    write_conversation(tmp_path / "a.pcap", talk, server=("192.0.2.10", 80))
    case = mmsforensics.analyze([tmp_path / "a.pcap"], out=tmp_path / "case")
    assert [m["play_ms"] for m in rows(case, "markers")] == [1 - (1 << 63), 8001 - (1 << 63)]
    assert {m["play_ms"] < 0 for m in rows(case, "script_commands")} == {True}


def test_a_link_in_a_stream_and_the_session_it_led_to(tmp_path):
    film = whole.asf_file(PACKETS, build.command_stream(3), size=whole.SMALL)
    talks = [
        [
            ("c", b"GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (name, host)),
            ("s", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(film) + film),
        ]
        for host, name in ((b"a", b"film.wmv"), (b"evil.example.com", b""))
    ]
    write_conversations(tmp_path / "a.pcap", talks, server=("192.0.2.10", 80), gap_ns=10**9)
    case = mmsforensics.analyze([tmp_path / "a.pcap"], out=tmp_path / "case")
    (sent,) = rows(case, "redirectors")
    assert (sent["kind"], sent["target"]) == ("script url", "http://evil.example.com/")
    assert (sent["carried_by"], sent["session_id"]) == ("c001-s0001", "c001-s0002")
    assert sent["frame"] == rows(case, "script_commands")[0]["frame"]


def test_a_picture_is_a_file_of_the_case_whatever_it_is_called(tmp_path):
    hostile = build.picture(3, "image/../../x", "../../etc/passwd", PNG)
    case = case_of(tmp_path, [build.attributes(("WM/Picture", hostile))])
    (picture,) = rows(case, "pictures")
    path = case.path / picture["path"]
    assert path.parent.parent.parent == case.path
    assert path.suffix == ".png"
    assert path.read_bytes() == PNG
    assert picture["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert picture["path"] in {o["path"] for o in case.manifest["outputs"]}
    assert [c.message for c in mmsforensics.verify(case, deep=True) if not c.ok] == []


@pytest.mark.parametrize("protected", [False, True])
def test_an_encrypted_medium_says_so(tmp_path, protected):
    extra = [build.content_encryption("DRM", "key-1", "http://licence.example.com/")] if protected else []
    case = case_of(tmp_path, [build.marker((3000, "one")), *extra])
    medium = rows(case, "media")[0]
    assert medium["encrypted"] is protected
    assert any("encrypted, not playable" in note for note in medium["notes"]) is protected
    told = [v for v in rows(case, "verdicts") if v["reason"] == "encrypted"]
    assert [(v["media_id"], "not playable" in v["text"]) for v in told] == [
        (medium["media_id"], True)
    ] * protected
    assert all(v["frame"] for v in told)
    assert [p["licence_url"] for p in rows(case, "protections")] == [
        "http://licence.example.com/"
    ] * protected
    assert [(m["description"], m["play_ms"]) for m in rows(case, "markers")] == [("one", 0)]
