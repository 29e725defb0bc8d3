"""Sentences to whoever runs the command, on stderr.

Not here: answers and tables (`_screen`).
"""

from __future__ import annotations

import click

from penstock.cli._words import plain

__all__ = ["tell"]


def tell(sentence: str) -> None:
    """One message."""
    click.echo(f"penstock: {plain(sentence)}", err=True)
