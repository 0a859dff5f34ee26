"""ASF files found in blobs: where they lie, how much of them is there, and why no more."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.asf_objects import DATA, HEADER, audio, extension, guid, obj, video
from peers.asf_whole import asf_file, fragment, packet_of

from mmsforensics import asf
from mmsforensics.asf import carving
from mmsforensics.asf.carving import open_blob, write_carved

SIZE = 120


def packets(n, stream=1):
    return [
        packet_of([fragment(b"abcd", stream=stream, number=k % 256, size=4, time=k)], SIZE, send=k)
        for k in range(n)
    ]


def film(n=40, **more):
    return asf_file(packets(n), audio(1), extension(), size=SIZE, **more)


def noise(n, seed=0):
    return random.Random(seed).randbytes(n)


def carved(folder, blob):
    path = folder / "blob"
    path.write_bytes(blob)
    carver = open_blob(path)
    found = list(carver)
    carver.close()
    return found


def told(folder, blob):
    return [(one.offset, one.size, str(one.verdict), one.packets) for one in carved(folder, blob)]


# --- whole files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1, 511, 512, 4097])
def test_a_file_at_any_alignment(tmp_path, before):
    whole = film()
    (found,) = carved(tmp_path, noise(before) + whole + noise(5000, 1))
    assert (found.offset, found.size, found.verdict) == (before, len(whole), "complete")
    assert (found.packets, found.stated_packets, found.stated_size) == (40, 40, len(whole))
    assert (found.unsound, found.within, found.suffix) == (0, None, "wma")


def test_whole_files_of_real_encoders(asf_path, tmp_path):
    """What is whole comes out byte for byte; what was damaged is not called complete."""
    raw = asf_path.read_bytes()
    (tmp_path / "out").mkdir()
    path = tmp_path / "blob"
    path.write_bytes(noise(777) + raw + noise(20_000, 2))
    carver = open_blob(path)
    found = list(carver)
    with asf.open(asf_path) as one:
        whole = one.packet_count and one.packet_count == one.header.data_packets and not one.header.broadcast
    assert bool(whole) == any(f.verdict == "complete" for f in found)
    if whole:
        (one,) = found
        written = write_carved(carver, one, tmp_path / "out")
        assert written.path.read_bytes() == raw
        assert written.path.name == f"00000000{777:04x}.{one.suffix}"
    carver.close()


def test_objects_behind_the_data_belong_to_a_file(tmp_path):
    index = obj(guid("33000890-E5B1-11CF-89F4-00A0C90349CB"), bytes(32))
    unknown = obj(b"?" * 16, b"whatever")  # known by the stated size only
    whole = film(behind=index + unknown)
    assert told(tmp_path, whole + noise(900)) == [(0, len(whole), "complete", 40)]


def test_files_side_by_side(tmp_path):
    whole = film()
    assert [one[0] for one in told(tmp_path, whole * 3)] == [0, len(whole), 2 * len(whole)]


# --- what is not whole --------------------------------------------------------------------------------


def head_of(whole):
    return whole.index(DATA) + 50


def test_the_blob_ends_in_the_packets(tmp_path):
    whole = film()
    (found,) = carved(tmp_path, whole[: head_of(whole) + 10 * SIZE + 50])
    assert (found.verdict, found.packets, found.size) == ("cut", 10, head_of(whole) + 10 * SIZE)
    assert found.reason == "the blob ends after 10 of 40 packets"


def test_other_data_follow_a_part_of_a_file(tmp_path):
    whole = film(400)
    begin = whole[: head_of(whole) + 10 * SIZE]
    (found,) = carved(tmp_path, begin + bytes(len(whole)))
    assert (found.verdict, found.packets) == ("cut", 10)
    assert found.reason == "packets stop after 10 of 400: what follows are none of this file"


def test_another_file_begins_in_a_packet(tmp_path):
    """The packet whose beginning is the file's and whose end is the other's header is not counted."""
    whole = film(400)
    first, second = carved(tmp_path, whole[: head_of(whole) + 10 * SIZE + 50] + film(3))
    assert (first.verdict, first.packets) == ("cut", 10)
    assert (second.verdict, second.packets, second.within) == ("complete", 3, None)


def test_damage_within_a_file_does_not_end_it(tmp_path):
    whole = bytearray(film(100))
    at = head_of(whole) + 20 * SIZE
    whole[at : at + 30 * SIZE] = bytes(30 * SIZE)
    (found,) = carved(tmp_path, bytes(whole) + noise(4000))
    assert (found.verdict, found.size, found.unsound) == ("damaged", len(whole), 30)
    assert found.reason == "30 of 100 packets do not parse"


def test_a_live_recording_goes_as_far_as_its_packets(tmp_path):
    whole = bytearray(film(50, flags=1))
    at = whole.index(DATA)
    whole[at + 16 : at + 24] = bytes(8)
    index = obj(guid("33000890-E5B1-11CF-89F4-00A0C90349CB"), bytes(32))
    for behind in (b"", index):
        (found,) = carved(tmp_path, bytes(whole) + behind + bytes(9000))
        assert (found.verdict, found.packets, found.size) == ("live", 50, len(whole) + len(behind))
    assert (found.stated_packets, found.stated_size) == (None, None)


@pytest.mark.parametrize(("keep", "reason"), [(60, "within the header"), (-1, "no Data Object")])
def test_only_a_header(tmp_path, keep, reason):
    whole = film()
    blob = whole[:keep] if keep > 0 else whole[: whole.index(DATA)] + noise(400)
    (found,) = carved(tmp_path, blob)
    assert (found.verdict, found.packets) == ("header", 0)
    assert reason in found.reason


def test_packets_of_other_streams_are_none_of_the_file(tmp_path):
    raw = asf_file(packets(3) + packets(40, stream=9), audio(1), video(2), size=SIZE)
    (found,) = carved(tmp_path, raw)
    assert (found.verdict, found.packets, found.suffix) == ("cut", 3, "wmv")


def test_a_guid_alone_is_no_header(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(noise(100) + HEADER + noise(100) + film() + HEADER)
    carver = open_blob(path)
    assert [one.verdict for one in carver] == ["complete"]
    assert carver.rejected == 2
    carver.close()


def test_a_header_that_begins_with_an_object_nobody_knows(tmp_path):
    whole = asf_file(packets(20), obj(b"?" * 16, b"vendor"), audio(1), extension(), size=SIZE)
    properties = whole[30 : 30 + 104]
    vendor = obj(b"?" * 16, b"vendor")
    whole = whole.replace(properties + vendor, vendor + properties)
    assert told(tmp_path, whole) == [(0, len(whole), "complete", 20)]


# --- files in files -----------------------------------------------------------------------------------


def test_a_file_within_another(tmp_path):
    inner = film(2)
    size = len(inner) + 60
    parts = [packet_of([fragment(b"x", stream=1, number=k, size=1, time=k)], size) for k in range(5)]
    parts[2] = packet_of([fragment(inner, stream=1, number=2, size=len(inner), time=2)], size)
    outer = asf_file(parts, audio(1), extension(), size=size)
    first, second = carved(tmp_path, outer)
    assert (first.verdict, first.size, first.within) == ("complete", len(outer), None)
    assert (second.verdict, second.size, second.within) == ("complete", len(inner), 0)


def test_files_in_files_without_end_take_bounded_work(tmp_path, monkeypatch):
    """Each packet holds a header whose packets go on to the end of the blob."""
    monkeypatch.setattr(carving, "SHARE_FREE", 1 << 20)
    room = len(asf_file([], audio(1), size=SIZE, flags=1)) + 40
    head = asf_file([], audio(1), size=room, flags=1)
    part = packet_of([fragment(head, stream=1, number=1, size=len(head), time=1)], room)
    blob = head + part * 3000
    found = carved(tmp_path, blob)
    assert len(found) == 3001
    assert any("too many" in one.reason for one in found)


# --- blobs --------------------------------------------------------------------------------------------


def test_a_header_across_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(carving, "WINDOW", 4096)
    whole = film()
    for before in range(4096 - 20, 4096 + 4, 3):
        assert told(tmp_path, noise(before) + whole) == [(before, len(whole), "complete", 40)]


def test_an_empty_blob(tmp_path):
    assert carved(tmp_path, b"") == []


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "blob").write_bytes(film())
    carver = open_blob(tmp_path / "blob")
    (found,) = carver
    write_carved(carver, found, tmp_path, "b1-")
    with pytest.raises(FileExistsError):
        write_carved(carver, found, tmp_path, "b1-")
    carver.close()


WHOLE = film(8)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=8), st.integers(0))
def test_any_blob(tmp_path_factory, changes, cut):
    raw = bytearray(WHOLE * 2)
    for at, value in changes:
        raw[at] = value
    blob = bytes(raw[: cut % len(raw) + 1])
    for one in carved(tmp_path_factory.mktemp("a"), blob):
        assert 0 <= one.offset < one.offset + one.size <= len(blob)
        assert one.unsound <= one.packets


def test_stated_sizes_that_lie(tmp_path):
    whole = bytearray(film())
    for at in (16, whole.index(DATA) + 16):
        for size in (0, 23, 2**63, 2**64 - 1):
            changed = whole[:at] + struct.pack("<Q", size) + whole[at + 8 :]
            for one in carved(tmp_path, bytes(changed)):
                assert one.offset + one.size <= len(whole)
