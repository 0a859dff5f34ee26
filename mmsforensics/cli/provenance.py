"""The commands that go from recovered bytes to frames and back: explain, slice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsforensics.cli.usage import counted, fail, reason, say

if TYPE_CHECKING:
    from mmsforensics.case import Case
    from mmsforensics.case.evidence_frames import EvidenceFrames
    from mmsforensics.case.explain import Origin

EVIDENCE = click.option(
    "--evidence",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder where the captures lie now.",
)

SHOWN_FRAMES = 16
"""Frames printed in full unless more are asked for."""

HEX_WIDTH = 16


@click.command()
@click.argument("what", type=click.Path(path_type=Path))
@click.option("--at", metavar="OFFSET[:LENGTH]", help="Bytes of the recovered file; hexadecimal with 0x.")
@click.option("--media", "media_id", help="The medium, where WHAT is a case folder.")
@click.option("--frame", metavar="[CAPTURE:]N", help="What was recovered from a frame of the case WHAT.")
@click.option(
    "--frames",
    "shown",
    type=click.IntRange(min=0),
    default=SHOWN_FRAMES,
    show_default=True,
    help="Frames to print in hex.",
)
@EVIDENCE
def explain(
    what: Path, at: str | None, media_id: str | None, frame: str | None, shown: int, evidence: Path | None
) -> None:
    """Say which frames bytes of a recovered file come from, or what came of a frame.

    WHAT is a recovered file in a case folder, or the case folder itself.

    \b
    Examples:
      mmsforensics explain case/media/c001-s0001/01-film.faithful.wmv --at 0x1400:32
      mmsforensics explain case --media c001-s0001-m1-faithful --at 5120
      mmsforensics explain case --frame c001:57
    """
    from mmsforensics.case import CaseError, open_case
    from mmsforensics.case.evidence_frames import EvidenceFrames
    from mmsforensics.case.explain import medium_of, origins_of, recovered_from

    if frame is not None and (at is not None or media_id is not None):
        fail("--frame goes with neither --at nor --media: ask for one after the other")
    try:
        if frame is not None:
            case = open_case(what)
            capture_id, number = _frame(case, frame)
            found = recovered_from(case, capture_id, number)
            with EvidenceFrames(case, evidence) as frames:
                _tell_frame(capture_id, number, found, frames)
            return
        if at is None:
            fail("which bytes? give --at OFFSET[:LENGTH], or --frame [CAPTURE:]N")
        if media_id is None:
            if what.is_dir():
                fail(f"{what} is a folder: give a recovered file, or --media; see: mmsforensics media {what}")
            case, media_id = medium_of(what)
        else:
            case = open_case(what)
        found = origins_of(case, media_id, *_range(at))
        with EvidenceFrames(case, evidence) as frames:
            _tell_bytes(found, frames, shown)
    except CaseError as error:
        fail(str(error))


@click.command("slice")
@click.argument("case", type=click.Path(path_type=Path))
@click.argument("session")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The pcapng file to make.")
@EVIDENCE
def slice_(case: Path, session: str, out: Path, evidence: Path | None) -> None:
    """Write exactly the frames that a session rests on, for Wireshark and others.

    These are all captured frames of the flows that carried SESSION, in both directions and in the order of
    the case. Time stamps, link types and lengths are kept; a comment says where each frame stands in the
    evidence, which must still be what was analysed. A file that exists is never written over.

    \b
    Example:
      mmsforensics slice case c001-s0001 -o session.pcapng
    """
    from mmsforensics.case import CaseError, open_case
    from mmsforensics.case.slicing import slice_session

    try:
        done = slice_session(open_case(case), session, out, evidence_folder=evidence)
    except (CaseError, OSError) as error:
        fail(reason(error))
    say(
        f"{counted(done.frames, 'frame')} of {counted(done.flows, 'flow')} from {', '.join(done.captures)}: "
        f"{done.path} ({done.size:,} bytes, SHA-256 {done.sha256})"
    )


def _range(text: str) -> tuple[int, int]:
    start, _, size = text.partition(":")
    try:
        offset, length = int(start, 0), int(size, 0) if size else 1
    except ValueError:
        fail(f"{text}: not OFFSET or OFFSET:LENGTH")
    if offset < 0 or length < 1:
        fail(f"{text}: an offset is 0 or more, a length 1 or more")
    return offset, length


def _frame(case: Case, text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:(.+):)?([0-9]{1,18})", text)
    if found is None:
        fail(f"{text}: not a frame number, nor CAPTURE:NUMBER")
    captures = [row["capture_id"] for row in case.table("captures").to_pylist()]
    if found[1] is None and len(captures) > 1:
        fail(f"of which capture? give it as CAPTURE:{text}; there are {', '.join(captures)}")
    return found[1] or captures[0], int(found[2])


def _tell_bytes(found: list[Origin], frames: EvidenceFrames, shown: int) -> None:
    from mmsforensics.case.explain import display_filter

    for origin in found:
        _tell_origin(origin)
    by_capture: dict[str, list[Origin]] = {}
    for origin in found:
        if origin.capture_id is not None:
            by_capture.setdefault(origin.capture_id, []).append(origin)
    for capture_id, origins in by_capture.items():
        numbers = [o.frame for o in origins if o.frame is not None]
        click.echo(f"\n{capture_id}: Wireshark display filter: {display_filter(numbers)}")
        for number in sorted(set(numbers))[:shown]:
            parts = [o for o in origins if o.frame == number]
            _tell_hex(capture_id, number, parts, frames)
        left = len(set(numbers)) - shown
        if left > 0:
            click.echo(
                f"\n{counted(left, 'more frame')} not printed; --frames {len(set(numbers))} prints all"
            )


def _tell_frame(capture_id: str, number: int, found: list[Origin], frames: EvidenceFrames) -> None:
    _tell_hex(capture_id, number, found, frames)
    click.echo()
    if not found:
        click.echo("no byte of it is in a recovered file")
    for origin in found:
        _tell_origin(origin)


def _tell_origin(origin: Origin) -> None:
    last = origin.file_offset + origin.length - 1
    where = f"{origin.media_id} bytes {origin.file_offset} to {last} ({origin.length})"
    if origin.frame is None:
        click.echo(f"{where}: {origin.kind}; no frame holds them")
    else:
        size = -(-origin.length // 3) * 4 if origin.kind == "decoded" else origin.length
        end = (origin.frame_offset or 0) + size - 1
        click.echo(
            f"{where}: {origin.kind}, {origin.capture_id} frame {origin.frame} "
            f"bytes {origin.frame_offset} to {end}"
        )


def _tell_hex(capture_id: str, number: int, origins: list[Origin], frames: EvidenceFrames) -> None:
    """A frame in hex; what was asked for stands between brackets."""
    capture = frames.capture(capture_id)
    data = capture.frame(number).tobytes()
    place = capture.places[number - 1]
    click.echo(
        f"\n{capture_id} frame {number}: {len(data)} bytes captured of {place['wirelen']}, "
        f"at byte {place['offset']} of the capture"
    )
    marked = set()
    for origin in origins:
        start = origin.frame_offset or 0
        marked |= set(range(start, start + origin.length))
    for line in hex_lines(data, marked):
        click.echo(line)


def hex_lines(data: bytes, marked: set[int]) -> list[str]:
    """Lines of hex and ASCII; marked bytes stand between brackets."""
    lines = []
    for row in range(0, len(data), HEX_WIDTH):
        cells = []
        for i in range(row, row + HEX_WIDTH):
            if i >= len(data):
                cells.append("]  " if i == len(data) and i - 1 in marked else "   ")
                continue
            before = "[" if i in marked and (i == row or i - 1 not in marked) else ""
            if not before:
                before = "]" if i > row and i - 1 in marked and i not in marked else " "
            cells.append(f"{before}{data[i]:02x}")
        tail = "]" if row + HEX_WIDTH <= len(data) and row + HEX_WIDTH - 1 in marked else " "
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in data[row : row + HEX_WIDTH])
        lines.append(f"{row:06x} {''.join(cells)}{tail} {text}".rstrip())
    return lines
