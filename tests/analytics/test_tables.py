"""Tests of the tables' declarations."""

from __future__ import annotations

from mmsforensics.analytics import (
    TABLES,
    Table,
    capture_tables,
    content_tables,
    log_tables,
    media_tables,
    session_tables,
)

THEMES = (capture_tables, content_tables, log_tables, media_tables, session_tables)


def test_every_table_that_is_declared_is_a_table_of_a_case():
    declared = [t for theme in THEMES for t in vars(theme).values() if isinstance(t, Table)]
    assert sorted(t.name for t in declared) == sorted(TABLES)


def test_no_table_names_a_column_twice():
    for table in TABLES.values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names), table.name
