"""The case folder: tables, media, manifest, custody log."""

from mmsforensics.case.analysis import analyze
from mmsforensics.case.errors import CaseError
from mmsforensics.case.folder import Case, open_case
from mmsforensics.case.verification import Check, verify

__all__ = ["Case", "CaseError", "Check", "analyze", "open_case", "verify"]
