"""What all tests share."""

from __future__ import annotations

import json
from pathlib import Path

import programs
import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_data"

settings.register_profile("mmsforensics", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("mmsforensics")


@pytest.fixture(scope="session")
def expected() -> dict[str, dict]:
    """What each sample capture must give, by the servers' source files and client dumps."""
    return json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def sample_case(tmp_path_factory):
    """The case of all sample captures, made once."""
    import mmsforensics

    return mmsforensics.analyze([SAMPLES], out=tmp_path_factory.mktemp("sample") / "case")


@pytest.fixture(scope="session")
def program():
    """Find an independent program; in CI it must be there, elsewhere the test is skipped without it."""
    return programs.program
