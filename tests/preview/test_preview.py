"""Previews are made in a process that can do nothing else, and what it says is not believed."""

import json
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SAMPLES
from peers import asf_objects as build
from peers.media import make_asf

import mmsforensics
from mmsforensics.cli import main
from mmsforensics.preview import PreviewError, decode, preview
from mmsforensics.preview.decoding import CHILD, _believed

FILM, TONE = "c003-s0001-m1-playable", "c004-s0001-m1-faithful"


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return mmsforensics.analyze([SAMPLES], out=tmp_path_factory.mktemp("case") / "case")


def film(case):
    return case.media_path(FILM)


# --- what is made --------------------------------------------------------------------------------------


def test_key_frames_sound_and_clip_of_a_video(case):
    decoded = decode(film(case))
    assert decoded.notes == ()
    assert [round(seconds) for seconds, _ in decoded.thumbnails] == [0, 2, 4, 6]
    assert {picture.shape for _, picture in decoded.thumbnails} == {(240, 320, 3)}
    red, green = decoded.thumbnails[0][1][200, 20], decoded.thumbnails[0][1][200, 80]
    assert red[0] > 200 > green[0] + 100, "the bars of the test pattern"
    assert len(decoded.peaks) / decoded.peak_rate == pytest.approx(8.0, abs=0.2)
    assert np.ptp(decoded.peaks) > 0.05


def test_sound_that_is_not_there_brings_nothing_out_of_step(case, tmp_path):
    """Sound begins two seconds late, and has a hole of two more: silence stands there, and no other sound."""
    with av.open(str(film(case))) as source, av.open(str(tmp_path / "a.asf"), "w", format="asf") as made:
        streams = {s.index: made.add_stream_from_template(s) for s in source.streams if s.type != "data"}
        for packet in source.demux():
            if packet.size and not (
                packet.stream.type == "audio" and int(packet.pts * packet.time_base) in (0, 1, 4, 5)
            ):
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    decoded = decode(tmp_path / "a.asf")
    (tmp_path / "a.webm").write_bytes(decoded.clip)
    wave = [np.abs(decoded.peaks[100 * k + 30 : 100 * k + 70]).max() > 0.02 for k in range(6)]
    assert wave == [True, True, False, False, True, True], "the waveform begins with the sound"
    with av.open(str(tmp_path / "a.webm")) as clip:
        loud = np.zeros(8)
        for frame in clip.decode(audio=0):
            second, part = divmod(frame.time, 1)
            if 0.3 < part < 0.7 and second < len(loud):  # away from the edges
                loud[int(second)] = max(loud[int(second)], np.abs(frame.to_ndarray()).max())
    assert (loud > 0.02).tolist() == [False, False, True, True, False, False, True, True]


@pytest.mark.parametrize("video", [True, False])
def test_an_attached_picture_is_no_key_frame(tmp_path, video):
    """A cover stands before the streams of a header, and the decoder takes it for the first video stream."""
    raw = bytearray(Path(make_asf(tmp_path / "a.wmv", seconds=1, video=video)).read_bytes())
    row = zlib.compress(b"\0" + b"\xff\0\0" * 1)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)), (b"IDAT", row), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )
    cover = build.attributes(("WM/Picture", build.picture(3, "image/png", "", png)))
    size, count = struct.unpack_from("<QI", raw, 16)
    struct.pack_into("<QI", raw, 16, size + len(cover), count + 1)
    raw[30:30] = cover
    (tmp_path / "b.wmv").write_bytes(raw)
    decoded = decode(tmp_path / "b.wmv")
    assert decoded.notes == ()
    assert decoded.key_frames == video
    assert [picture.shape for _, picture in decoded.thumbnails] == [(240, 320, 3)] * video
    (tmp_path / "b.webm").write_bytes(decoded.clip)
    with av.open(str(tmp_path / "b.webm")) as clip:
        assert len(clip.streams.video) == video
        assert len(clip.streams.audio) == 1


def test_the_clip_is_web_media_of_ten_seconds_at_most(case, tmp_path):
    (tmp_path / "a.webm").write_bytes(decode(film(case)).clip)
    with av.open(str(tmp_path / "a.webm")) as clip:
        assert {s.codec_context.name for s in clip.streams} == {"vp8", "opus"}
        times = [float(f.time) for f in clip.decode(video=0)]
    assert len(times) > 80
    assert 0 <= times[0] < 0.2
    assert times[-1] < 10.1


def test_the_files_of_a_case(case, tmp_path):
    made = preview(case, tmp_path / "out", [FILM, TONE])
    names = {p.media_id: p.made for p in made}
    assert names[FILM] == tuple(f"{FILM}.{part}" for part in ("frames.png", "sound.png", "clip.webm"))
    assert names[TONE] == tuple(f"{TONE}.{part}" for part in ("sound.png", "clip.webm"))
    assert all((tmp_path / "out" / name).stat().st_size > 1000 for p in made for name in p.made)
    assert [p["media_id"] for p in json.loads((tmp_path / "out" / "previews.json").read_text())] == [
        FILM,
        TONE,
    ]


def test_the_same_medium_gives_the_same_pictures(case, tmp_path):
    for name in ("a", "b"):
        preview(case, tmp_path / name, [TONE])
    assert (tmp_path / "a" / f"{TONE}.sound.png").read_bytes() == (
        tmp_path / "b" / f"{TONE}.sound.png"
    ).read_bytes()


# --- confinement ---------------------------------------------------------------------------------------

ATTEMPTS = {
    "a socket": "import socket; socket.socket()",
    "a connection": "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "a program": "import os; os.execv('/bin/true', ['true'])",
    "a child": "import subprocess; subprocess.run(['/bin/true'])",
    "a file": "open(path, 'wb', buffering=0).write(b'x')",
    "memory": "bytearray(3 << 30)",
    "many files": "files = [open('/dev/null') for _ in range(40)]",
    "a signal": "import os; os.kill(os.getppid(), 0)",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_process_can_do_nothing_else(attempt, tmp_path):
    code = (
        f"import sys, socket, subprocess; sys.path.insert(0, {str(CHILD.parent)!r}); import child\n"
        f"path = {str(tmp_path / 'file')!r}\n"
        "child.confine()\n"
        f"try:\n    {ATTEMPTS[attempt]}\n"
        "except (OSError, MemoryError) as error: print('refused', type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    # A file size of zero is held by a signal, which Python ignores, or ends the process.
    assert done.stdout.startswith("refused") or done.returncode < 0, (done.stdout, done.stderr)
    assert not (tmp_path / "file").exists() or (tmp_path / "file").stat().st_size == 0


def test_endless_work_is_ended_by_the_system():
    code = (
        f"import sys; sys.path.insert(0, {str(CHILD.parent)!r}); import child\n"
        "child.CPU_SECONDS = 1\nchild.confine()\nwhile True: pass"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, timeout=60)
    assert done.returncode < 0


# --- hostile media -------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x" * 1000, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")])
def test_what_is_no_medium_gives_nothing(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    decoded = decode(tmp_path / "a")
    assert (decoded.thumbnails, len(decoded.peaks), decoded.clip) == ((), 0, b"")
    assert len(decoded.notes) == 3, "each step says why"


@pytest.mark.parametrize("seed", range(4))
def test_damage_costs_a_preview_at_most(case, tmp_path, seed):
    rng = random.Random(seed)
    data = bytearray(film(case).read_bytes())
    for _ in range(200 * seed + 20):
        data[rng.randrange(len(data))] = rng.randrange(256)
    (tmp_path / "a.wmv").write_bytes(data)
    try:
        decode(tmp_path / "a.wmv")
    except PreviewError as error:
        assert "confined process" in str(error)


GOOD = {
    "blobs": [{"step": "thumbnails", "size": 12}, {"step": "clip", "size": 4}],
    "thumbnails": [{"time": 1.5, "width": 2, "height": 2}],
}
REST = bytes(12) + b"\x1a\x45\xdf\xa3"


def test_what_the_process_says_is_taken_when_it_fits():
    decoded = _believed(GOOD, REST)
    assert decoded.thumbnails[0][1].shape == (2, 2, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"thumbnails": [{"time": 0, "width": 9, "height": 2}]},
        {"thumbnails": [{"time": "0", "width": 2, "height": 2}]},
        {"thumbnails": []},
        {"thumbnails": 7},
        {"blobs": [{"step": "thumbnails", "size": -1}]},
        {"blobs": [{"step": "other", "size": 16}]},
        {"blobs": [{"step": "thumbnails", "size": 12}]},
        {"notes": 5},
        {"key_frames": True},
    ],
)
def test_what_cannot_be_is_not_believed(change):
    with pytest.raises((ValueError, KeyError, TypeError)):
        _believed({**GOOD, **change}, REST)


# --- the command ---------------------------------------------------------------------------------------


def test_the_command_typed_wrong(case, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(main, ["preview", *map(str, arguments)])

    assert run(case.path, "--out", tmp_path, "--media", "nope").exit_code == 2
    assert run(tmp_path, "--out", tmp_path / "x").exit_code == 2
    assert run(case.path).exit_code == 2
    inside = run(case.path, "--out", case.path / "report")
    assert (inside.exit_code, "lies in the case" in inside.output) == (2, True)
    done = run(case.path, "--out", tmp_path / "out", "--media", TONE)
    assert (done.exit_code, f"{TONE}.sound.png" in done.output) == (0, True)
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(b"")
    nothing = run(mmsforensics.analyze(empty, tmp_path / "nothing").path, "--out", tmp_path / "none")
    assert (nothing.exit_code, "no recovered medium to look at" in nothing.output) == (1, True)
