"""Independent programs and libraries that judge the results: in CI all must be there, else tests skip."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """End a test that cannot run here: skipped with the reason, failed in CI, which may skip nothing."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI may not skip")
    pytest.skip(reason)


def program(name: str) -> str:
    """The path of a program."""
    return shutil.which(name) or unavailable(f"{name} is not installed")


def library(name: str) -> str:
    """The name by which a shared library is loaded; `name` is that of its file."""
    found = ctypes.util.find_library(name.removeprefix("lib").partition(".")[0]) or name
    try:
        ctypes.CDLL(found)
    except OSError:
        unavailable(f"{name} is not installed")
    return found
