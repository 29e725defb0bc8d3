"""A tool a model may call: its name, what it does, and the JSON Schema of its arguments."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from penstock._content import CacheMark
from penstock._discreet import Discreet
from penstock.errors import UnsendableRequestError

__all__ = ["Tool"]


class Tool(Discreet, frozen=True):
    """A function the model may ask for. `parameters` is a JSON Schema of type object."""

    shown = frozenset({"name"})

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool | None = None
    """Ask the provider to keep to the schema exactly, where it can."""
    cache: CacheMark | None = None

    @classmethod
    def from_function(cls, function: Callable[..., object]) -> Tool:
        """Name, first paragraph of the docstring, and a schema from the annotations of `function`.

        Raises TypeError where a parameter has no annotation or one that JSON cannot carry.
        """
        name = getattr(function, "__name__", type(function).__name__)
        hints = typing.get_type_hints(function, include_extras=True)
        properties: dict[str, type] = {}
        required: list[str] = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise TypeError(f"{name}: parameter {parameter.name} must be passable by name to be called by a model")
            if parameter.name not in hints:
                raise TypeError(f"{name}: parameter {parameter.name} needs an annotation to be described to a model")
            properties[parameter.name] = hints[parameter.name]
            if parameter.default is parameter.empty:
                required.append(parameter.name)
        schemas, components = msgspec.json.schema_components(properties.values())
        parameters: dict[str, Any] = {
            "type": "object",
            "properties": dict(zip(properties, schemas, strict=True)),
            "required": required,
            "additionalProperties": False,
        }
        if components:
            parameters["$defs"] = components
        description = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
        return cls(name, description, parameters)

    @classmethod
    def of(cls, item: object, where: str) -> Tool:
        """A Tool from a Tool or a Chat Completions dict. Raises UnsendableRequestError naming `where`."""
        match item:
            case Tool():
                return item
            case {"type": "function", "function": {"name": str(name)}}:
                fields = cast("Mapping[str, Mapping[str, Any]]", item)["function"]
                parameters = dict(fields.get("parameters") or {})
                return cls(name, fields.get("description") or "", parameters, fields.get("strict"))
            case _:
                raise UnsendableRequestError(
                    f"{where}: a tool is a Tool or {{'type': 'function', 'function': {{'name': ...}}}};"
                    " a provider's own server tools go through extra"
                )
