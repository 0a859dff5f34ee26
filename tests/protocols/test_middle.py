"""Media found by their structure, and noise that is none."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.protocols import find_asf_packets, find_data_packets, find_framing

BODY = b"\x82\0\0\x09"


def packets(count, *, first=1000, size=300, sequence=250):
    """Data packets [MS-MMSP 2.2.2] of a stream that was there before."""
    rng = random.Random(count)
    return [
        struct.pack("<IBBH", first + n, 4, (sequence + n) % 256, 8 + size) + BODY + rng.randbytes(size - 4)
        for n in range(count)
    ]


def framed(count, **options):
    """The same in packets of WMSP [MS-WMSP 2.2.3.1]."""
    return [b"$D" + struct.pack("<H", len(p)) + p for p in packets(count, **options)]


def chunked(data, size):
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def array(data):
    return np.frombuffer(bytes(data), dtype=np.uint8)


@given(st.integers(0, 299), st.integers(0, 7))
def test_data_packets_are_found_from_any_place_on(cut, left_out):
    units = packets(9)
    data = b"".join(units)[cut:]
    assert find_data_packets(array(data)) == -cut % 308
    sparse = b"".join(units[:left_out] + units[left_out + 1 :])[cut:]
    assert find_data_packets(array(sparse)) >= 0, "four in a row stand before or behind"


@given(st.integers(1, 311), st.sampled_from([0, 5, 150, 400, 5000]))
def test_framing_is_found_from_any_place_on(cut, chunk):
    data = b"".join(framed(12))
    data = (chunked(data, chunk) if chunk else data)[cut:]
    found = find_framing(array(data))
    assert found is not None
    assert found.chunked == (0 < chunk < 5000)
    if not found.chunked:
        assert data[found.start : found.start + 2] == b"$D"


@pytest.mark.parametrize(
    "units",
    [
        packets(1),
        [packets(1)[0], packets(1, first=9000)[0], packets(1, first=20)[0]],
        [p[:4] + bytes([n]) + p[5:] for n, p in enumerate(packets(5))],
        [p[:5] + b"\0" + p[6:] for p in packets(5)],
        [p[:8] + b"\xff" + p[9:] for p in packets(5)],
        [p + b"\0" for p in packets(5)],
    ],
    ids=["one", "other packets", "incarnations", "sequence", "no ASF packets", "sizes"],
)
def test_what_does_not_agree_is_no_chain(units):
    assert find_data_packets(array(b"".join(units))) == -1


@given(st.binary(max_size=4000), st.integers(0, 2**32), st.integers(0, 20000))
def test_noise_is_nothing(piece, seed, size):
    for data in (piece, piece * 20, random.Random(seed).randbytes(size), piece + bytes(size)):
        assert find_data_packets(array(data)) == -1
        assert find_framing(array(data)) is None
        assert find_asf_packets(array(data)) is None


def asf_packets(count, *, size=400, step=40, error_correction=b"\x82\0\0", properties=b"\x5d"):
    """Packets of one size, with the padding of one byte or of two [ASF 5.2.2]."""
    rng = random.Random(count)
    head = error_correction + b"\x08" + properties + b"\0"
    wide = error_correction + b"\x10" + properties + b"\0\0"
    times = (struct.pack("<IH", 5000 + n * step, 40) for n in range(count))
    return [
        ((wide if n % 3 == 0 else head) + time + rng.randbytes(size))[:size] for n, time in enumerate(times)
    ]


@given(st.integers(0, 399))
def test_asf_packets_of_one_size_are_found_from_any_place_on(cut):
    data = b"".join(asf_packets(9))[cut:]
    assert find_asf_packets(array(data)) == (-cut % 400, 400)


@pytest.mark.parametrize(
    "units",
    [
        asf_packets(5),
        asf_packets(20, step=0),
        asf_packets(20, step=100_000),
        asf_packets(20, error_correction=b"\x82\0\1"),
        list(reversed(asf_packets(20))),
        [p[:4] + bytes([n]) + p[5:] for n, p in enumerate(asf_packets(20))],
        [b"\x82\0\0\0" * 100_000],
        [p[: 300 + n] for n, p in enumerate(asf_packets(20))],
    ],
    ids=["few", "one time", "times far apart", "no such data", "backwards", "properties", "period", "sizes"],
)
def test_what_is_no_row_of_asf_packets(units):
    assert find_asf_packets(array(b"".join(units))) is None
