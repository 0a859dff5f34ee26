"""Media objects put together across packets, and what payload extension systems say of them."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.asf_objects import audio, extension, guid, obj, utf16, video
from peers.asf_packets import packet, payload
from peers.asf_whole import asf_file, fragment, packet_of

from mmsforensics import asf

SIZE = 200
SAMPLE_DURATION = guid("C6BD9450-867F-4907-83A3-C77921B733AD")
FILE_NAME = guid("E165EC0E-19ED-45D7-B4A7-25CBD1E28E9B")
TIMECODE = guid("399595EC-8667-4E2D-8FDB-98814CE76C1E")
ASPECT = guid("1B1EE554-F9EA-4BC8-821A-376B74E4C4B8")


def opened(folder, raw):
    path = folder / "one.asf"
    path.write_bytes(raw)
    return asf.open(path)


def extended_stream(number, *systems):
    """Extended Stream Properties that declare payload extension systems [ASF 4.1]."""
    body = struct.pack("<QQ8I", 0, 0, *[0] * 8) + struct.pack("<HHQHH", number, 0, 0, 0, len(systems))
    for system, size in systems:
        body += system + struct.pack("<HI", size, 0)
    return extension(obj(guid("14E6A5CB-C672-4332-8399-A96952065B5A"), body))


@st.composite
def films(draw):
    """Objects of two streams, cut into fragments of at most 40 bytes, four to a packet."""
    objects, fragments = [], {1: [], 2: []}
    for stream in (1, 2):
        for k in range(draw(st.integers(0, 6))):
            size = draw(st.integers(1, 130))
            data = bytes([stream, k]) * size
            one = {"stream": stream, "number": (250 + k) % 256, "time": 3000 + 40 * k, "data": data[:size]}
            one["key"] = draw(st.booleans())
            objects.append(one)
            for at in range(0, size, 40):
                fragments[stream].append((one, at, one["data"][at : at + 40]))
    order = draw(st.permutations([1] * len(fragments[1]) + [2] * len(fragments[2])))
    mixed = [fragments[stream].pop(0) for stream in order]
    return objects, [mixed[i : i + 3] for i in range(0, len(mixed), 3)]


def written(parts):
    made = [
        fragment(
            data,
            stream=one["stream"],
            number=one["number"],
            size=len(one["data"]),
            time=one["time"],
            offset=at,
            key=one["key"],
        )
        for one, at, data in parts
    ]
    return packet_of(made, SIZE)


@settings(deadline=None)
@given(films(), st.sets(st.integers(0, 12)))
def test_objects_across_packets(tmp_path_factory, film, lost):
    """Each object comes once, with its bytes; of one that lost a packet, what is left, as incomplete."""
    objects, packets = film
    kept = [parts for i, parts in enumerate(packets) if i not in lost]
    with opened(tmp_path_factory.mktemp("a"), asf_file([written(p) for p in kept], size=SIZE)) as film:
        rows = film.media_objects()
        got = [(int(r["stream"]), int(r["object_number"]), film.object_bytes(r)) for r in rows]
    wanted = []
    for one in objects:
        seen = [(i, at, data) for i, p in enumerate(kept) for o, at, data in p if o is one]
        if seen:
            wanted.append((one, seen))
    assert sorted(got) == sorted(
        (one["stream"], one["number"], b"".join(d for _, _, d in seen)) for one, seen in wanted
    )
    assert (np.diff(rows["first_payload"]) > 0).all()
    by_identity = {(int(r["stream"]), int(r["object_number"])): r for r in rows}
    for one, seen in wanted:
        row = by_identity[one["stream"], one["number"]]
        whole = sum(len(d) for _, _, d in seen) == len(one["data"])
        assert (row["size"], row["complete"]) == (len(one["data"]), whole)
        assert (row["first_packet"], row["last_packet"]) == (seen[0][0], seen[-1][0])
        assert (row["presentation_ms"], bool(row["key"])) == (one["time"], one["key"])
        assert (row["received"], row["payloads"]) == (sum(len(d) for _, _, d in seen), len(seen))
        assert (row["duration_ms"], row["compressed"]) == (-1, 0)


def test_an_object_whose_size_nobody_states(tmp_path):
    """Whether it is complete is not known."""
    parts = [payload(b"abc", number=1, offset=0, length=2), payload(b"de", number=1, offset=3, length=2)]
    with opened(tmp_path, asf_file([packet_of(parts, SIZE)], size=SIZE)) as film:
        (row,) = film.media_objects()
        assert (row["size"], row["received"], row["complete"]) == (0, 5, -1)
        assert film.object_bytes(row) == b"abcde"


@pytest.mark.parametrize(("first", "size", "complete"), [(struct.pack("<II", 9, 3000), 9, 1), (b"", 0, -1)])
def test_fragments_without_replicated_data_go_on_in_later_packets(tmp_path, first, size, complete):
    """They state neither size nor time; ffmpeg reads one object too, where the first fragment states them."""
    made = [
        packet(
            payload(b"abcdefghi"[at : at + 3], number=4, offset=at, replicated=b"" if at else first),
            size=SIZE,
            padding_kind=2,
            send=100 + at,
        )
        for at in (0, 3, 6)
    ]
    with opened(tmp_path, asf_file(made, size=SIZE)) as film:
        (row,) = film.media_objects()
        assert (row["size"], row["received"], row["payloads"], row["complete"]) == (size, 9, 3, complete)
        assert row["presentation_ms"] == (3000 if size else 100)
        assert film.object_bytes(row) == b"abcdefghi"
    with opened(tmp_path, asf_file([made[0], made[2]], size=SIZE)) as film:
        assert film.media_objects()["received"].tolist() == [3, 3], "one is missing between"


def test_objects_of_a_compressed_payload(tmp_path):
    body = payload(b"\3abc\2de", number=5, offset=6000, replicated=b"\x14")
    with opened(tmp_path, asf_file([packet(body)], size=len(packet(body)))) as film:
        rows = film.media_objects()
        assert rows["object_number"].tolist() == [5, 6]
        assert rows["presentation_ms"].tolist() == [6000, 6020]
        assert (rows["compressed"] == 1).all()
        assert (rows["complete"] == 1).all()
        assert [film.object_bytes(row) for row in rows] == [b"abc", b"de"]


def test_an_object_number_that_wraps_begins_a_new_object(tmp_path):
    parts = [fragment(b"a", stream=1, number=7, size=2, time=t) for t in (10, 20)]
    with opened(tmp_path, asf_file([packet_of(parts, SIZE)], size=SIZE)) as film:
        assert film.media_objects()["presentation_ms"].tolist() == [10, 20]
        assert film.media_objects()["complete"].tolist() == [0, 0]


def test_a_fragment_twice_makes_an_object_incomplete(tmp_path):
    """Two bytes at the same place are not two places: the count of bytes alone would not show it."""
    parts = [fragment(b"ab", stream=1, number=7, size=6, time=10, offset=at) for at in (0, 2, 2)]
    with opened(tmp_path, asf_file([packet_of(parts, SIZE)], size=SIZE)) as film:
        (row,) = film.media_objects()
        assert (row["size"], row["received"], row["complete"]) == (6, 6, 0)


# --- payload extension systems ------------------------------------------------------------------------

NAME = utf16("clip.wmv")


def test_extension_systems(tmp_path):
    """They stand in the declared order; a size of 0xFFFF means that a length stands before the data."""
    systems = ((ASPECT, 2), (FILE_NAME, 0xFFFF), (SAMPLE_DURATION, 2), (TIMECODE, 14))
    more = b"\x10\x0b" + struct.pack("<H", len(NAME)) + NAME + struct.pack("<H", 40)
    more += struct.pack("<HIII", 1, 0x01020304, 5, 6)
    part = fragment(b"frame", stream=2, number=1, size=5, time=3000, key=True, more=more)
    sound = fragment(b"sound", stream=1, number=1, size=5, time=3000)
    raw = asf_file(
        [packet_of([sound, part], SIZE)], audio(1), video(2), extended_stream(2, *systems), size=SIZE
    )
    with opened(tmp_path, raw) as film:
        names = [one.name for one in film.extension_systems]
        assert names == ["Pixel Aspect Ratio", "File Name", "Sample Duration", "Timecode"]
        rows = film.extensions()
        assert rows["stream"].tolist() == [2] * 4
        assert rows["payload"].tolist() == [1] * 4
        values = [asf.extension_value(names[r["system"]], film.extension_bytes(r)) for r in rows]
        assert values == ["16:11", "clip.wmv", "40 ms", "01:02:03:04 range 1 user bits 00000005 flags 0x6"]
        assert film.media_objects()["duration_ms"].tolist() == [-1, 40]


def test_extension_data_that_no_system_declares(tmp_path):
    part = fragment(b"frame", stream=2, number=1, size=5, time=3000, more=b"\x28\0rest")
    raw = asf_file([packet_of([part], SIZE)], video(2), extended_stream(2, (SAMPLE_DURATION, 2)), size=SIZE)
    with opened(tmp_path, raw) as film:
        rows = film.extensions()
        assert rows["system"].tolist() == [0, 255]
        assert film.extension_bytes(rows[1]) == b"rest"


def test_extension_data_cut_within_a_system(tmp_path):
    part = fragment(b"frame", stream=2, number=1, size=5, time=3000, more=b"\x05\0ab")
    raw = asf_file([packet_of([part], SIZE)], video(2), extended_stream(2, (FILE_NAME, 0xFFFF)), size=SIZE)
    with opened(tmp_path, raw) as film:
        assert film.extensions()["system"].tolist() == [255]
        assert film.extension_bytes(film.extensions()[0]) == b"\x05\0ab"
