"""What is wrong with a piece of evidence, and where."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def message(self) -> str:
        """One sentence that names the file and the byte offset."""
        place = f"at byte offset {self.offset}" if self.offset != UNKNOWN_OFFSET else "at an unknown offset"
        frame = "" if self.frame is None else f" (frame {self.frame})"
        return f"{self.path}: {place}{frame}: expected {self.expected}, found {self.found}"
