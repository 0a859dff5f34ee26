"""Files of real encoders: those kept here, and any others the user has at hand."""

import os
from pathlib import Path

import pytest

FILES = Path(__file__).parent / "files"
MORE = os.environ.get("MMSFORENSICS_ASF_FILES")
"""A folder with more ASF files to hold our readings against the independent readers'."""


def pytest_generate_tests(metafunc):
    """Give a test that asks for `asf_path` every real file there is."""
    if "asf_path" in metafunc.fixturenames:
        folders = [FILES, *([Path(MORE)] if MORE else [])]
        paths = {p.name: p for folder in folders for p in folder.iterdir() if p.suffix != ".md"}
        metafunc.parametrize("asf_path", [paths[name] for name in sorted(paths)], ids=sorted(paths))


@pytest.fixture
def real_asf():
    """Path of a file kept here."""
    return lambda name: FILES / name
