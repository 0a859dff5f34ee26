"""The object tree: every declared object is read into its fields, and written again to the same bytes."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.asf import parse_header, write_object
from mmsforensics.asf.guids import NAMES, guid_of
from mmsforensics.asf.layout import Array, Records
from mmsforensics.asf.objects import LAYOUTS
from mmsforensics.asf.tree import DATA_OBJECT, HEADER_OBJECT, Reader

WIDTHS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}
CONTAINERS = ("Header Object", "Header Extension", "Data Object", "Extended Stream Properties")
NAMED = {NAMES[guid]: layout for guid, (_, layout) in LAYOUTS.items() if NAMES[guid] not in CONTAINERS}


def obj(identity, body):
    return identity + struct.pack("<Q", 24 + len(body)) + body


def header_of(*objects):
    body = b"".join(objects)
    return HEADER_OBJECT + struct.pack("<QIBB", 30 + len(body), len(objects), 1, 2) + body


def read_one(raw):
    """An object that stands alone, as a reader of a file reads it."""
    size = struct.unpack_from("<Q", raw, 16)[0]
    return Reader(raw).object(raw[:16], 0, len(raw), size, 1)


# --- every layout, drawn from its declaration ---------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6)
latin = st.text(
    st.characters(codec="latin-1", exclude_characters="\0", exclude_categories=("Cc",)), max_size=6
)


@st.composite
def drawn(draw, layout, outer=None):
    """Bytes of a layout and the fields they must be read as."""
    counted = {argument for kind, argument, _ in flat(layout)}
    values, raw = {}, {}
    for kind, _, name in flat(layout):  # what is counted first, then the counts
        if kind == "text":
            values[name] = draw(texts)
            raw[name] = values[name].encode("utf-16-le") + draw(st.sampled_from((b"", b"\0\0")))
        elif kind == "chars":
            values[name] = draw(texts)
            raw[name] = values[name].encode("utf-16-le")
        elif kind == "ansi":
            values[name] = draw(latin)
            raw[name] = values[name].encode("cp1252")
        else:
            values[name] = raw[name] = draw(st.binary(max_size=9))
    sizes = {a: len(raw[n]) // (2 if k == "chars" else 1) for k, a, n in flat(layout)}
    outer = dict(outer or {})
    fields, parts = {}, []
    for item in layout:
        if isinstance(item, Records | Array):
            sizes.setdefault(item.count, outer.get(item.count, draw(st.integers(1, 3))))
    for item in layout:
        if isinstance(item, Records):
            made = [draw(drawn(item.layout, outer | sizes)) for _ in range(sizes[item.count])]
            fields[item.name] = tuple(one for one, _ in made)
            parts.extend(data for _, data in made)
        elif isinstance(item, Array):
            rows = row_bytes(item, outer | sizes) * sizes[item.count]
            parts.append(draw(st.binary(min_size=rows, max_size=rows)))
            fields[item.name] = parts[-1]
        else:
            kind, name = item
            base = kind.partition(":")[0]
            if base in WIDTHS:
                limit = (1 << 8 * WIDTHS[base]) - 1
                fields[name] = sizes.get(name, draw(st.integers(0, limit)))
                parts.append(fields[name].to_bytes(WIDTHS[base], "little"))
                outer[name] = fields[name]
            elif base == "guid":
                fields[name] = draw(st.sampled_from(sorted(NAMES.values())))
                parts.append(guid_of(fields[name]))
            elif base in ("bytes4", "bytes16"):
                parts.append(draw(st.binary(min_size=int(base[5:]), max_size=int(base[5:]))))
                fields[name] = parts[-1]
            elif base == "rest":
                parts.append(draw(st.binary(max_size=9)))
                fields[name] = parts[-1]
            else:
                fields[name] = values[name]
                parts.append(raw[name])
    assert counted <= {*fields, *outer}
    return fields, b"".join(parts)


def flat(layout):
    """(type, counting field, name) of the fields that another one counts."""
    for item in layout:
        if isinstance(item, tuple) and ":" in item[0]:
            kind, _, argument = item[0].partition(":")
            yield kind, argument, item[1]


def row_bytes(array, sizes):
    return sum(WIDTHS[c[0]] * (sizes[c[2]] if len(c) == 3 else 1) for c in array.columns)


def plain(value):
    """Fields as they are drawn: arrays by their bytes."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, tuple):
        return tuple(plain(one) for one in value)
    if hasattr(value, "items"):
        return {k: plain(v) for k, v in value.items() if not k.endswith(" Fields")}
    return value


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_declared_object(name):
    @given(drawn(NAMED[name]))
    def check(made):
        fields, body = made
        raw = obj(guid_of(name), body)
        item = read_one(raw)
        assert plain(item.fields) == fields
        assert (item.name, item.size, item.declared_size) == (name, len(raw), len(raw))
        assert write_object(item) == raw

    check()


# --- whatever the bytes are, they are written again ---------------------------------------------------

bodies = st.tuples(st.sampled_from(sorted(LAYOUTS)), st.binary(max_size=120))
objects_of_any_kind = st.lists(bodies.map(lambda b: obj(*b)), max_size=4)


@given(objects_of_any_kind, objects_of_any_kind, st.binary(max_size=30))
def test_any_tree_is_written_again(first, nested, rest):
    data = b"".join(nested)
    extension = obj(guid_of("Header Extension"), bytes(16) + struct.pack("<HI", 6, len(data)) + data)
    # A Data Object would end the header.
    raw = header_of(*(one for one in first if one[:16] != DATA_OBJECT), extension) + rest
    header = parse_header(raw)
    assert write_object(header.root) == raw[: header.size]


@given(st.sampled_from(sorted(LAYOUTS)), st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_any_object_is_written_again(identity, body, declared):
    raw = identity + struct.pack("<Q", declared) + body
    assert write_object(read_one(raw)) == raw


def test_real_headers_are_written_again(asf_path):
    raw = asf_path.read_bytes()
    header = parse_header(raw)
    assert write_object(header.root) == raw[: header.size]


def test_text_whose_bytes_do_not_follow_from_it():
    """An odd byte and half a surrogate pair are not text, and must not be lost."""
    lengths = struct.pack("<5H", 3, 2, 0, 0, 0)
    item = read_one(obj(guid_of("Content Description"), lengths + b"a\0!" + b"\0\xd8"))
    assert (item.fields["Title"], item.fields["Title (bytes)"]) == ("a", b"a\0!")
    assert (item.fields["Author"], item.fields["Author (bytes)"]) == ("\\ud800", b"\0\xd8")


def test_what_no_field_holds_is_kept():
    whole = struct.pack("<HIQH", 0, 0, 0, 0)
    item = read_one(obj(guid_of("Compatibility"), b"\2\1" + whole))
    assert item.fields == {"Profile": 2, "Mode": 1, "Trailing Data": whole}


def test_an_object_nobody_declared():
    item = read_one(obj(b"?" * 16, b"whatever"))
    assert (item.name, item.fields) == ("{3F3F3F3F-3F3F-3F3F-3F3F-3F3F3F3F3F3F}", {"data": b"whatever"})


def test_a_tree_cannot_be_changed():
    item = read_one(obj(guid_of("Compatibility"), b"\2\1"))
    with pytest.raises(TypeError):
        item.fields["Profile"] = 3
