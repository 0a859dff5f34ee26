"""What docs/protocols.md says of multicast and encoder distribution is true."""

import re
from pathlib import Path

import pytest

from mmsforensics.protocols.msbd import MESSAGE_TYPES
from mmsforensics.protocols.nsc import INTEGERS

ROOT = Path(__file__).parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
OURS = {s.split("\n", 1)[0]: s for s in SECTIONS if s.startswith(("MS-MSB\n", "NSC files\n", "MS-MSBD\n"))}


@pytest.mark.parametrize("name", ["MS-MSB", "NSC files", "MS-MSBD"])
def test_the_tests_that_are_named_exist(name):
    named = re.findall(r"`(tests/\S+)::(\w+)`", OURS[name])
    assert named
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), test


def test_every_message_and_property_has_its_row():
    for message in MESSAGE_TYPES:
        assert f"| `MSB_MSG_{message.name}`" in OURS["MS-MSBD"]
        assert f"| {message.mid} | {message.section} |" in OURS["MS-MSBD"]
    for name in INTEGERS:
        assert f"`{name}`" in OURS["NSC files"]
