"""Recovered files made a second time, from the evidence and the table `provenance` alone.

No protocol is decoded here: what a row says is copied from the frame it names, so that a mistake of a
decoder, of a table or of a file shows as bytes that differ. Packets that parity gave are computed again, and
base64 is taken off where a row says so.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import numbers_of
from mmsforensics.case.errors import CaseError
from mmsforensics.case.evidence_frames import EvidenceFrames
from mmsforensics.case.folder import Case
from mmsforensics.case.restored import computed_again

ROWS_AT_ONCE = 1 << 15
"""Rows of provenance rebuilt at once: some 40 MiB where each is a full frame."""

NOT_THERE = -1

_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of rebuilding one recovered file."""

    media_id: str
    path: str
    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of provenance of one medium, in order of the file."""

    file_offset: NDArray[np.int64]
    length: NDArray[np.int64]
    capture: NDArray[np.int64]
    """Number in `captures`, `NOT_THERE` for bytes that no frame holds."""
    captures: tuple[str, ...]
    frame: NDArray[np.int64]
    frame_offset: NDArray[np.int64]
    kind: list[str]

    @property
    def end(self) -> int:
        """File offset behind the last row."""
        return int(self.file_offset[-1] + self.length[-1])


@njit(cache=True, nogil=True)
def _lay(data, offset, caplen, rows, at, length, frame, frame_offset, out):
    """Copy the stretches `rows` from their frames; returns the first that its frame does not hold, or -1."""
    for i in rows:
        f = frame[i] - 1
        if f < 0 or f >= len(offset) or frame_offset[i] < 0 or frame_offset[i] + length[i] > caplen[f]:
            return i
        source, target = np.uint64(offset[f] + frame_offset[i]), np.uint64(at[i])
        for k in range(np.uint64(length[i])):
            out[target + k] = data[source + k]
    return -1


def rebuild(case: Case, frames: EvidenceFrames) -> Iterator[Rebuilt]:
    """Make each recovered file of a case again and hold it against the record.

    Bytes that no frame holds (a header's repaired fields, an index) are those of the file itself; how many
    these are is said.
    """
    provenance = case.table("provenance")
    media_ids = provenance.column("media_id").combine_chunks().dictionary_encode()
    if isinstance(media_ids, pa.ChunkedArray):
        media_ids = media_ids.combine_chunks()
    names = media_ids.dictionary.to_pylist()
    by_parity = "restored" in provenance.column("kind").unique().to_pylist()
    restored = case.table("restored").to_pylist() if by_parity else []
    codes = numbers_of(media_ids.indices).astype(np.int64)
    for medium in case.table("media").to_pylist():
        media_id, path = medium["media_id"], medium["path"]
        rows = np.flatnonzero(codes == names.index(media_id)) if media_id in names else codes[:0]
        try:
            again = _restored(restored, media_id, frames)
            message = _rebuilt(case.path / path, medium, provenance, rows, frames, again)
            yield Rebuilt(media_id, path, ok=True, message=message)
        except CaseError as error:
            yield Rebuilt(media_id, path, ok=False, message=str(error))


def _rebuilt(
    path: Path,
    medium: dict[str, object],
    provenance: pa.Table,
    rows: NDArray[np.intp] | NDArray[np.int64],
    frames: EvidenceFrames,
    again: Sequence[bytes],
) -> str:
    digest = hashlib.sha256()
    done = from_frames = padding = other = computed = reached = 0
    if not path.is_file():
        raise CaseError("cannot be held against its frames: the file is missing")
    with path.open("rb") as file:
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = stretch_of(provenance.take(pa.array(rows[begin : begin + ROWS_AT_ONCE])))
            at = part.file_offset - done
            if (at != np.concatenate(([0], np.cumsum(part.length)[:-1]))).any() or (part.length < 0).any():
                raise CaseError(f"provenance does not cover the file without hole behind byte {done}")
            here = np.frombuffer(file.read(part.end - done), dtype=np.uint8)
            out = np.zeros(part.end - done, dtype=np.uint8)
            _from_frames(part, at, frames, out, here)
            for i in np.flatnonzero(part.capture == NOT_THERE).tolist():
                if part.kind[i] == "padding":
                    padding += int(part.length[i])
                    continue
                start, stop = int(at[i]), int(at[i] + part.length[i])
                if part.kind[i] == "restored":
                    reached = _given_by_parity(here[start:stop].tobytes(), again, reached)
                    if reached < 0:
                        raise CaseError(f"{stop - start} bytes at {done + start} are not what parity gives")
                    computed += stop - start
                    other -= stop - start
                out[start:stop][: max(len(here) - start, 0)] = here[start:stop]
                other += int(part.length[i])
            _compare(part, here, out, done)
            digest.update(out.data)
            from_frames += int(part.length[part.capture != NOT_THERE].sum())
            done = part.end
        if file.read(1) or done != medium["size"]:
            raise CaseError(f"provenance covers {done} bytes of a file of {medium['size']}")
    if digest.hexdigest() != medium["sha256"]:
        raise CaseError(f"rebuilt SHA-256 {digest.hexdigest()}, expected {medium['sha256']}")
    said = f"rebuilt from frames: {from_frames:,} bytes"
    said += f", and {padding:,} of padding" if padding else ""
    said += f"; {computed:,} bytes computed again from parity" if computed else ""
    return said + (f"; {other:,} bytes of repairs, index and decoding have no frame" if other else "")


def _given_by_parity(part: bytes, packets: Sequence[bytes], begin: int) -> int:
    """Which packet holds some bytes, looked for from `begin` on, as they are nearly in order; -1 if none."""
    n = len(packets)
    return next((i for k in range(n) if part in packets[i := (begin + k) % n]), -1)


def _restored(
    rows: Sequence[Mapping[str, object]], media_id: str, frames: EvidenceFrames
) -> tuple[bytes, ...]:
    """The packets of a medium that parity gives; of a playable file, those of the faithful one."""
    stem, _, kind = media_id.rpartition("-")
    if kind != "playable":
        return ()
    return tuple(computed_again([r for r in rows if r["media_id"] == f"{stem}-faithful"], frames))


def _from_frames(
    part: Stretch,
    at: NDArray[np.int64],
    frames: EvidenceFrames,
    out: NDArray[np.uint8],
    expected: NDArray[np.uint8],
) -> None:
    for number, capture_id in enumerate(part.captures):
        capture = frames.capture(capture_id)
        mine = np.flatnonzero(part.capture == number)
        text = [i for i in mine.tolist() if part.kind[i] == "decoded"]
        for i in text:
            here = capture.frame(int(part.frame[i])).tobytes()
            out[at[i] : at[i] + part.length[i]] = _decoded(part, i, here, expected)
        mine = np.setdiff1d(mine, text)
        if not len(mine):
            continue
        numbers = part.frame[mine]
        low = max(int(numbers.min()) - 1, 0)
        places = capture.places[low : int(numbers.max())]
        bad = _lay(
            capture.data,
            places["offset"].astype(np.int64),
            places["caplen"].astype(np.int64),
            mine,
            at,
            part.length,
            part.frame - low,
            part.frame_offset,
            out,
        )
        if bad >= 0:
            raise CaseError(
                f"byte {part.file_offset[bad]} is said to be in frame {part.frame[bad]} of {capture_id} at "
                f"offset {part.frame_offset[bad]}, {part.length[bad]} bytes: that frame does not hold them"
            )


def _decoded(part: Stretch, i: int, frame: bytes, expected: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes of row `i`, decoded from the base64 text in its frame.

    A row of a playable copy may begin inside the three bytes of four characters: of the three ways to begin
    the one is taken that gives the `expected` bytes, if there is one.
    """
    length, at = int(part.length[i]), int(part.frame_offset[i])
    wanted = expected[part.file_offset[i] - part.file_offset[0] :][:length].tobytes()
    found_text = _BASE64.match(frame, at, at + (length + 4) // 3 * 4)
    text = found_text[0] if found_text is not None else b""
    decoded = binascii.a2b_base64(text[: len(text) // 4 * 4])
    found = next((decoded[k:][:length] for k in range(3) if decoded[k:][:length] == wanted), decoded[:length])
    return np.frombuffer(found.ljust(length, b"\0"), dtype=np.uint8)


def _compare(part: Stretch, here: NDArray[np.uint8], out: NDArray[np.uint8], base: int) -> None:
    """Find the first byte in which the file differs from what its frames say."""
    if len(here) != len(out):
        raise CaseError(f"the file ends at byte {base + len(here)}, expected {part.end} at least")
    wrong = np.flatnonzero(here != out)
    if not len(wrong):
        return
    byte = base + int(wrong[0])
    i = int(np.searchsorted(part.file_offset, byte, side="right")) - 1
    found = f"byte {byte} is 0x{here[wrong[0]]:02x} in the file and 0x{out[wrong[0]]:02x} by its provenance"
    if part.capture[i] == NOT_THERE:
        raise CaseError(f"{found}: {part.kind[i]}")
    where = int(part.frame_offset[i]) + byte - int(part.file_offset[i])
    capture_id = part.captures[int(part.capture[i])]
    raise CaseError(f"{found}: {capture_id} frame {part.frame[i]} offset {where}")


def stretch_of(table: pa.Table) -> Stretch:
    """Rows of `provenance` as arrays."""
    captures = table.column("capture_id").combine_chunks().dictionary_encode()
    if isinstance(captures, pa.ChunkedArray):
        captures = captures.combine_chunks()
    codes = captures.indices.fill_null(NOT_THERE)
    return Stretch(
        file_offset=_column(table, "file_offset"),
        length=_column(table, "length"),
        capture=numbers_of(codes).astype(np.int64),
        captures=tuple(captures.dictionary.to_pylist()),
        frame=_column(table, "frame"),
        frame_offset=_column(table, "frame_offset"),
        kind=table.column("kind").to_pylist(),
    )


def _column(table: pa.Table, name: str) -> NDArray[np.int64]:
    column = table.column(name).combine_chunks().fill_null(0)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return np.asarray(numbers_of(column)).astype(np.int64)
