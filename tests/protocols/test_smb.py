"""SMB: which bytes of which file a message holds, however the stream is cut, and whatever is in it."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers.smb_server import read_answer, read_file, read_file_smb1, read_request, written_file

from mmsforensics.protocols import Hole
from mmsforensics.protocols.messages import FileBytes
from mmsforensics.protocols.raw import ASF_HEADER
from mmsforensics.protocols.smb import SmbDecoder, says_smb, smb_request
from mmsforensics.streams import PIECE, Gap, Run

DATA = ASF_HEADER + random.Random(1).randbytes(50_000)
WAYS = {"SMB 2": read_file, "SMB 1": read_file_smb1, "written": written_file}


def run(data, offset):
    pieces = np.zeros(1, dtype=PIECE)
    pieces["offset"], pieces["length"], pieces["frame"], pieces["frame_offset"] = offset, len(data), 1, offset
    return Run(offset, np.frombuffer(data, dtype=np.uint8), pieces)


def told(conversation, cut):
    """What the decoder tells of a conversation, each message of it cut by `cut`."""
    decoder, offsets, found = SmbDecoder(), {"c": 0, "s": 0}, []
    for side, data in conversation:
        for part in cut(data):
            if part:
                found += decoder.feed("client" if side == "c" else "server", run(part, offsets[side]))
                offsets[side] += len(part)
    return found


def laid(messages):
    """File bytes by offset; each message's pieces must cover it."""
    found = {}
    for message in messages:
        if isinstance(message, FileBytes):
            assert message.pieces["length"].sum() == len(message.data)
            assert message.pieces["offset"][0] == message.offset
            found.update(
                zip(
                    range(message.offset, message.offset + len(message.data)),
                    message.data.tolist(),
                    strict=True,
                )
            )
    return found


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("seed", range(3))
def test_every_byte_is_told_where_it_belongs(way, seed):
    rng = random.Random(seed)

    def cut(data):
        cuts = sorted(rng.randrange(len(data)) for _ in range(5))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    messages = told(way(DATA), cut)
    assert laid(messages) == dict(enumerate(DATA))
    assert {m.name.rpartition("\\")[2] for m in messages if isinstance(m, FileBytes)} == {"film.wmv"}


def test_the_size_is_that_of_the_opening():
    assert {m.total for m in told(read_file(DATA), lambda d: [d]) if isinstance(m, FileBytes)} == {len(DATA)}


@given(st.integers(0, 25_000), st.integers(1, 25_000))
def test_a_hole_moves_nothing(at, size):
    decoder = SmbDecoder()
    list(decoder.feed("client", run(read_request(1, 0, 20_000) + read_request(2, 20_000, 20_000), 0)))
    sent = read_answer(1, DATA[:20_000]) + read_answer(2, DATA[20_000:40_000])
    messages = list(decoder.feed("server", run(sent[:at], 0))) if at else []
    messages += decoder.gap("server", Gap(at, size, 1, 0))
    messages += decoder.feed("server", run(sent[at + size :], at + size)) if at + size < len(sent) else []
    found = laid(messages)
    assert all(DATA[offset] == byte for offset, byte in found.items())
    assert any(isinstance(m, Hole) for m in messages)
    if at >= 132 and at + size <= 20_084:  # where what is read of the head has come
        assert len(found) == 40_000 - size, "a hole inside the data costs what it is long"


def test_a_read_whose_request_was_not_captured_is_taken_where_the_file_begins():
    decoder = SmbDecoder()
    messages = list(decoder.feed("server", run(read_answer(1, DATA[:500]) + read_answer(2, b"elsewhere"), 0)))
    assert laid(messages) == dict(enumerate(DATA[:500]))


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80), st.sampled_from([read_answer(1, DATA[:99]), read_request(1, 5, 9)])
        ),
        max_size=8,
    )
)
def test_no_bytes_harm_the_decoder(parts):
    decoder, offset = SmbDecoder(), 0
    for i, part in enumerate(parts):
        if part:
            messages = list(decoder.feed("server" if i % 2 else "client", run(part, offset)))
            assert sum(len(m.data) for m in messages if isinstance(m, FileBytes)) <= len(part) + 200
        offset += len(part)
    list(decoder.end("client", "fin", 1, 0))


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=20), st.integers(0, 2))
def test_damaged_messages_harm_nothing(changes, which):
    damaged = [(side, bytearray(data)) for side, data in list(WAYS.values())[which](DATA[:3000])]
    for at, value in changes:
        _, data = damaged[at % len(damaged)]
        data[at % len(data)] = value
    total = sum(len(data) for _, data in damaged)
    messages = told([(side, bytes(data)) for side, data in damaged], lambda d: [d])
    assert sum(len(m.data) for m in messages if isinstance(m, FileBytes)) <= total


@given(st.binary(max_size=80), st.integers(0, 80))
def test_noise_between_messages_costs_no_message(noise, at):
    decoder = SmbDecoder()
    list(decoder.feed("client", run(read_request(1, 0, 500) + read_request(2, 500, 500), 0)))
    if says_smb(noise):
        return
    first, second = read_answer(1, DATA[:500]), read_answer(2, DATA[500:1000])
    junk = b"\xaa" + noise.replace(b"\0", b"\1") + b"\xaa"
    messages = list(decoder.feed("server", run(first + junk + second, 0)))
    assert laid(messages) == dict(enumerate(DATA[:1000]))


def test_who_speaks():
    assert (smb_request(read_request(1, 0, 9)), smb_request(read_answer(1, b"x"))) == (True, False)
    assert smb_request(b"GET / HTTP/1.1") is None
    assert not says_smb(b"\xfeSMB")
