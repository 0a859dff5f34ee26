"""The playable copy: what players get of it, and that each of its bytes is accounted for."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import asf_objects as builders
from peers.asf_file import FILE_PROPERTIES, AsfFile, select_streams, strip_padding
from peers.media import demux, make_asf

from mmsforensics.asf import PlayableFacts, needs_playable, parse_header, playable, survey, write_playable
from mmsforensics.asf import markers as asf_markers
from mmsforensics.asf.edits import EDIT, Edit

INDEX_PARAMETERS = builders.guid("D6E229DF-35DA-11D1-9034-00A0C90349BE")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Three seconds of audio and video."""
    return AsfFile.read(make_asf(tmp_path_factory.mktemp("film") / "film.wmv", seconds=3, title="A film"))


def made(header, sent, packet_size, *, order=None):
    """Make a playable file of packets as they were sent; checks that the edits tell the truth of it."""
    faithful = header + b"".join(one.ljust(packet_size, b"\0") for one in sent)
    out, edits = io.BytesIO(), []
    result = write_playable(
        header,
        io.BytesIO(faithful),
        header_size=len(header),
        packet_size=packet_size,
        sizes=np.array([len(one) for one in sent], dtype=np.int64),
        order=np.arange(len(sent), dtype=np.int64) if order is None else np.array(order, dtype=np.int64),
        out=out,
        tell=edits.append,
    )
    written = out.getvalue()
    assert result.size == len(written)
    account(faithful, written, np.concatenate(edits))
    return result, written


def account(faithful, written, edits):
    """Edits cover the file exactly; what is copied stands in the faithful file; padding is zero."""
    assert edits.dtype == EDIT
    at = 0
    for edit in edits:
        begin, end = int(edit["file_offset"]), int(edit["file_offset"] + edit["length"])
        assert begin == at < end
        kind, source = Edit(int(edit["kind"])), int(edit["source_offset"])
        assert (kind is Edit.COPIED) == (source >= 0)
        if kind is Edit.COPIED:
            assert written[begin:end] == faithful[source : source + end - begin]
        elif kind is Edit.PADDING:
            assert not any(written[begin:end])
        at = end
    assert at == len(written)


def as_live(header):
    """The header of the same film, streamed live: broadcast flag, and sizes, counts, durations void."""
    raw = bytearray(header)
    at = raw.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    for begin, end in ((40, 48), (56, 80)):
        raw[at + begin : at + end] = bytes(end - begin)
    struct.pack_into("<I", raw, at + 88, 1)
    data = len(raw) - 50
    raw[data + 16 : data + 24] = bytes(8)
    raw[data + 40 : data + 48] = bytes(8)
    return bytes(raw)


def played(data, tmp_path):
    """What an independent player gets of a file."""
    path = tmp_path / "file.wmv"
    path.write_bytes(data)
    return demux(path)


def original(film, tmp_path):
    return played(film.header + b"".join(film.packets), tmp_path)


def test_stripped_packets_play_as_the_original(film, tmp_path):
    sent = [strip_padding(one, "zero-field") for one in film.packets]
    assert any(len(one) < film.packet_size for one in sent)
    result, written = made(film.header, sent, film.packet_size)
    assert result.packets == len(film.packets)
    assert played(written, tmp_path) == original(film, tmp_path)
    assert written[len(film.header) :][: film.packet_size * len(sent)] == b"".join(film.packets)


def test_packets_out_of_order_and_sent_twice(film, tmp_path):
    """The caller says which to write; times and frames are again those of the film."""
    n = len(film.packets)
    sent = [film.packets[i] for i in (*range(n // 2, n), *range(n))]
    order = [*range(n - n // 2, len(sent))]
    _, written = made(film.header, sent, film.packet_size, order=order)
    assert played(written, tmp_path) == original(film, tmp_path)


def test_a_live_stream_joined_midway(film, tmp_path):
    """It begins with a key frame at the preroll's time, with a size, a count and a duration."""
    joined = film.packets[len(film.packets) // 3 :]
    result, written = made(as_live(film.header), joined, film.packet_size)
    header = parse_header(written)
    assert not header.broadcast
    assert (header.packet_count, header.file_size) == (result.packets, len(written))
    assert header.data_size == 50 + result.packets * film.packet_size
    assert 0 < header.duration_ms < 3000
    assert result.duration_ms == header.duration_ms
    got = played(written, tmp_path)
    stream = next(i for i, s in enumerate(header.streams) if s.type == "video")
    assert next(key for index, key, _ in got if index == stream)
    assert got == original(film, tmp_path)[-len(got) :]


@pytest.mark.parametrize("kept", [0, 30_000])
def test_a_medium_too_large_to_be_kept_is_read_twice(kept, film, monkeypatch):
    """Of whichever beginning both passes are made in one reading, the result is the same."""
    sent = [strip_padding(one, "zero-field") for one in film.packets]
    monkeypatch.setattr(survey, "BLOCK", 3 * film.packet_size)
    for header in (film.header, as_live(film.header)):
        expected, as_expected = made(header, sent, film.packet_size)
        with monkeypatch.context() as patch:
            patch.setattr(survey, "KEPT", kept)
            result, written = made(header, sent, film.packet_size)
        assert written == as_expected
        assert result == expected


def test_an_index_is_built_and_leads_to_key_frames(film):
    result, written = made(film.header, film.packets, film.packet_size)
    header = parse_header(written)
    assert header.seekable
    at = header.data_offset + header.packet_count * film.packet_size
    assert result.index_entries > 0
    identity, size, file_id, interval, _most, entries = struct.unpack_from("<16sQ16sQII", written, at)
    assert identity == bytes.fromhex("90080033b1e5cf1189f400a0c90349cb")  # Simple Index Object [ASF 6.1]
    assert (size, at + size, file_id) == (56 + 6 * entries, len(written), header.file_id)
    assert interval == 10_000_000
    rows = [struct.unpack_from("<IH", written, at + 56 + 6 * i) for i in range(entries)]
    assert [number for number, _ in rows] == sorted(number for number, _ in rows)
    video = next(s.number for s in header.streams if s.type == "video")
    for number, count in rows:
        assert number + count <= header.packet_count
        assert key_frame_of(film.packets[number], video)


def key_frame_of(packet, stream):
    """Whether a key frame of a stream begins in a packet; payloads walked by the specification's order."""
    alone = select_streams(packet, (stream,))
    return alone is not None and (stream | 0x80) in alone


def test_a_file_that_is_right_needs_no_copy(film):
    header = parse_header(film.header)
    size = len(film.header) + len(film.packets) * film.packet_size
    right = PlayableFacts(
        count=len(film.packets), file_size=header.file_size, padded=True, ordered=True, has_tail=True
    )
    assert needs_playable(header, film.header, right) == ()
    cut = PlayableFacts(
        count=len(film.packets) - 1, file_size=size, padded=False, ordered=False, has_tail=False
    )
    reasons = needs_playable(header, film.header, cut)
    assert any("packets, the file has" in reason for reason in reasons)
    assert any("padding" in reason for reason in reasons)
    assert any("order" in reason for reason in reasons)
    assert any("index" in reason for reason in reasons)


def test_packets_that_do_not_parse_are_left_out(film, tmp_path):
    sent = list(film.packets)
    sent[3] = b"\xff" * film.packet_size
    result, written = made(film.header, sent, film.packet_size)
    assert result.packets == len(sent) - 1
    assert any("do not parse" in note for note in result.notes)
    assert played(written, tmp_path)


def test_a_header_with_a_wrong_frame_is_set_right(film, tmp_path):
    raw = bytearray(film.header)
    struct.pack_into("<I", raw, 24, 99)
    result, written = made(bytes(raw), film.packets, film.packet_size)
    assert parse_header(written).problems == ()
    assert any("number of header objects" in note for note in result.notes)
    assert played(written, tmp_path) == original(film, tmp_path)


@given(st.lists(st.integers(0, 200), max_size=30), st.data())
def test_any_packets(film, order, data):
    """Whatever was sent, the account of the bytes is exact and the header tells the truth."""
    sent = [strip_padding(one, "zero-field") for one in film.packets]
    for _ in range(data.draw(st.integers(0, 6))):
        number = data.draw(st.integers(0, len(sent) - 1))
        raw = bytearray(sent[number])
        if raw:
            raw[data.draw(st.integers(0, min(40, len(raw) - 1)))] = data.draw(st.integers(0, 255))
        sent[number] = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    live = data.draw(st.booleans())
    result, written = made(
        as_live(film.header) if live else film.header,
        sent,
        film.packet_size,
        order=[number % len(sent) for number in order],
    )
    header = parse_header(written)
    assert header.packet_count == header.data_packets == result.packets
    assert header.file_size == len(written)
    assert not header.broadcast


def test_a_maximum_bitrate_that_states_nothing_is_set(film):
    """To the sum of the streams' where all state one, else to what the packets need [ASF 3.2]."""
    at = film.header.index(FILE_PROPERTIES) + 100
    stated = parse_header(film.header)
    for nothing in (0, 0xFFFFFFFF):
        raw = bytearray(film.header)
        struct.pack_into("<I", raw, at, nothing)
        result, written = made(bytes(raw), film.packets, film.packet_size)
        found = parse_header(written).max_bitrate
        assert 0 < found <= 2 * stated.max_bitrate
        assert any(f"maximum bitrate of {nothing}" in note for note in result.notes)


def test_durations_that_end_before_the_packets_are_computed(film):
    raw = bytearray(film.header)
    at = film.header.index(FILE_PROPERTIES)
    struct.pack_into("<Q", raw, at + 64, 10_000)
    result, written = made(bytes(raw), film.packets, film.packet_size)
    found, stated = parse_header(written), parse_header(film.header)
    assert found.send_duration == stated.send_duration, "what is not contradicted stays"
    assert found.duration_ms == pytest.approx(stated.duration_ms, abs=500)
    assert any("the play duration was computed" in note for note in result.notes)


def test_what_the_header_says_of_places_in_another_file_is_void(film):
    """Index Parameters of an index that is not there, offsets of markers [ASF 3.7, 4.9]."""
    parameters = builders.obj(INDEX_PARAMETERS, struct.pack("<IHHH", 1000, 1, 1, 3))
    markers = builders.marker((500, "one"), (900, "two"), offset=777)
    header = with_objects(film.header, markers, builders.extension(parameters))
    before = parse_header(header)
    assert [m.offset for m in asf_markers(before)] == [777, 777]
    result, written = made(header, film.packets[:-1], film.packet_size)
    after = parse_header(written)
    assert [(m.offset, m.time_ms, m.description) for m in asf_markers(after)] == [
        (0, 500, "one"),
        (0, 900, "two"),
    ]
    assert "Index Parameters" not in {item.name for item in after.walk()}
    assert after.size == before.size
    assert {"offsets of 2 markers, those of the original file, were set to 0"} < set(result.notes)
    whole, untouched = made(header, film.packets, film.packet_size)
    assert [m.offset for m in asf_markers(parse_header(untouched))] == [777, 777], whole.notes


def with_objects(header, *objects):
    """The header with more objects in it."""
    head, data = bytearray(header[:-50]), header[-50:]
    head += b"".join(objects)
    struct.pack_into("<QI", head, 16, len(head), struct.unpack_from("<I", head, 24)[0] + len(objects))
    return bytes(head) + data


def test_no_picture_stands_before_the_first_key_frame_wherever_a_live_stream_is_joined(film, tmp_path):
    """Not even those in the packet that the key frame begins in; sound there stays."""
    trimmed = 0
    streams = parse_header(film.header).streams
    video = next(i for i, s in enumerate(streams) if s.type == "video")
    for begin in range(0, len(film.packets), 7):
        result, written = made(as_live(film.header), film.packets[begin:], film.packet_size)
        got = played(written, tmp_path)
        pictures = [key for index, key, _ in got if index == video]
        no_key = any("no key frame of stream" in note for note in result.notes)
        assert no_key or not pictures or pictures[0]
        trimmed += any("before a first key frame were left out" in note for note in result.notes)
    assert trimmed


def test_a_packet_with_nothing_but_early_pictures_is_left_out_and_many_are_left_alone(film, monkeypatch):
    joined, header = film.packets[5:], as_live(film.header)
    result, _ = made(header, joined, film.packet_size)
    monkeypatch.setattr(playable, "MAX_TRIMMED", 0)
    alone, _ = made(header, joined, film.packet_size)
    assert alone.packets >= result.packets
    assert not any("were left out" in n and "pictures" in n for n in alone.notes)
