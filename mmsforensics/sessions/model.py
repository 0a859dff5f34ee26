"""What the sessions room tells, and whom it tells it to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.messages import Direction
from mmsforensics.sessions.medium import MediumBlock

MediumKind = Literal["faithful", "packets", "header"]
"""What of a medium was captured: header and packets, packets alone, or the header alone."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MediumSummary:
    """A finished medium."""

    packets: int
    packets_missing: int
    complete: bool
    ended: bool
    """Whether the server said that it had sent everything."""


class MediumWriter(Protocol):
    """Takes one medium as it is recovered."""

    def write(self, block: MediumBlock) -> None:
        """Append bytes to the file, with the packets and origins that go with them."""

    def close(self, summary: MediumSummary) -> None:
        """Finish the medium."""


class Recorder(Protocol):
    """Takes what the sessions room finds."""

    def begin(self, session: int, first_frame: int) -> None:
        """Take note of a session, by the first frame of its flow, before anything else is told of it."""

    def event(self, session: int, event: Event) -> None:
        """Record an event of session number `session`."""

    def open_medium(
        self, session: int, header: bytes, name: str, kind: MediumKind = "faithful"
    ) -> MediumWriter:
        """Begin a medium; `name` is what the client asked for, `header` is empty when none was captured."""

    def unclaimed(self, frames: NDArray[np.integer]) -> None:
        """Count datagrams that look like MMS data and belong to no session seen."""

    def session(self, summary: SessionSummary) -> None:
        """Record a finished session."""
