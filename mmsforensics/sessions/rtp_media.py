"""The media of an RTSP session: its RTP packets put in order, made ASF packets, and laid into media.

Rules of this file:

* a source (SSRC) carries media when its payload type is one of ``x-asf-pf``, or, where no session description
  was captured, when ASF packets begin in its payload; a source once known is known by any payload type, since
  packets sent again keep their header [MS-RTSP 2.2.3.1];
* packet-pair probes are told from media by the source of the retransmission stream, by their payload type, or
  by what they hold, and left out;
* a content ends at the sequence number that the server names for the next one, where it names one: packets
  that come late still belong to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols import CutPacket, DataPackets, RtpPackets
from mmsforensics.protocols.asf_rtp import AsfAssembler, RtpLoss
from mmsforensics.protocols.messages import UNKNOWN_LOCATION, At
from mmsforensics.protocols.rtp import asf_beginnings
from mmsforensics.protocols.rtp_bytes import RtpBytes
from mmsforensics.protocols.rtp_order import RtpOrder
from mmsforensics.sessions.story import Story

SMALLEST_PROBE = 482
"""Bytes of a packet-pair probe at least [MS-RTSP 2.2.3.2]."""

KNOWN_SOURCES = 256
"""Sources listened to: a playlist of a day has some dozens."""


@dataclass(slots=True)
class Payloads:
    """What the session description says of payload types."""

    media: frozenset[int] = frozenset()
    retransmission: frozenset[int] = frozenset()
    correction: frozenset[int] = frozenset()
    known: bool = False
    """Whether a session description was captured."""


@dataclass(slots=True)
class _Counts:
    probes: int = 0
    correction: int = 0
    strange: int = 0
    at: At | None = None


@dataclass(slots=True)
class _Switch:
    """A new content that begins with a packet of a source."""

    begin: Callable[[], None]
    sequences: dict[int, int] = field(default_factory=dict)


class RtpMedia:
    """Hears the RTP packets of one session."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.payloads = Payloads()
        self.probe_sources: set[int] = set()
        """SSRCs of retransmission streams, which probes carry."""
        self._order = RtpOrder()
        self._assembler = AsfAssembler()
        self._counts = _Counts()
        self._switch: _Switch | None = None
        self._end: dict[int, int] = {}
        self._last_at: At | None = None
        self._told_start: set[int] = set()

    @property
    def sources(self) -> list[int]:
        """SSRCs of the media."""
        return list(self._order.sources)

    def hole(self) -> None:
        """Take note of a hole in the connection that carries interleaved packets."""
        self._order.holes = True

    def take(self, block: RtpPackets) -> None:
        """Take RTP packets."""
        keep = self._media_rows(block)
        if not keep.any():
            return
        if not keep.all():
            block = replace(block, packets=block.packets[keep])
        self.story.datagrams |= not block.reliable
        self._last_at = block.at
        self._hand_on(self._order.feed(block), reliable=block.reliable)

    def plays(self, starts: dict[int, int]) -> None:
        """Take note that a play begins; `starts` gives the sequence number of a source's first packet."""
        for ssrc, sequence in starts.items():
            if self._order.overtaken(ssrc, sequence):
                self._told_start.add(ssrc)
                if self.story.medium is not None and self._order.begins_with(ssrc, sequence):
                    self.story.medium.start_unknown(unknown=False)
                continue
            if ssrc in self._order.sources and self._order.sources[ssrc].received:
                self._flush(final=True)
            if len(self._order.sources) < KNOWN_SOURCES:
                self._order.announce(ssrc, sequence)
                self._told_start.add(ssrc)
        self._assembler.incarnation += 1

    def switch(self, begin: Callable[[], None], starts: dict[int, int]) -> None:
        """Begin a new content, at the sequence numbers that are its first; at once where none is told."""
        self._complete_switch()
        known = {s: q for s, q in starts.items() if s in self._order.sources}
        if not known or self._order.sources.keys() - known.keys():
            self._flush(final=True)
            begin()
            for ssrc, sequence in starts.items():
                self._order.announce(ssrc, sequence)
            return
        self._switch = _Switch(begin, known)
        for ssrc, sequence in known.items():
            self._end.setdefault(ssrc, sequence)
        self._hand_on(RtpBytes.none(), reliable=not self.story.datagrams)

    def ends(self, ends: dict[int, int]) -> None:
        """Take the server's word which sequence number is the first behind the end of the content."""
        self._end |= {ssrc: q for ssrc, q in ends.items() if ssrc in self._order.sources}

    def finish(self) -> None:
        """Take note that no more packets come."""
        self._complete_switch()
        self._flush(final=True)
        self._report()
        if self.story.start_ts is None and self._last_at is not None:  # parts of packets, and no whole one
            self.story.tell("RtpLoss", self._last_at, {"rtp_packets": None, "packets": 1, "exact": False})

    # --- which packets are media -------------------------------------------------------------------

    def _media_rows(self, block: RtpPackets) -> NDArray[np.bool_]:
        """Which rows are media; counts what the others are."""
        rows = block.packets
        keep = np.zeros(len(rows), dtype=np.bool_)
        begins: NDArray[np.bool_] | None = None
        counts = self._counts
        for ssrc in dict.fromkeys(rows["ssrc"].tolist()):
            mine = rows["ssrc"] == ssrc
            if ssrc in self.probe_sources:
                counts.probes += int(np.count_nonzero(mine))
                continue
            if begins is None:
                begins = asf_beginnings(rows, block.data)
            correction = np.isin(rows["payload_type"], list(self.payloads.correction)) & mine
            counts.correction += int(np.count_nonzero(correction))
            mine &= ~correction
            if ssrc in self._order.sources or self._is_media(ssrc, rows[mine], begins[mine]):
                probes = mine & self._probes(rows, begins)
                counts.probes += int(np.count_nonzero(probes))
                keep |= mine & ~probes
                continue
            retransmission = np.isin(rows["payload_type"], list(self.payloads.retransmission)) & mine
            probes = retransmission | (mine & self._probes(rows, begins))
            counts.probes += int(np.count_nonzero(probes))
            counts.strange += int(np.count_nonzero(mine & ~probes))
        if not keep.all():
            counts.at = counts.at or block.at
        return keep

    def _is_media(self, ssrc: int, rows: NDArray[np.void], begins: NDArray[np.bool_]) -> bool:
        """Whether a source not heard before carries media."""
        if not len(rows) or len(self._order.sources) >= KNOWN_SOURCES:
            return False
        if self.payloads.known:
            typed = np.isin(rows["payload_type"], list(self.payloads.media))
            return bool((typed & ~self._probes(rows, begins)).any())
        return bool(begins.any())

    @staticmethod
    def _probes(rows: NDArray[np.void], begins: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Packets with the time stamp 0 of a probe that hold no ASF packet and are no fragment of one."""
        size = rows["wire"].astype(np.int64) - rows["header"]
        likely = (rows["timestamp"] == 0) & ~begins & (rows["marker"] == 1)
        found: NDArray[np.bool_] = likely & (size >= SMALLEST_PROBE)
        return found

    # --- from RTP packets to the medium ------------------------------------------------------------

    def _hand_on(self, packets: RtpBytes, *, reliable: bool) -> None:
        """Give packets in order to the story, up to where a new content begins."""
        if self._switch is None:
            self._assemble(packets, reliable=reliable)
            return
        behind = np.zeros(len(packets.rows), dtype=np.bool_)
        for ssrc, sequence in self._switch.sequences.items():
            mine = packets.rows["ssrc"] == ssrc
            step = (packets.rows["sequence"][mine].astype(np.int64) - sequence + 32768) % 65536 - 32768
            behind[mine] = step >= 0
        first = int(np.argmax(behind)) if behind.any() else len(packets.rows)
        self._assemble(packets.take(slice(0, first)), reliable=reliable)
        reached = all(
            source.next is not None and (source.next - sequence + 32768) % 65536 - 32768 >= 0
            for ssrc, sequence in self._switch.sequences.items()
            for source in [self._order.sources[ssrc]]
        )
        if first < len(packets.rows) or reached:
            rest = packets.take(slice(first, None))
            self._drop_tail(rest)
            self._complete_switch()
            self._assemble(rest, reliable=reliable)

    def _drop_tail(self, rest: RtpBytes) -> None:
        """What is missing before the first packet of a new content is missing at the end of the old one."""
        for ssrc, sequence in list(self._end.items()):
            mine = np.flatnonzero(rest.rows["ssrc"] == ssrc)
            if not len(mine) or rest.lost[mine[0]] <= 0:
                continue
            first = int(rest.rows["sequence"][mine[0]])
            into = (first - sequence + 32768) % 65536 - 32768  # of the new content, before the packet seen
            tail = int(rest.lost[mine[0]]) - into
            if tail > 0:
                rest.lost[mine[0]] = into
                self._lost_at_end(tail)

    def _complete_switch(self) -> None:
        """Let the content that was announced begin."""
        switch, self._switch = self._switch, None
        if switch is not None:
            self._assemble(RtpBytes.none(), reliable=True, final=True)
            self._end.clear()
            switch.begin()

    def _flush(self, *, final: bool) -> None:
        """Wait no longer for what is missing."""
        reliable = not self.story.datagrams
        self._assemble(self._order.flush(), reliable=reliable, final=final)
        for ssrc, sequence in self._end.items():
            missing = self._order.missing_to(ssrc, sequence)
            if missing and not reliable:
                self._lost_at_end(missing)
        if self.story.datagrams and not self._end and self.story.medium is not None:
            self.story.medium.end_unknown()
        self._end.clear()

    def _lost_at_end(self, missing: int) -> None:
        at = self._last_at
        if at is not None:
            loss = RtpLoss(frame=at.frame, ts=at.ts, rtp=missing, packets=1, exact=False)
            self._loss(loss, reliable=False)

    def _assemble(self, packets: RtpBytes, *, reliable: bool, final: bool = False) -> None:
        for item in self._assembler.feed(packets, "server", reliable=reliable, final=final):
            match item:
                case DataPackets():
                    self._media(item)
                case CutPacket():
                    self.story.cut(item)
                case RtpLoss():
                    self._loss(item, reliable=reliable)

    def _media(self, block: DataPackets) -> None:
        """Hand whole packets on; over UDP, what came before the first may be missing, if nothing tells."""
        first = self.story.medium is None or not self.story.medium.carrier_counts
        self.story.media(block)
        medium = self.story.medium
        if medium is None or not first:
            return
        medium.carrier_counts = True
        unknown = block.packets["location"][0] == UNKNOWN_LOCATION
        if self.story.datagrams and unknown and not self._told_start & self._order.sources.keys():
            medium.start_unknown()

    def _loss(self, loss: RtpLoss, *, reliable: bool) -> None:
        at = At(direction="server", offset=0, frame=loss.frame, ts=loss.ts)
        if loss.rtp != 0:
            details = {"rtp_packets": loss.rtp, "packets": loss.packets, "exact": loss.exact}
            self.story.tell("RtpLoss", at, details)
        if self.story.medium is not None:
            self.story.medium.lost(loss.frame, loss.packets, exact=loss.exact)

    def _report(self) -> None:
        """Tell what was left out, and what came twice."""
        counts, at = self._counts, self._counts.at
        if at is not None:
            if counts.probes:
                self.story.tell("PacketPair", at, {"packets": counts.probes})
            if counts.correction:
                self.story.tell("RtpForwardErrorCorrection", at, {"packets": counts.correction})
            if counts.strange:
                self.story.tell("RtpUnknownSource", at, {"packets": counts.strange})
        self._counts = _Counts()
        again = sum(source.duplicates for source in self._order.sources.values())
        if again and self._last_at is not None:
            self.story.tell("RtpRepeated", self._last_at, {"packets": again})
            for source in self._order.sources.values():
                source.duplicates = 0
        if self._assembler.unsound and self._last_at is not None:
            self.story.tell("RtpUnsound", self._last_at, {"packets": self._assembler.unsound})
            self._assembler.unsound = 0
