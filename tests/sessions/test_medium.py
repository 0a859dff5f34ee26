"""Where the bytes of a medium's file come from."""

import numpy as np
import pytest
from peers import asf_objects

from mmsforensics.protocols.messages import DATA_PACKET, At, DataPackets
from mmsforensics.sessions import header_parts
from mmsforensics.sessions.header_parts import HeaderParts
from mmsforensics.sessions.medium import origins
from mmsforensics.streams import PIECE


def test_pieces_without_a_byte_give_no_row():
    """As of an RTP packet that holds a payload header alone."""
    pieces = np.zeros(3, dtype=PIECE)
    pieces["offset"], pieces["length"] = [0, 5, 5], [5, 0, 5]
    pieces["frame"], pieces["frame_offset"] = [7, 8, 9], [100, 200, 300]
    found = origins(np.array([0]), np.array([10]), 12, 1000, pieces)
    assert found[["file_offset", "length", "frame", "frame_offset"]].tolist() == [
        (1000, 5, 7, 100),
        (1005, 5, 9, 300),
        (1010, 2, 0, 0),
    ]


def fragments(payloads):
    """Data packets with the fragments of a header, each in a frame of its own, as one block."""
    sizes = np.array([len(p) for p in payloads])
    packets, pieces = np.zeros(len(sizes), dtype=DATA_PACKET), np.zeros(len(sizes), dtype=PIECE)
    packets["size"], packets["start"] = sizes, np.cumsum(sizes) - sizes
    packets["location"] = np.arange(len(sizes))
    pieces["offset"], pieces["length"], pieces["frame"] = packets["start"], sizes, 1 + np.arange(len(sizes))
    data = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    return DataPackets(
        at=At(direction="server", offset=0, frame=1, ts=0),
        kind="",
        data=data,
        base=0,
        pieces=pieces,
        packets=packets,
    )


def header_in(count, size=20):
    """A header of so many fragments."""
    whole = asf_objects.header(asf_objects.obj(bytes(16), bytes(count * size - 104)))
    whole += asf_objects.data_object()
    return whole, [whole[at : at + size] for at in range(0, len(whole), size)]


class CountingDict(dict):
    """A mapping that counts how often it is asked."""

    asked = 0

    def get(self, *args):
        self.asked += 1
        return super().get(*args)

    def __getitem__(self, key):
        self.asked += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_header_in_many_fragments_is_put_together_once(backwards):
    whole, payloads = header_in(1000)
    parts, block = HeaderParts(), fragments(payloads)
    parts._fragments = CountingDict()
    for packet in block.packets[::-1] if backwards else block.packets:
        assert not parts.done
        assert parts.add(packet, block, expected=True)
    assert parts.done
    assert parts.data == whole
    assert parts.pieces[["offset", "frame"]].tolist() == [(20 * i, 1 + i) for i in range(len(payloads))]
    assert parts._fragments.asked <= 4 * len(payloads)


def test_no_more_fragments_of_a_header_are_kept_than_a_header_has(monkeypatch):
    """Fragments without a byte may be as many as there are LocationIds."""
    monkeypatch.setattr(header_parts, "MAX_FRAGMENTS", 5)
    _, payloads = header_in(100)
    parts, block = HeaderParts(), fragments([payloads[0], *[b""] * 9])
    assert [parts.add(p, block, expected=True) for p in block.packets] == [True] * 5 + [False] * 5
