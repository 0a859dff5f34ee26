"""How a call that can't be carried out ends."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

USAGE = 2
"""Exit code of such a call."""


def fail(message: str) -> NoReturn:
    """End the command with an error message."""
    click.echo(f"error: {message}", err=True)
    sys.exit(USAGE)
