"""The other end of the confined process: it is started, waited for, and not believed.

Rules of this file:

* the process gets the medium as its standard input and nothing else; its environment is empty;
* how long it runs and how much it says is bounded here too, and what it says is checked before it is used.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

WALL_SECONDS: Final = 120
"""Twice the processor time that the process may use."""

MAX_RESULT: Final = 64 << 20
"""Bytes that the process may say: thumbnails and waveform have some MB, a clip of ten seconds fewer."""

MAX_SIDE: Final = 4096
MAX_THUMBNAILS: Final = 64
MAX_NOTES: Final = 16
WEBM: Final = b"\x1a\x45\xdf\xa3"
"""First bytes of the clip: an EBML header [RFC 8794]."""

CHILD: Final = Path(__file__).with_name("child.py")


class PreviewError(Exception):
    """The confined process made nothing of a medium, or something that cannot be believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What a medium looks and sounds like."""

    thumbnails: tuple[tuple[float, NDArray[np.uint8]], ...]
    """Key frames: seconds, and RGB of shape (height, width, 3)."""
    key_frames: int
    """Key frames that were decoded."""
    peaks: NDArray[np.float32]
    """Least and largest sample of each bin, shape (n, 2); empty without sound."""
    peak_rate: int
    """Bins a second."""
    clip: bytes
    """WebM; empty if none could be made."""
    notes: tuple[str, ...]
    """What went wrong, or was left out."""


def decode(path: Path) -> Decoded:
    """Decode a medium in a confined process.

    Parameters
    ----------
    path : Path
        Any file.

    Raises
    ------
    PreviewError
        The process died, ran too long, could not be confined, or said what cannot be.
    OSError
        The file cannot be opened.
    """
    said = _run(path)
    head, _, rest = said.partition(b"\n")
    try:
        told = json.loads(head)
        return _believed(told, rest)
    except (ValueError, KeyError, TypeError) as error:
        raise PreviewError(f"the confined process said what cannot be: {error}") from error


def _run(path: Path) -> bytes:
    with path.open("rb") as medium:
        child = subprocess.Popen(
            [sys.executable, "-I", str(CHILD)],
            stdin=medium,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    assert child.stdout is not None
    assert child.stderr is not None
    late = threading.Timer(WALL_SECONDS, child.kill)
    late.start()
    try:
        complaint: list[bytes] = []
        reader = threading.Thread(target=_read_complaint, args=(child, complaint), daemon=True)
        reader.start()
        said = child.stdout.read(MAX_RESULT + 1)
        if len(said) > MAX_RESULT:
            raise PreviewError(f"the confined process said more than {MAX_RESULT} bytes")
        code = child.wait()
        reader.join()
    finally:
        late.cancel()
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()
    if code:
        last = b"".join(complaint).decode("utf-8", "replace").strip().splitlines()[-1:]
        how = f"ended by signal {-code}" if code < 0 else f"failed with code {code}"
        raise PreviewError(f"the confined process {how}: {' '.join(last)[:200]}")
    return said


def _read_complaint(child: subprocess.Popen[bytes], into: list[bytes]) -> None:
    """Keep the end of what a process complains of."""
    assert child.stderr is not None
    while part := child.stderr.read(4096):
        into[:] = [*into[-1:], part]


def _believed(told: dict[str, object], rest: bytes) -> Decoded:
    """Check what the process said, as what a stranger says."""
    parts: dict[str, list[bytes]] = {"thumbnails": [], "waveform": [], "clip": []}
    at = 0
    for blob in _list(told["blobs"]):
        size = _number(blob["size"], MAX_RESULT)
        parts[str(blob["step"])].append(rest[at : at + size])
        at += size
    if at != len(rest):
        raise ValueError(f"{len(rest)} bytes where {at} are announced")
    shapes = _list(told.get("thumbnails", []))
    if len(shapes) != len(parts["thumbnails"]) or len(shapes) > MAX_THUMBNAILS:
        raise ValueError("another number of pictures than announced")
    clip = b"".join(parts["clip"])
    if clip and not clip.startswith(WEBM):
        raise ValueError("a clip that is no WebM")
    peaks = np.frombuffer(b"".join(parts["waveform"]), dtype="<f4").reshape(-1, 2)
    return Decoded(
        thumbnails=tuple(_picture(s, d) for s, d in zip(shapes, parts["thumbnails"], strict=True)),
        key_frames=_number(told.get("key_frames", 0), 1 << 40),
        peaks=np.clip(np.nan_to_num(peaks), -1.0, 1.0),
        peak_rate=max(_number(told.get("peak_rate", 1), 1 << 20), 1),
        clip=clip,
        notes=tuple(str(n)[:300] for n in _texts(told.get("notes", []))[:MAX_NOTES]),
    )


def _picture(shape: dict[str, object], data: bytes) -> tuple[float, NDArray[np.uint8]]:
    width, height = _number(shape["width"], MAX_SIDE), _number(shape["height"], MAX_SIDE)
    seconds = shape["time"]
    if not isinstance(seconds, int | float) or len(data) != width * height * 3:
        raise ValueError("a picture of another size than announced")
    return float(seconds), np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)


def _number(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{value!r} where a number up to {most} is expected")
    return value


def _list(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise TypeError("no list of objects")
    return value


def _texts(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("no list of notes")
    return value
