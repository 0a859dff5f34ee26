"""Arrow arrays from plain values.

``pa.array`` does the same, but asks pandas each time whether it was given a Series; that imports pandas, and
takes as long as all the rest of a small analysis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def array_of(
    values: Sequence[object] | NDArray[np.generic], kind: pa.DataType, null: Mask | None = None
) -> pa.Array:
    """Build an array.

    Parameters
    ----------
    values : sequence or ndarray
        Numbers, booleans, text or lists of text, as `kind` asks for; None is null.
    kind : pa.DataType
    null : ndarray of bool, optional
        Where there is none, for an ndarray.
    """
    if not isinstance(values, np.ndarray):
        null = np.fromiter((v is None for v in values), dtype=np.bool_, count=len(values))
    validity = _bits(~null) if null is not None and null.any() else None
    if pa.types.is_list(kind):
        lists: list[Sequence[object]] = [v or () for v in values]  # type: ignore[misc]
        items = array_of([item for v in lists for item in v], kind.value_type)
        buffers = [validity, _offsets([len(v) for v in lists])]
        return pa.Array.from_buffers(kind, len(values), buffers, children=[items])
    if pa.types.is_string(kind):
        texts = [b"" if v is None else str(v).encode() for v in values]
        buffers = [validity, _offsets([len(t) for t in texts]), pa.py_buffer(b"".join(texts))]
        return pa.Array.from_buffers(kind, len(values), buffers)
    if not isinstance(values, np.ndarray):
        values = np.array([0 if v is None else v for v in values], dtype=_dtype(kind))
    if pa.types.is_boolean(kind):
        return pa.Array.from_buffers(kind, len(values), [validity, _bits(values.astype(np.bool_))])
    data = np.ascontiguousarray(values, dtype=_dtype(kind))
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])


def _dtype(kind: pa.DataType) -> np.dtype[np.generic]:
    return np.dtype(np.int64 if pa.types.is_timestamp(kind) else kind.to_pandas_dtype())


def _bits(values: Mask) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def _offsets(lengths: list[int]) -> pa.Buffer:
    ends = np.cumsum([0, *lengths])
    if int(ends[-1]) > np.iinfo(np.int32).max:
        raise OverflowError(f"{ends[-1]} bytes of text in one column of a batch")
    return pa.py_buffer(ends.astype(np.int32))


def repeated(text: str, count: int, null: Mask | None = None) -> pa.Array:
    """An array of the same text `count` times; null where `null` says so."""
    data = text.encode()
    if len(data) * count > np.iinfo(np.int32).max:
        raise OverflowError(f"{len(data) * count} bytes of text in one column of a batch")
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(len(data))
    validity = _bits(~null) if null is not None and null.any() else None
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(data * count)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def repeated_each(texts: Sequence[str], counts: Sequence[int]) -> pa.Array:
    """An array of each text, one behind the other, as often as its count says."""
    data = [text.encode() for text in texts]
    offsets = np.zeros(sum(counts) + 1, dtype=np.int64)
    np.cumsum(np.repeat([len(d) for d in data], counts), out=offsets[1:])
    if int(offsets[-1]) > np.iinfo(np.int32).max:
        raise OverflowError(f"{offsets[-1]} bytes of text in one column of a batch")
    joined = b"".join([d * count for d, count in zip(data, counts, strict=True)])
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(joined)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


def numbers_of(array: pa.Array) -> NDArray[np.generic]:
    """The numbers of an array without nulls, as they lie in memory."""
    data = np.frombuffer(array.buffers()[1], dtype=_dtype(array.type))
    return data[array.offset : array.offset + len(array)]
