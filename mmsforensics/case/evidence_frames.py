"""The frames of a case's captures, read again from the evidence; no protocol is decoded for it.

Rules of this file:

* places of frames are kept in a file without a name, so that memory does not grow with the capture;
* what is read here is what lies on disk now: whether that is still the evidence `verify` says, by its hash.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmsforensics.case.custody import last_entry
from mmsforensics.case.errors import CaseError
from mmsforensics.case.folder import CUSTODY, Case
from mmsforensics.case.store import encodable
from mmsforensics.evidence import open_evidence
from mmsforensics.evidence.sources import sources
from mmsforensics.packets import CaptureScan

PLACE = np.dtype(
    [
        ("offset", "i8"),  # of the first captured byte in the capture (unpacked, if it is compressed)
        ("ts", "i8"),  # ns since 1970-01-01 UTC, or NO_TIME
        ("caplen", "u4"),
        ("wirelen", "u4"),
        ("link", "u2"),  # link type (DLT)
    ]
)
"""Where a frame stands; row 0 is frame 1."""


@dataclass(frozen=True, slots=True)
class CaptureFrames:
    """The frames of one capture."""

    capture_id: str
    data: NDArray[np.uint8]
    """The capture, read-only."""
    places: NDArray[np.void]
    """Dtype `PLACE`, mapped from disk."""

    def frame(self, number: int) -> NDArray[np.uint8]:
        """The captured bytes of a frame.

        Raises
        ------
        CaseError
            There is no such frame.
        """
        if not 1 <= number <= len(self.places):
            raise CaseError(f"{self.capture_id} has no frame {number}: it holds {len(self.places)}")
        place = self.places[number - 1]
        start = int(place["offset"])
        return self.data[start : start + int(place["caplen"])]


class EvidenceFrames:
    """Captures of a case, opened when they are asked for. A context manager.

    Parameters
    ----------
    case : Case
    folder : Path, optional
        Where the captures lie now, when they are no longer where they were.
    """

    def __init__(self, case: Case, folder: Path | None = None) -> None:
        self._case = case
        self._folder = folder
        self._open: dict[str, CaptureFrames] = {}
        self._archives: dict[Path, dict[str, Path]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened."""
        self._open.clear()
        self._stack.close()

    def capture(self, capture_id: str) -> CaptureFrames:
        """The frames of a capture.

        Raises
        ------
        CaseError
            The case has no such capture, or it is not found, or cannot be read again.
        """
        if capture_id not in self._open:
            self._open[capture_id] = self._read(capture_id)
        return self._open[capture_id]

    def _read(self, capture_id: str) -> CaptureFrames:
        file = self.file(capture_id)
        try:
            spool = self._stack.enter_context(tempfile.TemporaryDirectory())
            evidence = self._stack.enter_context(open_evidence(file, spool=spool))
        except OSError as error:
            raise CaseError(f"{file}: {error.strerror or error}") from error
        store = self._stack.enter_context(tempfile.TemporaryFile(dir=spool))  # noqa: SIM115
        count = 0
        for batch in CaptureScan(evidence, hashing=False):
            rows = np.empty(len(batch.rows), dtype=PLACE)
            for name in PLACE.names or ():
                rows[name] = batch.rows[name]
            store.write(rows.tobytes())
            count += len(rows)
        store.flush()
        places = np.memmap(store, dtype=PLACE, mode="r", shape=(count,)) if count else np.empty(0, PLACE)
        return CaptureFrames(capture_id, evidence.data, places)

    def file(self, capture_id: str) -> Path:
        """Where a capture lies now; one from an archive is taken out of it again.

        Raises
        ------
        CaseError
            The case has no such capture, or it is not found, or came through a pipe.
        """
        record = next((c for c in evidence_of(self._case) if c["capture_id"] == capture_id), None)
        if record is None:
            raise CaseError(f"{self._case.path}: no capture {capture_id}")
        name = str(record["path"])
        if record.get("streamed"):
            raise CaseError(f"{name}: came through a pipe and cannot be read again")
        container = record.get("container")
        place = find_evidence(self._case, str(container or name), self._folder)
        if place is None:
            raise CaseError(f"{container or name}: not found; where does it lie now? (--evidence FOLDER)")
        if container is None:
            return place
        found = self._members(place).get(name.partition("!")[2])
        if found is None:
            raise CaseError(f"{name}: not found in the archive")
        return found

    def _members(self, archive: Path) -> dict[str, Path]:
        """The members of an archive by their names, taken out of it once."""
        if archive not in self._archives:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            self._archives[archive] = {
                encodable(source.name).partition("!")[2]: source.file for source in sources(archive, folder)
            }
        return self._archives[archive]


def evidence_of(case: Case) -> Iterator[dict[str, object]]:
    """The captures of a case, as its manifest has them."""
    evidence = case.manifest.get("evidence", [])
    assert isinstance(evidence, list)
    yield from evidence


def find_evidence(case: Case, given: str, folder: Path | None) -> Path | None:
    """Where an evidence file lies now: as given, as the custody log knows it, or in `folder`."""
    candidates = [given]
    if folder is not None:
        candidates = [str(folder / Path(given).name)]
    else:
        entry = last_entry(case.path / CUSTODY, "analyze")
        for kind in ("evidence", "containers"):
            known = entry.get(kind, [])
            assert isinstance(known, list)
            candidates += [str(k["absolute_path"]) for k in known if k.get("path") == given]
    paths = (Path(name) for c in candidates for name in (c, _as_on_disk(c)))
    return next((path for path in paths if path.is_file()), None)


def _as_on_disk(name: str) -> str:
    """The name that the file system has of one that is no UTF-8, and that a case holds by `encodable`."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), name)
