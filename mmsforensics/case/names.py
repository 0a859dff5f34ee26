"""Names from evidence made safe for the file system.

They are an attacker's input: nowhere else does one become part of a path.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

MAX_STEM = 48
"""Characters kept of a name; long enough to be recognised, short enough for every file system."""

EXTENSIONS = (".asf", ".wmv", ".wma", ".wm")


def safe_media_name(wanted: str) -> tuple[str, str]:
    """Return a stem and an extension for a medium.

    Parameters
    ----------
    wanted : str
        What the client asked for: a path or URL, arbitrary text.

    Returns
    -------
    stem : str
        Only ASCII letters, digits, ``-`` and ``_``; never empty.
    extension : str
        One of `EXTENSIONS`.
    """
    try:
        path = urlsplit(wanted).path if "://" in wanted else wanted.split("?", 1)[0]
    except ValueError:
        path = wanted
    last = re.split(r"[\\/]", path.rstrip("\\/"))[-1]
    stem, dot, extension = last.rpartition(".")
    if not dot or f".{extension.lower()}" not in EXTENSIONS:
        stem, extension = last, "asf"
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_")[:MAX_STEM]
    return stem or "content", f".{extension.lower()}"
