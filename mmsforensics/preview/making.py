"""From decoded pictures and samples to files that a person looks at."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mmsforensics.preview.decoding import Decoded, PreviewError, decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmsforensics.case import Case

COLUMNS: Final = 4
"""Key frames in a row."""

BINS: Final = 2000
"""Bins of a waveform drawn at most: its pixels across."""

INK, SOFT = "#1f2a35", "#6b7683"
INDEX_FILE: Final = "previews.json"


@dataclass(frozen=True, slots=True)
class Preview:
    """What was made of a medium."""

    media_id: str
    made: tuple[str, ...]
    """Names of files in the folder."""
    notes: tuple[str, ...]
    """Why something was not made, or is not all."""


def preview(case: Case, out: Path, media_ids: Iterable[str] | None = None) -> list[Preview]:
    """Make previews of the media of a case.

    Of each medium the playable file is taken, or the faithful one where that plays already.

    Parameters
    ----------
    case : Case
    out : Path
        Folder for the files, made if it is not there; not in the case, whose files are all in its manifest.
    media_ids : iterable of str, optional
        Only these.

    Returns
    -------
    list of Preview
        In the order of the table `media`; the same as ``previews.json`` in the folder.

    Raises
    ------
    KeyError
        There is no such medium.
    """
    rows = {row["media_id"]: row for row in case.table("media").to_pylist()}
    wanted = list(media_ids) if media_ids is not None else _to_look_at(rows)
    for media_id in wanted:
        if media_id not in rows:
            raise KeyError(media_id)
    out.mkdir(parents=True, exist_ok=True)
    made = [_previewed(rows[media_id], case.path / rows[media_id]["path"], out) for media_id in wanted]
    index = [asdict(p) for p in made]
    (out / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return made


def _to_look_at(rows: dict[str, dict[str, object]]) -> list[str]:
    """Return one file of each medium that has packets and a header."""
    playable = {m.rpartition("-")[0] for m, r in rows.items() if r["kind"] == "playable"}
    return [
        m
        for m, r in rows.items()
        if r["packets"]
        and (
            r["kind"] == "playable"
            or (r["kind"] in ("faithful", "merged") and m.rpartition("-")[0] not in playable)
        )
    ]


def _previewed(row: dict[str, object], path: Path, out: Path) -> Preview:
    media_id = str(row["media_id"])
    if row["encrypted"]:
        return Preview(media_id, (), ("encrypted, not playable",))
    try:
        decoded = decode(path)
    except PreviewError as error:
        return Preview(media_id, (), (str(error),))
    title = f"{media_id}   {row['title'] or ''}".strip()
    made = []
    if decoded.thumbnails:
        made.append(_saved(_sheet(decoded, title), out / f"{media_id}.frames.png"))
    if len(decoded.peaks):
        made.append(_saved(_wave(decoded, title), out / f"{media_id}.sound.png"))
    if decoded.clip:
        (out / f"{media_id}.clip.webm").write_bytes(decoded.clip)
        made.append(f"{media_id}.clip.webm")
    return Preview(media_id, tuple(made), decoded.notes)


def _saved(figure: Figure, path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of characters that the font lacks: they are boxes
        # No date and no version: the same medium gives the same picture.
        figure.savefig(path, dpi=100, metadata={"Software": None}, facecolor="white")
    return path.name


def _figure(width: float, height: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.text(0.01, 1 - 0.22 / height, _plain(title), color=INK, fontsize=10, va="center", parse_math=False)
    return figure


def _sheet(decoded: Decoded, title: str) -> Figure:
    """Key frames with their times."""
    count = len(decoded.thumbnails)
    columns, lines = min(COLUMNS, count), math.ceil(count / COLUMNS)
    tallest = max(picture.shape[0] / picture.shape[1] for _, picture in decoded.thumbnails)
    cell = 2.6 * min(tallest, 2.0) + 0.3
    width, height = 2.8 * max(columns, 2), cell * lines + 0.4
    figure = _figure(width, height, title)
    for i, (seconds, picture) in enumerate(decoded.thumbnails):
        left = (i % COLUMNS) * 2.8 / width
        top = 1 - (0.4 + (i // COLUMNS) * cell) / height
        axes = figure.add_axes(
            (left + 0.05 / width, top - (cell - 0.1) / height, 2.7 / width, (cell - 0.3) / height)
        )
        axes.imshow(picture)
        axes.set_axis_off()
        axes.set_title(_clock(seconds), fontsize=8, color=SOFT, loc="left", pad=2)
    return figure


def _wave(decoded: Decoded, title: str) -> Figure:
    """Least and largest sample over time."""
    peaks = decoded.peaks
    step = max(-(-len(peaks) // BINS), 1)
    starts = np.arange(0, len(peaks), step)
    low, high = np.minimum.reduceat(peaks[:, 0], starts), np.maximum.reduceat(peaks[:, 1], starts)
    figure = _figure(11.2, 2.4, title)
    axes = figure.add_axes((0.05, 0.2, 0.93, 0.58))
    axes.fill_between(starts / decoded.peak_rate, low, high, color=INK, linewidth=0, step="post")
    axes.set_xlim(0, max(len(peaks) / decoded.peak_rate, 0.01))
    axes.set_ylim(-1.02, 1.02)
    axes.set_yticks([-1, 0, 1])
    axes.set_xlabel("seconds from the beginning of the sound", fontsize=8, color=SOFT)
    axes.tick_params(labelsize=8, colors=SOFT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _clock(seconds: float) -> str:
    seconds = max(seconds, 0.0) if math.isfinite(seconds) else 0.0
    return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}"


def _plain(text: str) -> str:
    """A title as it can be drawn: it is an attacker's input."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:100]
