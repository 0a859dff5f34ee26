"""Content description lists of MS-WMSP, whole, misprinted, hostile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.protocols.wmsp_metadata import VALUE_TYPES, read_descriptions, read_metadata


def pair(name, kind, value):
    """A name-value pair [2.2.4]."""
    return b"%d,%b,%d,%d,%b" % (len(name), name, kind, len(value), value)


def listed(*pairs):
    return b",".join(pairs) + b"\r\n"


LANGUAGE = pair(b"language", 31, b"en-us")


def test_two_languages_and_values_with_commas():
    english = listed(LANGUAGE, pair(b"title", 31, b"a, b,c"), pair(b"copyright", 31, "© 1999".encode()))
    german = listed(pair(b"language", 31, b"de"), pair(b"title", 31, b""), pair(b"size", 19, b"4711"))
    found, problems = read_descriptions(english + german)
    assert problems == []
    assert [d.language for d in found] == ["en-us", "de"]
    assert [(p.name, p.value) for p in found[0].pairs] == [("title", "a, b,c"), ("copyright", "© 1999")]
    assert [(p.name, p.value) for p in found[1].pairs] == [("title", ""), ("size", 4711)]


def test_a_language_on_a_line_of_its_own():
    """The grammar has a description after each ``language`` pair, with or without a line break."""
    found, problems = read_descriptions(listed(LANGUAGE) + listed(pair(b"title", 8, b"x")))
    assert problems == []
    assert (found[0].language, found[0].pairs[0].name) == ("en-us", "title")


def test_the_grammars_misprint():
    """It says ``7,language``, a name of eight letters."""
    found, problems = read_descriptions(b"7,language,31,2,de,5,title,31,1,x\r\n")
    assert (found[0].language, found[0].pairs[0].value) == ("de", "x")
    assert problems == ["byte 0: a name of 8 bytes, not 7"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (11, b"true", True),
        (11, b"0", False),
        (11, b"-1", True),
        (3, b"-7", -7),
        (3, b"7x", "7x"),
        (99, b"1", "1"),
    ],
)
def test_values_by_their_types(kind, text, value):
    (found,), _ = read_descriptions(listed(LANGUAGE, pair(b"v", kind, text)))
    assert found.pairs[0].value == value
    assert type(found.pairs[0].value) is type(value)
    assert (kind in VALUE_TYPES) is (kind != 99)


@pytest.mark.parametrize("kind", VALUE_TYPES)
def test_each_value_type(kind):
    (found,), problems = read_descriptions(listed(LANGUAGE, pair(b"v", kind, b"1")))
    words = {6: "1", 8: "1", 31: "1", 11: True}
    assert (found.pairs[0].value, problems) == (words.get(kind, 1), [])


def test_noise_between_descriptions():
    noisy = (
        listed(LANGUAGE, pair(b"a", 31, b"1")) + b"neither length nor name\r\n" + listed(pair(b"b", 31, b"2"))
    )
    found, problems = read_descriptions(noisy)
    assert [p.name for d in found for p in d.pairs] == ["a", "b"]
    assert len(problems) == 1


@pytest.mark.parametrize("length", [b"4294967295", b"0", b"3"])
def test_a_length_that_is_wrong(length):
    found, problems = read_descriptions(
        b"5,title,31," + length + b",hello\r\n" + listed(pair(b"b", 31, b"2"))
    )
    assert problems
    assert found[-1].pairs[-1].name == "b"


def test_the_parameters():
    found = read_metadata(
        b'playlist-gen-id=3, broadcast-id=0, features="seekable,stridable"\0' + listed(LANGUAGE)
    )
    assert (found.playlist_gen_id, found.broadcast_id) == (3, 0)
    assert found.features == ("seekable", "stridable")
    assert found.problems == ()
    odd = read_metadata(b"playlist-gen-id=x, other=1")
    assert odd.playlist_gen_id is None
    assert len(odd.problems) == 3


@given(
    st.one_of(
        st.binary(max_size=400),
        st.lists(
            st.sampled_from([b"5,", b"title", b",31,", b"9999999999,", b"\r\n", b"\0", LANGUAGE]), max_size=40
        ).map(b"".join),
    )
)
def test_any_bytes(data):
    found = read_metadata(data)
    size = sum(len(p.name) for d in found.descriptions for p in d.pairs)
    assert size <= 4 * len(data)
