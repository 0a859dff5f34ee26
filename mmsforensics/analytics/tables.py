"""The tables of a case: each column's type, unit and meaning, declared once.

They are declared by theme in the modules imported here. The Parquet schema, ``mmsforensics schema`` and
`docs/tables.md` are made from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmsforensics.analytics.capture_tables import ANOMALIES, CAPTURES, FLOWS, PROBLEMS
from mmsforensics.analytics.columns import Table
from mmsforensics.analytics.content_tables import MARKERS, METADATA, PICTURES, PROTECTIONS, SCRIPT_COMMANDS
from mmsforensics.analytics.log_tables import CLIENT_LOG, LOG_DISAGREEMENTS, SERVER_LOG
from mmsforensics.analytics.media_tables import (
    LOSS,
    MEDIA,
    MEDIA_PACKETS,
    MEDIA_STREAMS,
    MERGES,
    PROVENANCE,
    RESTORED,
    VERDICTS,
)
from mmsforensics.analytics.session_tables import (
    CREDENTIALS,
    EVENTS,
    REDIRECTORS,
    SESSIONS,
    STATIONS,
    VIEWINGS,
)

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
"""Raised when a column changes its name, type or meaning; new columns do not raise it."""

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        CAPTURES,
        PROBLEMS,
        SESSIONS,
        EVENTS,
        FLOWS,
        VIEWINGS,
        REDIRECTORS,
        ANOMALIES,
        MEDIA,
        VERDICTS,
        LOSS,
        MEDIA_STREAMS,
        MEDIA_PACKETS,
        PROVENANCE,
        RESTORED,
        STATIONS,
        MERGES,
        CLIENT_LOG,
        SERVER_LOG,
        LOG_DISAGREEMENTS,
        CREDENTIALS,
        METADATA,
        SCRIPT_COMMANDS,
        MARKERS,
        PICTURES,
        PROTECTIONS,
    )
}
"""All tables by name, in the order in which they are documented."""


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table, with unit and meaning in each field's metadata."""
    import pyarrow as pa

    types = {"time": pa.timestamp("ns", tz="UTC"), "list<string>": pa.list_(pa.string())}
    return pa.schema(
        [
            pa.field(
                c.name,
                types.get(c.type) or pa.type_for_alias(c.type),
                metadata={"unit": c.unit, "doc": c.doc},
            )
            for c in table.columns
        ],
        metadata={"table": table.name, "doc": table.doc, "schema_version": str(SCHEMA_VERSION)},
    )


def markdown_of(table: Table) -> str:
    """A table's section of the documentation."""
    lines = [f"## {table.name}", "", table.doc, "", "| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.type} | {c.unit} | {c.doc} |" for c in table.columns]
    return "\n".join([*lines, ""])
