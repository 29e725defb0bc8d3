"""`penstock ask --schema`: what the answer is to become, and how a value is written.

Not here: asking (`_ask`).
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import click
import msgspec

from penstock._validator_chain import plain_part

__all__ = ["read_kind", "value_json", "value_line"]


def read_kind(_: click.Context, __: click.Parameter, given: str | None) -> Any:
    """A JSON Schema out of a file, or a type out of a module of the current folder or of what is installed.

    `module:Outer.Inner` names one that stands in a class.
    """
    if given is None:
        return None
    path = Path(given)
    if path.is_file():
        try:
            schema = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise click.BadParameter(f"{given} holds no JSON: {error}") from None
        if not isinstance(schema, dict):
            raise click.BadParameter(f"{given} holds no JSON Schema: that is an object")
        return schema  # pyright: ignore[reportUnknownVariableType] - a schema is whatever the file says
    module, colon, name = given.partition(":")
    if not colon or not name:
        raise click.BadParameter(f"there is no file {given}; give one, or a type as module:Type")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return attrgetter(name)(import_module(module))
    except Exception as error:  # noqa: BLE001 - whatever the module does when it is imported
        raise click.BadParameter(f"{given} cannot be imported: {type(error).__name__}: {error}") from None
    finally:
        sys.path.pop(0)


def value_line(value: object) -> str:
    """The value as one line of JSON."""
    return bytes(value_json(value)).decode() + "\n"


def value_json(value: object) -> msgspec.Raw:
    """The value as JSON, to stand in other JSON as it stands alone."""
    return msgspec.Raw(msgspec.json.encode(value, enc_hook=plain_part))
