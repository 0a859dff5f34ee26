"""What a flow is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a flow."""

    address: bytes
    """4 or 16 bytes, network order."""
    port: int


@dataclass(frozen=True, slots=True)
class Flow:
    """A TCP connection or a pair of UDP endpoints."""

    uid: int
    """Number of the flow in the capture, in order of first packets, from 0."""
    proto: int
    """6 TCP, 17 UDP."""
    a: Endpoint
    b: Endpoint
    """The two ends, in order of (address, port); direction 0 is from `a` to `b`."""
    first_frame: int
    first_ts: int = 0
    """Time stamp of that frame, ns."""
    reused: int = 0
    """Connections between the same endpoints before this one."""


@dataclass(frozen=True, slots=True)
class FlowPackets:
    """Packets of one wanted flow, in order of capture."""

    flow: Flow
    rows: NDArray[np.void]
    """Dtype `PACKET`."""
    direction: NDArray[np.uint8]
    """0 from endpoint a, 1 from endpoint b; shape as `rows`."""
    data: NDArray[np.uint8]
    """Where the frames lie, from the first byte of each to the last of its payload."""
    start: NDArray[np.int64]
    """Position of each payload in `data`; shape as `rows`."""
