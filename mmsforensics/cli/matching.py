"""The command that ties files found elsewhere to the sessions of a case: match."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsforensics.cli.usage import fail, json_text, reason, say

if TYPE_CHECKING:
    from mmsforensics.case.matching import FileMatch, MediumMatch

SHOWN_BREAKS = 10
"""Breaks printed of a medium."""


@click.command()
@click.argument("case", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def match(case: Path, files: tuple[Path, ...], as_json: bool) -> None:
    """Tie WMA and WMV files found on a disk, or what a carver made of a capture, to the sessions of a case.

    A file may be whole or a part, saved by whatever program with a header of its own, or no ASF file at all:
    the payloads of the case's media are looked for at every byte of it. Of a folder all files in it are
    taken. Says how much agrees, where it breaks, and why the file may not play.

    \b
    Exit code 1 when nothing of a file was found.
    """
    from mmsforensics.case import CaseError, open_case
    from mmsforensics.case import matching as room

    try:
        found = room.match(open_case(case), files)
    except (CaseError, OSError) as error:
        fail(reason(error))
    if as_json:
        click.echo(json_text([_plain(f) for f in found], indent=2))
    else:
        for file in found:
            _print(file)
        if not found:
            say("no file lies in what was given", err=True)
    sys.exit(0 if found and all(f.media for f in found) else 1)


def _print(file: FileMatch) -> None:
    from mmsforensics.case.matching import mapped
    from mmsforensics.cli.usage import printable

    click.echo(f"{printable(file.path)}  {file.size:,} bytes  SHA-256 {file.sha256}")
    for problem in file.problems:
        click.echo(f"  may not play: {printable(problem)}")
    if not file.media:
        click.echo("  nothing of it is in the case")
    for medium in file.media:
        click.echo(f"  {_verdict(medium)}  {medium.media_id}  {printable(medium.url)}")
        if file.payload_bytes:
            click.echo(f"      of the file {_share(medium.of_file, file.payload_bytes)}")
        for text in medium.foreign(mapped(Path(file.path))):
            click.echo(f"      {text}")
        for place in medium.breaks[:SHOWN_BREAKS]:
            click.echo(f"      at {place.file_offset}: {place.text}")
        if medium.break_count > SHOWN_BREAKS:
            click.echo(f"      and {medium.break_count - SHOWN_BREAKS} more breaks")


def _verdict(medium: MediumMatch) -> str:
    if medium.same_file:
        return "the same file"
    share = _share(medium.agreed, medium.payload_bytes)
    order = "" if medium.ordered else ", not in order"
    return f"{share}, {medium.packets_whole:,} of {medium.packets:,} packets whole{order}"


def _share(part: int, whole: int) -> str:
    hundredths = part * 10_000 // max(whole, 1)  # not rounded up: 100 % is all of it
    return f"{part:,} of {whole:,} payload bytes ({hundredths / 100:.2f} %)"


def _plain(file: FileMatch) -> dict[str, object]:
    from mmsforensics.case.matching import mapped

    return {
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "payload_bytes": file.payload_bytes,
        "problems": list(file.problems),
        "media": [
            {
                "media_id": m.media_id,
                "session_id": m.session_id,
                "url": m.url,
                "same_file": m.same_file,
                "agreed_bytes": m.agreed,
                "payload_bytes": m.payload_bytes,
                "share": round(m.share, 6),
                "file_bytes": m.of_file,
                "packets": m.packets,
                "packets_whole": m.packets_whole,
                "in_order": m.ordered,
                "foreign_bytes": list(m.foreign(mapped(Path(file.path)))),
                "breaks": [
                    {"file_offset": b.file_offset, "packet": b.packet, "text": b.text} for b in m.breaks
                ],
                "break_count": m.break_count,
            }
            for m in file.media
        ],
    }
