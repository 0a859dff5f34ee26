"""HTTP: messages, transfer coding and bodies, cut anywhere, with holes and noise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import gap, run, runs

from mmsforensics.protocols import Body, BodyEnd, Hole, Malformed, Request, Response, StreamEnd
from mmsforensics.protocols.http import HttpDecoder

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = bytes(range(256)) * 3


def chunked(data, size, extension=b"", trailer=b""):
    """Chunked coding [RFC 9112 7.1]."""
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    coded = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in parts)
    return coded + b"0\r\n" + trailer + b"\r\n"


def response(body=b"", *headers, status=b"200 OK"):
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


def told(client=(), server=(), *, end="fin", **options):
    """Messages of both directions; runs and gaps in order, the client's first."""
    decoder = HttpDecoder(**options)
    found = []
    for direction, items in (("client", client), ("server", server)):
        for item in items:
            found += (
                decoder.gap(direction, item) if hasattr(item, "length") else decoder.feed(direction, item)
            )
    for direction in ("client", "server"):
        found += decoder.end(direction, end, 999, 999_000)
    return found


def of(kind, found, direction="server"):
    return [m for m in found if isinstance(m, kind) and m.at.direction == direction]


def body_of(found, number=0):
    """The body of a response, checked to stand in order."""
    data = b""
    for part in of(Body, found):
        if part.number == number:
            assert part.offset == len(data)
            data += bytes(part.data)
    return data


DELIMITED = {
    "length": response(BODY, b"Content-Length: %d" % len(BODY)),
    "chunked": response(chunked(BODY, 100), b"Transfer-Encoding: chunked"),
    "chunk extensions and trailer": response(
        chunked(BODY, 77, b";name=value", b"X-Sum: 1\r\n"), b"Transfer-Encoding: Chunked"
    ),
    "until close": response(BODY),
}


@pytest.mark.parametrize("raw", DELIMITED.values(), ids=DELIMITED)
@given(cuts=st.sets(st.integers(1, 1100), max_size=30))
def test_a_body_however_it_is_delimited_and_cut(raw, cuts):
    found = told([run(GET)], runs(raw, cuts, frame=2))
    assert body_of(found) == BODY
    (end,) = of(BodyEnd, found)
    assert (end.complete, end.length) == (True, len(BODY))
    assert not [m for m in found if isinstance(m, Malformed | Hole)]


@given(cuts=st.sets(st.integers(1, 400), max_size=20))
def test_requests_are_matched_with_their_responses(cuts):
    """HEAD has no body though its response states a length; 204 and 304 have none either."""
    requests = b"HEAD /h HTTP/1.1\r\n\r\n" + GET + b"GET /n HTTP/1.1\r\n\r\n" + GET
    answers = (
        response(b"", b"Content-Length: 500")
        + response(b"abc", b"Content-Length: 3")
        + response(b"", status=b"304 Not Modified")
        + response(b"de", b"Content-Length: 2")
    )
    found = told(runs(requests, cuts), runs(answers, cuts, frame=50))
    assert [(m.method, m.target, m.number) for m in of(Request, found, "client")] == [
        ("HEAD", "/h", 0),
        ("GET", "/a", 1),
        ("GET", "/n", 2),
        ("GET", "/a", 3),
    ]
    assert [(m.status, m.number) for m in of(Response, found)] == [(200, 0), (200, 1), (304, 2), (200, 3)]
    assert (body_of(found, 1), body_of(found, 3)) == (b"abc", b"de")


def test_an_interim_response_is_no_answer():
    raw = response(status=b"100 Continue") + response(b"abc", b"Content-Length: 3")
    found = told([run(GET)], [run(raw)])
    assert [(m.status, m.number) for m in of(Response, found)] == [(100, 0), (200, 0)]
    assert body_of(found) == b"abc"


def test_the_body_of_a_request():
    post = b"POST /log HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd" + GET
    found = told([run(post)])
    assert [bytes(m.data) for m in of(Body, found, "client")] == [b"abcd"]
    assert len(of(Request, found, "client")) == 2


def test_headers():
    raw = response(b"", b"Server: Cougar/9.1", b"Pragma: a", b"PRAGMA:b", b" folded", b"Content-Length:0")
    (answer,) = of(Response, told([run(GET)], [run(raw)]))
    assert answer.header("server") == "Cougar/9.1"
    assert answer.header("pragma") == "a, b folded"
    assert answer.header("x-absent") == ""


def test_lines_that_end_in_a_bare_newline():
    (answer,) = of(Response, told([run(GET)], [run(b"HTTP/1.0 200 OK\nServer: x\n\nabc")]))
    assert answer.header("server") == "x"


def test_where_a_body_lies():
    raw = response(BODY, b"Content-Length: %d" % len(BODY))
    head = raw.index(b"\r\n\r\n") + 4
    (part,) = of(Body, told([run(GET)], [run(raw, 0, 7)]))
    assert part.pieces["frame"].tolist() == [7]
    assert part.pieces["frame_offset"].tolist() == [54 + head]
    assert part.pieces["offset"].tolist() == [0]


def test_a_body_cut_short():
    (end,) = of(BodyEnd, told([run(GET)], [run(response(BODY, b"Content-Length: 5000"))]))
    assert (end.complete, end.length) == (False, len(BODY))
    found = told([run(GET)], [run(response(BODY))], end="capture ended")
    assert not of(BodyEnd, found)[0].complete


@pytest.mark.parametrize("raw", DELIMITED.values(), ids=DELIMITED)
@given(begin=st.integers(60, 800), length=st.integers(1, 200))
def test_a_hole_in_a_body(raw, begin, length):
    """What lies around it keeps its place; the next exchange is found again."""
    begin = max(begin, raw.index(b"\r\n\r\n") + 4)
    behind = (
        b""
        if b"\r\n\r\n" + BODY[:50] in raw and b"Length" not in raw
        else response(b"next", b"Content-Length: 4")
    )
    whole = raw + behind
    length = min(length, len(raw) - begin - 1)
    if length < 1:
        return
    found = told(
        [run(GET + GET)],
        [
            *runs(whole[:begin], frame=2),
            gap(begin, length, 3),
            *runs(whole[begin + length :], offset=begin + length, frame=4),
        ],
    )
    assert not of(BodyEnd, found)[0].complete
    assert [m.length for m in found if isinstance(m, Hole)]
    if behind:
        assert of(Response, found)[-1].status == 200
        assert b"next" in b"".join(bytes(m.data) for m in of(Body, found))
    if b"chunked" not in raw.lower():
        for part in of(Body, found):
            if part.number == 0:
                assert bytes(part.data) == BODY[part.offset : part.offset + len(part.data)]


@pytest.mark.parametrize(
    "noise",
    [
        b"\0\xff" * 40,
        b"HTTP/1.1 200x\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET x HTTP/1.x\r\n\r\n",
    ],
)
def test_noise_before_a_message(noise):
    found = told([run(noise + GET)], [run(noise + response(b"abc", b"Content-Length: 3"))])
    assert [m.target for m in of(Request, found, "client")][-1] == "/a"
    assert [m.status for m in of(Response, found)][-1] == 200


def test_a_start_in_the_middle():
    raw = b"end of a body we did not see" + response(b"abc", b"Content-Length: 3")
    found = told([], [run(raw)], server_from_start=False)
    assert body_of(found) == b"abc"


@pytest.mark.parametrize("length", [b"-1", b"1e9", b"99999999999999999999", b"abc", b""])
def test_a_content_length_that_is_none(length):
    """The body then goes on until the connection closes."""
    found = told([run(GET)], [run(response(b"abc", b"Content-Length: " + length))])
    assert body_of(found) == b"abc"


@given(st.lists(st.binary(max_size=120), max_size=8), st.sampled_from([b"", GET, DELIMITED["chunked"][:200]]))
def test_any_bytes(parts, first):
    items, at = ([run(first)] if first else []), len(first)
    for n, part in enumerate(parts):
        if part:
            items.append(run(part, at, n + 2))
            at += len(part)
        if n % 3 == 2:
            items.append(gap(at, 10, n + 2))
            at += 10
    found = told(items, items)
    assert len([m for m in found if isinstance(m, StreamEnd)]) == 2


@given(
    st.sampled_from(sorted(DELIMITED)),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=6),
    st.integers(1, 500),
)
def test_mutations(name, changes, cut):
    raw = bytearray(DELIMITED[name] + GET)
    for at, value in changes:
        raw[at] = value
    told(runs(bytes(raw), [cut]), runs(bytes(raw), [cut]))


def test_chunks_that_end_in_the_same_frame_are_one_part():
    """Chunks of a byte each would cost a message each, hundreds of times their bytes."""
    stream = response(chunked(BODY, 1), b"Transfer-Encoding: chunked")
    found = told([run(GET)], runs(stream, cuts=[1000, 2000]))
    parts = of(Body, found)
    assert (body_of(found), [p.at.frame for p in parts]) == (BODY, [1, 2, 3])
    (end,) = of(BodyEnd, found)
    assert (end.length, end.complete) == (len(BODY), True)
    for part in parts:
        begins = [int(p["frame_offset"]) - 54 + 1000 * (int(p["frame"]) - 1) for p in part.pieces]
        assert bytes(stream[b] for b in begins) == bytes(part.data)
        assert part.pieces["offset"].tolist() == list(range(part.offset, part.offset + len(part.data)))
