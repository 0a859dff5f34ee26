"""The command that shows what recovered media look and sound like: preview."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mmsforensics.cli.usage import fail, reason, say


@click.command()
@click.argument("case", type=click.Path(path_type=Path))
@click.option(
    "--out",
    "-o",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files.",
)
@click.option("--media", "media_ids", multiple=True, metavar="ID", help="Only this medium; may be repeated.")
def preview(case: Path, out: Path, media_ids: tuple[str, ...]) -> None:
    """Make a sheet of key frames, a waveform and a short WebM clip of each recovered medium.

    Decoding runs in a process without network, with bounded memory and time, that cannot write files or start
    programs. Needs the extra `preview`.

    \b
    Exit code 1 when nothing could be made of a medium, or there is none.
    """
    try:
        import av  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        fail(f'{error.name} is not installed; it comes with the extra: pip install -e ".[preview]"')
    from mmsforensics.case import CaseError, open_case
    from mmsforensics.cli.usage import printable
    from mmsforensics.preview import preview as make

    try:
        opened = open_case(case)
        if out.absolute().is_relative_to(opened.path.absolute()):
            fail(f"{out}: lies in the case, whose files are all in its manifest; choose another folder")
        found = make(opened, out, media_ids or None)
    except KeyError as error:
        fail(f"{case}: no medium {error.args[0]}; see: mmsforensics media {case}")
    except (CaseError, OSError) as error:
        fail(reason(error))
    for medium in found:
        click.echo(f"{medium.media_id}: {', '.join(medium.made) or 'nothing made'}")
        for note in medium.notes:
            click.echo(f"  {printable(note)}")
    if not found:
        say(f"{case}: no recovered medium to look at", err=True)
    sys.exit(0 if found and all(m.made for m in found) else 1)
