"""What the sessions room tells, and whom it tells it to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.messages import Direction
from mmsforensics.sessions.loss import LOSS
from mmsforensics.sessions.medium import MediumBlock
from mmsforensics.sessions.msb_order import RestoredPacket
from mmsforensics.sessions.redirections import Redirection
from mmsforensics.sessions.verdict import PARTIAL, Reason
from mmsforensics.streams import Conflict, Flow, FlowSummary
from mmsforensics.streams.flow import Endpoint

MediumKind = Literal["faithful", "packets", "header", "merged"]
"""What of a medium was captured: header and packets, packets alone, or the header alone; or that several
were joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened in a session."""

    ts: int
    """ns since 1970-01-01 UTC."""
    frame: int
    direction: Direction
    event: str
    """The specification's name of the message, or one of this tool's own."""
    summary: str
    details: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """A finished session."""

    number: int
    """Order in which sessions began, from 1."""
    proto: int
    """Of the flow that carried the control messages: 6 TCP; 17 UDP where only data were captured."""
    transport: str
    client_ip: bytes
    client_port: int
    server_ip: bytes
    server_port: int
    url: str
    client_version: str
    server_version: str
    player_guid: str
    first_frame: int
    start_ts: int
    end_ts: int
    outcome: str
    media_bytes: int
    packets_received: int
    packets_missing: int
    gap_bytes: int
    """Bytes of the session's streams that were not captured."""
    acked_unseen: int | None
    """Bytes of the server's streams that the client acknowledged and the capture does not hold; None where no
    acknowledgement was captured."""
    seen_unacked: int | None
    """Bytes of the server's streams that were captured and never acknowledged."""
    resend_requests: int | None = None
    """Packets that the client asked to be sent again; None where the transport knows no such requests."""
    packets_resent: int | None = None
    """Packets that came once they had been asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediumSummary:
    """A finished medium."""

    packets: int
    packets_missing: int
    complete: bool
    ended: bool
    """Whether the server said that it had sent everything."""
    verdict: str = PARTIAL
    """One of `VERDICTS`."""
    reasons: tuple[Reason, ...] = ()
    """Why it is that."""
    loss: NDArray[np.void] = field(default_factory=lambda: np.empty(0, dtype=LOSS))
    """Runs of missing packets, in the order of the file; dtype LOSS."""
    late_header: tuple[bytes, str] = (b"", "")
    """A header that a document gave when the packets had long begun without one, and what gave it."""


class MediumWriter(Protocol):
    """Takes one medium as it is recovered."""

    def write(self, block: MediumBlock) -> None:
        """Append bytes to the file, with the packets and origins that go with them."""

    def salvage(self, block: MediumBlock) -> None:
        """Take packets with what was wholly seen of hurt ones: they go to the playable file alone.

        Their offsets count from the first such packet, each at the full packet size.
        """

    def restored(self, packet: RestoredPacket) -> None:
        """Record what a packet was computed from; its bytes come by `salvage`."""

    def close(self, summary: MediumSummary) -> None:
        """Finish the medium."""


class Recorder(Protocol):
    """Takes what the sessions room finds."""

    def begin(self, session: int, first_frame: int) -> None:
        """Take note of a session, by the first frame of its flow, before anything else is told of it."""

    def event(self, session: int, event: Event) -> None:
        """Record an event of session number `session`."""

    def open_medium(
        self, session: int, header: bytes, name: str, kind: MediumKind = "faithful", source: str = ""
    ) -> MediumWriter:
        """Begin a medium; `name` is what the client asked for, `header` is empty when none was captured.

        `source` is what gave the header, where that did not come with the stream.
        """

    def row(self, table: str, session: int | None, frame: int, values: Mapping[str, object]) -> None:
        """Write a row of a table that rests on one frame, of a session or of none.

        The columns ``session_id``, ``capture_id`` and ``frame`` are filled from the numbers given.
        """

    def redirection(self, redirection: Redirection) -> None:
        """Record that somebody was sent elsewhere; where that led is known when the sessions are."""

    def unclaimed(self, frames: NDArray[np.integer]) -> None:
        """Count datagrams that look like MMS data and belong to no session seen."""

    def anomalies(self, flow: Flow, rows: NDArray[np.void]) -> None:
        """Record what is odd about a flow's traffic, dtype ANOMALY."""

    def conflict(self, flow: Flow, side: int, conflict: Conflict) -> None:
        """Record bytes that a side of a flow sent twice, differently."""

    def flow(
        self,
        summary: FlowSummary,
        sessions: Sequence[int],
        protocol: str,
        client: Endpoint | None,
        receiver: Endpoint | None,
    ) -> None:
        """Record a finished flow, the numbers of the sessions it carried, and its client if that is known.

        `receiver` is the end that media are sent to: the client, but for push distribution.
        All flows are told after all anomalies but their own last ones, and before the sessions.
        """

    def session(self, summary: SessionSummary) -> None:
        """Record a finished session."""
