"""Rules for data packets, payloads, media objects and indexes [ASF 5, 6]."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.file import AsfFile, PayloadBatch
from mmsforensics.asf.packets import Reason
from mmsforensics.asf.rules import SHALL, SHOULD
from mmsforensics.asf.tree import AsfObject

Located = tuple[str, str, int, str, str, str, str, int]
"""Section, level, offset, object, rule, expected, found, how many such there are from there on."""

SHOWN = 100
"""Violations of one kind that are told one by one."""

REASONS: dict[Reason, tuple[str, str]] = {
    Reason.TOO_SHORT: ("5.2.2", "payload parsing information within the packet"),
    Reason.ERROR_CORRECTION: ("5.2.1", "an Error Correction Length Type of 0"),
    Reason.LENGTH_TYPES: ("5.2.2", "bit 7 of Length Type Flags 0"),
    Reason.PADDING: ("5.2.2", "padding that fits the packet"),
    Reason.PAYLOAD_COUNT: ("5.2.3.3", "one payload at least"),
    Reason.PAYLOAD: ("5.2.3", "payloads that fit the packet"),
    Reason.REPLICATED_DATA: ("5.2.3.1", "a Replicated Data Length of 0, 1, or 8 and more"),
    Reason.PACKET_LENGTH: ("5.2.2", "a Packet Length of at most the packet size"),
    Reason.PADDING_TWICE: ("5.2.2", "padding behind the Packet Length not counted in the Padding Length"),
}
"""What an unsound packet fails to be."""


def data_violations(file: AsfFile) -> Iterator[Located]:
    """Go through packets, media objects and indexes.

    Yields
    ------
    Located
    """
    last_send = 0
    declared = np.zeros(256, dtype=np.bool_)
    declared[[s.number for s in file.streams]] = True
    for batch in file.batches():
        yield from _packets(file, batch, last_send)
        yield from _payloads(file, batch, declared)
        sound = batch.packets["send_time_ms"][batch.packets["ok"] == 1]
        last_send = int(sound[-1]) if len(sound) else last_send
    for rows in file.object_batches():
        yield from _objects(file, rows)
    yield from _indexes(file)


def _each(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Where a mask is set, and a count of 1; the last of very many stands for the rest."""
    places = np.flatnonzero(mask)
    for k in places[:SHOWN]:
        yield int(k), 1
    if len(places) > SHOWN:
        yield int(places[SHOWN]), len(places) - SHOWN


def _offset(file: AsfFile, packet: int, at: int = 0) -> int:
    return file.header.data_offset + packet * file.packet_size + at


def _packets(file: AsfFile, batch: PayloadBatch, last_send: int) -> Iterator[Located]:
    heads = batch.packets
    for k, n in _each(heads["reason"] != Reason.NONE):
        reason = Reason(int(heads["reason"][k]))
        section, expected = REASONS[reason]
        where = _offset(file, batch.first_packet + k)
        found = reason.name.lower().replace("_", " ")
        yield (section, SHALL, where, "Data Packet", "payloads", expected, found, n)
    correction = heads["correction"]
    odd = (correction != 0) & ((correction & 0x1F) != 2)
    for k, n in _each(odd):
        where = _offset(file, batch.first_packet + k)
        expected = "two bytes of error correction data, and no opaque data"
        found = f"0x{int(correction[k]):02x}"
        yield ("5.2.1", SHOULD, where, "Data Packet", "Error Correction Flags", expected, found, n)
    yield from _property_flags(file, batch)
    sound = np.flatnonzero(heads["ok"] == 1)
    sends = heads["send_time_ms"][sound].astype(np.int64)
    before = np.concatenate(([last_send], sends[:-1]))
    for k, n in _each(sends < before):
        where = _offset(file, batch.first_packet + int(sound[k]), int(heads["body_at"][sound[k]]) - 6)
        expected = f"at least {int(before[k])}"
        yield ("5.2.2", SHOULD, where, "Data Packet", "Send Time", expected, str(int(sends[k])), n)


def _property_flags(file: AsfFile, batch: PayloadBatch) -> Iterator[Located]:
    """Stream numbers are one byte, whatever the flags say; they shall say so."""
    sound = np.flatnonzero(batch.packets["ok"] == 1)
    at = sound * file.packet_size + batch.packets["flags_at"][sound] + 1
    properties = batch.data[at]
    for k, n in _each(properties >> 6 != 1):
        where = file.header.data_offset + batch.first_packet * file.packet_size + int(at[k])
        found = str(int(properties[k]) >> 6)
        yield ("5.2.2", SHALL, where, "Data Packet", "Stream Number Length Type", "1", found, n)


def _payloads(file: AsfFile, batch: PayloadBatch, declared: NDArray[np.bool_]) -> Iterator[Located]:
    rows = batch.payloads
    for k, n in _each(~declared[rows["stream"]]):
        where = _offset(file, int(rows["packet"][k]), int(rows["at"][k]))
        yield (
            "5.2.3",
            SHALL,
            where,
            "Payload",
            "Stream Number",
            "a declared stream",
            str(rows["stream"][k]),
            n,
        )
    ends = rows["object_offset"].astype(np.int64) + rows["length"]
    for k, n in _each((rows["object_size"] > 0) & (ends > rows["object_size"])):
        where = _offset(file, int(rows["packet"][k]), int(rows["at"][k]))
        expected = f"an end of at most {rows['object_size'][k]}"
        yield ("5.2.3.1", SHALL, where, "Payload", "Offset Into Media Object", expected, str(int(ends[k])), n)


def _objects(file: AsfFile, rows: NDArray[np.void]) -> Iterator[Located]:
    for k, n in _each(rows["complete"] == 0):
        row = rows[k]
        where = _offset(file, int(row["first_packet"]), int(row["first_at"]))
        expected = f"{row['size']} bytes in order"
        found = f"{row['received']} in {row['payloads']} payloads"
        found += f" (object {row['object_number']} of stream {row['stream']})"
        yield ("5.2.3.1", SHALL, where, "Media Object", "completeness", expected, found, n)


# --- indexes ------------------------------------------------------------------------------------------


def _indexes(file: AsfFile) -> Iterator[Located]:
    simple = [item for item in file.tree if item.name == "Simple Index Object"]
    videos = [s for s in file.streams if s.type == "video"]
    if simple and len(simple) != len(videos):
        expected, found = f"one for each of {len(videos)} video streams", str(len(simple))
        yield (
            "6.1",
            SHOULD,
            simple[0].offset,
            "Simple Index Object",
            "number of objects",
            expected,
            found,
            1,
        )
    for item in file.tree:
        if item.name == "Simple Index Object":
            yield from _simple_index(file, item)
        elif "Index Blocks" in item.fields:
            yield from _blocks(file, item)


def _simple_index(file: AsfFile, item: AsfObject) -> Iterator[Located]:
    file_id = item.fields.get("File ID")
    if file_id not in (None, bytes(16), file.header.file_id):
        assert isinstance(file_id, bytes)
        expected = f"{file.header.file_id.hex()} or 0"
        yield ("6.1", SHOULD, item.offset + 24, item.name, "File ID", expected, file_id.hex(), 1)
    entries = item.fields.get("Index Entries")
    if not isinstance(entries, np.ndarray) or not len(entries):
        return
    most = item.fields["Maximum Packet Count"]
    if most != int(entries["Packet Count"].max()):
        expected, found = str(int(entries["Packet Count"].max())), str(most)
        yield ("6.1", SHALL, item.offset + 48, item.name, "Maximum Packet Count", expected, found, 1)
    for k, n in _each(entries["Packet Number"] >= max(file.packet_count, 1)):
        where, found = item.offset + 56 + 6 * k, str(entries["Packet Number"][k])
        yield ("6.1", SHALL, where, item.name, "Packet Number", f"less than {file.packet_count}", found, n)


def _blocks(file: AsfFile, item: AsfObject) -> Iterator[Located]:
    """Offsets of an index point to data packets; 0xFFFFFFFF points nowhere [ASF 6.2 to 6.4]."""
    section = {"Index Object": "6.2", "Media Object Index Object": "6.3"}.get(item.name, "6.4")
    length = file.packet_count * file.packet_size
    blocks = item.fields["Index Blocks"]
    assert isinstance(blocks, tuple)
    for block_number, block in enumerate(blocks):
        entries, positions = block.get("Index Entries"), block.get("Block Positions")
        if entries is None or positions is None:
            continue
        offsets = entries["Offsets"].astype(np.uint64)
        places = offsets + positions["Block Position"]
        bad = (offsets != 0xFFFF_FFFF) & (places >= length)
        for k, n in _each(bad.ravel()):
            row, column = divmod(k, bad.shape[1])
            expected = f"an offset of less than {length}, not that of entry {row} of block {block_number}"
            found = str(int(places[row, column]))
            yield (section, SHALL, item.offset, item.name, "Offsets", expected, found, n)
