"""Where the media of a case go, and how they are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmsforensics.asf import ScriptCommand
from mmsforensics.case.closings import Closings
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.media_rows import MediaRows
from mmsforensics.case.store import TableStore
from mmsforensics.case.writing import Spools, Writers


@dataclass(frozen=True, slots=True)
class MediumNames:
    """How a medium is called."""

    session_id: str
    number: int
    """Running number in the session, from 1."""
    stem: str
    extension: str

    def media_id(self, kind: str) -> str:
        """Identifier of one of the medium's files."""
        return f"{self.session_id}-m{self.number}-{kind}"

    def path(self, kind: str) -> str:
        """Path of one of the medium's files in the case folder. Packets alone are no file for players."""
        extension = ".bin" if kind == "packets" else self.extension
        return f"media/{self.session_id}/{self.number:02d}-{self.stem}.{kind}{extension}"


@dataclass(frozen=True, slots=True)
class MediaPlace:
    """Where the media of a case go."""

    root: Path
    """The case folder."""
    spool: Path
    """Folder for what is removed in the end."""
    store: TableStore
    book: FrameBook
    writers: Writers
    spools: Spools
    closings: Closings
    rows: MediaRows
    commanded: Callable[[str, int, int, ScriptCommand], None]
    """Takes a script command of a stream, with its session, frame and time."""
