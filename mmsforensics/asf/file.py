"""An ASF file opened for reading: tree, streams, packets, payloads and media objects, all of it lazily.

Rules of this file:

* the file is mapped, never written to; tables are made when they are asked for and not kept;
* packets are walked in blocks. A whole table that would outgrow the file (a hostile packet has more
  payloads than bytes allow tables for) is refused with an `AsfError`; by batches it can still be read;
* what a header states is not believed against what is there: the packets of a file are those between the
  head of its Data Object and the end of it or of the file, whichever comes first.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.extensions import EXTENSION, ExtensionSystem, extension_rows, extension_systems
from mmsforensics.asf.guids import NAMES, guid_of
from mmsforensics.asf.header import Header, StreamInfo, Tag, parse_header
from mmsforensics.asf.media_objects import MEDIA_OBJECT, Assembler
from mmsforensics.asf.packets import ASF_PACKET, PAYLOAD, walk_packets, walk_payloads
from mmsforensics.asf.top_level_objects import TOP_LEVEL_OBJECTS
from mmsforensics.asf.tree import (
    DATA_OBJECT,
    DATA_OBJECT_HEAD,
    FRAME,
    HEADER_FIELDS,
    HEADER_OBJECT,
    MAX_OBJECTS,
    AsfObject,
    HeaderProblem,
    Reader,
    write_object,
)

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 128 << 10
"""Bytes of packets walked at once: the tables of a hostile block take some 30 times as much."""

FIRST_READ = 64 << 10
"""Bytes in which nearly every header lies."""

MAX_HEADER = 64 << 20
"""Bytes of a header read at most; real ones with large pictures have some megabytes."""

TABLE_SHARE = 1.5
"""A whole table may take as many times the bytes of the file, or `TABLE_FREE` when that is more."""

TABLE_FREE = 4 << 20
"""Bytes that any table may take."""

COPY = 8 << 20
"""Bytes copied at once."""

BEHIND_DATA = tuple(guid_of(name) for name, _, _ in TOP_LEVEL_OBJECTS if name != "Data Object")
"""Objects that stand behind the data."""


class AsfError(Exception):
    """What was to be read is no ASF, or cannot be read in the way asked for."""


@dataclass(frozen=True, slots=True)
class PayloadBatch:
    """The tables of some consecutive packets."""

    first_packet: int
    first_payload: int
    data: NDArray[np.uint8]
    """The bytes of the packets."""
    packets: NDArray[np.void]
    """ASF_PACKET."""
    payloads: NDArray[np.void]
    """PAYLOAD; ``packet`` counts from the first of the file."""


@dataclass(frozen=True, slots=True, repr=False)
class AsfFile:
    """An open ASF file; use it as a context manager, or `close` it."""

    path: Path
    size: int
    header: Header
    tree: tuple[AsfObject, ...]
    """The objects of the top level: header, data, indexes, whatever else there is."""
    problems: tuple[HeaderProblem, ...]
    """What in them is not as it must be."""
    data_end: int
    """Offset behind the last byte of the Data Object that is there."""
    packet_count: int
    """Whole packets that are there."""
    _map: mmap.mmap

    def __repr__(self) -> str:
        return (
            f"AsfFile({str(self.path)!r}, {self.size} bytes, {len(self.streams)} streams, "
            f"{self.packet_count} packets of {self.packet_size} bytes)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; arrays that still show its bytes keep it mapped until they are gone."""
        try:
            self._map.close()
        except BufferError:
            return

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The streams that the header declares."""
        return self.header.streams

    @property
    def tags(self) -> tuple[Tag, ...]:
        """The tags in all objects of the header."""
        return self.header.tags

    @property
    def packet_size(self) -> int:
        """Bytes of each data packet; 0 when the header does not say or cannot be believed."""
        return self.header.packet_size

    @property
    def extension_systems(self) -> tuple[ExtensionSystem, ...]:
        """The payload extension systems that streams declare; `EXTENSION.system` counts in them."""
        return extension_systems(self.header).declared

    def walk(self) -> Iterator[AsfObject]:
        """All objects, each before those in it."""
        for item in self.tree:
            yield from item.walk()

    def raw(self, offset: int, length: int) -> bytes:
        """Read bytes of the file, as far as they are there."""
        return self._map[max(offset, 0) : max(offset + length, 0)]

    def packet_bytes(self) -> NDArray[np.uint8]:
        """All data packets, as they are: read-only ndarray of uint8, shape (packet_count * packet_size,)."""
        begin = self.header.data_offset
        length = self.packet_count * self.packet_size
        if not length:
            return np.empty(0, dtype=np.uint8)
        return np.frombuffer(self._map, dtype=np.uint8, count=length, offset=begin)

    def packets(self) -> NDArray[np.void]:
        """Read all data packets.

        Returns
        -------
        ndarray of ASF_PACKET, shape (packet_count,)
            ``ok`` says that all payloads of the packet are sound, ``reason`` why not.

        Raises
        ------
        AsfError
            The table would be much larger than the file, as with packets of a few bytes.
        """
        return self._table(ASF_PACKET, (batch.packets for batch in self._walked()))

    def packet_heads(self) -> NDArray[np.void]:
        """As `packets`, but ``ok`` says that the heads are sound; payloads are not looked at."""
        if self.packet_count > self._room(ASF_PACKET):
            raise AsfError(f"{self.packet_count} packets of {self.packet_size} bytes: read them by batches")
        return walk_packets(self.packet_bytes(), self.packet_size)

    def batches(self, block: int = BLOCK) -> Iterator[PayloadBatch]:
        """Walk packets and payloads, some packets at a time.

        Parameters
        ----------
        block : int
            Bytes of packets in a batch; at least one packet.

        Yields
        ------
        PayloadBatch
        """
        for batch in self._walked(block):
            batch.payloads["packet"] += batch.first_packet
            yield batch

    def _walked(self, block: int = BLOCK) -> Iterator[PayloadBatch]:
        """As `batches`, but ``packet`` counts from the first packet of the batch."""
        data, size = self.packet_bytes(), self.packet_size
        if not len(data):
            return
        step = max(block // size, 1)
        payloads_before = 0
        for first in range(0, self.packet_count, step):
            part = data[first * size : (first + step) * size]
            heads, payloads = walk_payloads(part, size)
            yield PayloadBatch(first, payloads_before, part, heads, payloads)
            payloads_before += len(payloads)

    def payloads(self) -> NDArray[np.void]:
        """Read the payloads of all sound packets.

        Returns
        -------
        ndarray of PAYLOAD
            In the order of the file; of a compressed payload, each object in it.

        Raises
        ------
        AsfError
            The table would be much larger than the file: read it by `batches`.
        """
        return self._table(PAYLOAD, (batch.payloads for batch in self.batches()))

    def media_objects(self) -> NDArray[np.void]:
        """Put the media objects of all streams together.

        Returns
        -------
        ndarray of MEDIA_OBJECT
            In the order of their first payloads.

        Raises
        ------
        AsfError
            The table would be much larger than the file: read it by `object_batches`.
        """
        rows = self._table(MEDIA_OBJECT, self.object_batches())
        return rows[np.argsort(rows["first_payload"], kind="stable")]

    def object_batches(self) -> Iterator[NDArray[np.void]]:
        """Put media objects together, some packets at a time; in the order of their ends."""
        assembler = Assembler(extension_systems(self.header))
        for batch in self._walked():
            yield assembler.feed(
                batch.data,
                self.packet_size,
                batch.payloads,
                first_packet=batch.first_packet,
                first_payload=batch.first_payload,
            )
        yield assembler.end()

    def extensions(self) -> NDArray[np.void]:
        """Read what payload extension systems hold.

        Returns
        -------
        ndarray of EXTENSION
            In the order of payloads; ``system`` counts in `extension_systems`.

        Raises
        ------
        AsfError
            The table would be much larger than the file: read it by `extension_batches`.
        """
        return self._table(EXTENSION, self.extension_batches())

    def extension_batches(self) -> Iterator[NDArray[np.void]]:
        """Read what payload extension systems hold, some packets at a time."""
        systems = extension_systems(self.header)
        for batch in self._walked():
            rows = extension_rows(batch.data, self.packet_size, batch.payloads, systems, batch.first_payload)
            rows["packet"] += batch.first_packet
            yield rows

    def payload_bytes(self, payload: np.void) -> bytes:
        """Read the data of one row of PAYLOAD."""
        at = self.header.data_offset + int(payload["packet"]) * self.packet_size + int(payload["at"])
        return self.raw(at, int(payload["length"]))

    def extension_bytes(self, extension: np.void) -> bytes:
        """Read the data of one row of EXTENSION."""
        at = self.header.data_offset + int(extension["packet"]) * self.packet_size + int(extension["at"])
        return self.raw(at, int(extension["length"]))

    def object_bytes(self, media_object: np.void) -> bytes:
        """Read the data of one row of MEDIA_OBJECT, the payloads as they follow each other.

        Bytes that are missing are missing: of an object that is not complete, less than ``size`` comes.
        """
        size, first = self.packet_size, int(media_object["first_packet"])
        data = self.packet_bytes()
        parts: list[bytes] = []
        for packet in range(first, int(media_object["last_packet"]) + 1):
            _, payloads = walk_payloads(data[packet * size : (packet + 1) * size], size)
            payloads["packet"] = packet
            if packet == first:
                payloads = payloads[payloads["at"] >= media_object["first_at"]]
            for row in payloads[payloads["stream"] == media_object["stream"]]:
                if len(parts) < media_object["payloads"]:
                    parts.append(self.payload_bytes(row))
        return b"".join(parts)

    def arrow(self, table: str) -> pa.RecordBatchReader:
        """Give a table as Arrow record batches, made as they are read.

        Parameters
        ----------
        table : str
            ``packets``, ``payloads``, ``media_objects`` (in the order of their ends) or ``extensions``.

        Returns
        -------
        pyarrow.RecordBatchReader
            ``read_all()`` makes a table of it.

        Raises
        ------
        AsfError
            There is no such table.
        """
        from mmsforensics.asf.arrow import reader_of

        sources: dict[str, Callable[[], Iterator[NDArray[np.void]]]] = {
            "packets": lambda: (batch.packets for batch in self.batches()),
            "payloads": lambda: (batch.payloads for batch in self.batches()),
            "media_objects": self.object_batches,
            "extensions": self.extension_batches,
        }
        if table not in sources:
            raise AsfError(f"no table {table!r}: there are {', '.join(sources)}")
        return reader_of(table, sources[table]())

    def write(self, out: BinaryIO) -> int:
        """Write the file again from its tree, with the packets as they are; returns the bytes written."""
        written = at = 0
        for item in self.tree:
            raw = write_object(item)
            written += out.write(raw)
            at = item.end
            if item.guid == DATA_OBJECT:
                written += self._copy(out, item.offset + len(raw), item.end)
        return written + self._copy(out, at, self.size)

    def _copy(self, out: BinaryIO, begin: int, end: int) -> int:
        for at in range(begin, end, COPY):
            out.write(self._map[at : min(at + COPY, end)])
        return max(end - begin, 0)

    def _room(self, dtype: np.dtype[np.void]) -> int:
        """Rows that a whole table may have."""
        return max(int(self.size * TABLE_SHARE), TABLE_FREE) // dtype.itemsize

    def _table(self, dtype: np.dtype[np.void], batches: Iterator[NDArray[np.void]]) -> NDArray[np.void]:
        """Join batches into a table that may not outgrow the file."""
        limit = self._room(dtype)
        rows, n = np.empty(min(limit, 1024), dtype=dtype), 0
        for batch in batches:
            if n + len(batch) > limit:
                raise AsfError(
                    f"a table of more than {limit} rows of {dtype.itemsize} bytes: read it by batches"
                )
            if n + len(batch) > len(rows):
                grown = np.empty(min(max(2 * len(rows), n + len(batch)), limit), dtype=dtype)
                grown[:n] = rows[:n]
                rows = grown
            rows[n : n + len(batch)] = batch
            n += len(batch)
        return rows[:n]


def open_asf(path: str | os.PathLike[str]) -> AsfFile:
    """Open an ASF, WMA or WMV file.

    Parameters
    ----------
    path : path

    Returns
    -------
    AsfFile
        However damaged; `AsfFile.problems` says what is not as it must be.

    Raises
    ------
    AsfError
        It does not begin with a Header Object.
    OSError
        It cannot be read.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if file.read(16) != HEADER_OBJECT or size < HEADER_FIELDS:
            raise AsfError(f"{path}: no ASF file: it does not begin with a Header Object")
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    header = _read_header(mapped, size)
    reader = Reader(memoryview(mapped))
    tree, data_end = _top_level(reader, header, size)
    step = header.packet_size
    room = data_end - header.data_offset if header.data_offset else 0
    count = max(room, 0) // step if step else 0
    if room > 0 and step and room % step:
        reader.problem(data_end - room % step, f"a data packet of {step} bytes", f"{room % step} bytes")
    if room > 0 and not step:
        reader.problem(header.data_offset, "a packet size by which packets can be told", str(step))
    problems = (*header.problems, *reader.problems)
    return AsfFile(Path(path), size, header, tree, problems, data_end, count, mapped)


def _read_header(mapped: mmap.mmap, size: int) -> Header:
    """Parse the header; a stated size that leads nowhere is tried again with more bytes."""
    stated = int.from_bytes(mapped[16:24], "little")
    wanted = min(max(stated + DATA_OBJECT_HEAD, FIRST_READ), MAX_HEADER)
    header = parse_header(mapped[:wanted])
    if not header.data_offset and wanted < min(size, MAX_HEADER):
        header = parse_header(mapped[:MAX_HEADER])
    return header


def _top_level(reader: Reader, header: Header, size: int) -> tuple[tuple[AsfObject, ...], int]:
    """Read the objects of the top level; returns them and the end of the Data Object."""
    assert header.root is not None
    tree, at = [header.root], header.root.end
    data_end = at
    if header.data_offset:
        data_end = _data_end(reader, header, size)
        tree.append(_data_object(reader, at, data_end))
        at = data_end
    while at + FRAME <= size and len(tree) < MAX_OBJECTS:
        guid, declared = bytes(reader.data[at : at + 16]), reader.number(at + 16, 8)
        if guid in (HEADER_OBJECT, DATA_OBJECT) or declared < FRAME:
            break
        if at + declared > size:
            reader.problem(at + 16, f"an object of at most {size - at} bytes", str(declared))
        length = min(declared, size - at)
        tree.append(reader.object(guid, at, length, declared, 2))
        at += length
    if at < size:
        reader.problem(at, "the end of the file or an object", f"{size - at} bytes that are none")
    return tuple(tree), data_end


def _data_end(reader: Reader, header: Header, size: int) -> int:
    """Where the packets end: a live recording states nothing that holds."""
    stated = header.size + header.data_size
    if not header.broadcast and header.data_size >= DATA_OBJECT_HEAD:
        if stated > size:
            found = f"{header.data_size}"
            reader.problem(header.size + 16, f"a Data Object of at most {size - header.size} bytes", found)
        return min(stated, size)
    if header.data_size > DATA_OBJECT_HEAD and (
        stated == size or bytes(reader.data[stated : stated + 16]) in NAMES
    ):
        return stated
    if not header.broadcast:
        reader.problem(header.size + 16, f"a Data Object of at least {DATA_OBJECT_HEAD} bytes", "less")
    return _live_end(reader.data, header, size)


def _live_end(data: bytes | memoryview, header: Header, size: int) -> int:
    """Where packets end that go to the end of the file, or up to an index."""
    begin, step = header.data_offset, header.packet_size
    if not step:
        return size
    count = max(size - begin, 0) // step
    rows = np.frombuffer(data, dtype=np.uint8, count=count * step, offset=begin).reshape(count, step)
    firsts = np.ascontiguousarray(rows[:, : min(16, step)])
    for guid in BEHIND_DATA:
        at = np.flatnonzero((firsts == np.frombuffer(guid, dtype=np.uint8)[: firsts.shape[1]]).all(axis=1))
        if step >= len(guid) and len(at):
            return begin + int(at[0]) * step
    rest = begin + count * step
    return rest if bytes(data[rest : rest + 16]) in BEHIND_DATA else size


def _data_object(reader: Reader, at: int, end: int) -> AsfObject:
    head = reader.object(DATA_OBJECT, at, min(DATA_OBJECT_HEAD, end - at), reader.number(at + 16, 8), 2)
    fields = MappingProxyType(dict(head.fields))
    return AsfObject(DATA_OBJECT, head.name, at, end - at, fields, (), head.declared_size)
