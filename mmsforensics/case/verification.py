"""Verification: evidence and outputs hashed again and held against the manifest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmsforensics.case.custody import append_entry, check_chain, last_entry
from mmsforensics.case.errors import CaseError
from mmsforensics.case.evidence_frames import EvidenceFrames, find_evidence
from mmsforensics.case.folder import CUSTODY, MANIFEST, Case
from mmsforensics.case.store import encodable
from mmsforensics.evidence import hash_file
from mmsforensics.evidence.sources import sources


@dataclass(frozen=True, slots=True)
class Check:
    """One file looked at."""

    path: str
    kind: str
    """evidence, output, custody, manifest or rebuilt."""
    ok: bool
    message: str
    checked: bool = True
    """False where there is nothing to hold against the record."""


def verify(case: Case, *, evidence_folder: Path | None = None, deep: bool = False) -> list[Check]:
    """Hash the evidence and every output again.

    Parameters
    ----------
    case : Case
    evidence_folder : Path, optional
        Where the captures lie now, when they are no longer where they were.
    deep : bool
        Also make every recovered file again, from the evidence and the table `provenance` alone.

    Returns
    -------
    list of Check
        One for each file, in the manifest's order, and one for the custody log. The result is appended to
        that log; where it can't be written, as on read-only media, another check says so.
    """
    checks = [*_evidence(case, evidence_folder), *_outputs(case), *_custody(case)]
    if deep:
        checks += _rebuilt(case, evidence_folder)
    failed = [c.path for c in checks if not c.ok]
    try:
        append_entry(case.path / CUSTODY, "verify", {"files": len(checks), "failed": failed, "deep": deep})
    except OSError as error:
        message = f"this verification could not be recorded: {error.strerror or error}"
        checks.append(Check(CUSTODY, "custody", ok=True, message=message, checked=False))
    return checks


def _rebuilt(case: Case, folder: Path | None) -> Iterator[Check]:
    """Make the recovered files again; a table that cannot be read any more is what fails."""
    from mmsforensics.case.rebuild import rebuild  # compiled code is loaded only where it is needed

    try:
        with EvidenceFrames(case, folder) as frames:
            for found in rebuild(case, frames):
                yield Check(found.path, "rebuilt", ok=found.ok, message=found.message)
    except (CaseError, OSError, ValueError, KeyError) as error:  # pyarrow's are ValueErrors and OSErrors
        yield Check("tables", "rebuilt", ok=False, message=f"cannot be read: {error}")


def _evidence(case: Case, folder: Path | None) -> Iterator[Check]:
    members: dict[str, list[dict[str, object]]] = {}
    for capture in _list(case.manifest, "evidence"):
        name = str(capture["path"])
        if capture.get("container"):
            members.setdefault(str(capture["container"]), []).append(capture)
        elif capture.get("streamed"):
            message = "came through a pipe and cannot be read again"
            yield Check(name, "evidence", ok=True, message=message, checked=False)
        else:
            yield _file(case, name, folder, capture)
    for container in _list(case.manifest, "containers"):
        name = str(container["path"])
        yield _file(case, name, folder, container)
        yield from _archive_members(find_evidence(case, name, folder), members.get(name, []))


def _file(case: Case, name: str, folder: Path | None, expected: Mapping[str, object]) -> Check:
    path = find_evidence(case, name, folder)
    if path is None:
        return Check(name, "evidence", ok=False, message="not found")
    return _compare(path, name, "evidence", expected)


def _archive_members(archive: Path | None, members: list[dict[str, object]]) -> Iterator[Check]:
    """Take the members out of their archive again and hash them."""
    if archive is None:
        for member in members:
            yield Check(str(member["path"]), "evidence", ok=False, message="not found")
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {encodable(s.name).partition("!")[2]: s.file for s in sources(archive, Path(folder))}
        for member in members:
            name = str(member["path"])
            file = found.get(name.partition("!")[2])
            if file is None:
                yield Check(name, "evidence", ok=False, message="not found in the archive")
            else:
                yield _compare(file, name, "evidence", member)


def _outputs(case: Case) -> Iterator[Check]:
    listed = set()
    for output in _list(case.manifest, "outputs"):
        name = str(output["path"])
        listed.add(name)
        path = case.path / name
        if not path.is_file():
            yield Check(name, "output", ok=False, message="missing")
        else:
            yield _compare(path, name, "output", output)
    for path in sorted(p for p in (case.path).rglob("*") if p.is_file()):
        name = path.relative_to(case.path).as_posix()
        if name not in listed and name not in (MANIFEST, CUSTODY):
            yield Check(name, "output", ok=False, message="not in the manifest")


def _compare(path: Path, name: str, kind: str, expected: Mapping[str, object]) -> Check:
    size = path.stat().st_size
    if size != expected["size"]:
        return Check(name, kind, ok=False, message=f"{size} bytes, expected {expected['size']}")
    if expected["sha256"] is None:
        message = "could not be read whole when it was analysed: there is no hash of it"
        return Check(name, kind, ok=True, message=message, checked=False)
    found = hash_file(path)
    if found != expected["sha256"]:
        return Check(name, kind, ok=False, message=f"SHA-256 {found}, expected {expected['sha256']}")
    return Check(name, kind, ok=True, message="as recorded")


def _custody(case: Case) -> Iterator[Check]:
    problems = check_chain(case.path / CUSTODY)
    yield Check(CUSTODY, "custody", ok=not problems, message="; ".join(problems) or "chain is whole")
    if problems:
        return
    recorded = last_entry(case.path / CUSTODY, "analyze").get("manifest_sha256")
    same = recorded == hash_file(case.path / MANIFEST)
    message = "as recorded in the custody log" if same else "is not the one recorded in the custody log"
    yield Check(MANIFEST, "manifest", ok=same, message=message)


def _list(mapping: Mapping[str, object], name: str) -> list[dict[str, object]]:
    value = mapping.get(name, [])
    return value if isinstance(value, list) else []
