"""What is wrong with a piece of evidence, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_PROBLEMS: Final = 100
"""Problems of a capture that are told one by one."""

UNKNOWN_OFFSET = -1
"""Offset of a problem that has no single place in the file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A place where evidence is not what its format asks for."""

    path: str
    """The file, as it was named by the caller."""
    offset: int
    """Byte offset in the file, `UNKNOWN_OFFSET` if there is none."""
    frame: int | None
    """The frame (1-based) that would have stood there, None if the place belongs to no frame."""
    expected: str
    """What the format asks for at that place."""
    found: str
    """What stands there."""
    passed_over: tuple[int, int] | None = None
    """First byte, and the one behind the last, that were not read because of it."""

    @property
    def message(self) -> str:
        """One sentence that names the file and the byte offset."""
        place = f"at byte offset {self.offset}" if self.offset != UNKNOWN_OFFSET else "at an unknown offset"
        frame = "" if self.frame is None else f" (frame {self.frame})"
        cost = ""
        if self.passed_over is not None and self.passed_over[1] > self.passed_over[0]:
            start, stop = self.passed_over
            cost = f"; {stop - start} bytes from offset {start} on were passed over"
        return f"{self.path}: {place}{frame}: expected {self.expected}, found {self.found}{cost}"


class Problems:
    """What is wrong with a capture, as much of it as a person reads."""

    __slots__ = ("_bytes", "_more", "_path", "told")

    def __init__(self, path: str) -> None:
        self._path = path
        self._more = 0
        self._bytes = 0
        self.told: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Add one; of those beyond `MAX_PROBLEMS` only the number and the bytes they cost are kept."""
        if len(self.told) < MAX_PROBLEMS:
            self.told.append(problem)
            return
        self._more += 1
        if problem.passed_over is not None:
            self._bytes += problem.passed_over[1] - problem.passed_over[0]

    def add_untold(self, count: int, size: int) -> None:
        """Add problems of which only the number and the bytes they cost are kept."""
        self._more += count
        self._bytes += size

    def __iter__(self) -> Iterator[Problem]:
        """The problems, and one that stands for all that were not kept."""
        yield from self.told
        if self._more:
            found = f"{self._more} more, for which {self._bytes} bytes were passed over"
            yield Problem(self._path, UNKNOWN_OFFSET, None, f"no more than {MAX_PROBLEMS} problems", found)
