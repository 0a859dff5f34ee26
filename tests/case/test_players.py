"""Recovered media, whole and with frames lost, play and seek in players that share nothing with this tool.

Each says it in its own way: MPlayer by the frames and samples that it puts out, VLC by what it streams on
into another file, GStreamer by reaching the end of the stream and by what its discoverer finds.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import pytest
from builders import read_pcap, write_pcap
from conftest import SAMPLES

import mmsforensics

CAPTURES = sorted(json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8")))
HEADER_FRAMES = 60
"""Frames of a sample among which its header is; later ones may be lost."""
SEEK_S = 2
NOBODY = 65534
"""Who VLC runs as where the tests run as root, which it refuses."""


@pytest.fixture(scope="module", params=[0.0, 0.03], ids=["whole", "with losses"])
def files(request, tmp_path_factory):
    """Of each sample the file to play and what it is: path, kinds of its streams, seconds."""
    found = {}
    for capture in CAPTURES:
        rng, folder = random.Random(7), tmp_path_factory.mktemp("played")
        frames = read_pcap(SAMPLES / capture)
        kept = [f for i, f in enumerate(frames) if i < HEADER_FRAMES or rng.random() >= request.param]
        case = mmsforensics.analyze([write_pcap(folder / "a.pcap", kept)], out=folder / "case")
        media = {row["kind"]: row for row in case.table("media").to_pylist()}
        row = media.get("playable", media["faithful"])
        streams = [s for s in case.table("media_streams").to_pylist() if s["media_id"] == row["media_id"]]
        found[capture] = case.path / row["path"], {s["type"] for s in streams}, row["duration_ms"] / 1000
    return found


@pytest.fixture(params=CAPTURES)
def played(request, files):
    return files[request.param]


ATTEMPTS = 3
"""gst-launch hangs before it plays, now and then on a busy machine; a bad file does so every time."""


def run(command, **options):
    for attempt in range(ATTEMPTS):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
        except subprocess.TimeoutExpired:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            break
    return done.returncode, done.stdout + done.stderr


def mplayer(program, path, out, *options):
    """How many pictures and how many seconds of sound MPlayer puts out."""
    quiet = (program("mplayer"), "-nolirc", "-noconfig", "all", "-really-quiet", "-benchmark")
    pictures, sound = out / "pictures", out / "sound.wav"
    run([*quiet, "-nosound", "-vo", "md5sum:outfile=pictures", *options, path], cwd=out)
    run(
        [
            *quiet,
            "-novideo",
            "-vo",
            "null",
            "-af",
            "format=s16le",
            "-ao",
            "pcm:fast:file=sound.wav",
            *options,
            path,
        ],
        cwd=out,
    )
    lines = len(pictures.read_text().splitlines()) if pictures.exists() else 0
    if not sound.exists():
        return lines, 0.0
    with wave.open(str(sound)) as samples:
        return lines, samples.getnframes() / samples.getframerate()


def test_mplayer_plays_to_the_end_and_seeks(played, program, tmp_path):
    path, kinds, seconds = played
    (tmp_path / "seek").mkdir()
    pictures, sound = mplayer(program, path, tmp_path)
    later_pictures, later_sound = mplayer(program, path, tmp_path / "seek", "-ss", str(SEEK_S))
    if "video" in kinds:
        assert 0 < later_pictures <= pictures
    if "audio" in kinds:
        assert 0.7 * seconds < sound < 1.2 * seconds + 1
        assert 0 < later_sound < sound


def test_gstreamer_plays_to_the_end_and_can_seek(played, program):
    path, _, seconds = played
    play = [program("gst-launch-1.0"), "filesrc", f"location={path}", "!", "decodebin", "!", "fakesink"]
    code, said = run([*play, "sync=false"])
    assert (code, "Got EOS" in said, "ERROR" in said) == (0, True, False), said
    _, said = run([program("gst-discoverer-1.0"), "-v", path])
    assert "Seekable: yes" in said, said
    hours, minutes, rest = re.search(r"Duration: ([0-9]+):([0-9]+):([0-9.]+)", said).groups()
    assert int(hours) * 3600 + int(minutes) * 60 + float(rest) == pytest.approx(seconds, abs=0.5)


def test_vlc_seeks_and_streams_on(played, program):
    path, _, seconds = played
    vlc, ffprobe = program("cvlc"), program("ffprobe")
    with tempfile.TemporaryDirectory() as folder:  # of everybody's, unlike those of the tests
        Path(folder).chmod(0o777)
        source, out = Path(folder, path.name), Path(folder, "out.asf")
        shutil.copy(path, source)
        source.chmod(0o644)
        who = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        onward = ["--sout", f"#std{{access=file,mux=asf,dst={out}}}", "vlc://quit"]
        command = [vlc, "-I", "dummy", "--start-time", str(SEEK_S), source, *onward]
        code, said = run(command, env={**os.environ, "HOME": folder}, cwd=folder, **who)
        assert (code, out.exists()) == (0, True), said
        times = run([ffprobe, "-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0", out])[1]
    written = [float(t) for t in re.findall(r"^[0-9.]+", times, re.MULTILINE)]
    assert seconds / 3 < max(written) - min(written) < seconds + 0.5
