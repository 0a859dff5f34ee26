"""The confined process that decodes a medium for its preview; a program that imports nothing of the package.

Rules of this file:

* media from evidence are hostile, and decoders have defects: before the first byte is looked at, the process
  gives up everything it does not need. Memory, processor time and open files are limited, files cannot be
  written, no socket can be made and no program started (seccomp); the medium is its standard input;
* what cannot be confined is not decoded;
* results go out through standard output: a line of JSON, then the bytes it announces.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import platform
import resource
import struct
import sys
import time
from typing import Any

MEMORY = 2 << 30
"""Bytes of address space."""

CPU_SECONDS = 60
"""Processor time, after which the system ends the process."""

ENOUGH_SECONDS = 40
"""Processor time after which a step ends with what it has."""

FILES = 16

THUMBNAILS = 24
THUMBNAIL_WIDTH = 320
CLIP_SECONDS = 10
CLIP_WIDTH = 480
CLIP_RATE = 48000
"""Samples a second of its sound."""

PEAK_RATE = 100
"""Peaks a second of the waveform."""

SOUND_RATE = 8000
MAX_PEAKS = 1 << 20
MAX_PIXELS = 1 << 25
"""Pixels of a picture: 33 million, four times 4K."""

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_FILTER = 2
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050001  # the last with EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32 = 0x40000000

_REFUSED = {
    # socket, connect, socketpair, fork, vfork, execve, kill, ptrace, process_vm_writev, execveat,
    # io_uring_setup
    "x86_64": (0xC000003E, (41, 42, 53, 57, 58, 59, 62, 101, 311, 322, 425)),
    # socket, socketpair, connect, execve, kill, ptrace, process_vm_writev, execveat, io_uring_setup
    "aarch64": (0xC00000B7, (198, 199, 203, 221, 129, 117, 271, 281, 425)),
}
"""Audit number of the architecture and the system calls refused [linux/audit.h, asm/unistd.h]."""


def confine() -> None:
    """Give up what decoding does not need.

    Raises
    ------
    OSError
        The system does not allow to give it up.
    """
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _REFUSED:
        raise OSError(f"there is no system call filter for {sys.platform} on {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    code = _filter(*_REFUSED[machine])
    program = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(program))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _FILTER, described, 0, 0):
        raise OSError(ctypes.get_errno(), "the system call filter was refused")


def _filter(architecture: int, refused: tuple[int, ...]) -> bytes:
    """Return a BPF program over `seccomp_data`: architecture at 4, system call at 0 [seccomp(2)]."""

    def step(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, k)

    steps = [
        step(_LOAD, 4),
        step(_EQUAL, architecture, 1, 0),
        step(_RETURN, _KILL),
        step(_LOAD, 0),
        step(_AT_LEAST, _X32, len(refused) + 1, 0),
    ]
    for i, call in enumerate(refused):
        steps.append(step(_EQUAL, call, len(refused) - i, 0))
    return b"".join([*steps, step(_RETURN, _ALLOW), step(_RETURN, _REFUSE)])


def spent() -> bool:
    """Whether a step should end with what it has."""
    return time.process_time() > ENOUGH_SECONDS


def moving(av: Any, container: Any) -> list[Any]:
    """Video streams, without the pictures attached to a medium, which the decoder shows as such."""
    attached = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & attached]


def thumbnails(av: Any, source: io.FileIO, told: dict[str, Any]) -> list[bytes]:
    """Key frames over the whole medium, small, as RGB; some of them where there are many."""
    kept: list[tuple[float, bytes, int, int]] = []
    every = count = 0
    with av.open(source) as container:
        streams = moving(av, container)
        if not streams:
            return []
        stream = streams[0]
        stream.codec_context.skip_frame = "NONKEY"
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.width * frame.height > MAX_PIXELS:
                raise ValueError(f"a picture of {frame.width} x {frame.height}")
            if count % (1 << every) == 0:
                height = max(round(frame.height * THUMBNAIL_WIDTH / frame.width), 1)
                small = frame.reformat(width=THUMBNAIL_WIDTH, height=min(height, 1024), format="rgb24")
                kept.append((frame.time or 0.0, small.to_ndarray().tobytes(), small.width, small.height))
            if len(kept) > 2 * THUMBNAILS:
                kept, every = kept[::2], every + 1
            count += 1
            if spent():
                told["notes"].append("key frames: not all were decoded, time was up")
                break
    step = max(-(-len(kept) // THUMBNAILS), 1)
    kept = kept[::step]
    told["key_frames"] = count
    told["thumbnails"] = [{"time": t, "width": w, "height": h} for t, _, w, h in kept]
    return [data for _, data, _, _ in kept]


def waveform(av: Any, source: io.FileIO, told: dict[str, Any]) -> list[bytes]:
    """Least and largest sample of each hundredth of a second, float32 pairs."""
    import numpy as np

    parts: list[Any] = []
    size = SOUND_RATE // PEAK_RATE
    with av.open(source) as container:
        if not container.streams.audio:
            return []
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SOUND_RATE)
        rest, peaks = np.empty(0, dtype=np.float32), 0
        begun: float | None = None
        for frame in container.decode(stream):
            moment = float(frame.time or 0.0)
            begun = moment if begun is None else begun
            late = round((moment - begun - (peaks + len(rest) / size) / PEAK_RATE) * PEAK_RATE)
            if (
                PEAK_RATE // 10 < late <= MAX_PEAKS - peaks
            ):  # sound that is not there: what follows stays in time
                parts.append(np.zeros((late, 2), dtype="<f4"))
                peaks += late
            for piece in resampler.resample(frame):
                rest = np.concatenate((rest, piece.to_ndarray().reshape(-1)))
            whole = len(rest) // size
            if whole:
                bins = np.nan_to_num(rest[: whole * size].reshape(whole, size))
                parts.append(np.stack((bins.min(axis=1), bins.max(axis=1)), axis=1).astype("<f4"))
                rest, peaks = rest[whole * size :], peaks + whole
            if spent() or peaks > MAX_PEAKS:
                told["notes"].append("waveform: not all was decoded, time was up")
                break
    told["peaks"] = peaks
    told["peak_rate"] = PEAK_RATE
    return [b"".join(p.tobytes() for p in parts)]


def clip(av: Any, source: io.FileIO, told: dict[str, Any]) -> list[bytes]:
    """Return the first seconds as WebM: VP8 and Opus, which every browser plays."""
    out = io.BytesIO()
    with av.open(source) as container, av.open(out, "w", format="webm") as made:
        pairs = {}
        for video in moving(av, container)[:1]:
            video.codec_context.thread_count = 1
            shape = _clip_shape(video.codec_context.width, video.codec_context.height)
            target = made.add_stream("libvpx", rate=25, options={"deadline": "realtime", "cpu-used": "8"})
            target.width, target.height, target.pix_fmt = *shape, "yuv420p"
            pairs[video.index] = target, None
        if container.streams.audio:
            sound = container.streams.audio[0]
            sound.codec_context.thread_count = 1
            target = made.add_stream("libopus", rate=CLIP_RATE)
            target.layout = "stereo"
            pairs[sound.index] = target, av.AudioResampler(format="s16", layout="stereo", rate=CLIP_RATE)
        if not pairs:
            return []
        _transcode(av, container, made, pairs)
    told["clip"] = "webm"
    return [out.getvalue()]


def _clip_shape(width: int, height: int) -> tuple[int, int]:
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"a picture of {width} x {height}")
    small = min(width, CLIP_WIDTH)
    return max(small // 2 * 2, 2), min(max(round(height * small / width) // 2 * 2, 2), 2048)


def silence(av: Any, samples: int) -> list[Any]:
    """As many samples without sound, in the place of sound that is not there: what follows stays in time."""
    frame = av.AudioFrame(format="s16", layout="stereo", samples=samples)
    frame.sample_rate = CLIP_RATE
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return [frame]


def _transcode(av: Any, container: Any, made: Any, pairs: dict[int, Any]) -> None:
    from fractions import Fraction

    begun: float | None = None
    last = dict.fromkeys(pairs, -1)
    sounded = 0  # samples
    for packet in container.demux([container.streams[i] for i in pairs]):
        target, resampler = pairs[packet.stream.index]
        for frame in packet.decode():
            moment = float(frame.time or 0.0)
            begun = moment if begun is None else begun
            if moment - begun > CLIP_SECONDS or spent():
                break
            if resampler is None:
                at = round((moment - begun) * 1000)
                if at <= last[packet.stream.index]:
                    continue
                last[packet.stream.index] = at
                frame = frame.reformat(width=target.width, height=target.height, format="yuv420p")
                frame.pts, frame.time_base = at, Fraction(1, 1000)
                pieces = [frame]
            else:
                late = round((moment - begun) * CLIP_RATE) - sounded
                pieces = silence(av, late) if late > CLIP_RATE // 10 else []
                pieces += resampler.resample(frame)
                sounded += sum(piece.samples for piece in pieces)
            for piece in pieces:
                if resampler is not None:
                    piece.pts = None
                made.mux(target.encode(piece))
        else:
            continue
        break
    for target, _ in pairs.values():
        made.mux(target.encode(None))


STEPS = {"thumbnails": thumbnails, "waveform": waveform, "clip": clip}


def main() -> int:
    """Decode standard input, and tell on standard output."""
    import av
    import numpy  # loaded before files are closed off

    av.logging.set_level(av.logging.PANIC)
    del numpy
    told: dict[str, Any] = {"notes": [], "blobs": []}
    confine()
    source = io.FileIO(os.dup(0), "r")
    blobs: list[bytes] = []
    for name, step in STEPS.items():
        source.seek(0)
        try:
            made = step(av, source, told)
        except Exception as error:  # whatever a decoder raises costs this step alone
            told["notes"].append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
            continue
        blobs += made
        told["blobs"] += [{"step": name, "size": len(b)} for b in made]
    out = sys.stdout.buffer
    out.write(json.dumps(told).encode() + b"\n" + b"".join(blobs))
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
