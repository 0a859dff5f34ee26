"""Files of real encoders and taggers: independent readers and we read the same."""

import av
import numpy as np
import pytest
from mutagen.asf import ASF

from mmsforensics.asf import parse_header, walk_payloads


def header_of(path):
    return parse_header(path.read_bytes())


def test_any_file_is_read_without_an_error(asf_path):
    header = header_of(asf_path)
    assert header.size > 0
    assert header.tree or header.problems


def test_tags_are_those_mutagen_reads(asf_path):
    try:
        theirs = ASF(asf_path)
    except Exception as error:  # it fails in many ways on damage
        pytest.skip(f"mutagen does not read it: {error}")
    header = header_of(asf_path)
    ours = sorted((tag.name, tag.value) for tag in header.tags if tag.type not in ("bytes", "guid"))
    wanted = sorted(
        (name, text_of(value))
        for name, values in theirs.tags.items()
        for value in values
        if not isinstance(value.value, bytes) and (name not in DESCRIPTION or value.value)
    )
    assert ours == wanted


DESCRIPTION = ("Title", "Author", "Copyright", "Description", "Rating")
"""Fields of the Content Description; one without text is no tag to us."""


def text_of(value):
    """A value of mutagen's as we write it."""
    return str(value.value).lower() if isinstance(value.value, bool) else str(value.value)


def test_streams_are_those_ffmpeg_reads(asf_path):
    header = header_of(asf_path)
    if header.problems or not header.data_offset:
        pytest.skip("damaged on purpose: what ffmpeg guesses is no measure")
    try:
        container = av.open(str(asf_path))
    except av.FFmpegError as error:
        pytest.skip(f"ffmpeg does not read it: {error}")
    with container:
        theirs = sorted(
            (s.id, s.type, s.codec_context.name)
            for s in container.streams
            if s.type in ("audio", "video") and s.id > 0  # pictures among the tags have no number
        )
        ours = sorted((s.number, s.type, s.codec) for s in header.streams if s.type in ("audio", "video"))
        assert [row[:2] for row in ours] == [row[:2] for row in theirs]
        assert [row[2] for row in ours] == [DECODERS.get(row[2], row[2]) for row in theirs]
        for stream in header.streams:
            peer = next((s for s in container.streams if s.id == stream.number), None)
            if stream.type == "video":
                assert (stream.width, stream.height) == (peer.width, peer.height)
            elif stream.type == "audio":
                assert (stream.channels, stream.sample_rate) == (peer.channels, peer.sample_rate)


DECODERS = {"mp3float": "mp3", "mp2float": "mp2", "msmpeg4": "msmpeg4v3"}
"""Codecs by the names of ffmpeg's decoders, where those differ."""


def test_every_packet_parses(asf_path):
    raw = np.fromfile(asf_path, dtype=np.uint8)
    header = header_of(asf_path)
    if header.problems or not header.packet_size:
        pytest.skip("damaged on purpose")
    body = raw[header.data_offset :]
    count = min(header.packet_count or len(body), len(body) // header.packet_size)
    heads, payloads = walk_payloads(body[: count * header.packet_size], header.packet_size)
    assert heads["ok"].all()
    assert set(payloads["stream"].tolist()) <= {s.number for s in header.streams}
    ends = payloads["object_offset"].astype(np.int64) + payloads["length"]
    assert (ends <= np.where(payloads["object_size"] == 0, 1 << 40, payloads["object_size"])).all()
