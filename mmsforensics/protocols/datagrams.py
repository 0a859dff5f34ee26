"""What the datagrams of a UDP flow carry, and who decodes them.

Rules of this file:

* a direction of a flow is told once, by its first datagrams handed on; what shows nothing else is taken for
  data of MMS, whose decoder passes over what is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol as Interface

from mmsforensics.protocols.detect import Protocol
from mmsforensics.protocols.messages import Direction, Message
from mmsforensics.protocols.mms_datagrams import decode_datagrams
from mmsforensics.protocols.msb import BASE, HEADER, MsbDatagrams, is_msb, is_msbd
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


def recognise_datagrams(datagrams: Datagrams, *, multicast: bool = False) -> Protocol:
    """Tell what the first datagrams of a direction carry; `multicast` says that they go to a group."""
    if is_msbd(datagrams):
        return Protocol.MSBD
    if is_msb(datagrams, multicast=multicast):
        return Protocol.MSB
    return Protocol.MMS


DATAGRAM_DECODERS: dict[Protocol, Callable[[], DatagramDecoder]] = {
    Protocol.MMS: MmsDatagrams,
    Protocol.MSB: MsbDatagrams,
    Protocol.MSBD: partial(MsbDatagrams, BASE + HEADER),
}
"""How the decoder of a protocol is made."""
