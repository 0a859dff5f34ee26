"""The custody log: an append-only chain of what was done to a case, each entry holding the hash of the last.

It is the only place where the time of a run, the user and the machine stand.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import mmsforensics

GENESIS = "0" * 64
LIBRARIES = ("dpkt", "numba", "numpy", "pandas", "pyarrow")


def environment() -> dict[str, object]:
    """Versions of the tool and of what it rests on."""
    return {
        "mmsforensics": mmsforensics.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def append_entry(path: Path, action: str, what: Mapping[str, object]) -> None:
    """Add an entry to the log, chained to the one before."""
    entry = {
        "time": datetime.now(UTC).isoformat(),
        "user": _user(),
        "host": platform.node(),
        "arguments": sys.argv,
        "action": action,
        "previous": _last_hash(path),
        **what,
    }
    body = json.dumps(entry, sort_keys=True)
    digest = hashlib.sha256(body.encode()).hexdigest()
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("" if whole else "\n")
        file.write(json.dumps({"entry": entry, "sha256": digest}, sort_keys=True) + "\n")


def check_chain(path: Path) -> list[str]:
    """Return what is wrong with the chain; nothing, when it is whole."""
    problems: list[str] = []
    previous = GENESIS
    try:
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        return [f"{path.name}: {error}"]
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            entry, digest = record["entry"], record["sha256"]
            body, followed = json.dumps(entry, sort_keys=True), entry.get("previous")
        except (ValueError, KeyError, TypeError, AttributeError):
            return [*problems, f"{path.name}: line {number} is no entry"]
        changed = hashlib.sha256(body.encode()).hexdigest() != digest
        if changed or line != json.dumps(record, sort_keys=True):
            problems.append(f"{path.name}: line {number} was changed")
        if followed != previous:
            problems.append(f"{path.name}: line {number} does not follow the line before it")
        previous = digest
    return problems


def last_entry(path: Path, action: str) -> Mapping[str, object]:
    """The newest entry for an action, empty when there is none.

    A line that is no entry is passed over: `check_chain` names it.
    """
    found: Mapping[str, object] = {}
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)["entry"]
            if entry.get("action") == action:
                found = entry
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _last_hash(path: Path) -> str:
    if not path.exists():
        return GENESIS
    lines = path.read_bytes().splitlines()
    if not lines:
        return GENESIS
    try:
        return str(json.loads(lines[-1])["sha256"])
    except (ValueError, KeyError, TypeError):
        # The log was changed: what stands there is what it goes on from.
        return hashlib.sha256(lines[-1]).hexdigest()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for the user id, as in some containers
        return ""
