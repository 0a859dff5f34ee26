"""From evidence to a case folder.

Rules of this file:

* the case is built in a folder beside its place and renamed into it when it is whole: there is no half
  a case, and a run that is broken off leaves the old one as it was;
* nothing heavy is imported before the first capture is being hashed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsforensics.case.custody import append_entry, environment
from mmsforensics.case.errors import CaseError
from mmsforensics.case.folder import CUSTODY, MANIFEST, Case, is_case, open_case
from mmsforensics.evidence import Evidence, hash_file, is_capture, open_evidence
from mmsforensics.packets import CaptureScan


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the analysis is."""

    path: str
    number: int
    """Which capture, from 1."""
    of: int
    done: int
    """Bytes of all evidence read so far."""
    total: int
    """Bytes of all evidence."""


def analyze(
    evidence: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Case:
    """Analyse captures into a case folder.

    Parameters
    ----------
    evidence : iterable of paths
        Capture files, compressed or not, or folders, whose captures are taken in order of name; what else
        lies in a folder is passed over. What is a capture its first bytes tell, or in a folder its name.
    out : path
        The case folder. It may not exist, or be a case, which is then replaced; its custody log goes on.
    progress : callable, optional
        Called with a `Progress` several times a second.

    Returns
    -------
    Case

    Raises
    ------
    CaseError
        A path is missing, there is no evidence, or `out` is something else than a case. Nothing has been
        written then.
    """
    paths = evidence_paths(evidence)
    target = Path(out)
    if target.exists() and not is_case(target):
        raise CaseError(f"{target}: exists and is no case folder; nothing was written")
    parent = target.absolute().parent
    if not parent.is_dir():
        raise CaseError(f"{parent}: no such folder to put the case in")
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
    work.chmod(0o755)
    scans = _Scans(paths, progress, work)
    try:
        scans.start()
        # Loaded only now: the first capture is being hashed meanwhile.
        from mmsforensics.case.build import build

        captures = build(work, scans)
        _log(work, target, captures)
        _put_in_place(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        scans.close()
    return open_case(target)


def evidence_paths(evidence: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files meant by paths and folders.

    Raises
    ------
    CaseError
        A path does not exist or can't be read, or none was given.
    """
    paths: list[Path] = []
    for given in evidence:
        path = Path(given)
        if path.is_dir():
            paths += sorted(p for p in path.iterdir() if p.is_file() and is_evidence(p))
        else:
            paths.append(path)
    if not paths:
        raise CaseError("no evidence: no capture file was given, and none lies in the folders given")
    for path in paths:
        if not path.exists():
            raise CaseError(f"{path}: no such file")
        if not path.is_file() or not os.access(path, os.R_OK):
            raise CaseError(f"{path}: can't be read")
    return paths


CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap", ".dmp", ".ntar", ".snoop")
"""Files in a folder that are evidence by their name, even if damage has made their beginning unknown."""


def is_evidence(path: Path) -> bool:
    """Whether a file in a folder is meant: by its content, or by its name."""
    return path.suffix.lower() in CAPTURE_SUFFIXES or (os.access(path, os.R_OK) and is_capture(path))


@dataclass(slots=True)
class _Reporter:
    """Adds up the bytes read of one capture and tells the caller."""

    progress: Callable[[Progress], None] | None
    path: str
    number: int
    of: int
    done: int
    total: int

    def advance(self, read: int) -> None:
        self.done += read
        if self.progress is not None:
            self.progress(Progress(self.path, self.number, self.of, self.done, self.total))


class _Scans:
    """The scans of all captures, one after the other; the first is opened, and hashed, ahead of its turn."""

    def __init__(self, paths: list[Path], progress: Callable[[Progress], None] | None, spool: Path) -> None:
        self._paths = paths
        self._spool = spool
        self._progress = progress
        self._total = sum(p.stat().st_size for p in paths)
        self._before = 0
        self._first: tuple[Evidence, CaptureScan] | None = None

    def start(self) -> None:
        """Open the first capture and begin to hash it."""
        self._first = self._open(0)
        self._first[1].start()

    def __iter__(self) -> Iterator[tuple[Evidence, CaptureScan]]:
        for number in range(len(self._paths)):
            first, self._first = self._first, None
            evidence, scan = first or self._open(number)
            with evidence:
                yield evidence, scan
            self._before += evidence.size

    def _open(self, number: int) -> tuple[Evidence, CaptureScan]:
        path = self._paths[number]
        report = _Reporter(self._progress, str(path), number + 1, len(self._paths), self._before, self._total)
        evidence = open_evidence(path, spool=self._spool)
        return evidence, CaptureScan(evidence, progress=report.advance)

    def close(self) -> None:
        """Let go of a capture whose turn never came."""
        if self._first is not None:
            self._first[1].close()
            self._first[0].close()


def _log(work: Path, target: Path, captures: Sequence[dict[str, object]]) -> None:
    """Go on with the custody log of the case that is replaced, or begin one."""
    if is_case(target):
        shutil.copy2(target / CUSTODY, work / CUSTODY)
    append_entry(
        work / CUSTODY,
        "analyze",
        {
            "evidence": [{**c, "absolute_path": str(Path(str(c["path"])).absolute())} for c in captures],
            "case": str(target.absolute()),
            "environment": environment(),
            "manifest_sha256": hash_file(work / MANIFEST),
        },
    )


def _put_in_place(work: Path, target: Path) -> None:
    if not target.exists():
        work.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.absolute().parent))
    target.rename(old / "case")
    try:
        work.rename(target)
    except BaseException:
        (old / "case").rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
