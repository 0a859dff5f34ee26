"""The tables of a case: each column's type, unit and meaning, declared once."""

from mmsforensics.analytics.columns import Column, Table
from mmsforensics.analytics.community_id import community_id
from mmsforensics.analytics.tables import SCHEMA_VERSION, TABLES, arrow_schema, markdown_of

__all__ = ["SCHEMA_VERSION", "TABLES", "Column", "Table", "arrow_schema", "community_id", "markdown_of"]
