"""Forensic recovery of Windows Media (MMS) streams from packet captures.

>>> import mmsforensics
>>> case = mmsforensics.analyze(["evidence.pcap"], out="case")  # doctest: +SKIP
>>> case.sessions  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsforensics import asf
    from mmsforensics.case import Case, CaseError, analyze, open_case, verify

__version__ = "0.1.0"

__all__ = ["Case", "CaseError", "__version__", "analyze", "asf", "open_case", "verify"]


def __getattr__(name: str) -> object:
    """Load a room when it is first asked for: ``--help`` must not wait for it."""
    if name == "asf":
        return importlib.import_module("mmsforensics.asf")
    if name in __all__:
        import mmsforensics.case

        return getattr(mmsforensics.case, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names of the public API, for those who ask an interpreter."""
    return sorted({*globals(), *__all__})
