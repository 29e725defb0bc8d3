"""Where the command writes to stdout: tables, and answers without holding up the loop.

Not here: what they say. Colours follow NO_COLOR, and a terminal that can show none gets none.
"""

from __future__ import annotations

import os
import sys

import trio
from rich.console import Console
from rich.table import Table

from penstock.cli._words import json_in, plain

__all__ = ["AnswerWriter", "make_console", "make_table"]

PIPED_WIDTH = 120
"""Columns of a table that is read by no terminal: nothing is to be folded there."""


def make_console() -> Console:
    """A console on stdout, with no markup and no guesses about the text it is given."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return Console(markup=False, emoji=False, highlight=False, width=width)


def make_table(*columns: str, title: str | None = None, right: tuple[str, ...] = (), gap: int = 2) -> Table:
    """A table without a box: it reads the same on paper, in a log and in a terminal. `gap`: spaces between columns."""
    table = Table(
        title=title,
        box=None,
        pad_edge=False,
        padding=(0, gap // 2, 0, gap - gap // 2),
        title_justify="left",
        title_style="bold",
        header_style="dim",
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


class AnswerWriter:
    """Writes to stdout from a thread: a reader that stops (a pager, a held terminal) must not stop our clocks.

    The raw descriptor, not `sys.stdout`: a write that hangs when the command is interrupted is left behind, and would
    hold the lock of the buffer that Python flushes when it exits.
    """

    def __init__(self) -> None:
        sys.stdout.flush()
        self._descriptor = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding
        self._terminal = sys.stdout.isatty()

    async def write(self, text: str) -> None:
        """All of it. Raises BrokenPipeError where the reader has left."""
        await self._write(plain(text) if self._terminal else text)

    async def write_json(self, line: str) -> None:
        """The same of JSON, which says with escapes what the terminal has no letters for."""
        await self._write(json_in(self._encoding, line))

    async def _write(self, text: str) -> None:
        data = text.encode(self._encoding, "replace")
        await trio.to_thread.run_sync(_write_all, self._descriptor, data, abandon_on_cancel=True)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
