"""Synthetic, deterministic ASF files made by PyAV (libavformat's ASF muxer)."""

import errno
from fractions import Fraction

import av
import numpy as np

WIDTH, HEIGHT, RATE, SAMPLE_RATE = 160, 120, 10, 44100


def picture(number):
    """RGB test picture `number`: a moving gradient with a little noise, so that frames need some bytes."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.stack([x + 5 * number, y + 3 * number, x + y - 4 * number], axis=-1)
    noise = np.random.default_rng(number).integers(0, 24, image.shape)
    return ((image + noise) % 256).astype(np.uint8)


def tone(first, count):
    """`count` stereo samples from sample `first` on: two sine waves, planar float."""
    t = (first + np.arange(count)) / SAMPLE_RATE
    return (0.4 * np.stack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 660 * t)])).astype(np.float32)


def add_video(container, seconds):
    """Video encoder and its frames with their times in seconds."""
    stream = container.add_stream("wmv2", rate=RATE)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    stream.bit_rate = 300_000
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"flags": "+bitexact", "g": "10"}

    def frames():
        for i in range(round(seconds * RATE)):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            yield i / RATE, stream, frame

    return stream, frames()


def add_audio(container, seconds):
    """Audio encoder and its frames with their times in seconds."""
    stream = container.add_stream("wmav2", rate=SAMPLE_RATE, layout="stereo")
    stream.bit_rate = 64_000
    stream.codec_context.options = {"flags": "+bitexact"}
    size = 2048

    def frames():
        for first in range(0, round(seconds * SAMPLE_RATE), size):
            frame = av.AudioFrame.from_ndarray(tone(first, size), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
            yield first / SAMPLE_RATE, stream, frame

    return stream, frames()


def make_asf(path, *, seconds=2, video=True, audio=True, title="", author="", packet_size=3200):
    """Write an ASF file (WMV2 and WMA2), the same bytes each time; returns its path as text."""
    path = str(path)
    options = {"packet_size": str(packet_size), "fflags": "+bitexact"}
    with av.open(path, "w", format="asf", options=options) as container:
        for key, value in (("title", title), ("author", author)):
            if value:
                container.metadata[key] = value
        adders = [add for add, wanted in ((add_video, video), (add_audio, audio)) if wanted]
        sources = [add(container, seconds) for add in adders]
        for _, stream, frame in sorted(
            (item for _, frames in sources for item in frames), key=lambda item: item[0]
        ):
            container.mux(stream.encode(frame))
        for stream, _ in sources:
            container.mux(stream.encode(None))
    return path


def demux(url, *, count=None, **options):
    """What a player gets of a URL: (stream index, key frame, bytes) of each packet, at most `count` of them.

    FFmpeg reads on for ever behind the end of an MMS stream over TCP, so give `count` there; the end of one
    over HTTP is an input/output error to it, and here the end.
    """
    packets = []
    with av.open(str(url), **options) as container:
        try:
            for packet in container.demux():
                if packet.size:
                    packets.append((packet.stream_index, packet.is_keyframe, bytes(packet)))
                if len(packets) == count:
                    break
        except av.FFmpegError as error:
            if error.errno != errno.EIO or not packets:
                raise
    return packets
