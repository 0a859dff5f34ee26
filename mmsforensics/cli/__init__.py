"""The command line: arguments in, calls of the public API, text out. No logic of its own."""

from mmsforensics.cli.commands import main

__all__ = ["main"]
