"""Captures that belong together, from packets to sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from mmsforensics.packets import Fragments, PacketBatch, Stitched, unfold
from mmsforensics.sessions import Recorder, SessionRoom, Station
from mmsforensics.streams import FlowPackets, FlowTable, InOrder, Policy

TCP = 6

GATHERED = 40 << 20
"""Bytes of wanted packets decoded at once. More would save little; decoding
takes some times as much memory."""

Count = Callable[[str, NDArray[np.integer]], None]


class World:
    """The flows and sessions of captures that belong together; what one capture begins another may end.

    Parameters
    ----------
    recorder : Recorder
        Takes what is found.
    stitched : Stitched
        Told where the bytes of packets put together from fragments come from.
    count : callable
        Called with what is counted and the numbers of the frames that it is.
    policy : Policy
        Whose bytes are kept where TCP segments overlap.
    stations : iterable of Station
        Station files given beside the captures.
    """

    def __init__(
        self,
        recorder: Recorder,
        stitched: Stitched,
        count: Count,
        policy: Policy = Policy.FIRST,
        stations: Iterable[Station] = (),
    ) -> None:
        self._fragments = Fragments()
        self._flows = FlowTable(GATHERED)
        self._room = SessionRoom(recorder, policy, stations)
        self._stitched = stitched
        self._count = count

    @property
    def anomalies(self) -> list[tuple[int, str]]:
        """Numbers of frames, and what is odd about them."""
        return self._fragments.anomalies

    def feed(self, batch: PacketBatch) -> None:
        """Take the next packets."""
        self._hear(self._fragments.feed(unfold(batch)))

    def finish(self) -> None:
        """Take note that there are no more packets; tells every session."""
        last = self._fragments.finish()
        if last is not None:
            self._hear(last)
        else:
            self._count("packets_incomplete", np.array(self._fragments.incomplete, dtype=np.int64))
        self._room.feed(self._flows.finish())
        self._room.finish()

    def _hear(self, batch: PacketBatch) -> None:
        fragments = self._fragments
        packets = self._flows.feed(batch)
        self._room.feed(self._noted(packets) if fragments.joined else packets)
        self._flows.give_up(self._room.given_up())
        for connection in self._room.predicted():
            self._flows.predict(connection)
        if fragments.joined:
            # A flow of TCP may turn out to be wanted later, when this batch is gone.
            tcp = batch.rows["frame"][batch.rows["proto"] == TCP]
            self._stitched.keep(fragments.joined, tcp.tolist())
        self._count("flows", self._flows.begun)
        self._count("undecided_dropped", self._flows.let_go)
        self._count("packets_incomplete", np.array(fragments.incomplete, dtype=np.int64))

    def _noted(self, packets: Iterator[FlowPackets | InOrder]) -> Iterator[FlowPackets | InOrder]:
        """The packets to decode; when they are through, those put together of wanted flows are noted."""
        yield from packets
        self._stitched.keep(self._fragments.joined, self._flows.wanted.tolist())
