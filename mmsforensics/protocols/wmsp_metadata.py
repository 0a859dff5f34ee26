"""The payload of $M: parameters of a playlist entry, its content description list [MS-WMSP 2.2.3.6, 2.2.4].

Rules of this file:

* names and values are cut by their lengths, which count bytes: values may hold commas. A length that does not
  fit is a problem, told with its place; the pair is then cut at the next comma or line break;
* a value whose type the specification does not list stays text, as every value does that is not of its type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmsforensics.protocols.wmsp_directives import PRAGMA, Directive, read_directives

VALUE_TYPES: dict[int, str] = {
    2: "VT_I2",
    3: "VT_I4",
    6: "VT_CY",
    8: "VT_BSTR",
    10: "VT_ERROR",
    11: "VT_BOOL",
    16: "VT_I1",
    17: "VT_UI1",
    18: "VT_UI2",
    19: "VT_UI4",
    22: "VT_INT",
    23: "VT_UINT",
    31: "VT_LPWSTR",
}
"""Value types of a content description [2.2.4.1]."""

NUMBERS = frozenset((2, 3, 10, 16, 17, 18, 19, 22, 23))
"""Those of whole numbers."""

MAX_PAIRS = 4096
"""Pairs that are read of one list; a server sends some dozen."""

MAX_PROBLEMS = 16
"""Problems that are told of one list."""

_LENGTH = re.compile(rb"\s*([0-9]{1,10}),")
_TYPE_AND_LENGTH = re.compile(rb",([0-9]{1,3}),([0-9]{1,10}),")
_PARAMETERS = {d.name.lower(): d for d in PRAGMA if d.name in ("playlist-gen-id", "features")} | {
    "broadcast-id": Directive("broadcast-id", "2.2.3.6", "response", PRAGMA[4].read)
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A named value of a content description."""

    name: str
    type: int
    """One of `VALUE_TYPES`, or unknown."""
    value: str | int | bool


@dataclass(frozen=True, slots=True)
class Description:
    """One content description: what is said in one language."""

    language: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a $M says."""

    playlist_gen_id: int | None
    broadcast_id: int | None
    features: tuple[str, ...]
    descriptions: tuple[Description, ...]
    problems: tuple[str, ...]


def read_metadata(payload: bytes) -> Metadata:
    """Read the payload of a $M, put together if it came in parts [2.2.3.6]."""
    head, nul, listed = payload.partition(b"\0")
    said = read_directives([_text(head)], _PARAMETERS)
    problems = [f"{name}: {text!r}" for name, text in (*said.unknown, *said.malformed)][:MAX_PROBLEMS]
    if not nul:
        problems.append("no NUL behind the parameters")
    descriptions, more = read_descriptions(listed)
    features = said.known.get("features")
    return Metadata(
        playlist_gen_id=_whole(said.known.get("playlist-gen-id")),
        broadcast_id=_whole(said.known.get("broadcast-id")),
        features=tuple(features) if isinstance(features, list) else (),
        descriptions=descriptions,
        problems=(*problems, *more),
    )


def read_descriptions(data: bytes) -> tuple[tuple[Description, ...], list[str]]:
    """Read a content description list [2.2.4]; returns the descriptions, and what was wrong with it.

    Descriptions end with a line break; one that begins without a language belongs to the language before it.
    """
    descriptions: list[Description] = []
    problems: list[str] = []
    pairs: list[Pair] = []
    language = ""
    at = count = 0
    data = data.rstrip(b"\0")

    def finish() -> None:
        if pairs:
            descriptions.append(Description(language, tuple(pairs)))
            pairs.clear()

    while at < len(data) and count < MAX_PAIRS:
        if data[at : at + 1] in b"\r\n":
            finish()
            at += 1
            continue
        at += data[at : at + 1] == b","
        found = _pair(data, at, problems)
        if found is None:
            at = _next_line(data, at)
            continue
        pair, at = found
        count += 1
        if pair.name.lower() == "language":
            finish()
            language = str(pair.value)
        else:
            pairs.append(pair)
    finish()
    if at < len(data):
        problems.append(f"more than {MAX_PAIRS} pairs")
    return tuple(descriptions), problems[:MAX_PROBLEMS]


def _pair(data: bytes, at: int, problems: list[str]) -> tuple[Pair, int] | None:
    """The pair at `at`, and where it ends; None when there is none."""
    length = _LENGTH.match(data, at, at + 64)
    if length is None:
        problems.append(f"byte {at}: no name length: {_text(data[at : at + 16])!r}")
        return None
    begin = length.end()
    end = begin + int(length[1])
    rest = _TYPE_AND_LENGTH.match(data, end, end + 20) if end <= len(data) else None
    if rest is None:
        rest = _TYPE_AND_LENGTH.search(data, begin, begin + 1024)
        if rest is None or b"\n" in data[begin : rest.start()]:
            problems.append(f"byte {at}: no name of {int(length[1])} bytes with a type behind it")
            return None
        problems.append(f"byte {at}: a name of {rest.start() - begin} bytes, not {int(length[1])}")
        end = rest.start()
    kind, size = int(rest[1]), int(rest[2])
    value_end = rest.end() + size
    if value_end > len(data) or data[value_end : value_end + 1] not in (b"", b",", b"\r", b"\n"):
        stops = [p for p in (data.find(stop, rest.end()) for stop in (b",", b"\r", b"\n")) if p >= 0]
        value_end = min(stops, default=len(data))
        problems.append(f"byte {at}: a value of {value_end - rest.end()} bytes, not {size}")
    value = _text(data[rest.end() : value_end])
    return Pair(_text(data[begin:end]), kind, _typed(kind, value)), value_end


def _typed(kind: int, text: str) -> str | int | bool:
    if kind in NUMBERS and re.fullmatch(r"-?[0-9]{1,20}", text):
        return int(text)
    if kind == 11 and text.lower() in ("0", "1", "-1", "true", "false"):
        return text.lower() not in ("0", "false")
    return text


def _next_line(data: bytes, at: int) -> int:
    end = data.find(b"\n", at)
    return len(data) if end < 0 else end + 1


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
