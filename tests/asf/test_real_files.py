"""Files of real encoders and taggers: independent readers and we read the same."""

import av
import numpy as np
from mutagen.asf import ASF

from mmsforensics.asf import parse_header, walk_payloads


def header_of(path):
    return parse_header(path.read_bytes())


def test_any_file_is_read_without_an_error(asf_path):
    header = header_of(asf_path)
    assert header.size > 0
    assert header.tree or header.problems


def test_tags_are_those_mutagen_reads(sound_asf_path):
    theirs = ASF(sound_asf_path)
    ours = sorted(
        (tag.name, tag.value) for tag in header_of(sound_asf_path).tags if tag.type not in ("bytes", "guid")
    )
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


DECODERS = {"mp3float": "mp3", "mp2float": "mp2", "msmpeg4": "msmpeg4v3"}
"""Codecs by the names of ffmpeg's decoders, where those differ."""


def test_streams_are_those_ffmpeg_reads(sound_asf_path):
    streams = [s for s in header_of(sound_asf_path).streams if s.type in ("audio", "video")]
    with av.open(str(sound_asf_path)) as container:
        # Pictures among the tags have no number.
        theirs = {s.id: s for s in container.streams if s.type in ("audio", "video") and s.id > 0}
        assert [(s.number, s.type) for s in streams] == [(n, theirs[n].type) for n in sorted(theirs)]
        for stream in streams:
            peer = theirs[stream.number]
            assert stream.codec == DECODERS.get(peer.codec_context.name, peer.codec_context.name)
            if stream.type == "video":
                assert (stream.width, stream.height) == (peer.width, peer.height)
            else:
                assert (stream.channels, stream.sample_rate) == (peer.channels, peer.sample_rate)


def test_every_packet_parses(sound_asf_path):
    header = header_of(sound_asf_path)
    assert header.problems == ()
    raw = np.fromfile(sound_asf_path, dtype=np.uint8)
    body = raw[header.data_offset :]
    count = min(header.packet_count or len(body), len(body) // header.packet_size)
    heads, payloads = walk_payloads(body[: count * header.packet_size], header.packet_size)
    assert heads["ok"].all()
    assert set(payloads["stream"].tolist()) <= {s.number for s in header.streams}
    ends = payloads["object_offset"].astype(np.int64) + payloads["length"]
    assert (ends <= np.where(payloads["object_size"] == 0, 1 << 40, payloads["object_size"])).all()
