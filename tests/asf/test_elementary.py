"""Streams taken apart, and packed into Matroska: the same bytes and times as an independent demuxer gives."""

import csv
import io
import struct
import subprocess

import av
import numpy as np
import pytest
from click.testing import CliRunner
from peers import asf_objects as build
from peers import asf_whole as whole
from peers.media import make_asf

from mmsforensics import asf
from mmsforensics.asf.matroska import _in_order, write_matroska
from mmsforensics.cli import main

LANGUAGE_LIST = build.guid("7C4346A9-EFE0-4BFC-B229-393EDE415C85")
EXTENDED_STREAM = build.guid("14E6A5CB-C672-4332-8399-A96952065B5A")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.wmv"
    make_asf(path, seconds=5)
    return path


def demuxed(path):
    """Bytes and times (ms) of each stream's packets, by its index."""
    with av.open(str(path)) as container:
        found = {s.index: [] for s in container.streams if s.type in ("video", "audio")}
        for packet in container.demux():
            if packet.stream_index in found and packet.size:
                found[packet.stream_index].append(
                    (bytes(packet), round(float(packet.pts * packet.time_base) * 1000))
                )
    return found


def packed(path, out):
    with asf.open(path) as opened, out.open("xb") as file:
        return write_matroska(opened, file)


def test_a_stream_is_its_payloads_one_behind_the_other(film):
    by_stream = demuxed(film)
    with asf.open(film) as opened:
        for index, stream in enumerate(opened.streams):
            out = io.BytesIO()
            rows = asf.write_stream(opened, stream.number, out)
            pieces = [out.getvalue()[r["offset"] : r["offset"] + r["size"]] for r in rows]
            assert pieces == [data for data, _ in by_stream[index]]
            times = rows["presentation_ms"].astype(int) - opened.header.preroll_ms
            assert np.allclose(times, [t for _, t in by_stream[index]], atol=1)
            assert (rows["complete"] == 1).all()


def test_pictures_that_need_the_header_are_not_called_playable(tmp_path):
    """Parameter sets of H.264 stand in the header alone: with them put before, the stream decodes."""
    with av.open(str(tmp_path / "a.asf"), "w", format="asf") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        for k in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * k, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    done = CliRunner().invoke(main, ["extract", str(tmp_path / "a.asf"), "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    raw, told = tmp_path / "a.stream-1.bin", tmp_path / "a.stream-1.codec"
    (tmp_path / "a.h264").write_bytes(told.read_bytes() + raw.read_bytes())
    with av.open(str(tmp_path / "a.h264")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10


@pytest.mark.parametrize(
    ("tag", "told", "suffix"),
    [(b"H264", b"", ".h264"), (b"H264", b"x", ".bin"), (b"mpg2", b"", ".m2v"), (b"mp4v", b"", ".m4v")],
)
def test_a_stream_is_named_by_its_codec(tag, told, suffix):
    (stream,) = asf.parse_header(build.header(build.file_properties(), build.video(1, tag=tag))).streams
    assert asf.extension_of(stream, told) == suffix


def test_matroska_has_the_same_packets_at_the_same_times(film, tmp_path):
    result = packed(film, tmp_path / "film.mkv")
    before, after = demuxed(film), demuxed(tmp_path / "film.mkv")
    assert (result.left_out, result.blocks) == (0, sum(map(len, before.values())))
    for index in before:
        assert [d for d, _ in after[index]] == [d for d, _ in before[index]]
        assert np.allclose([t for _, t in after[index]], [t for _, t in before[index]], atol=1)


def test_matroska_of_real_files_decodes_to_the_same(sound_asf_path, tmp_path):
    """Whatever encoder made them: the same packets, but for objects that are not whole."""
    with asf.open(sound_asf_path) as opened:
        if not any(s.type in ("video", "audio") for s in opened.streams) or not opened.packet_count:
            return  # nothing to pack
    result = packed(sound_asf_path, tmp_path / "a.mkv")
    if not result.blocks:
        return
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert {s.type for s in container.streams} <= {"video", "audio"}
        assert sum(1 for p in container.demux() if p.size) == result.blocks


def test_matroska_plays_and_seeks(film, tmp_path, program):
    packed(film, tmp_path / "film.mkv")
    for seek in ([], ["-ss", "2.5"]):
        command = [program("ffmpeg"), "-v", "error", *seek, "-i", tmp_path / "film.mkv", "-f", "null", "-"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""


def elements(data, at=0, end=None):
    """(identifier, body) of the elements in a stretch, of lengths that their first bits say [RFC 8794]."""
    end = len(data) if end is None else end
    while at < end:
        width = 9 - data[at].bit_length()
        identifier, at = data[at : at + width].hex(), at + width
        width = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + width], "big") & (1 << 7 * width) - 1
        yield identifier, at + width, at + width + size
        at += width + size


def children(data, span):
    """The elements in one, by identifier."""
    found = {}
    for identifier, begin, end in elements(data, *span):
        found.setdefault(identifier, []).append((begin, end))
    return found


def cued(data):
    """Track and time of each cue, and (track, time, key) of the blocks of the cluster that it points to."""

    def value(span):
        return int.from_bytes(data[span[0] : span[1]], "big")

    (segment,) = children(data, (0, len(data)))["18538067"]
    for cues in children(data, segment).get("1c53bb6b", ()):
        for point in children(data, cues)["bb"]:
            (where,) = children(data, point)["b7"]
            place = segment[0] + value(children(data, where)["f1"][0])
            identifier, begin, end = next(elements(data, place))
            assert identifier == "1f43b675"
            cluster = children(data, (begin, end))
            base = value(cluster["e7"][0])
            blocks = [
                (data[b] & 0x7F, base + int.from_bytes(data[b + 1 : b + 3], "big", signed=True), data[b + 3])
                for b, _ in cluster["a3"]
            ]
            yield (value(children(data, where)["f7"][0]), value(children(data, point)["b3"][0])), blocks


@pytest.mark.parametrize("video", [True, False])
def test_a_cue_is_the_time_of_a_key_block(tmp_path, video):
    """A player that seeks goes by it: the cluster may begin a second before [RFC 9559 5.1.5]."""
    make_asf(tmp_path / "a.asf", seconds=5, video=video)
    packed(tmp_path / "a.asf", tmp_path / "a.mkv")
    found = list(cued((tmp_path / "a.mkv").read_bytes()))
    assert len(found) >= 5
    for (track, ms), blocks in found:
        assert (track, ms, 0x80) in blocks


def test_a_file_without_media_gets_no_empty_list_of_cues(tmp_path):
    (tmp_path / "a.wmv").write_bytes(whole.asf_file([], build.video(1), size=whole.SMALL))
    assert packed(tmp_path / "a.wmv", tmp_path / "a.mkv").blocks == 0
    data = (tmp_path / "a.mkv").read_bytes()
    (segment,) = children(data, (0, len(data)))["18538067"]
    assert segment[1] == len(data)
    assert list(children(data, segment)) == ["ec", "1549a966", "1654ae6b"]


@pytest.mark.parametrize(
    ("said", "found"),
    [("de-at", [b"und", b"de-at"]), ("", [b"und"]), ("x" * 99, [b"und"]), ("../\n", [b"und"])],
)
def test_a_track_has_the_language_that_its_stream_has(tmp_path, said, found):
    """One that says nothing is English [RFC 9559 5.1.4.1.19]: that would be a claim of ours."""
    text = build.utf16(said)
    languages = build.obj(LANGUAGE_LIST, struct.pack("<HB", 1, len(text)) + text)
    stream = build.obj(EXTENDED_STREAM, bytes(48) + struct.pack("<HHQHH", 1, 0, 0, 0, 0))
    head = build.extension(languages, stream) if said else build.extension()
    packets = [whole.single(0, b"abcdefgh", stream=1, number=0)]
    (tmp_path / "a.wmv").write_bytes(whole.asf_file(packets, head, build.video(1), size=whole.SMALL))
    packed(tmp_path / "a.wmv", tmp_path / "a.mkv")
    data = (tmp_path / "a.mkv").read_bytes()
    (segment,) = children(data, (0, len(data)))["18538067"]
    (tracks,) = children(data, segment)["1654ae6b"]
    track = children(data, children(data, tracks)["ae"][0])
    assert [data[a:b] for name in ("22b59c", "22b59d") for a, b in track.get(name, ())] == found


def test_spread_sound_is_put_back_in_order():
    """Two packets of three chunks each: chunk k of the object stands in row k // 2, column k % 2."""
    chunks = [bytes([k]) * 4 for k in range(6)]
    spread = b"".join(chunks[k] for k in (0, 2, 4, 1, 3, 5))
    assert _in_order(np.frombuffer(spread, dtype=np.uint8), (2, 12, 4)) == b"".join(chunks)
    for other in ((1, 12, 4), (2, 12, 0), (2, 13, 4), (3, 12, 4)):
        assert _in_order(np.frombuffer(spread, dtype=np.uint8), other) == spread


def test_objects_that_are_not_whole_are_left_out_of_matroska_alone(film, tmp_path):
    data = bytearray(film.read_bytes())
    with asf.open(film) as opened:
        at, size = opened.header.data_offset, opened.packet_size
    path = tmp_path / "hurt.wmv"
    path.write_bytes(data[: at + 3 * size] + data[at + 4 * size :])
    result = packed(path, tmp_path / "hurt.mkv")
    assert result.left_out >= 1
    with asf.open(path) as opened:
        whole = opened.media_objects()["complete"] != 0
    assert result.blocks == int(whole.sum())


def test_the_command(film, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(main, ["extract", *map(str, arguments)])

    done = run(film, "--out", tmp_path / "out", "--matroska")
    assert done.exit_code == 0, done.output
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"film.mkv", "film.stream-1.csv", "film.stream-1.bin"} <= names
    with (tmp_path / "out" / "film.stream-1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["key"] == "1"
    assert (
        int(rows[-1]["offset"]) + int(rows[-1]["size"])
        == (tmp_path / "out" / "film.stream-1.bin").stat().st_size
    )
    again = run(film, "--out", tmp_path / "out")
    assert (again.exit_code, "exists" in again.output) == (2, True)
    assert run(film, "--out", tmp_path / "x", "--stream", 77).exit_code == 2
    assert run(tmp_path / "no", "--out", tmp_path / "x").exit_code == 2
    (tmp_path / "text").write_text("hello")
    assert run(tmp_path / "text", "--out", tmp_path / "x").exit_code == 2
    (tmp_path / "empty.wmv").write_bytes(whole.asf_file([], build.command_stream(3), size=whole.SMALL))
    refused = run(tmp_path / "empty.wmv", "--out", tmp_path / "y", "--matroska")
    assert (refused.exit_code, "no stream of sound or pictures" in refused.output) == (2, True)
    assert not (tmp_path / "y" / "empty.mkv").exists()
