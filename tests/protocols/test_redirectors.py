"""Redirectors: ASX files as authors really write them, and everything else that names a stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers.msb_sender import GROUP, station_file

from mmsforensics.protocols.redirectors import (
    MAX_ENTRIES,
    content_key,
    milliseconds,
    read_redirector,
    text_of,
)

ASX = """<ASX version="3.0">
  <TITLE>Evening news &amp; weather</TITLE> <AUTHOR>Channel 3</AUTHOR>
  <BASE HREF="mms://media.example.com/"/>
  <PARAM name="log:cs-user-name" value="x"/>
  <ENTRY>
    <TITLE>Opening</TITLE>
    <STARTTIME VALUE="00:01:02.5"/> <DURATION VALUE="1:30"/>
    <REF HREF="mms://a.example.com/news.wmv"/>
    <REF HREF="http://b.example.com/news.wmv?a=1&copy=2&amp;c=3"/>
  </ENTRY>
  <ENTRYREF HREF="next.asx"/>
  <ENTRY><REF HREF="weather.wmv"/></ENTRY>
</ASX>"""


def targets(text, url=""):
    found = read_redirector(text if isinstance(text, bytes) else text.encode(), url)
    return [(e.number, e.alternative, e.target) for e in found.entries]


def test_an_asx_file():
    found = read_redirector(ASX.encode())
    assert (found.kind, found.title, found.author) == ("asx", "Evening news & weather", "Channel 3")
    first, second, third, fourth = found.entries
    assert (first.title, first.start_ms, first.duration_ms) == ("Opening", 62_500, 90_000)
    assert first.target == "mms://a.example.com/news.wmv"
    assert second.target == "http://b.example.com/news.wmv?a=1&copy=2&c=3", "&copy is no entity"
    assert (first.number, first.alternative, second.number, second.alternative) == (1, 1, 1, 2)
    assert (third.kind, third.number, third.target) == ("entryref", 2, "mms://media.example.com/next.asx")
    assert (fourth.number, fourth.target) == (3, "mms://media.example.com/weather.wmv")
    assert first.params == (("log:cs-user-name", "x"),)


@pytest.mark.parametrize(
    "encoded",
    [
        ASX.encode("utf-8-sig"),
        ASX.encode("utf-16"),
        ASX.encode("utf-16-le"),
        b"\xfe\xff" + ASX.encode("utf-16-be"),
    ],
    ids=["utf-8 with mark", "utf-16", "utf-16 without mark", "big-endian"],
)
def test_encodings_make_no_difference(encoded):
    assert read_redirector(encoded) == read_redirector(ASX.encode())


def test_ansi_is_read_as_windows_1252():
    assert read_redirector("<asx><title>Été – €</title></asx>".encode("cp1252")).title == "Été – €"


@pytest.mark.parametrize(
    "text",
    [
        "<asx version=3><entry><ref href=mms://h/a></entry></asx>",
        "<asx version=3><entry><ref href=mms://h/a/></entry></asx>",
        "<Asx><Entry><Ref hRef = 'mms://h/a' /></Entry>",
        "<asx><entry><ref href='mms://h/a'>",
        "<asx><!-- <ref href='mms://h/old'/> --><entry><ref href='mms://h/a'></ref></entry></asx>",
        '<?xml version="1.0"?>\n<ASX VERSION="3.0"><ENTRY><REF HREF="mms://h/a',
        '<asx><entry clientskip="no"><title>a > b</title><ref href="&#109;ms://h/&#x61;"/>',
        '<asx><ref href="mms://h/a"/></asx>',
        "<asx version = '3.0' >\r\n<entry><title>x<author>y<ref href=\"mms://h/a\"/><entry>",
    ],
)
def test_broken_xml_gives_what_it_names(text):
    assert targets(text) == [(1, 1, "mms://h/a")]


def test_an_entry_that_is_not_closed_ends_where_the_next_begins():
    assert targets(
        "<asx><entry><ref href='mms://h/a'><entry><ref href='mms://h/b'><ref href='mms://h/c'>"
    ) == [
        (1, 1, "mms://h/a"),
        (2, 1, "mms://h/b"),
        (2, 2, "mms://h/c"),
    ]


def test_no_entity_is_looked_up():
    text = (
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd"><!ENTITY l "ha">]>'
        "<asx><title>&e;&l;</title><ref href='mms://h/&l;'/></asx>"
    )
    assert read_redirector(text.encode()) is None, "a document type is no part of an ASX file"
    found = read_redirector(b"<asx><title>&e;&l;</title></asx>")
    assert found.title == "&e;&l;"


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        (
            "[Reference]\r\nRef1=http://192.0.2.1/a.asf?MSWMExt=.asf\r\nRef2=http://192.0.2.1:8080/a.asf\r\n",
            "reference",
            [(1, 1, "http://192.0.2.1/a.asf?MSWMExt=.asf"), (1, 2, "http://192.0.2.1:8080/a.asf")],
        ),
        ("[reference]\nref01=mms://h/x\n", "reference", [(1, 1, "mms://h/x")]),
        ("ASF http://h/x.asf\r\n", "asf line", [(1, 1, "http://h/x.asf")]),
        ("#EXTM3U\nmms://h/1\n\nmmsh://h/2\n", "url list", [(1, 1, "mms://h/1"), (2, 1, "mmsh://h/2")]),
        (
            "[Address]\r\nName=a\r\nIP Address=239.192.1.2\r\nIP Port=0x00001f40\r\nUnicast URL=http://h/u\r\n",
            "nsc",
            [(1, 1, "asfm://239.192.1.2:8000"), (1, 2, "http://h/u")],
        ),
    ],
)
def test_other_redirectors(text, kind, expected):
    assert read_redirector(text.encode()).kind == kind
    assert targets(text) == expected


@pytest.mark.parametrize("encode", [False, True], ids=["plain", "encoded"])
def test_a_station_file_names_its_group_encoded_or_not(encode):
    text = station_file([(5, bytes(300))], encode=encode).decode()
    group, port = GROUP
    assert targets(text)[0] == (1, 1, f"asfm://{group}:{port}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html><a href='mms://h/a'>watch</a></html>",
        "<html><title>asx</title><asx></html>",
        "#EXTM3U\nhttp://h/segment1.ts\n",
        "mms://h/a is where to look",
        "NSPlayer/9.0",
    ],
)
def test_other_texts_are_none(text):
    assert read_redirector(text.encode()) is None


def test_relative_addresses_are_resolved_against_the_redirector():
    assert targets("<asx><ref href='clip.wmv'/></asx>", "http://h:8080/films/list.asx") == [
        (1, 1, "http://h:8080/films/clip.wmv")
    ]
    assert targets("<asx><ref href='http://[bad/x'/></asx>", "http://h/l.asx") == [(1, 1, "http://[bad/x")]


def test_the_number_of_entries_is_bounded():
    found = read_redirector(b"<asx>" + b"<ref href=a>" * (MAX_ENTRIES + 5))
    assert (len(found.entries), found.cut) == (MAX_ENTRIES, True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mms://Media.Example.com/a%20b.wmv", "http://media.example.com:80/a b.wmv"),
        ("mmst://h:1755/x", "rtspu://h/x"),
        ("http://h/x?MSWMExt=.asf", "mms://h/x"),
        ("mms://h", "http://h/"),
    ],
)
def test_addresses_of_the_same_content(one, other):
    assert content_key(one) == content_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("mms://h/x", "mms://h/y"), ("http://h:8080/x", "http://h/x"), ("mms://h/x", "mms://g/x")],
)
def test_addresses_of_different_contents(one, other):
    assert content_key(one) != content_key(other)


def test_times():
    assert [milliseconds(t) for t in ("5", "1:05", "1:00:00.25", "", "soon")] == [
        5000,
        65_000,
        3_600_250,
        None,
        None,
    ]


TAGS = ["<asx>", "<entry", ">", "<ref href=", '"', "'", "mms://h/a", "/>", "</entry>", "<!--", "-->"]
OTHERS = ["&amp;", "&#0;", "&#x10ffff;", "<param name=a value='b'/>", "<base href=//[>", "\0", " "]
FRAGMENTS = st.sampled_from([*TAGS, *OTHERS, "[Reference]", "\nRef1=", "[Address]"])


@given(
    st.lists(FRAGMENTS, max_size=60).map("".join),
    st.sampled_from(["utf-8", "utf-16", "utf-16-be"]),
    st.text(max_size=9),
)
def test_no_text_harms_the_reader(text, encoding, url):
    found = read_redirector(("<asx>" + text).encode(encoding), url)
    assert found is None or len(found.entries) <= MAX_ENTRIES
    read_redirector(text.encode(encoding), url)


@given(st.binary(max_size=300))
def test_no_bytes_harm_the_reader(data):
    read_redirector(data)
    read_redirector(b"<asx " + data)
    text_of(data)
    content_key(text_of(data))


def test_hostile_tags_cost_little():
    read_redirector(b"<asx>" + b'<ref href="' * 20_000)
    read_redirector(b"<asx>" + b"<a '>" * 40_000)
    read_redirector(b"<asx " + b"a=" * 100_000 + b">")
    read_redirector(b"<asx><ref " + b"a " * 100_000 + b">")
