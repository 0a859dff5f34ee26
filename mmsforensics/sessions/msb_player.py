"""The packets of one MSB numbering as media of a session, entry by entry of the sender's playlist.

Rules of this file:

* an entry is what has one wStreamID; its header is known before its first packet is played, or it has none;
* over TCP nothing is put in order: numbers that begin anew are those of another content, and of packets whose
  numbers do not rise none is left out;
* what parity restored goes to the medium apart from what was seen, and what became of all packets is told
  once, at the end of the entry.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from mmsforensics.protocols import CutPacket, MsbPackets
from mmsforensics.protocols.messages import At
from mmsforensics.sessions.header_parts import HeaderParts
from mmsforensics.sessions.msb_order import MsbOrder, Settled, rises, uncounted
from mmsforensics.sessions.story import Story


class MsbPlayer:
    """Hands packets on to a session.

    Parameters
    ----------
    story : Story
    window : int
        As in `MsbOrder`.
    """

    def __init__(self, story: Story, window: int) -> None:
        self.story = story
        self.stream_id = -1
        """wStreamID of the entry at hand, -1 before the first."""
        self._window = window
        self._header: HeaderParts | None = None
        self._order: MsbOrder | None = None
        self._at: At | None = None

    def begin(self, stream_id: int, header: HeaderParts | None, at: At) -> None:
        """Begin an entry."""
        self.end()
        if header is not None:
            self.story.given_header(header, at)
        else:
            self.story.close_medium(follows=True)
        self.stream_id, self._header = stream_id, header
        medium = self.story.medium
        self._order = MsbOrder(self._window, medium.packet_size if medium is not None else 0)

    def play(self, message: MsbPackets) -> None:
        """Take packets of the entry at hand."""
        if self._order is None:
            self.begin(message.stream_id, None, message.at)
        assert self._order is not None
        if message.block.reliable and not self._order.goes_on(message.block):
            # The order of TCP is that of sending, whatever the numbers say.
            self.begin(message.stream_id, self._header, message.at)
        if message.block.reliable and not rises(message.block):
            self.flush()
            self.story.media(uncounted(message.block))
            return
        self._at = message.at
        self._hand_on(self._order.feed(message.block))

    def cut(self, packet: CutPacket) -> None:
        """Take what was seen of a packet of the entry at hand."""
        if self._order is not None:
            self.story.cut(replace(packet, incarnation=self.stream_id >> 15, flags=packet.location & 0xFF))

    def flush(self) -> None:
        """Wait for nothing that was overtaken."""
        if self._order is not None:
            self._hand_on(self._order.flush())

    def end(self) -> None:
        """End the entry at hand, and tell what became of its packets."""
        self.flush()
        order, self._order = self._order, None
        if order is None or self._at is None or not any(asdict(order.counts).values()):
            return
        self.story.tell("MsbErrorCorrection", self._at, asdict(order.counts))

    def _hand_on(self, settled: Settled) -> None:
        for packet in settled.restored:
            self.story.restored(packet)
        if settled.block is not None:
            self.story.media(settled.block)


def stream_id_of(packet: CutPacket) -> int:
    """The wStreamID of a hurt MSB packet, whose header stands where that of a Data packet does."""
    return packet.incarnation | packet.flags << 8
