"""From evidence to a case folder.

Rules of this file:

* the case is built in a folder beside its place and renamed into it when it is whole: there is no half
  a case, and a run that is broken off leaves the old one as it was;
* what is wrong with one piece of evidence costs that piece what lies behind the damage, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from mmsforensics.case.custody import append_entry, environment
from mmsforensics.case.errors import CaseError
from mmsforensics.case.folder import CUSTODY, MANIFEST, Case, is_case, open_case
from mmsforensics.case.manifest import write_manifest
from mmsforensics.case.recorder import CaseRecorder
from mmsforensics.case.store import TableStore
from mmsforensics.evidence import Evidence, hash_file, open_evidence
from mmsforensics.packets import CaptureScan, link_type_name
from mmsforensics.sessions import SessionRoom
from mmsforensics.streams import FlowTable


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
        Capture files, or folders, whose files are taken in order of name.
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
    try:
        _build(work, target, paths, progress)
        _put_in_place(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
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
            paths += sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in CAPTURE_SUFFIXES)
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


CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap", ".dmp", ".ntar")
"""What is taken for evidence when a folder is given; a file named by itself is judged by content alone."""


def _build(work: Path, target: Path, paths: list[Path], progress: Callable[[Progress], None] | None) -> None:
    work.chmod(0o755)
    spool = work / "spool"
    spool.mkdir()
    store = TableStore(work)
    total = sum(p.stat().st_size for p in paths)
    before = 0
    captures = []
    with ThreadPoolExecutor(1, thread_name_prefix="media-hash") as hasher:
        try:
            for number, path in enumerate(paths, start=1):
                report = _Reporter(progress, str(path), number, len(paths), before, total)
                captures.append(_capture(work, spool, store, path, number, hasher, report.advance))
                before += path.stat().st_size
            tables = store.close()
        except BaseException:
            store.abort()
            raise
    shutil.rmtree(spool)
    write_manifest(work, captures, tables, _media_hashes(work))
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


def _media_hashes(work: Path) -> dict[str, str]:
    """Hashes of the recovered files, taken as they were written."""
    table = pq.read_table(work / "tables" / "media", columns=["path", "sha256"])
    return {row["path"]: row["sha256"] for row in table.to_pylist()}


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


def _capture(
    work: Path,
    spool: Path,
    store: TableStore,
    path: Path,
    number: int,
    hasher: ThreadPoolExecutor,
    report: Callable[[int], None],
) -> dict[str, object]:
    """Analyse one capture; returns its row of the manifest."""
    capture_id = f"c{number:03d}"
    recorder = CaseRecorder(work, spool, store, capture_id, hasher)
    with open_evidence(path) as evidence:
        scan = CaptureScan(evidence, progress=report)
        flows = FlowTable()
        room = SessionRoom(recorder)
        for batch in scan:
            room.feed(flows.feed(batch))
        room.finish()
        recorder.flush()
        return _capture_row(store, evidence, scan, flows, room, capture_id)


def _capture_row(
    store: TableStore,
    evidence: Evidence,
    scan: CaptureScan,
    flows: FlowTable,
    room: SessionRoom,
    capture_id: str,
) -> dict[str, object]:
    summary = scan.summary
    problems = [p.message for p in summary.problems]
    store.append_row(
        "captures",
        {
            "capture_id": capture_id,
            "path": str(evidence.path),
            "sha256": summary.sha256,
            "size": evidence.size,
            "format": evidence.format,
            "link_types": [link_type_name(d) for d in summary.link_types],
            "packets": summary.packets,
            "first_ts": summary.first_ts,
            "last_ts": summary.last_ts,
            "truncated": summary.truncated,
            "problems": problems,
            "frames_fragment": summary.fragments,
            "frames_malformed": summary.malformed,
            "flows": flows.flows_seen,
            "unclaimed_datagrams": room.unclaimed_datagrams,
            "undecided_dropped": flows.pool_dropped,
        },
    )
    return {
        "capture_id": capture_id,
        "path": str(evidence.path),
        "size": evidence.size,
        "sha256": summary.sha256,
        "problems": problems,
    }
