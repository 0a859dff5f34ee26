"""Files that ffmpeg's muxer makes while the test runs: read as ffmpeg reads them, and held to the rules."""

import io
import subprocess

import av
import numpy as np
import pytest

from mmsforensics import asf
from mmsforensics.asf.validation import validate


class Pipe:
    """Takes bytes and cannot go back: what ffmpeg writes to it is a live recording."""

    def __init__(self, path):
        self.file = path.open("wb")
        self.write = self.file.write


def make(path, *, live=False, video=None, audio=None, seconds=2):
    """A film of moving bars and a tone."""
    with av.open(Pipe(path) if live else str(path), "w", format="asf") as out:
        out.metadata["title"] = "Prüfstück"
        pictures = out.add_stream(video, rate=25, options={"g": "10"}) if video else None
        if pictures:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream(audio, rate=44100) if audio else None
        if sound:
            sound.bit_rate, sound.layout = 64000, "stereo"
        for k in range(25 * seconds if pictures else 0):
            picture = np.full((48, 64, 3), 40, dtype=np.uint8)
            picture[:, k % 64] = (k * 7 % 256, 200, 90)
            out.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if sound:
            encode_tone(out, sound, seconds)
        for stream in (pictures, sound):
            if stream:
                out.mux(stream.encode(None))


def encode_tone(out, sound, seconds):
    name = sound.codec_context.format.name
    size = sound.codec_context.frame_size or 1024
    for k in range(44100 * seconds // size):
        wave = np.sin(np.arange(k * size, (k + 1) * size) / 16)
        samples = np.stack([wave, wave])
        if name.startswith("s"):
            samples = (samples * 8000).astype(np.int16 if name.startswith("s16") else np.int32)
        data = samples.astype(np.float32) if name.startswith("flt") else samples
        if not name.endswith("p"):
            data = data.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=name, layout="stereo")
        frame.sample_rate, frame.pts = 44100, k * size
        out.mux(sound.encode(frame))


KINDS = {
    "WMV 2 and WMA 2": {"video": "wmv2", "audio": "wmav2"},
    "WMV 1 and WMA 1, live": {"live": True, "video": "wmv1", "audio": "wmav1"},
    "MPEG-4 and MP2": {"video": "mpeg4", "audio": "mp2"},
    "audio only": {"audio": "wmav2"},
    "PCM": {"audio": "pcm_s16le"},
    "video only": {"video": "msmpeg4v3"},
}


@pytest.fixture(params=KINDS)
def made(request, tmp_path):
    """Path of a file of each kind."""
    path = tmp_path / "made.asf"
    make(path, **KINDS[request.param])
    return path


def test_objects_are_the_packets_ffmpeg_reads(made):
    with asf.open(made) as one, av.open(str(made), container_options={"fflags": "noparse"}) as container:
        assert one.packets()["ok"].all()
        rows = one.media_objects()
        theirs = [p for p in container.demux() if p.size]
        for stream in one.streams:
            peers = [p for p in theirs if p.stream.id == stream.number]
            ours = rows[rows["stream"] == stream.number]
            assert len(peers) > 4
            assert (ours["complete"] == 1).all()
            assert [one.object_bytes(row) for row in ours] == [bytes(p) for p in peers]
            times = [p.pts if p.pts is not None else p.dts for p in peers]
            assert (ours["presentation_ms"].astype(np.int64) - one.header.preroll_ms).tolist() == times
            if stream.type == "video":
                assert ours["key"].astype(bool).tolist() == [p.is_keyframe for p in peers]
        assert one.header.title == "Prüfstück"


@pytest.mark.parametrize(
    "kind",
    [
        *({"audio": name} for name in ("pcm_s24le", "pcm_f32le", "adpcm_ms", "libmp3lame", "eac3", "flac")),
        *({"video": name} for name in ("wmv1", "mpeg4", "flv", "h263p", "ffv1", "mpeg2video", "rawvideo")),
    ],
    ids=lambda kind: next(iter(kind.values())),
)
def test_codecs_have_the_names_ffmpeg_gives_them(tmp_path, kind):
    """Also where a WAVEFORMATEXTENSIBLE names them behind the format."""
    make(tmp_path / "a.asf", **kind, seconds=1)
    with asf.open(tmp_path / "a.asf") as one, av.open(str(tmp_path / "a.asf")) as container:
        (theirs,) = container.streams
        assert [s.codec for s in one.streams] == [theirs.codec_context.codec.canonical_name]


def test_they_are_written_again(made):
    with asf.open(made) as one:
        out = io.BytesIO()
        one.write(out)
        assert out.getvalue() == made.read_bytes()


def test_ffmpeg_keeps_the_rules(made):
    """Where it cannot go back it appends fields that it meant for the header, which are no object."""
    with asf.open(made) as one:
        broken = [v.found for v in validate(one) if v.level == "shall"]
        assert broken == (["12 bytes that are none"] if one.header.broadcast else [])


def test_chapters_are_markers(tmp_path, program):
    (tmp_path / "chapters").write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=900\nEND=2000\ntitle=Zwei\n"
    )
    make(tmp_path / "a.asf", video="wmv2")
    subprocess.run(
        [
            program("ffmpeg"),
            "-v",
            "error",
            "-i",
            "a.asf",
            "-i",
            "chapters",
            "-map_chapters",
            "1",
            "-c",
            "copy",
            "b.asf",
        ],
        cwd=tmp_path,
        check=True,
    )
    with asf.open(tmp_path / "b.asf") as one:
        marker = next(item for item in one.walk() if item.name == "Marker")
        markers = marker.fields["Markers"]
        assert [m["Marker Description"] for m in markers] == ["One", "Zwei"]
        preroll = one.header.preroll_ms
        assert [m["Presentation Time"] // 10_000 - preroll for m in markers] == [0, 900]
