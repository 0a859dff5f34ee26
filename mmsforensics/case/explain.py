"""Provenance both ways: from bytes of a recovered file to frames, and from a frame to recovered bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmsforensics.case.errors import CaseError
from mmsforensics.case.folder import Case, is_case, open_case


@dataclass(frozen=True, slots=True)
class Origin:
    """A stretch of a recovered file and where it comes from; a row of `provenance`, or a part of one."""

    media_id: str
    file_offset: int
    length: int
    kind: str
    capture_id: str | None
    frame: int | None
    """None for bytes that no frame holds."""
    frame_offset: int | None


def medium_of(path: Path) -> tuple[Case, str]:
    """The case and the identifier of a recovered file, by its path.

    Raises
    ------
    CaseError
        The file lies in no case, or is no recovered medium.
    """
    place = path.absolute()
    root = next((folder for folder in place.parents if is_case(folder)), None)
    if root is None:
        raise CaseError(f"{path}: lies in no case folder")
    case = open_case(root)
    name = place.relative_to(root).as_posix()
    found = [row["media_id"] for row in case.table("media").to_pylist() if row["path"] == name]
    if not found:
        raise CaseError(f"{path}: no recovered medium of {root}")
    return case, str(found[0])


def origins_of(case: Case, media_id: str, offset: int, length: int) -> list[Origin]:
    """Where bytes of a recovered file come from.

    Parameters
    ----------
    case : Case
    media_id : str
    offset, length : int
        The bytes asked for.

    Returns
    -------
    list of Origin
        In order of the file, cut to the bytes asked for.

    Raises
    ------
    CaseError
        There is no such medium, or the bytes lie outside of it.
    """
    medium = next((m for m in case.table("media").to_pylist() if m["media_id"] == media_id), None)
    if medium is None:
        raise CaseError(f"{case.path}: no medium {media_id}")
    if offset < 0 or length < 1 or offset + length > medium["size"]:
        raise CaseError(
            f"{media_id}: bytes {offset} to {offset + length - 1} are not all in it; it has {medium['size']}"
        )
    first, end = pc.field("file_offset"), pc.field("file_offset") + pc.field("length")
    asked = (pc.field("media_id") == media_id) & (first < offset + length) & (end > offset)
    rows = case.arrow("provenance").to_table(filter=asked).sort_by("file_offset").to_pylist()
    return [_cut(row, offset, offset + length) for row in rows]


def recovered_from(case: Case, capture_id: str, frame: int) -> list[Origin]:
    """The bytes of recovered files that were copied from a frame, file by file."""
    asked = (pc.field("capture_id") == capture_id) & (pc.field("frame") == frame)
    rows: pa.Table = case.arrow("provenance").to_table(filter=asked)
    rows = rows.sort_by([("media_id", "ascending"), ("file_offset", "ascending")])
    return [_cut(row, row["file_offset"], row["file_offset"] + row["length"]) for row in rows.to_pylist()]


def _cut(row: dict[str, object], start: int, stop: int) -> Origin:
    at, length = int(str(row["file_offset"])), int(str(row["length"]))
    lead = max(start - at, 0)
    frame_offset = row["frame_offset"]
    inside = lead // 3 * 4 if row["kind"] == "decoded" else lead
    return Origin(
        media_id=str(row["media_id"]),
        file_offset=at + lead,
        length=min(at + length, stop) - at - lead,
        kind=str(row["kind"]),
        capture_id=str(row["capture_id"]) if row["capture_id"] is not None else None,
        frame=int(str(row["frame"])) if row["frame"] is not None else None,
        frame_offset=int(str(frame_offset)) + inside if frame_offset is not None else None,
    )


def display_filter(frames: list[int]) -> str:
    """A Wireshark display filter for frames of one capture."""
    numbers = sorted(set(frames))
    if len(numbers) == 1:
        return f"frame.number == {numbers[0]}"
    return f"frame.number in {{{', '.join(_ranges(numbers))}}}"


def _ranges(numbers: list[int]) -> Iterator[str]:
    first = last = numbers[0]
    for number in [*numbers[1:], 0]:
        if number == last + 1:
            last = number
            continue
        yield str(first) if first == last else f"{first}..{last}"
        first = last = number


__all__ = ["Origin", "display_filter", "medium_of", "origins_of", "recovered_from"]
