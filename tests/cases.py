"""What tests read of a case."""

from __future__ import annotations


def rows(case, table, **equal):
    """Rows of a table, those alone whose columns equal what is given."""
    return [r for r in case.table(table).to_pylist() if all(r[k] == v for k, v in equal.items())]


def faithful_files(case):
    """Contents of the faithful files, in order."""
    return [(case.path / m["path"]).read_bytes() for m in rows(case, "media", kind="faithful")]


def events(case):
    """Names of the events, in order."""
    return [e["event"] for e in rows(case, "events")]
