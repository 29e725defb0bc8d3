"""Words of a command line that go into a store: Unicode, which not everything is that a shell hands over.

Not here: files (a path may be any bytes), and prompts (`_prompt`), which no store keeps.
"""

from __future__ import annotations

from typing import Any

import click

__all__ = ["TextGroup"]


class _Text(click.types.StringParamType):
    """Python holds bytes that are no UTF-8 as halves of characters, on which stores and terminals break."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = super().convert(value, param, ctx)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(
                f"{text!r} is not valid UTF-8, so no store can write it down; type it in a terminal and a locale of"
                " UTF-8.",
                param,
                ctx,
            )
        return text


_TEXT = _Text()


class TextGroup(click.Group):
    """A group whose commands take no words but such as can be written down: each of them is checked here."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Adds it, and has its words checked before anything else looks at them."""
        for parameter in cmd.params:
            if parameter.type is click.STRING and parameter.name != "config_file":
                parameter.type = _TEXT
        super().add_command(cmd, name)
