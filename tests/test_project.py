"""What is said of the project in several places, and must be the same in all."""

from __future__ import annotations

import tomllib

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOOLS = PROJECT["tool"]


def test_modules_typed_by_numba_are_listed_twice_in_order():
    """For the linter, which asks for annotations, and for the type checker."""
    ignored = [path for path, rules in TOOLS["ruff"]["lint"]["per-file-ignores"].items() if "ANN001" in rules]
    modules = next(o["module"] for o in TOOLS["mypy"]["overrides"] if "disallow_untyped_defs" in o)
    assert [path.removesuffix(".py").replace("/", ".") for path in ignored] == modules == sorted(modules)
    assert all("@njit" in (ROOT / path).read_text(encoding="utf-8") for path in ignored)


def test_every_document_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Documentation")[1]
    assert {p.name for p in (ROOT / "docs").glob("*.md")} == {
        part.split(")")[0] for part in text.split("(docs/")[1:]
    }


def test_every_room_is_in_the_contract_and_the_documentation():
    rooms = {p.parent.name for p in (ROOT / "mmsforensics").glob("*/__init__.py")}
    (contract,) = TOOLS["importlinter"]["contracts"]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(contract["layers"]) == rooms
    assert all(f"| `{room}/` |" in text for room in rooms)
