"""A file opened through the public API: its tables, its bytes, and whatever is damaged in it."""

import io
import os
import tracemalloc

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.asf import ASF
from peers.asf_objects import DATA, audio, extension, guid, obj
from peers.asf_packets import packet, payload
from peers.asf_whole import asf_file, fragment, packet_of

from mmsforensics import asf
from mmsforensics.asf.guids import guid_of
from mmsforensics.asf.summary import summary
from mmsforensics.asf.validation import validate

ALLOWED = 1 << 20
"""Bytes that reading a file may take besides four times its size: tables of a block, objects of a header."""


def read_everything(path):
    """What a user may ask for; returns whether there is anything. Only typed errors may leave it."""
    try:
        with asf.open(path) as one:
            list(one.walk())
            one.packets()
            rows = one.media_objects()
            one.extensions()
            for row in rows[:2]:
                one.object_bytes(row)
            return True
    except asf.AsfError:
        return False


# --- the same as independent readers ------------------------------------------------------------------


def is_cut(one):
    return one.header.data_packets != one.packet_count


def test_packets_are_those_that_are_declared(sound_asf_path):
    with asf.open(sound_asf_path) as one:
        assert one.packets()["ok"].all()
        assert is_cut(one) == any("data packet" in p.expected for p in one.problems)


def test_media_objects_are_the_packets_ffmpeg_reads(sound_asf_path):
    with (
        asf.open(sound_asf_path) as one,
        av.open(str(sound_asf_path), container_options={"fflags": "noparse"}) as container,
    ):
        rows = one.media_objects()
        theirs = {}
        for peer in container.demux():
            if peer.size and peer.stream.id > 0:
                theirs.setdefault(peer.stream.id, []).append(peer)
        for stream in {s.number for s in one.streams} | set(theirs):
            ours = rows[(rows["stream"] == stream) & (rows["complete"] == 1)]
            peers = theirs.get(stream, [])
            # ffmpeg also gives what it has of an object at the end of a cut file
            assert len(ours) <= len(peers) <= len(ours) + is_cut(one)
            for row, peer in zip(ours, peers, strict=False):
                time = peer.pts if peer.pts is not None else peer.dts
                assert int(row["presentation_ms"]) - one.header.preroll_ms == time
                assert row["received"] == peer.size
                if peer.stream.type == "video":  # of audio, ffmpeg calls everything a key frame
                    assert bool(row["key"]) == peer.is_keyframe
                if not interleaved(one, stream):
                    assert one.object_bytes(row) == bytes(peer)


def interleaved(one, stream):
    """Whether ffmpeg puts the bytes of an audio object in another order (Audio Spread)."""
    for item in one.walk():
        spread = item.fields.get("Error Correction Fields", {})
        if item.fields.get("Flags", 0) & 0x7F == stream and spread.get("Span", 0) > 1:
            return True
    return False


def test_durations_are_those_mutagen_reads(sound_asf_path):
    """ffmpeg guesses where it finds a header's duration unlikely; mutagen takes it as it stands."""
    with asf.open(sound_asf_path) as one:
        if one.header.duration_ms is not None:
            assert abs(one.header.duration_ms - 1000 * ASF(sound_asf_path).info.length) <= 1


def test_any_file_is_written_again(asf_path, tmp_path):
    try:
        with asf.open(asf_path) as one:
            out = io.BytesIO()
            assert one.write(out) == one.size
    except asf.AsfError:
        pytest.fail("every file kept here begins with a Header Object")
    assert out.getvalue() == asf_path.read_bytes()


# --- tables -------------------------------------------------------------------------------------------


def test_arrow_tables_hold_the_same(real_asf):
    with asf.open(real_asf("tika__testASF.asf")) as one:
        for name, rows in (("packets", one.packets()), ("payloads", one.payloads())):
            table = one.arrow(name).read_all()
            assert table.num_rows == len(rows)
            for column in rows.dtype.names:
                assert table[column].to_pylist() == rows[column].tolist()
        objects = one.arrow("media_objects").read_all()
        assert objects.num_rows == len(one.media_objects())
        assert objects["duration_ms"].null_count == objects.num_rows  # no Sample Duration there
        assert set(objects["complete"].to_pylist()) == {True}
        with pytest.raises(asf.AsfError, match="no table"):
            one.arrow("frames")


def test_batches_of_any_size_are_the_whole(real_asf):
    with asf.open(real_asf("music-metadata__elephant.asf")) as one:
        for block in (1, 5000, 1 << 30):
            batches = list(one.batches(block))
            assert np.array_equal(np.concatenate([b.payloads for b in batches]), one.payloads())
            assert [b.first_packet for b in batches] == sorted({b.first_packet for b in batches})


def test_a_table_that_outgrows_the_file_is_refused(tmp_path, monkeypatch):
    """A compressed payload of empty-looking objects makes a row of two bytes."""
    monkeypatch.setattr(asf.file, "TABLE_FREE", 0)
    hostile = packet(payload(b"\1x" * 500, offset=0, replicated=b"\1"))
    path = tmp_path / "a.asf"
    path.write_bytes(asf_file([hostile] * 40, size=len(hostile)))
    with asf.open(path) as one:
        with pytest.raises(asf.AsfError, match="by batches"):
            one.payloads()
        assert sum(len(b.payloads) for b in one.batches()) == 500 * 40


def test_packets_of_a_few_bytes_are_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr(asf.file, "TABLE_FREE", 0)
    path = tmp_path / "a.asf"
    path.write_bytes(asf_file([b"\0"] * 5000, size=1))
    with asf.open(path) as one:
        assert one.packet_count == 5000
        for call in (one.packets, one.packet_heads):
            with pytest.raises(asf.AsfError, match="by batches"):
                call()


# --- the top level ------------------------------------------------------------------------------------

PACKETS = [packet_of([fragment(b"abc", stream=1, number=k, size=3, time=k)], 100) for k in range(4)]
XMP = obj(guid("BE7ACFCB-97A9-42E8-9C71-999491E3AFAC"), b"<x/>")


def opened(tmp_path, raw):
    path = tmp_path / "one.asf"
    path.write_bytes(raw)
    return asf.open(path)


def test_figures_of_a_file_with_an_absurd_preroll(tmp_path):
    """A preroll of 64 bits is no reason to fail; the field keeps what it says."""
    raw = bytearray(asf_file([packet(payload(b"abc"), size=200, padding_kind=1)], audio(1), size=200))
    at = raw.index(guid_of("File Properties")) + 80
    raw[at : at + 8] = b"\xff" * 8
    with opened(tmp_path, bytes(raw)) as one:
        (figures,) = summary(one)["media_objects"]
        assert figures["first_ms"] == 1000 + 1 - (1 << 63)
        properties = next(item for item in one.walk() if item.name == "File Properties")
        assert properties.fields["Preroll"] == (1 << 64) - 1


def test_objects_behind_the_data(tmp_path):
    raw = asf_file(PACKETS, audio(1), size=100, behind=XMP)
    with opened(tmp_path, raw) as one:
        assert [o.name for o in one.tree] == ["Header Object", "Data Object", "XMP packet"]
        assert [o.offset for o in one.tree] == [0, one.header.size, len(raw) - len(XMP)]
        assert one.tree[2].fields["XMP Packet"] == b"<x/>"
        assert one.problems == ()


def test_a_live_recording_states_nothing_of_its_data(tmp_path):
    """Its packets go to the end of the file [ASF 5.1]."""
    raw = asf_file(PACKETS, audio(1), size=100, flags=1)
    at = raw.index(DATA) + 16
    for stated in (0, 50):
        with opened(tmp_path, raw[:at] + stated.to_bytes(8, "little") + raw[at + 8 :]) as one:
            assert (one.packet_count, one.problems) == (4, ())


def test_an_index_behind_live_packets(tmp_path):
    """Some writers append one; its GUID stands where the next packet would."""
    raw = bytearray(asf_file(PACKETS, audio(1), size=100, flags=1, behind=XMP + bytes(200)))
    at = raw.index(DATA) + 16
    raw[at : at + 8] = bytes(8)
    for end in (len(raw), len(raw) - 200):
        with opened(tmp_path, bytes(raw[:end])) as one:
            assert one.packet_count == 4
            assert [o.name for o in one.tree][2:] == ["XMP packet"]


def test_a_part_of_a_packet_at_the_end_is_a_problem(tmp_path):
    raw = asf_file(PACKETS, audio(1), size=100)
    with opened(tmp_path, raw[:-30]) as one:
        assert one.packet_count == 3
        found = [(p.offset, p.expected) for p in one.problems]
        assert (len(raw) - 100, "a data packet of 100 bytes") in found


def test_bytes_behind_the_last_object_are_a_problem(tmp_path):
    raw = asf_file(PACKETS, audio(1), size=100)
    with opened(tmp_path, raw + raw) as one:  # a second file begins
        assert one.problems[-1].offset == len(raw)
        assert len(one.tree) == 2


@pytest.mark.parametrize(
    "raw", [b"", b"RIFF" * 20, guid_of("Header Object"), guid_of("Header Object") + b"\0" * 13]
)
def test_what_is_no_asf(tmp_path, raw):
    with pytest.raises(asf.AsfError, match="Header Object"):
        opened(tmp_path, raw)


# --- damage -------------------------------------------------------------------------------------------


def test_truncation_at_every_byte(real_asf, tmp_path):
    raw = real_asf("music-metadata__elephant.asf").read_bytes()[:20_000]
    path = tmp_path / "cut.asf"
    path.write_bytes(raw)
    for size in range(len(raw), -1, -1):
        os.truncate(path, size)
        assert read_everything(path) == (size >= 30)
        if size % 400 == 0:
            with_limit(path, size)


def with_limit(path, size):
    """Reading takes no more memory than allowed."""
    tracemalloc.start()
    read_everything(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 4 * size + ALLOWED


def test_single_bytes_changed(real_asf, tmp_path):
    """Every byte of header and first packet, and bytes all over the rest, by several values."""
    raw = real_asf("tika__testASF.asf").read_bytes()
    path = tmp_path / "changed.asf"
    head = 7_500
    places = [*range(head), *range(head, len(raw), 97)]
    for k, at in enumerate(places):
        changed = bytearray(raw)
        changed[at] = (0, 0xFF, changed[at] ^ 0x80, changed[at] ^ 1)[k % 4]
        path.write_bytes(changed)
        read_everything(path)
        if k % 200 == 0:
            with_limit(path, len(raw))


COSTLY = 48 << 20
"""Bytes that a file made to be costly may take besides four times its size."""


@pytest.mark.parametrize("kind", ["records", "payloads", "objects"])
def test_files_made_to_be_costly(tmp_path, kind):
    hostile = packet(payload(b"\1x" * 15_000, offset=0, replicated=b"\1"))
    languages = obj(guid_of("Language List"), b"\xff\xff" + bytes(65_535))
    raw = {
        "records": asf_file([], extension(languages), size=100),
        "payloads": asf_file([hostile] * 60, audio(1), size=len(hostile)),
        "objects": asf_file([], *[obj(b"?" * 16, b"")] * 20_000, size=100),
    }[kind]
    path = tmp_path / "a.asf"
    path.write_bytes(raw)
    read_everything(path)
    tracemalloc.start()
    with asf.open(path) as one:
        summary(one)
        validate(one)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 4 * len(raw) + COSTLY


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=3000), st.integers(12, 120))
def test_any_bytes_as_packets(tmp_path_factory, data, size):
    n = len(data) // size
    path = tmp_path_factory.mktemp("a") / "a.asf"
    path.write_bytes(asf_file([data[i * size : (i + 1) * size] for i in range(n)], audio(1), size=size))
    with_limit(path, path.stat().st_size)
    with asf.open(path) as one:
        assert one.packet_count == n
        rows = one.media_objects()
        assert (rows["first_packet"] <= rows["last_packet"]).all()
        out = io.BytesIO()
        one.write(out)
    assert out.getvalue() == path.read_bytes()
