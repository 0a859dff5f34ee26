"""What there is to say of an ASF file, as plain values that JSON can hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.file import AsfFile
from mmsforensics.asf.guids import guid_text
from mmsforensics.asf.packets import Reason
from mmsforensics.asf.tree import AsfObject

SHOWN_BYTES = 256
"""Bytes of a field given in full; of a longer one length, SHA-256 and beginning."""

SHOWN_ROWS = 4096
"""Rows of an array given in full; of a longer one their number and SHA-256."""


def summary(file: AsfFile) -> dict[str, Any]:
    """Describe a file.

    Parameters
    ----------
    file : AsfFile

    Returns
    -------
    dict
        Of numbers, text, lists and such dicts: ``header``, ``tree``, ``streams``, ``tags``, ``packets``,
        ``media_objects`` (figures by stream), ``extension_systems`` and ``problems``. Times in ms; those of
        media objects without preroll.
    """
    return {
        "path": str(file.path),
        "size": file.size,
        "header": _header(file),
        "tree": [tree_value(item) for item in file.tree],
        "streams": [asdict(stream) for stream in file.streams],
        "tags": [asdict(tag) for tag in file.tags],
        "packets": _packets(file),
        "media_objects": stream_figures(file),
        "extension_systems": [
            {"stream": s.stream, "name": s.name, "size": s.size, "info": s.info.hex()}
            for s in file.extension_systems
        ],
        "problems": [asdict(problem) for problem in file.problems],
    }


def _header(file: AsfFile) -> dict[str, Any]:
    header = file.header
    left_out = ("tree", "root", "streams", "tags", "problems", "file_id")
    values = {f.name: getattr(header, f.name) for f in fields(header) if f.name not in left_out}
    created = header.created
    return values | {
        "file_id": guid_text(header.file_id) if header.file_id else None,
        "created": created.isoformat() if created else None,
        "duration_ms": header.duration_ms,
        "broadcast": header.broadcast,
        "seekable": header.seekable,
        "protected": header.protected,
    }


def tree_value(item: AsfObject) -> dict[str, Any]:
    """One object with what is in it."""
    return {
        "name": item.name,
        "guid": guid_text(item.guid),
        "offset": item.offset,
        "size": item.size,
        "declared_size": item.declared_size,
        "fields": {name: _value(value) for name, value in item.fields.items()},
        "children": [tree_value(child) for child in item.children],
    }


def _value(value: object) -> Any:  # noqa: ANN401 - JSON has no type
    if isinstance(value, Mapping):
        return {name: _value(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_value(one) for one in value]
    if isinstance(value, np.ndarray):
        if len(value) > SHOWN_ROWS:
            return {"rows": len(value), "sha256": hashlib.sha256(value.tobytes()).hexdigest()}
        names = value.dtype.names or ()
        return [dict(zip(names, row, strict=True)) for row in _rows(value)]
    if isinstance(value, bytes | memoryview):
        if len(value) > SHOWN_BYTES:
            begin = bytes(value[:32]).hex()
            return {"length": len(value), "sha256": hashlib.sha256(value).hexdigest(), "begins": begin}
        return bytes(value).hex()
    return value


def _rows(table: NDArray[np.void]) -> list[list[Any]]:
    """Rows of a structured array as lists of plain values."""
    columns = [table[name].tolist() for name in table.dtype.names or ()]
    return [list(row) for row in zip(*columns, strict=True)]


def _packets(file: AsfFile) -> dict[str, Any]:
    payloads = sound = padding = 0
    reasons: dict[str, int] = {}
    sends: list[int] = []
    for batch in file.batches():
        ok = batch.packets["ok"] == 1
        sound += int(ok.sum())
        payloads += len(batch.payloads)
        padding += int(batch.packets["padding"][ok].sum())
        if ok.any():
            good = batch.packets["send_time_ms"][ok]
            sends = [min([*sends, int(good.min())]), max([*sends, int(good.max())])]
        for reason, count in zip(*np.unique(batch.packets["reason"][~ok], return_counts=True), strict=True):
            name = Reason(int(reason)).name.lower()
            reasons[name] = reasons.get(name, 0) + int(count)
    return {
        "size": file.packet_size,
        "count": file.packet_count,
        "sound": sound,
        "unsound": reasons,
        "payloads": payloads,
        "padding": padding,
        "first_send_ms": sends[0] if sends else None,
        "last_send_ms": sends[1] if sends else None,
    }


def stream_figures(file: AsfFile) -> list[dict[str, Any]]:
    """Count media objects by stream: all, key frames, complete, bytes, first and last presentation time."""
    figures: dict[int, dict[str, Any]] = {}
    for rows in file.object_batches():
        for stream in np.unique(rows["stream"]):
            mine = rows[rows["stream"] == stream]
            times = mine["presentation_ms"].astype(np.int64) - file.header.preroll_ms
            one = figures.setdefault(
                int(stream),
                {
                    "stream": int(stream),
                    "objects": 0,
                    "key": 0,
                    "complete": 0,
                    "incomplete": 0,
                    "bytes": 0,
                    "first_ms": int(times.min()),
                    "last_ms": int(times.max()),
                },
            )
            one["objects"] += len(mine)
            one["key"] += int(mine["key"].sum())
            one["complete"] += int((mine["complete"] == 1).sum())
            one["incomplete"] += int((mine["complete"] == 0).sum())
            one["bytes"] += int(mine["received"].sum())
            one["first_ms"] = min(one["first_ms"], int(times.min()))
            one["last_ms"] = max(one["last_ms"], int(times.max()))
    return [figures[stream] for stream in sorted(figures)]
