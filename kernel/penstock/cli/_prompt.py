"""What is asked: the argument, what is piped in, or both.

Not here: asking it.
"""

from __future__ import annotations

import sys

import click

__all__ = ["read_prompt"]


def read_prompt(argument: str | None) -> str:
    """The prompt; raises UsageError where there is none. What is piped in follows the argument after a blank line.

    `-` stands for stdin alone, and is read even from a terminal, up to its end.
    """
    if argument == "-":
        parts = [_read_stdin()]
    else:
        parts = [_checked(argument or ""), "" if sys.stdin.isatty() else _read_stdin()]
    prompt = "\n\n".join(part for part in parts if part)
    if not prompt:
        raise click.UsageError("Nothing to ask: give a prompt, or pipe one in.")
    return prompt


def _checked(argument: str) -> str:
    try:
        argument.encode()
    except UnicodeEncodeError:
        # The shell handed over bytes that are no text in this locale.
        raise click.UsageError("The prompt is not valid UTF-8.") from None
    return argument.strip("\n")


def _read_stdin() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"What is piped in is not UTF-8 text (at byte {error.start}).") from None
