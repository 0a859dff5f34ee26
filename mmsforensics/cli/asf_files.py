"""The commands for ASF files without a case: asf, carve."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsforensics.cli.usage import fail, json_text, say

if TYPE_CHECKING:
    from mmsforensics.asf import AsfObject
    from mmsforensics.asf.carving import Carver
    from mmsforensics.asf.validation import Violation

SOUND, NOT_SOUND = 0, 1


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--validate", "check", is_flag=True, help="Hold it against the rules of the specification.")
@click.option("--fields", "with_fields", is_flag=True, help="Also print the fields of all objects.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def asf(file: Path, check: bool, with_fields: bool, as_json: bool) -> None:
    """Inspect an ASF, WMA or WMV file: objects, streams, tags, packets, problems.

    Offsets and sizes are bytes, times ms. With --validate the exit code is 1 when the file breaks a rule that
    the specification says writers shall follow.

    \b
    Examples:
      mmsforensics asf film.wmv
      mmsforensics asf film.wmv --validate
      mmsforensics asf film.wmv --json | jq .streams
    """
    from mmsforensics.asf import AsfError
    from mmsforensics.asf import open as open_file
    from mmsforensics.asf.summary import summary
    from mmsforensics.asf.validation import validate
    from mmsforensics.cli.progress import tell_of_compiling
    from mmsforensics.evidence.compiled import told_of_compiling

    try:
        opened_file = open_file(file)
    except OSError as error:
        fail(f"{file}: {error.strerror or error}")
    except AsfError as error:
        fail(str(error))
    with opened_file as opened, told_of_compiling(tell_of_compiling):
        told = summary(opened)
        violations = validate(opened) if check else ()
        if check:
            told["violations"] = [asdict(one) for one in violations]
        if as_json:
            click.echo(json_text(told))
        else:
            _print(told, [line for item in opened.tree for line in _tree(item, 0, with_fields)])
            _print_violations(violations, check)
    sys.exit(NOT_SOUND if any(v.level == "shall" for v in violations) else SOUND)


def _tree(item: AsfObject, depth: int, with_fields: bool) -> list[list[str]]:
    """Rows of the object tree."""
    from mmsforensics.asf.summary import tree_value

    rows = [[f"{item.offset:,}", f"{item.size:,}", "  " * depth + item.name]]
    if with_fields:
        for name, value in tree_value(item)["fields"].items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows.append(["", "", "  " * (depth + 2) + f"{name}: {text}"])
    for child in item.children:
        rows.extend(_tree(child, depth + 1, with_fields))
    return rows


def _print(told: dict[str, Any], tree: list[list[str]]) -> None:
    from mmsforensics.cli.text import print_table

    header, packets = told["header"], told["packets"]
    facts = {
        "file": told["path"],
        "size": f"{told['size']:,}",
        "created": header["created"] or "unknown",
        "duration": "unknown" if header["duration_ms"] is None else f"{header['duration_ms']:,} ms",
        "preroll": f"{header['preroll_ms']:,} ms",
        "flags": " ".join(f for f in ("broadcast", "seekable", "protected") if header[f]) or "-",
        "packets": f"{packets['count']:,} of {packets['size']:,} bytes, {packets['sound']:,} sound",
        "unsound": ", ".join(f"{n:,} {why}" for why, n in packets["unsound"].items()) or "none",
        "payloads": f"{packets['payloads']:,}",
    }
    print_table("File", ["what", "is"], [list(row) for row in facts.items()])
    click.echo()
    print_table("Objects", ["offset", "size", "object"], tree)
    click.echo()
    _print_streams(told)
    if told["tags"]:
        click.echo()
        rows = [[t["name"], t["type"], t["value"][:200], t["source_object"]] for t in told["tags"]]
        print_table("Tags", ["name", "type", "value", "in"], rows)
    if told["problems"]:
        click.echo()
        rows = [[f"{p['offset']:,}", p["expected"], p["found"]] for p in told["problems"]]
        print_table("Problems", ["offset", "expected", "found"], rows)


def _print_streams(told: dict[str, Any]) -> None:
    from mmsforensics.cli.text import print_table

    figures = {one["stream"]: one for one in told["media_objects"]}
    declared = {one["number"]: one for one in told["streams"]}
    rows = []
    for number in sorted({*figures, *declared}):
        stream, one = declared.get(number), figures.get(number, {})
        rows.append(
            [
                str(number),
                stream["type"] if stream else "not declared",
                f"{stream['codec']} {_shape(stream)}".strip() if stream else "",
                f"{stream['bitrate']:,}" if stream and stream["bitrate"] else "-",
                f"{one.get('objects', 0):,}",
                f"{one.get('key', 0):,}",
                f"{one.get('incomplete', 0):,}",
                f"{one['first_ms']:,} to {one['last_ms']:,}" if one else "-",
            ]
        )
    names = ["stream", "type", "codec", "bit/s", "objects", "key", "incomplete", "ms"]
    print_table("Streams", names, rows)


def _shape(stream: dict[str, Any]) -> str:
    if stream["type"] == "video":
        return f"{stream['width']}x{stream['height']}"
    return f"{stream['sample_rate']} Hz, {stream['channels']} ch" if stream["type"] == "audio" else ""


def _print_violations(violations: tuple[Violation, ...], checked: bool) -> None:
    from mmsforensics.cli.text import print_table

    if not checked:
        return
    click.echo()
    if not violations:
        click.echo("no rule of the specification is broken")
        return
    names = ["offset", "object", "section", "level", "rule", "expected", "found", "count"]
    rows = [
        [f"{v.offset:,}", v.object, v.section, v.level, v.rule, v.expected, v.found, str(v.count)]
        for v in violations
    ]
    print_table("Violations", names, rows)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), help="A new folder for the files found.")
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON lines.")
def carve(files: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Find ASF files in disk images, memory dumps or any other files.

    A file is told as complete, damaged, cut, live (it states no end) or header (no packets behind it), with
    the reason. With --out each is written as it stands in the blob, and carved.jsonl beside them lists
    offset, size, verdict and SHA-256. For captures of networks there is `analyze`: in them, media are
    interrupted by the headers of their packets.

    \b
    Examples:
      mmsforensics carve disk.img
      mmsforensics carve disk.img pagefile.sys --out carved
    """
    from mmsforensics.cli.text import print_table

    for file in files:
        _check_readable(file)
    if out is not None:
        try:
            out.mkdir(parents=True)
        except FileExistsError:
            fail(f"{out}: exists; nothing was written")
        except OSError as error:
            fail(f"{out}: {error.strerror or error}")
    rows: list[dict[str, Any]] = []
    for number, file in enumerate(files, 1):
        prefix = f"b{number}-" if len(files) > 1 else ""
        for row in _carve(file, out, prefix, (number, len(files))):
            if as_json:
                click.echo(json_text(row))
            else:
                rows.append(row)
    if not as_json:
        names = ["offset", "size", "verdict", "packets", "within", "file", "reason"]
        columns = ("offset", "size", "verdict", "packets", "within", "blob", "reason")
        print_table("Found", names, [[_cell(row[name]) for name in columns] for row in rows])


def _check_readable(file: Path) -> None:
    """End the command before anything is written, if a file can't be opened."""
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        fail(f"{file}: {error.strerror or error}")


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _carve(file: Path, out: Path | None, prefix: str, place: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """Carve one blob; yields the rows of the listing, which are also appended to it."""
    from mmsforensics.asf import AsfError
    from mmsforensics.asf.carving import open_blob
    from mmsforensics.case.intake import Progress
    from mmsforensics.cli.progress import shown_progress, tell_of_compiling
    from mmsforensics.evidence.compiled import told_of_compiling

    try:
        carver = open_blob(file)
    except AsfError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file}: {error.strerror or error}")
    with shown_progress(quiet=False) as report, told_of_compiling(tell_of_compiling):
        if report is not None:
            carver.tell = lambda done: report(Progress(str(file), *place, done, carver.size))
        yield from _found(carver, file, out, prefix)
    if carver.rejected:
        say(f"note: {file}: {carver.rejected:,} header GUIDs with no header behind them", err=True)
    carver.close()


def _found(carver: Carver, file: Path, out: Path | None, prefix: str) -> Iterator[dict[str, Any]]:
    from mmsforensics.asf.carving import SHARE, write_carved

    nested = 0
    for found in carver:
        row = {
            "blob": str(file),
            "offset": found.offset,
            "size": found.size,
            "verdict": str(found.verdict),
            "reason": found.reason,
            "packets": found.packets,
            "unsound": found.unsound,
            "stated_packets": found.stated_packets,
            "stated_size": found.stated_size,
            "within": found.within,
            "title": found.header.title,
            "path": None,
            "sha256": None,
        }
        nested += found.size if found.within is not None else 0
        if out is not None and nested <= SHARE * carver.size:
            try:
                written = write_carved(carver, found, out, prefix)
            except OSError as error:
                fail(f"{out}: {error.strerror or error}")
            row |= {"path": str(written.path), "sha256": written.sha256}
        if out is not None:
            with (out / "carved.jsonl").open("a", encoding="utf-8") as listing:
                listing.write(json_text(row) + "\n")
        yield row
