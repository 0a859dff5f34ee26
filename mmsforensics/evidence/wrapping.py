"""Compressed captures, unpacked into a nameless temporary file that is then mapped like any other.

Rules of this file:

* what could be unpacked before damage is kept, to the last byte; the damage becomes a `Problem`;
* a bomb ends at `MAX_RATIO` times the size of the file, and it is said that it does.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

from mmsforensics.evidence.problem import UNKNOWN_OFFSET, Problem

if TYPE_CHECKING:
    from mmsforensics.evidence.formats import Wrapping

PART: Final = 1 << 20
"""Bytes unpacked at a time."""

MAX_RATIO: Final = 1000
"""How many times its size a file may unpack to. DEFLATE cannot do more than 1032; a capture that does is no
capture that anybody made by capturing."""

ROOM: Final = 64 << 20
"""Bytes that a file may unpack to whatever its size."""


class Reader(Protocol):
    """Unpacks bytes."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""


def unpack(
    path: str, kind: Wrapping, spool: str | os.PathLike[str] | None
) -> tuple[IO[bytes], list[Problem]]:
    """Unpack a compressed file.

    Parameters
    ----------
    path : str
    kind : Wrapping
    spool : path, optional
        Folder of the temporary file, which has no name there; the system's by default.

    Returns
    -------
    file : binary file
        What was unpacked.
    problems : list of Problem
        Why it is not all; the offset is one of the unpacked bytes.

    Raises
    ------
    OSError
        The file cannot be read, or there is no room for what is in it.
    """
    limit = max(Path(path).stat().st_size * MAX_RATIO, ROOM)
    out = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115  # the caller closes it
    try:
        damage = _copy(lambda careful: _reader(path, kind, careful=careful), out, limit)
        problems = []
        size = out.tell()
        if damage:
            problems.append(Problem(path, size, None, f"more {kind} data", damage))
        elif size >= limit:
            expected = f"at most {limit} bytes in {kind} data of this size"
            problems.append(Problem(path, UNKNOWN_OFFSET, None, expected, "more, which was not unpacked"))
    except BaseException:
        out.close()
        raise
    out.flush()
    return out, problems


def head_of(path: str | os.PathLike[str], kind: Wrapping, size: int) -> bytes:
    """Return the first bytes of what a compressed file holds, fewer or none if they cannot be unpacked."""
    head = b""
    try:
        reader = _reader(os.fspath(path), kind, careful=True)
        while len(head) < size and (part := reader.read(size - len(head))):
            head += part
    except Exception:  # each library has errors of its own; what is wrong is said when all is unpacked
        return head
    return head


def _reader(path: str, kind: Wrapping, *, careful: bool) -> Reader:
    if kind == "gzip":
        from isal import igzip, igzip_threaded

        # A thread unpacks while we write, but on damage it keeps back all that waits.
        opened: Reader = igzip.open(path, "rb") if careful else igzip_threaded.open(path, "rb", threads=1)
        return opened
    if kind == "xz":
        import lzma

        return lzma.open(path, "rb")
    import pyarrow as pa

    stream: Reader = pa.CompressedInputStream(pa.OSFile(path), {"bzip2": "bz2"}.get(kind, kind))
    return stream


def _copy(begin: Callable[[bool], Reader], out: IO[bytes], limit: int) -> str:
    """Unpack up to `limit` bytes; returns what is wrong with the data, empty when nothing is.

    Decompressors that fail keep back what they had already unpacked in that call. Then the file is unpacked
    again up to there, and on byte by byte.
    """
    damage = _read_on(begin(False), out, PART, limit)
    if damage:
        reader, done = begin(True), out.tell()
        while done:
            done -= len(reader.read(min(done, PART)))
        _read_on(reader, out, 1, limit)
    return damage


def _read_on(reader: Reader, out: IO[bytes], size: int, limit: int) -> str:
    while (room := limit - out.tell()) > 0:
        try:
            part = reader.read(min(size, room))
        except Exception as error:  # each library has errors of its own; all mean the same here
            return str(error) or type(error).__name__
        if not part:
            return ""
        out.write(part)
    return ""
