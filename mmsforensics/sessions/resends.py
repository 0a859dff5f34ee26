"""What the client of datagrams asked for again: packets that it lost itself.

Rules of this file:

* a request proves that the client lacked the packet then. Whether the capture held it by then tells on which
  side of the place of capture it was lost: captured before the request, it was lost behind that place;
* the client counts packets from the first of the session [MS-MMSP 3.1.4.7]; where that was not captured, the
  last eight bits tell which packet it means, the newest that has them.
"""

from __future__ import annotations

from collections.abc import Callable

FARTHEST = 1 << 16
"""Packets between the last one seen and one that is asked for; farther ones are counted otherwise."""


class Resends:
    """The packets of one medium that the client asked for again."""

    __slots__ = ("_asked", "_lacking", "copies", "whole")

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        """Whether the packets are counted from the first of the session."""
        self.copies = 0
        """Packets that came once they had been asked for, those captured before included."""
        self._asked: dict[int, bool] = {}  # sequence: whether it had been captured
        self._lacking = 0  # of those not captured: how many never came

    @property
    def packets(self) -> int:
        """Packets asked for, each counted once."""
        return len(self._asked)

    @property
    def pending(self) -> bool:
        """Whether packets that come have to be looked at one by one."""
        return bool(self._asked)

    def asked(self, numbers: tuple[int, ...], last: int, seen: Callable[[int], bool]) -> tuple[int, int]:
        """Take a request.

        Parameters
        ----------
        numbers : tuple of int
            Sequence numbers as the client counts.
        last : int
            Highest sequence number seen, -1 if none.
        seen : callable
            Whether the packet with a sequence number was captured.

        Returns
        -------
        captured, not_captured : int
            How many of the packets had been captured when they were asked for, and had not.
        """
        before = 0
        for number in numbers:
            sequence = number
            if not self.whole or abs(number - last) > FARTHEST:
                sequence = last - (last - number) % 256
            held = seen(sequence)
            self._asked.setdefault(sequence, held)
            before += held
        return before, len(numbers) - before

    def came(self, sequence: int) -> None:
        """Take note of a packet."""
        if sequence in self._asked:
            self.copies += 1

    def settle(self, seen: Callable[[int], bool]) -> None:
        """Take note that no more packets come."""
        self._lacking = sum(not held and not seen(sequence) for sequence, held in self._asked.items())

    def told(self) -> str:
        """What became of the packets, as a sentence."""
        before = sum(self._asked.values())
        after = len(self._asked) - before - self._lacking
        return (
            f"the client asked again for {len(self._asked)} packets: {before} had been captured, "
            f"{after} came only then, {self._lacking} never"
        )
