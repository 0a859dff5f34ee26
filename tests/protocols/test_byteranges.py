"""Content-Range and multipart/byteranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.protocols.byteranges import ContentRange, MultipartRanges, boundary, content_range
from mmsforensics.protocols.messages import At, Body
from mmsforensics.streams import PIECE

FILE = bytes(range(256)) * 4
SENT = (
    b"preamble\r\n--XX\r\nContent-Type: video/x-ms-wmv\r\nContent-Range: bytes 10-99/1024\r\n\r\n"
    + FILE[10:100]
    + b"\r\n--XX\r\ncontent-range: bytes 500-1023/1024\r\n\r\n"
    + FILE[500:]
    + b"\r\n--XX--\r\n"
)


def body(data, offset):
    pieces = np.zeros(1, dtype=PIECE)
    pieces["offset"], pieces["length"], pieces["frame_offset"] = offset, len(data), offset
    at = At(direction="server", offset=0, frame=1, ts=0)
    return Body(at=at, number=0, offset=offset, data=np.frombuffer(data, dtype=np.uint8), pieces=pieces)


def taken(decoder, data, cuts):
    found = {}
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        for part in decoder.feed(body(data[begin:end], begin)):
            assert part.pieces["length"].sum() == len(part.data)
            assert part.pieces["offset"][0] == part.offset
            for i, byte in enumerate(part.data.tolist()):
                assert part.offset + i not in found
                found[part.offset + i] = byte
    return found


@given(st.lists(st.integers(1, len(SENT) - 1), max_size=8, unique=True).map(sorted))
def test_parts_come_out_however_the_body_is_cut(cuts):
    found = taken(MultipartRanges(b"XX"), SENT, cuts)
    assert found == {n: FILE[n] for n in (*range(10, 100), *range(500, 1024))}


@given(st.integers(0, len(SENT)), st.integers(0, 300))
def test_a_hole_moves_nothing(at, size):
    decoder = MultipartRanges(b"XX")
    after = min(at + size, len(SENT))
    pieces = [*decoder.feed(body(SENT[:at], 0)), *decoder.feed(body(SENT[after:], after))]
    for part in pieces:
        assert part.data.tobytes() == FILE[part.offset : part.offset + len(part.data)]


@given(st.binary(max_size=400), st.integers(0, 3))
def test_no_bytes_harm_the_decoder(data, times):
    noise = data + SENT * times + data
    decoder = MultipartRanges(b"XX")
    total = sum(len(part.data) for part in decoder.feed(body(noise, 0)))
    assert total <= len(noise)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-9/10", ContentRange(0, 10, 10)),
        ("Bytes 5-9/*", ContentRange(5, 10, None)),
        ("bytes */10", None),
        ("bytes 9-5/10", None),
        ("bytes 0-10/10", None),
        ("bytes 0-99999999999999999999/*", None),
        ("", None),
    ],
)
def test_content_range(text, expected):
    assert content_range(text) == expected


def test_boundary():
    assert boundary('multipart/byteranges; boundary="a b"') == b"a b"
    assert boundary("Multipart/X-Byteranges; charset=x; boundary=ab") == b"ab"
    assert boundary("video/x-ms-wmv") is None


@given(st.text(max_size=60))
def test_no_text_harms(text):
    content_range("bytes " + text)
    boundary("multipart/byteranges; boundary=" + text)
