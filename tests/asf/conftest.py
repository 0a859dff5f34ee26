"""Files of real encoders: those kept here, and any others the user has at hand."""

import os
from pathlib import Path

import av
import pytest
from mutagen.asf import ASF

FILES = Path(__file__).parent / "files"
MORE = os.environ.get("MMSFORENSICS_ASF_FILES")
"""A folder with more ASF files to hold our readings against the independent readers'."""


def is_sound(path):
    """Whether independent readers accept a file: they fail in many ways on damage."""
    try:
        ASF(path)
        with av.open(str(path)) as container:
            return len(container.streams) > 0
    except Exception:
        return False


def pytest_generate_tests(metafunc):
    """Give a test every real file there is, or every one that independent readers accept."""
    folders = [FILES, *([Path(MORE)] if MORE else [])]
    paths = {p.name: p for folder in folders for p in sorted(folder.iterdir()) if p.suffix != ".md"}
    if "asf_path" in metafunc.fixturenames:
        metafunc.parametrize("asf_path", paths.values(), ids=paths)
    if "sound_asf_path" in metafunc.fixturenames:
        sound = {name: path for name, path in paths.items() if is_sound(path)}
        metafunc.parametrize("sound_asf_path", sound.values(), ids=sound)


@pytest.fixture
def real_asf():
    """Path of a file kept here."""
    return lambda name: FILES / name
