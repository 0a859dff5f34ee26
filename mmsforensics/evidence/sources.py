"""What an examiner hands in, as files that can be opened: paths, folders, archives, pipes.

Rules of this file:

* a member of an archive, and what comes through a pipe, is written into a folder of the caller's, and is
  called ``ARCHIVE!MEMBER`` or as it was given; a member's own name never becomes a path;
* what cannot be read is told as a problem of its own, and costs nothing else.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

from mmsforensics.evidence.files import is_capture
from mmsforensics.evidence.formats import archive_of, recognise, wrapping_of
from mmsforensics.evidence.problem import UNKNOWN_OFFSET, Problem
from mmsforensics.evidence.wrapping import MAX_RATIO, ROOM, head_of, unpack

STDIN: Final = "-"

CAPTURE_SUFFIXES: Final = (".pcap", ".pcapng", ".cap", ".dmp", ".ntar", ".snoop")
"""Files in a folder or an archive that are evidence by their name, even if damage has made their beginning
unknown."""

HEAD: Final = 512
"""Bytes by which an archive is told: tar's mark stands at 257 [POSIX.1 pax, ustar header block]."""

MAX_DEPTH: Final = 3
"""Archives in archives that are opened."""

PART: Final = 1 << 20
"""Bytes copied at a time."""

ARCHIVE_ERRORS: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,  # zipfile: encrypted
    NotImplementedError,  # zipfile: unknown compression
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of evidence and where its bytes lie."""

    name: str
    """What it is called: its path as given, or ``ARCHIVE!MEMBER``."""
    file: Path
    """Where it lies."""
    container: str | None = None
    """The archive it lay in, as given."""
    problems: tuple[Problem, ...] = ()
    """Why its bytes are not all there."""
    streamed: bool = False
    """It came through a pipe, and cannot be read again."""


def is_evidence(path: Path) -> bool:
    """Whether a file in a folder is meant: by its content, or by its name."""
    if path.suffix.lower() in CAPTURE_SUFFIXES:
        return True
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    return is_capture(path) or archive_of(head_of_content(path)) is not None


def is_stream(name: str | os.PathLike[str]) -> bool:
    """Whether a name means standard input or a pipe."""
    return os.fspath(name) == STDIN or stat.S_ISFIFO(Path(name).stat().st_mode)


def sources(name: str | os.PathLike[str], spool: Path) -> Iterator[Source]:
    """The evidence that a file, a pipe or an archive holds.

    Parameters
    ----------
    name : path
        A file, an archive (zip or tar, compressed or not), a pipe, or ``-``.
    spool : Path
        Folder for what does not lie in a file of its own.
    """
    text = os.fspath(name)
    spool.mkdir(parents=True, exist_ok=True)
    if is_stream(name):
        file = _place(spool)
        with _stream(text) as stream, file.open("wb") as out:
            shutil.copyfileobj(stream, out, PART)
        yield from _opened(Source(text, file, streamed=True), spool, 0)
    else:
        yield from _opened(Source(text, Path(text)), spool, 0)


def _stream(name: str) -> IO[bytes]:
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb") if name == STDIN else Path(name).open("rb")


def _opened(source: Source, spool: Path, depth: int) -> Iterator[Source]:
    """A source itself, or what lies in it if it is an archive."""
    try:
        kind = archive_of(head_of_content(source.file)) if depth < MAX_DEPTH else None
    except OSError:
        kind = None  # said when it is opened as a capture
    if kind is None:
        yield source
        return
    found = False
    try:
        for member in _members(source, kind, spool):
            found = True
            yield from _opened(member, spool, depth + 1)
    except ARCHIVE_ERRORS as error:
        damage = Problem(source.name, UNKNOWN_OFFSET, None, f"more of a {kind} archive", _words(error))
        yield replace(source, problems=(*source.problems, damage))
    else:
        if not found:
            yield source


def _members(source: Source, kind: str, spool: Path) -> Iterator[Source]:
    if kind == "zip":
        yield from _zip_members(source, spool)
        return
    wrapping = wrapping_of(_first(source.file))
    if wrapping is None:
        with source.file.open("rb") as file:
            yield from _tar_members(source, file, (), spool)
        return
    unpacked, problems = unpack(str(source.file), wrapping, spool)
    with unpacked:
        unpacked.seek(0)
        told = tuple(replace(problem, path=source.name) for problem in problems)
        yield from _tar_members(source, unpacked, told, spool)


def _zip_members(source: Source, spool: Path) -> Iterator[Source]:
    with zipfile.ZipFile(source.file) as archive:
        for entry in sorted(archive.infolist(), key=lambda e: e.filename):
            if entry.is_dir():
                continue
            limit = max(entry.compress_size * MAX_RATIO, ROOM)
            try:
                with archive.open(entry) as stream:
                    member = _extracted(source, entry.filename, stream, limit, spool)
            except ARCHIVE_ERRORS as error:
                member = _unreadable(source, entry.filename, error, spool)
            if member is not None:
                yield member


def _tar_members(
    source: Source, file: IO[bytes], problems: tuple[Problem, ...], spool: Path
) -> Iterator[Source]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while True:
            entry = archive.next()
            if entry is None:
                break
            if not entry.isreg():
                continue
            stream = archive.extractfile(entry)
            assert stream is not None
            try:
                member = _extracted(source, entry.name, stream, entry.size, spool)
            except ARCHIVE_ERRORS as error:
                member = _unreadable(source, entry.name, error, spool)
            if member is not None:
                yield replace(member, problems=(*member.problems, *problems))
            archive.members.clear()  # type: ignore[attr-defined]  # they would pile up


def _extracted(source: Source, name: str, stream: IO[bytes], limit: int, spool: Path) -> Source | None:
    """Copy a member out of its archive, if it is evidence."""
    head = stream.read(HEAD)
    wanted = (
        Path(name).suffix.lower() in CAPTURE_SUFFIXES
        or wrapping_of(head) is not None
        or archive_of(head) is not None
        or recognise(head) not in ("empty", "unknown")
    )
    if not wanted:
        return None
    label = f"{source.name}!{name}"
    file, found = _place(spool), ""
    with file.open("wb") as out:
        out.write(head)
        try:
            while part := stream.read(min(PART, limit - out.tell() + 1)):
                out.write(part)
                if out.tell() > limit:
                    found = "more, which was not unpacked"
                    break
        except ARCHIVE_ERRORS as error:
            found = _words(error)
        size = out.tell()
    problems = (Problem(label, size, None, "more of the archive's member", found),) if found else ()
    return Source(label, file, source.container or source.name, problems)


def _unreadable(source: Source, name: str, error: BaseException, spool: Path) -> Source:
    """A member that cannot be read, and may be anything."""
    label = f"{source.name}!{name}"
    file = _place(spool)
    file.touch()
    problem = Problem(label, 0, None, "a member of the archive that can be read", _words(error))
    return Source(label, file, source.container or source.name, (problem,))


def _place(spool: Path) -> Path:
    """A file that is not there yet."""
    number = sum(1 for _ in spool.iterdir())
    return spool / f"{number:06d}"


def _first(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read(HEAD)


def head_of_content(path: Path) -> bytes:
    """First 512 bytes of a file's content, unpacked if it is compressed.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    head = _first(path)
    wrapping = wrapping_of(head)
    return head_of(path, wrapping, HEAD) if wrapping is not None else head


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
