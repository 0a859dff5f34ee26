"""The evidence of a case: opened, hashed and read in the order of its time.

Rules of this file:

* nothing heavy is imported before the first capture is being hashed;
* a capture that cannot be opened is a row that says so, and costs the others nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from mmsforensics.evidence import Evidence, Problem, hash_file, open_evidence
from mmsforensics.evidence.files import HEAD
from mmsforensics.evidence.formats import Bytes, DocumentFormat, document_of
from mmsforensics.evidence.problem import UNKNOWN_OFFSET
from mmsforensics.evidence.sources import Source, head_of_content
from mmsforensics.packets import CaptureScan, PacketBatch, ScanSummary, first_times, read_ahead

if TYPE_CHECKING:
    from mmsforensics.packets.merge import Member

PEEKED = 1 << 20
"""Bytes of a compressed capture unpacked to see when it begins."""

DOCUMENT_LIMIT = 1 << 24
"""Bytes read of a document that is no server's log: station files and redirectors have some thousand. What is
beyond is told as a problem."""

UNREAD = ScanSummary(
    packets=0,
    first_ts=None,
    last_ts=None,
    link_types=(),
    truncated=True,
    problems=(),
    notes=(),
    decoded=0,
    other=0,
    malformed=0,
    fragments=0,
    blocks_skipped=0,
    sha256=None,
)
"""Of a capture that could not be opened."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the analysis is."""

    path: str
    number: int
    """Which capture, from 1, in the order given."""
    of: int
    done: int
    """Bytes of all evidence read so far."""
    total: int
    """Bytes of all evidence."""


@dataclass(frozen=True, slots=True)
class CaptureFacts:
    """What a capture is and what was read of it."""

    source: Source
    size: int
    format: str
    wrapping: tuple[str, ...]
    scan: ScanSummary
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class GivenDocument:
    """Evidence that is no capture: a log, a station file, a redirector."""

    number: int
    """Of the evidence, from 0, in the order given."""
    name: str
    format: DocumentFormat
    data: bytes
    """Its content, unpacked; empty of a server's log, which `Intake.logs` gives."""


class Intake:
    """The captures of a case, and the documents given beside them.

    Parameters
    ----------
    sources : sequence of Source
        In the order given.
    spool : Path
        Folder in which compressed evidence is unpacked.
    progress : callable, optional
        Called with a `Progress` several times a second, on a thread of its own.
    """

    def __init__(
        self, sources: Sequence[Source], spool: Path, progress: Callable[[Progress], None] | None = None
    ) -> None:
        self.sources = sources
        self._spool = spool
        self._progress = progress
        self._done = 0
        self._total = sum(_size(source) for source in sources)
        self._ahead: dict[int, tuple[Evidence, CaptureScan]] = {}
        self._facts: dict[int, CaptureFacts] = {}

    def start(self) -> None:
        """Open the first capture and begin to hash it, so that compiled code is loaded meanwhile."""
        if self._document(0) is not None:
            return
        opened = self._open(0)
        if opened is not None:
            self._ahead[0] = opened
            opened[1].start()

    def documents(self) -> list[GivenDocument]:
        """Read the evidence that is no capture; it has no turn among the captures."""
        found = [self._document(n) for n in range(len(self.sources))]
        return [document for document in found if document is not None]

    def _document(self, number: int) -> GivenDocument | None:
        source = self.sources[number]
        try:
            if document_of(head_of_content(source.file)) is None:
                return None
            with open_evidence(source.file, spool=self._spool, name=source.name) as evidence:
                kind = document_of(evidence.data[:HEAD].tobytes())
                limit_of = 0 if kind == "w3c log" else DOCUMENT_LIMIT
                data = evidence.data[:limit_of].tobytes()
                problems = (*source.problems, *evidence.problems)
                if len(evidence.data) > DOCUMENT_LIMIT and kind != "w3c log":
                    found = f"{len(evidence.data)} bytes, of which the rest was not read"
                    limit = f"at most {DOCUMENT_LIMIT} bytes of a document"
                    problems += (Problem(evidence.label, DOCUMENT_LIMIT, None, limit, found),)
        except OSError:
            return None  # said when it is opened as a capture
        if kind is None:
            return None
        scan = replace(UNREAD, truncated=bool(problems), sha256=hash_file(source.file))
        self._facts[number] = CaptureFacts(
            source, evidence.size, evidence.format, evidence.wrapping, scan, problems
        )
        return GivenDocument(number, source.name, kind, data)

    def logs(self) -> Iterator[tuple[int, str, Bytes]]:
        """Servers' logs: number and name of the evidence, and its bytes until the next one is asked for."""
        for number, source in enumerate(self.sources):
            if number in self._facts and self._facts[number].format == "w3c log":
                try:
                    opened = open_evidence(source.file, spool=self._spool, name=source.name)
                except OSError as error:
                    gone = error.strerror or str(error)
                    self.found(number, [Problem(source.name, UNKNOWN_OFFSET, None, "the log again", gone)])
                    continue
                with opened as evidence:
                    yield number, evidence.label, evidence.data

    def found(self, number: int, problems: Iterable[Problem]) -> None:
        """Take note of what is wrong with a document that was read."""
        facts, more = self._facts[number], tuple(problems)
        if more:
            scan = replace(facts.scan, truncated=True)
            self._facts[number] = replace(facts, scan=scan, problems=(*facts.problems, *more))

    def close(self) -> None:
        """Let go of a capture whose turn never came."""
        for evidence, scan in self._ahead.values():
            scan.close()
            evidence.close()
        self._ahead.clear()

    def times(self, number: int) -> list[int]:
        """Time stamps of a capture's first frames."""
        source = self.sources[number]
        if number in self._ahead:
            return first_times(self._ahead[number][0])
        try:
            return self._peeked(source)
        except OSError:
            return []

    def read(self, number: int) -> Iterator[PacketBatch]:
        """Read a capture; its facts are known when it is through."""
        opened = self._ahead.pop(number, None) or self._open(number)
        if opened is None:
            return
        evidence, scan = opened
        with evidence:
            yield from read_ahead(iter(scan))
            self._facts[number] = CaptureFacts(
                source=self.sources[number],
                size=evidence.size,
                format=evidence.format,
                wrapping=evidence.wrapping,
                scan=scan.summary,
                problems=(*self.sources[number].problems, *scan.summary.problems),
            )

    def facts(self, number: int) -> CaptureFacts:
        """What a capture is; after it was read."""
        return self._facts[number]

    def is_document(self, number: int) -> bool:
        """Whether evidence was found to be a document when the documents were read."""
        return number in self._facts and self._facts[number].format in get_args(DocumentFormat)

    def _open(self, number: int) -> tuple[Evidence, CaptureScan] | None:
        source = self.sources[number]
        try:
            evidence = open_evidence(source.file, spool=self._spool, name=source.name)
        except OSError as error:
            found = error.strerror or str(error)
            problem = Problem(source.name, UNKNOWN_OFFSET, None, "a file that can be read", found)
            problems = (*source.problems, problem)
            self._facts[number] = CaptureFacts(source, _size(source), "unknown", (), UNREAD, problems)
            return None
        return evidence, CaptureScan(evidence, progress=lambda read: self._advance(number, read))

    def _advance(self, number: int, read: int) -> None:
        self._done += read
        if self._progress is not None:
            name = self.sources[number].name
            self._progress(Progress(name, number + 1, len(self.sources), self._done, self._total))

    def _peeked(self, source: Source) -> list[int]:
        """First time stamps of a capture; of a compressed one, if its beginning tells them."""
        from mmsforensics.evidence.formats import wrapping_of
        from mmsforensics.evidence.wrapping import head_of

        with source.file.open("rb") as file:
            kind = wrapping_of(file.read(16))
        if kind is not None:
            with tempfile.NamedTemporaryFile(dir=self._spool) as part:
                part.write(head_of(source.file, kind, PEEKED))
                part.flush()
                with open_evidence(part.name) as evidence:
                    times = first_times(evidence)
            if times:
                return times
        with open_evidence(source.file, spool=self._spool) as evidence:
            return first_times(evidence)


def members(intake: Intake) -> list[Member]:
    """The captures as they wait to be merged, in the order given."""
    from mmsforensics.packets.merge import Member, first_time  # compiled code

    numbers = [n for n in range(len(intake.sources)) if not intake.is_document(n)]
    if len(numbers) == 1:  # its order is no question
        return [Member(numbers[0], None, partial(intake.read, numbers[0]))]
    return [Member(n, first_time(intake.times(n)), partial(intake.read, n)) for n in numbers]


def _size(source: Source) -> int:
    try:
        return source.file.stat().st_size
    except OSError:
        return 0
