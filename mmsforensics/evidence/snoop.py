"""The snoop file format [RFC 1761]: file header and record walk; all numbers are big-endian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.evidence import compiled
from mmsforensics.evidence.compiled import Bytes, Int, fingerprint
from mmsforensics.evidence.problem import Problem

FILE_HEADER: Final = 16
"""Identification pattern, version, data link type."""

RECORD_HEADER: Final = 24

MAX_RECORD: Final = 1 << 24
"""Bytes of a record from which on it is damage."""

MAX_PADDING: Final = 32
"""Bytes behind a frame: RFC 1761 asks for three at most."""

LINKS: Final = {0: 1, 2: 6, 4: 1, 8: 10}
"""Link type (DLT) by data link type: IEEE 802.3, Token Ring, Ethernet, FDDI."""

UNKNOWN_LINK: Final = 0xFF00
"""Above all DLT: a data link type that is none of those, added to it as far as it fits."""

OK, FULL, CUT_HEADER, CUT_DATA, IMPOSSIBLE = 0, 1, 2, 3, 4

be32 = compiled.be32


def read_header(path: str, data: Bytes) -> int | Problem:
    """Read the file header; returns the link type."""
    head = data[:FILE_HEADER].tobytes()
    if len(head) < FILE_HEADER:
        expected = f"a snoop file header of {FILE_HEADER} bytes"
        return Problem(path, 0, None, expected, f"only {len(head)} bytes")
    version = int.from_bytes(head[8:12], "big")
    if version != 2:
        return Problem(path, 8, None, "snoop version 2", f"version {version}")
    kind = int.from_bytes(head[12:16], "big")
    return LINKS.get(kind, UNKNOWN_LINK + min(kind, 0xFF))


def _entry(sources: int) -> Callable[..., Any]:
    """Build the walk; `sources` becomes part of its cache key by being closed over."""

    @njit(cache=True, nogil=True)
    def walk(data: Bytes, pos: Int, stop: Int, link: Int, out: NDArray[np.void]) -> tuple[Int, Int, Int, Int]:
        """Find the records from `pos` on that begin before `stop`: count, end, code, cumulative drops."""
        _ = sources
        n, drops = 0, np.int64(0)
        while pos < stop:
            if n == len(out):
                return n, pos, FULL, drops
            left = len(data) - pos
            if left < RECORD_HEADER:
                return n, pos, CUT_HEADER, drops
            captured, length = be32(data, pos + 4), be32(data, pos + 8)
            if length < RECORD_HEADER + captured or length > RECORD_HEADER + captured + MAX_PADDING:
                return n, pos, IMPOSSIBLE, drops
            if length > MAX_RECORD:
                return n, pos, IMPOSSIBLE, drops
            if captured > left - RECORD_HEADER:
                return n, pos, CUT_DATA, drops
            record = out[n]
            record["start"], record["link"] = pos + RECORD_HEADER, link
            record["wire"], record["captured"] = be32(data, pos), captured
            record["ts"] = be32(data, pos + 16) * 1_000_000_000 + be32(data, pos + 20) * 1000
            drops = be32(data, pos + 12)
            n += 1
            pos = min(pos + length, len(data))
        return n, pos, OK, drops

    return walk


walk = _entry(fingerprint((compiled,)))


def explain(path: str, data: Bytes, pos: int, frame: int, code: int) -> Problem:
    """Put into words what the walk said about the record at `pos`, which would be `frame`."""
    left = len(data) - pos
    if code == CUT_HEADER:
        expected = f"a record header of {RECORD_HEADER} bytes"
        return Problem(path, pos, frame, expected, f"the end of the file after {left}")
    captured, length = (int.from_bytes(data[pos + k : pos + k + 4].tobytes(), "big") for k in (4, 8))
    if code == CUT_DATA:
        found = f"the end of the file after {left - RECORD_HEADER}"
        return Problem(path, pos, frame, f"a record of {captured} captured bytes", found)
    expected = f"a record length of {RECORD_HEADER} + captured length + padding, at most {MAX_RECORD}"
    return Problem(path, pos + 8, frame, expected, f"{length} with {captured} captured bytes")
