"""The command that takes the streams of a medium apart: extract."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsforensics.cli.usage import fail, reason, say

if TYPE_CHECKING:
    from mmsforensics.asf import AsfFile, StreamInfo


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    "-o",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files.",
)
@click.option(
    "--stream", "numbers", type=int, multiple=True, metavar="N", help="Only this stream; may be repeated."
)
@click.option("--matroska", is_flag=True, help="Also pack sound and pictures into a Matroska file.")
def extract(file: Path, out: Path, numbers: tuple[int, ...], matroska: bool) -> None:
    """Write the elementary streams of an ASF, WMA or WMV file, nothing decoded, nothing changed.

    Of each stream its bytes, a list of its media objects with times, key frames and offsets, and what the
    header tells its decoder. With --matroska also one file of sound and pictures, for players that do not
    take ASF.
    """
    from mmsforensics.asf import AsfError
    from mmsforensics.asf import open as open_file

    try:
        opened = open_file(file)
    except OSError as error:
        fail(f"{file}: {error.strerror or error}")
    except AsfError as error:
        fail(str(error))
    with opened as film:
        streams = [s for s in film.streams if not numbers or s.number in numbers]
        unknown = set(numbers) - {s.number for s in streams}
        if unknown:
            fail(f"{file}: no stream {min(unknown)}; it has {', '.join(str(s.number) for s in film.streams)}")
        try:
            out.mkdir(parents=True, exist_ok=True)
            for stream in streams:
                _write(film, stream, out / f"{file.stem}.stream-{stream.number}")
            if matroska:
                _pack(film, out / f"{file.stem}.mkv")
        except (OSError, AsfError) as error:
            fail(reason(error))


def _write(film: AsfFile, stream: StreamInfo, stem: Path) -> None:
    from mmsforensics.asf import codec_data, extension_of, write_stream

    told = codec_data(film, stream.number)
    path = stem.with_name(stem.name + extension_of(stream, told))
    with path.open("xb") as out:
        rows = write_stream(film, stream.number, out)
    with stem.with_name(stem.name + ".csv").open("x", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        names = list(rows.dtype.fields or ())
        table.writerow([*names, "play_ms"])
        for row in rows.tolist():
            table.writerow([*row, row[names.index("presentation_ms")] - film.header.preroll_ms])
    if told:
        with stem.with_name(stem.name + ".codec").open("xb") as out:
            out.write(told)
    whole = int((rows["complete"] == 1).sum())
    size = path.stat().st_size
    say(f"{path}: {stream.type} {stream.codec}, {size:,} bytes, {len(rows):,} media objects, {whole:,} whole")


def _pack(film: AsfFile, path: Path) -> None:
    from mmsforensics.asf.matroska import write_matroska

    with path.open("xb") as out:
        try:
            packed = write_matroska(film, out)
        except BaseException:
            path.unlink()
            raise
    left = f", {packed.left_out:,} media objects that are not whole left out" if packed.left_out else ""
    say(f"{path}: {packed.blocks:,} blocks of streams {', '.join(map(str, packed.tracks))}{left}")
