"""Bytes of a stream as the streams room hands them on, cut anywhere, each piece from a frame of its own."""

from itertools import pairwise

import numpy as np

from mmsforensics.protocols import DataPackets
from mmsforensics.streams import PIECE, Gap, Run

FRAME_OFFSET = 54


def run(data, offset=0, frame=1):
    """One run that came in one frame."""
    pieces = np.zeros(1, dtype=PIECE)
    pieces["offset"], pieces["length"], pieces["frame"] = offset, len(data), frame
    pieces["ts"], pieces["frame_offset"] = frame * 1000, FRAME_OFFSET
    return Run(offset, np.frombuffer(bytes(data), dtype=np.uint8), pieces)


def runs(data, cuts=(), offset=0, frame=1):
    """Runs of a stream cut at the given positions; frames are numbered from `frame`."""
    edges = sorted({0, len(data), *(c for c in cuts if 0 < c < len(data))})
    return [run(data[begin:end], offset + begin, frame + n) for n, (begin, end) in enumerate(pairwise(edges))]


def gap(offset, length, frame):
    return Gap(offset, length, frame, frame * 1000)


def media(messages):
    """(LocationId, incarnation, AFFlags, payload) of every Data packet."""
    found = []
    for block in messages:
        if isinstance(block, DataPackets):
            for packet in block.packets:
                begin = int(packet["start"])
                payload = bytes(block.data[begin : begin + int(packet["size"])])
                names = ("location", "incarnation", "flags")
                found.append((*(int(packet[name]) for name in names), payload))
    return found


def other(messages):
    """All other messages."""
    return [m for m in messages if not isinstance(m, DataPackets)]
