"""Parity over ASF packets: what is restored is what was sent, or nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import msb_sender as sender
from peers.asf_file import AsfFile
from peers.media import make_asf

from mmsforensics.asf.parity import error_correction, restore, span_of


@pytest.fixture(scope="module", params=["padded audio", "small packets", "film"])
def film(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "film.asf"
    options = {
        "padded audio": {"video": False, "packet_size": 508},
        "small packets": {"packet_size": 200},
        "film": {"packet_size": 3200},
    }
    return AsfFile.read(make_asf(path, **options[request.param]))


def arrays(packets):
    return [np.frombuffer(p.asf, dtype=np.uint8) for p in packets]


@pytest.mark.parametrize("span", [1, 2, 10, 15])
@pytest.mark.parametrize("strip", [True, False])
@pytest.mark.parametrize("numbers", [True, False])
def test_each_packet_of_each_cycle_is_restored_as_it_was(film, span, strip, numbers):
    sent = sender.entry(film, 1, span=span, strip=strip, numbers=numbers)
    for i in range(0, len(sent) - span, span + 1):
        cycle, parity = sent[i : i + span], np.frombuffer(sent[i + span].asf, dtype=np.uint8)
        for lost in range(span):
            others = arrays([*cycle[:lost], *cycle[lost + 1 :]])
            made = restore(others, parity, lost + 1, film.packet_size)
            assert made is not None
            same = made.data.tobytes()
            # A lone packet's Number cannot be told from that of a server that counts nothing.
            assert same[3:] == cycle[lost].asf[3:]
            if span > 2:
                assert same == cycle[lost].asf


@pytest.mark.parametrize("code", [0x1D, 0xD1, 0x00, 0xFF])
def test_a_code_without_the_type_of_parity_tells_no_span(code):
    assert span_of(code) is None


def test_number_is_told_whichever_half_it_stands_in():
    assert [span_of(code) for code in (0xB2, 0x2B, 0x32, 0x23, 0x22)] == [10, 10, 2, 2, 1]
    assert [span_of(code) for code in (0x12, 0x21)] == [None, None]  # a server that counts nothing


def test_packets_without_error_correction_have_none():
    data = np.frombuffer(b"\x08\x5d\x00\x00" + b"\x82\x11\x05\x08" + b"\x92\xb2\x06\x08", dtype=np.uint8)
    found = error_correction(data, np.array([0, 4, 8]), np.array([4, 4, 4]))
    assert found["present"].tolist() == [0, 1, 1]
    assert found["parity"].tolist() == [0, 0, 1]
    assert found["cycle"].tolist() == [0, 5, 6]


@given(st.data())
def test_a_cycle_of_any_bytes_restores_no_unsound_packet(data):
    packets = [
        b"\x82\x11\x00" + data.draw(st.binary(min_size=20, max_size=60))
        for _ in range(data.draw(st.integers(0, 4)))
    ]
    parity = b"\x92\x52\x00" + data.draw(st.binary(min_size=20, max_size=60))
    others = [np.frombuffer(p, dtype=np.uint8) for p in packets]
    made = restore(others, np.frombuffer(parity, dtype=np.uint8), 1, 1400)
    if made is not None:
        assert len(made.data) <= len(parity)
        assert made.payloads >= 0
