"""docs/protocols.md lists what MS-WMSP and MS-WMHTTP declare, and the tests it names are there."""

import re
from pathlib import Path

import pytest

from mmsforensics.protocols.wmsp_directives import (
    CACHE_CONTROL,
    CONTENT_TYPES,
    FEATURES,
    HEADERS,
    PRAGMA,
    PUSH_CONTENT_TYPES,
    PUSH_REQUEST_TYPES,
    REQUEST_TYPES,
    STARTUP_PROFILE,
    SUPPORTED,
)
from mmsforensics.protocols.wmsp_framing import PACKET_IDS, PUSH_IDS
from mmsforensics.protocols.wmsp_metadata import VALUE_TYPES
from mmsforensics.sessions.wmsp_telling import CHANGE_REASONS, END_REASONS

ROOT = Path(__file__).parents[2]


def part(heading):
    """The text of one part of the page."""
    text = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


WMSP = {
    **{f"${name}": section for name, section in PACKET_IDS.items()},
    **{f"$E 0x{reason:08X}": "2.2.3.4" for reason in END_REASONS},
    **{f"$C 0x{reason:08X}": "2.2.3.2" for reason in CHANGE_REASONS},
    **REQUEST_TYPES,
    **{d.name: d.section for d in PRAGMA},
    **FEATURES,
    **SUPPORTED,
    **STARTUP_PROFILE,
    **HEADERS,
    **CONTENT_TYPES,
    **{f"{name} ({number})": "2.2.4.1" for number, name in VALUE_TYPES.items()},
}
PUSH = {
    **{f"${name}": section for name, section in PUSH_IDS.items()},
    **PUSH_REQUEST_TYPES,
    **PUSH_CONTENT_TYPES,
}


@pytest.mark.parametrize(
    ("heading", "declared"), [("MS-WMSP", WMSP), ("Push distribution (MS-WMHTTP)", PUSH)]
)
def test_all_that_is_declared_has_a_row(heading, declared):
    text = part(heading)
    assert [n for n, section in declared.items() if f"| `{n}` | {section} |" not in text] == []


def test_so_have_the_directives_of_cache_control():
    """A table of their own: two of their names are those of other things."""
    table = part("MS-WMSP").split("### Cache-Control")[1].split("###")[0]
    assert [d.name for d in CACHE_CONTROL if f"| `{d.name}` | {d.section} |" not in table] == []


def test_the_tests_named_exist():
    named = re.findall(r"`(tests/\S+?)::(\w+)`", part("MS-WMSP") + part("Push distribution (MS-WMHTTP)"))
    assert len(named) > 60
    for path, name in set(named):
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), (path, name)


def test_each_row_says_where_it_is_shown_or_that_it_is_not():
    rows = [r for r in part("MS-WMSP").splitlines() if r.startswith("| `")]
    assert all("`tests/" in row or "not seen in any test" in row for row in rows)
