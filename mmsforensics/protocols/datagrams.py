"""What the datagrams of a UDP flow carry, and who decodes them.

Rules of this file:

* a direction of a flow is told once, by its first datagrams handed on; what shows nothing else is taken for
  data of MMS, whose decoder passes over what is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol as Interface

from mmsforensics.protocols.detect import Protocol
from mmsforensics.protocols.messages import Direction, Message
from mmsforensics.protocols.mms import decode_datagrams
from mmsforensics.protocols.rtp import RtpDatagrams, look_like_rtp
from mmsforensics.streams import Datagrams


class DatagramDecoder(Interface):
    """Decodes one direction of a UDP flow."""

    def feed(self, datagrams: Datagrams, direction: Direction) -> Iterator[Message]:
        """Take the next datagrams, in order of capture."""


class MmsDatagrams:
    """MMS data over UDP: each datagram stands for itself."""

    def feed(self, datagrams: Datagrams, direction: Direction) -> Iterator[Message]:
        """Take the next datagrams."""
        return decode_datagrams(datagrams, direction)


def recognise_datagrams(datagrams: Datagrams) -> Protocol:
    """Tell what the first datagrams of a direction carry."""
    if look_like_rtp(datagrams):
        return Protocol.RTSP
    return Protocol.MMS


DATAGRAM_DECODERS: dict[Protocol, Callable[[], DatagramDecoder]] = {
    Protocol.MMS: MmsDatagrams,
    Protocol.RTSP: RtpDatagrams,
}
"""How the decoder of a protocol is made."""
