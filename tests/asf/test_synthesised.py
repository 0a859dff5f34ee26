"""Headers made of what frames of MPEG audio say, held against what an independent reader says of the file."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from peers import asf_whole as whole

from mmsforensics import asf
from mmsforensics.asf import mpeg_audio, mpeg_audio_header, parse_header
from mmsforensics.asf.validation import validate

FRAME = bytes.fromhex("fffb9064")  # MPEG 1, layer 3, 128 kbit/s, 44 100 Hz, joint stereo


def test_a_frame_says_its_format():
    frame = mpeg_audio(FRAME)
    assert (frame.layer, frame.sample_rate, frame.channels, frame.bitrate) == (3, 44100, 2, 128_000)
    assert frame.size == 417
    half = mpeg_audio(bytes.fromhex("fff384c0"))  # MPEG 2, layer 3, 64 kbit/s, 24 000 Hz, mono
    assert (half.sample_rate, half.channels, half.bitrate, half.size) == (24000, 1, 64_000, 192)


def test_the_header_is_one_that_the_specification_allows(tmp_path):
    head = mpeg_audio_header(mpeg_audio(FRAME), stream=3, packet_size=whole.SMALL, packets=2, preroll_ms=3000)
    packets = [whole.single(i, FRAME * 20, stream=3, number=i, at_ms=3000 + i) for i in range(2)]
    path = tmp_path / "a.wma"
    path.write_bytes(head + b"".join(packets))
    header = parse_header(head)
    assert header.problems == ()
    ((stream),) = header.streams
    assert (stream.number, stream.type, stream.channels, stream.sample_rate) == (3, "audio", 2, 44100)
    with asf.open(path) as film:
        assert film.packets()["ok"].all()
        broken = {v.rule for v in validate(film) if v.level == "shall"}
    assert broken <= {"Play Duration", "Send Duration"}, "these are computed from the packets"


@given(st.binary(max_size=8))
def test_any_bytes_are_a_frame_or_none(data):
    frame = mpeg_audio(data)
    if frame is not None:
        assert frame.size > 0
        assert struct.unpack(">H", data[:2])[0] >= 0xFFE0
        assert parse_header(
            mpeg_audio_header(frame, stream=1, packet_size=300, packets=1, preroll_ms=0)
        ).streams
