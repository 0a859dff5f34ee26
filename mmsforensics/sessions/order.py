"""The order in which what several flows carry is heard.

Rules of this file:

* what was heard is ordered by frames; a block of datagrams spans many of them, and is cut where a message
  decides what the packets behind it are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mmsforensics.protocols import DataPackets, Message, MmsMessage

Heard = tuple[int, int, int, Message]
"""Frame, running number, flow (below zero for a direction of UDP), message."""

DECIDE = {
    "ConnectFunnel",
    "OpenFile",
    "ReadBlock",
    "StartPlaying",
    "StartStriding",
    "StopPlaying",
    "StreamSwitch",
    "CloseFile",
    "ReportStartedPlaying",
    "ReportStartStriding",
    "ReportStreamChange",
    "RequestPacketListResend",
}
"""Messages of MS-MMSP that say what the packets behind them are, or need to know which came before."""


def cut_at_commands(heard: list[Heard]) -> list[Heard]:
    """Cut blocks of datagrams at the frames of messages that decide about them."""
    frames = {
        message.at.frame
        for _, _, _, message in heard
        if isinstance(message, MmsMessage) and message.name in DECIDE
    }
    if not frames:
        return heard
    at = np.array(sorted(frames), dtype=np.int64)
    out: list[Heard] = []
    for item in heard:
        _, number, uid, message = item
        if uid < 0 and isinstance(message, DataPackets):
            out.extend((part.at.frame, number, uid, part) for part in _parts(message, at))
        else:
            out.append(item)
    return out


def _parts(block: DataPackets, at: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[DataPackets]:
    frame = block.packets["frame"]
    last = int(frame.max())
    cuts = np.searchsorted(np.maximum.accumulate(frame), at[(at > int(frame[0])) & (at <= last)])
    edges = np.unique(np.concatenate(([0], cuts, [len(frame)])))
    if len(edges) == 2:
        yield block
        return
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        packets = block.packets[begin:end]
        first = packets[0]
        where = replace(block.at, frame=int(first["frame"]), ts=int(first["ts"]))
        yield replace(block, at=where, packets=packets)
