"""The tables of an ASF file as Arrow record batches. Times are milliseconds, sizes and offsets bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.asf.extensions import EXTENSION
from mmsforensics.asf.media_objects import MEDIA_OBJECT, UNKNOWN
from mmsforensics.asf.packets import ASF_PACKET, PAYLOAD

DTYPES: dict[str, np.dtype[np.void]] = {
    "packets": ASF_PACKET,
    "payloads": PAYLOAD,
    "media_objects": MEDIA_OBJECT,
    "extensions": EXTENSION,
}
"""Rows of the tables."""

FLAGS = ("ok", "key", "compressed", "complete")
"""Columns that are booleans in Arrow."""

NULLABLE = ("complete", "duration_ms")
"""Columns in which UNKNOWN is null."""


def reader_of(table: str, batches: Iterator[NDArray[np.void]]) -> pa.RecordBatchReader:
    """Make a reader of batches of rows.

    Parameters
    ----------
    table : str
        A key of `DTYPES`.
    batches : iterator of ndarray
        With rows of that type.
    """
    dtype = DTYPES[table]
    names = dtype.names or ()
    schema = pa.schema([(name, _type(name, dtype)) for name in names])
    return pa.RecordBatchReader.from_batches(schema, (_batch(rows, schema) for rows in batches))


def _type(name: str, dtype: np.dtype[np.void]) -> pa.DataType:
    return pa.bool_() if name in FLAGS else pa.from_numpy_dtype(dtype[name])


def _batch(rows: NDArray[np.void], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([_column(rows, field) for field in schema], schema=schema)


def _column(rows: NDArray[np.void], field: pa.Field) -> pa.Array:
    """Build from buffers, because `pa.array` imports pandas."""
    values = np.ascontiguousarray(rows[field.name])
    valid = None
    if field.name in NULLABLE:
        valid = pa.py_buffer(np.packbits(values != UNKNOWN, bitorder="little"))
    if pa.types.is_boolean(field.type):
        values = np.packbits(values == 1, bitorder="little")
    return pa.Array.from_buffers(field.type, len(rows), [valid, pa.py_buffer(values)])
