"""Parquet files of a case: rows in, byte-identical files out.

Rules of this file:

* row groups have a fixed number of rows, and no writer option is left to a default that a release may
  change, so that the same rows give the same bytes in one environment;
* beside it each table has a content hash, over values alone, that survives a change of pyarrow;
* files are written on a thread of their own, a few row groups behind, and hashed on another one.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmsforensics.analytics import TABLES, arrow_schema
from mmsforensics.analytics.arrays import array_of, numbers_of
from mmsforensics.sessions.secrets import masked_text

ROW_GROUP = 1 << 16
"""Rows of a row group: some megabytes of the widest table."""

SINGLE_ROWS = 1 << 10
"""Rows given one by one that wait to be made into columns together."""

SMALL_TABLES = 64
"""Batches of rows that wait before they are made one: each costs some 15 kB, and a medium has a few rows."""

FLUSHES = 2
"""Flushes that may wait for the thread: some megabytes each."""

Columns = Mapping[str, "Sequence[object] | np.ndarray | pa.Array"]


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """A finished table."""

    name: str
    path: str
    """Relative to the case folder."""
    rows: int
    content_sha256: str


class ContentHash:
    """A hash of a table's values that does not depend on how rows are cut into batches."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._columns = [[hashlib.sha256() for _ in range(3)] for _ in schema]

    def update(self, table: pa.Table) -> None:
        """Add rows."""
        for field, hashes in zip(self._schema, self._columns, strict=True):
            for chunk in table.column(field.name).chunks:
                _hash_values(chunk, hashes)

    def hexdigest(self) -> str:
        """SHA-256 over the column names, types and value hashes."""
        outer = hashlib.sha256()
        for field, hashes in zip(self._schema, self._columns, strict=True):
            outer.update(f"{field.name}\0{field.type}\0".encode())
            for h in hashes:
                outer.update(h.digest())
        return outer.hexdigest()


def _hash_values(chunk: pa.Array, hashes: list[hashlib._Hash]) -> None:
    nulls, lengths, values = hashes
    some = bool(chunk.null_count)
    null = numbers_of(pc.is_null(chunk).cast(pa.uint8())) if some else np.zeros(len(chunk), dtype=np.uint8)
    nulls.update(null.data)
    if pa.types.is_list(chunk.type) and not len(chunk.flatten()) and not some:
        lengths.update((2).to_bytes(8, "little") * len(chunk))  # empty lists, a million of them in a long log
        values.update(b"[]" * len(chunk))
    elif pa.types.is_list(chunk.type):
        for value in chunk.to_pylist():
            text = json.dumps(value).encode()
            lengths.update(len(text).to_bytes(8, "little"))
            values.update(text)
    elif pa.types.is_string(chunk.type):
        said = chunk.drop_null() if some else chunk
        offsets = np.frombuffer(said.buffers()[1], dtype=np.int32)[said.offset :][: len(said) + 1]
        sizes = np.zeros(len(chunk), dtype="<i8")
        sizes[null == 0 if some else slice(None)] = np.diff(offsets)
        lengths.update(sizes.data)
        if len(said) and said.buffers()[2] is not None:
            values.update(memoryview(said.buffers()[2])[int(offsets[0]) : int(offsets[-1])])
    else:
        if pa.types.is_boolean(chunk.type):
            chunk = chunk.cast(pa.uint8())
        numbers = numbers_of(chunk)
        values.update((np.where(null == 0, numbers, numbers.dtype.type(0)) if some else numbers).data)


class TableStore:
    """Writes the tables of one case; passwords of URLs are masked in what comes row by row."""

    def __init__(self, root: Path, *, show_secrets: bool = False) -> None:
        self._root = root
        self._show_secrets = show_secrets
        self._schemas = {name: arrow_schema(table) for name, table in TABLES.items()}
        self._pending: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
        self._small = dict.fromkeys(TABLES, 0)  # how many of these were not made one with others yet
        self._waiting = dict.fromkeys(TABLES, 0)  # rows that are pending
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="table-writer")
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="table-hash")
        self._flushes: deque[Future[None]] = deque()
        # What follows is the thread's.
        self._rest: dict[str, pa.Table] = {}  # rows that fill no row group yet
        self._single: dict[str, list[Mapping[str, object]]] = {name: [] for name in TABLES}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._hashes = {name: ContentHash(schema) for name, schema in self._schemas.items()}
        self._rows = dict.fromkeys(TABLES, 0)

    def append(self, name: str, columns: Columns) -> None:
        """Add rows, given column by column; a column left out is null throughout."""
        self._settle(name)
        self._append(name, columns)

    def _append(self, name: str, columns: Columns) -> None:
        schema = self._schemas[name]
        size = len(next(iter(columns.values())))
        if size == 0:
            return
        unknown = set(columns) - set(schema.names)
        if unknown:
            raise KeyError(f"table {name} has no column {sorted(unknown)}")
        arrays = [
            _array(columns[field.name], field.type) if field.name in columns else pa.nulls(size, field.type)
            for field in schema
        ]
        self._pending[name].append(pa.Table.from_arrays(arrays, schema=schema))
        self._small[name] += 1
        self._waiting[name] += size
        if self._waiting[name] >= ROW_GROUP:
            self._flush(name)
        elif self._small[name] >= SMALL_TABLES:
            self._join_small(name)

    def _join_small(self, name: str) -> None:
        pending, small = self._pending[name], self._small[name]
        pending[-small:] = [pa.concat_tables(pending[-small:]).combine_chunks()]
        self._small[name] = 0

    def append_row(self, name: str, row: Mapping[str, object]) -> None:
        """Add one row; a column left out is null."""
        rows = self._single[name]
        rows.append(row if self._show_secrets else {k: _clean(v) for k, v in row.items()})
        if len(rows) >= SINGLE_ROWS:
            self._settle(name)

    def _settle(self, name: str) -> None:
        """Make columns of the rows that were given one by one."""
        rows, self._single[name] = self._single[name], []
        if rows:
            columns = dict.fromkeys(column for row in rows for column in row)
            self._append(name, {column: [row.get(column) for row in rows] for column in columns})

    def close(self) -> list[WrittenTable]:
        """Write what is left; every table gets its file, an empty one too."""
        for name in TABLES:
            self._settle(name)
            self._flush(name, final=True)
        while self._flushes:
            self._flushes.popleft().result()
        self._thread.shutdown()
        self._hasher.shutdown()
        written = []
        for name in TABLES:
            self._writer(name).close()
            written.append(WrittenTable(name, _path(name), self._rows[name], self._hashes[name].hexdigest()))
        return written

    def abort(self) -> None:
        """Let go of the files without finishing them."""
        self._thread.shutdown(cancel_futures=True)
        self._hasher.shutdown(cancel_futures=True)
        for writer in self._writers.values():
            writer.close()

    def _flush(self, name: str, *, final: bool = False) -> None:
        """Hand what is pending to the thread; what failed there before is raised here."""
        tables, self._pending[name] = self._pending[name], []
        self._small[name] = self._waiting[name] = 0
        while len(self._flushes) >= FLUSHES:
            self._flushes.popleft().result()
        self._flushes.append(self._thread.submit(self._write, name, tables, final))

    def _write(self, name: str, tables: list[pa.Table], final: bool) -> None:
        """Write whole row groups, and in the end what is left; on the thread."""
        rest = self._rest.pop(name, None)
        tables = tables if rest is None else [rest, *tables]
        if not tables:
            return
        table = pa.concat_tables(tables).combine_chunks()
        whole = table.num_rows if final else table.num_rows // ROW_GROUP * ROW_GROUP
        for begin in range(0, whole, ROW_GROUP):
            part = table.slice(begin, min(ROW_GROUP, whole - begin))
            hashed = self._hasher.submit(self._hashes[name].update, part)
            self._writer(name).write_table(part, row_group_size=ROW_GROUP)
            hashed.result()
            self._rows[name] += part.num_rows
        if whole < table.num_rows:
            self._rest[name] = table.slice(whole)

    def _writer(self, name: str) -> pq.ParquetWriter:
        if name not in self._writers:
            path = self._root / _path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[name] = pq.ParquetWriter(
                path,
                self._schemas[name],
                version="2.6",
                compression="zstd",
                compression_level=1,
                use_dictionary=[
                    f.name for f in self._schemas[name] if pa.types.is_string(f.type) and f.name != "details"
                ],
                write_statistics=True,
                data_page_version="1.0",
                store_schema=True,
            )
        return self._writers[name]


def _clean(value: object) -> object:
    """A value without the passwords of URLs in it."""
    if isinstance(value, list):
        return [_clean(v) for v in value]
    return masked_text(value) if isinstance(value, str) else value


def encodable(value: str) -> str:
    """Text that UTF-8 can hold: what evidence or a file system gives may have lone surrogates."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _path(name: str) -> str:
    return f"tables/{name}/part-0.parquet"


def _array(values: Sequence[object] | np.ndarray | pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values.cast(kind) if values.type != kind else values
    null = None
    if isinstance(values, np.ndarray) and pa.types.is_timestamp(kind):
        null = values == np.iinfo(np.int64).min
    return array_of(values, kind, null)
