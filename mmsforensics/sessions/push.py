"""Push distribution (MS-WMHTTP): an encoder sends header and packets in the bodies of its requests.

Rules of this file:

* the encoder is the client of the session, and media go from it to the server;
* pushed packets have no numbers: they are counted from 0 for each content, with those that holes are known to
  have hurt. Behind a hole a number is thus the least that it can be, and the loss map calls it inferred.
"""

from __future__ import annotations

import re

import numpy as np

from mmsforensics.protocols import DataPackets

_TEMPLATE = re.compile(r'^\s*Template-URL:\s*"?([^"\r\n]*)"?', re.IGNORECASE | re.MULTILINE)
_DESTROY = re.compile(r"^\s*AutoDestroy:\s*([01])\s*$", re.IGNORECASE | re.MULTILINE)

ENDINGS: dict[str, str] = {
    "end of stream": "the encoder said that it had sent everything",
    "client closed": "the encoder closed the connection without saying that it had sent everything",
    "server closed": "the server closed the connection before the encoder had sent everything",
    "reset": "the connection was reset before the encoder had said that it had sent everything",
}
"""What reasons for a verdict mean where the client sends."""

NOT_COUNTED = "pushed packets have no numbers: what is missing is told by holes alone"

LAST_NUMBER = 0xFFFFFFFE
"""Packets beyond it, some years of a stream, are all given this number."""


def setup_details(text: str) -> dict[str, object]:
    """What the body of a PushSetup request asks for [MS-WMHTTP 2.2.2.1.1, 2.2.2.1.2]."""
    template, destroy = _TEMPLATE.search(text), _DESTROY.search(text)
    told: dict[str, object] = {"auto_destroy": int(destroy[1]) if destroy is not None else 0}
    if template is not None:
        told["template_url"] = template[1]
    return told


class PushedNumbers:
    """Numbers the packets of one content."""

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next = 0

    def begin(self) -> None:
        """Another content begins."""
        self.next = 0

    def lost(self, packets: int) -> None:
        """Take note of packets that a hole is known to have hurt."""
        self.next += packets

    def number(self, block: DataPackets) -> None:
        """Write the numbers into the packets of a block."""
        n = len(block.packets)
        numbers = np.arange(self.next, self.next + n, dtype=np.int64)
        block.packets["location"] = np.minimum(numbers, LAST_NUMBER)
        self.next += n
