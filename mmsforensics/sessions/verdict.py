"""How much of a medium was recovered, in words that `docs/sessions.md` defines, and why."""

from __future__ import annotations

from dataclasses import dataclass

HEADER_ONLY = "header only"
COMPLETE = "complete"
PARTIAL = "partial"

VERDICTS: dict[str, str] = {
    COMPLETE: "the server said that it had sent everything, and nothing of that is missing",
    "complete but for N packets": "the server said that it had sent everything; N packets are missing",
    PARTIAL: "the sending was broken off, its end was not captured, or how much is missing cannot be told",
    HEADER_ONLY: "the header was sent and no packet",
}
"""Words of the column `media.verdict`."""

REASONS: dict[str, str] = {
    "end of stream": "the server said that it had sent everything",
    "body whole": "the download has the length that was announced, and every byte of it was seen",
    "all sequence numbers seen": "the server counts its packets, and no number is missing",
    "all RTP packets seen": "the sequence numbers of RTP follow each other, up to the end where it is told",
    "more may be missing": "packets may be missing that nothing numbers, at the start or with others",
    "all bytes seen": "the connection that carried the packets has no hole",
    "client stopped": "the client stopped or closed the file before the server had sent everything",
    "client closed": "the client closed the connection before the server had sent everything",
    "server closed": "the server closed the connection without saying that it had sent everything",
    "reset": "the connection was reset before the server had said that it had sent everything",
    "capture ended": "the capture ends while media are sent",
    "body ended early": "the download ended before the length that was announced",
    "not asked for": "bytes of the file are in no range that was seen to be sent",
    "next content": "another content began without a word that this one had been sent",
    "end not seen": "nothing says how the sending ended",
    "packets missing": "packets known to be missing",
    "asked again": "packets that the client asked to be sent again: it had not received them",
    "packets restored": "packets that were not seen and are computed from parity; they stand in the playable "
    "file alone",
    "packets hurt": "packets among the missing ones of which something was seen",
    "hole": "bytes of the stream that were not captured, one row for each hole",
    "more holes": "holes that are not listed one by one",
    "hole at the end": "there is a hole behind the last packet: what it held cannot be told",
    "packets not counted": "the server does not count its packets: what is missing is told by holes alone",
    "packets too large": "packets larger than the header allows; they are left out",
    "packets unsound": "packets in the file that do not parse as ASF data packets",
    "no packets": "no media packet was captured",
    "joined a live stream": "the header is one of a live stream: what came before was never sent",
    "starts inside": "the first packet is not number 0: the start was not asked for, or not captured",
    "encrypted": "the header says that a licence is needed: recovered, not playable without it",
    "declares more packets": "the header declares more packets than the last one's number tells",
}
"""Words of the column `verdicts.reason`."""

MAX_HOLES = 1000
"""Holes listed one by one."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for a verdict."""

    reason: str
    """One of `REASONS`."""
    text: str
    """A sentence with the figures."""
    count: int | None = None
    """Packets or bytes that it speaks of."""
    frame: int = 0
    """Frame that shows it, 0 if none does."""


def verdict(*, packets: int, missing: int, complete: bool, bounded: bool) -> str:
    """The word for a medium.

    Parameters
    ----------
    packets, missing : int
        Packets in the file, and known to be missing.
    complete : bool
        Whether the server said that it had sent everything and nothing is missing.
    bounded : bool
        Whether the server said so, and `missing` is known to be all that is missing.
    """
    if packets == 0:
        return HEADER_ONLY
    if complete:
        return COMPLETE
    if bounded and missing:
        return f"complete but for {missing} packet{'s' if missing != 1 else ''}"
    return PARTIAL


def hurt_reasons(hurt: int) -> list[Reason]:
    """A row for the packets of which something was seen, if there are any."""
    return (
        [Reason("packets hurt", f"of {hurt} of the missing packets something was seen", hurt)] if hurt else []
    )


def hole_reasons(holes: list[tuple[int, int]]) -> list[Reason]:
    """A row for each hole, given as frame behind it and bytes."""
    found = [
        Reason("hole", f"hole of {length} bytes in the stream", length, frame)
        for frame, length in holes[:MAX_HOLES]
    ]
    rest = [length for _, length in holes[MAX_HOLES:]]
    if rest:
        found.append(Reason("more holes", f"{len(rest)} more holes, {sum(rest)} bytes in all", len(rest)))
    return found
