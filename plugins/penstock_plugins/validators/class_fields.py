"""The fields of attrs classes, dataclasses, TypedDicts and Structs, as an answer is to name them.

Not here: their schemas (`class_schemas`).
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Literal

import attrs
import msgspec

__all__ = ["NO_DEFAULT", "Field", "fields_of", "is_class"]

NO_DEFAULT: Any = object()


class Field(msgspec.Struct, frozen=True):
    """One property of an object."""

    name: str
    kind: Any
    required: bool
    default: Any = NO_DEFAULT


def fields_of(kind: Any) -> list[Field] | None:
    """Of an attrs class, a dataclass, a TypedDict or a Struct with names; None for all else. Raises TypeError."""
    origin: Any = typing.get_origin(kind) or kind
    if not isinstance(origin, type):
        return None
    if typing.is_typeddict(origin):
        return [_of_typed_dict(name, hint, origin) for name, hint in _hints(kind, origin).items()]
    if _is_struct(origin):
        return _of_struct(kind, origin)
    if attrs.has(origin):
        return _of_attrs(attrs.fields(origin), _hints(kind, origin))
    return _of_dataclass(origin, _hints(kind, origin)) if dataclasses.is_dataclass(origin) else None


def _is_struct(kind: Any) -> bool:
    return issubclass(kind, msgspec.Struct)


def _of_attrs(fields: Any, hints: dict[str, Any]) -> list[Field]:
    made: list[Field] = []
    for each in fields:
        plain = each.default is not attrs.NOTHING and not hasattr(each.default, "factory")
        if each.init:
            default = each.default if plain else NO_DEFAULT
            made.append(Field(each.name, hints[each.name], each.default is attrs.NOTHING, default))
    return made


def _of_dataclass(kind: Any, hints: dict[str, Any]) -> list[Field]:
    if any(isinstance(hint, dataclasses.InitVar) for hint in hints.values()):
        raise TypeError("dataclasses with `InitVar` fields are not supported")
    made: list[Field] = []
    for each in dataclasses.fields(kind):
        plain = each.default is not dataclasses.MISSING
        if each.init:
            required = not plain and each.default_factory is dataclasses.MISSING
            made.append(Field(each.name, hints[each.name], required, each.default if plain else NO_DEFAULT))
    return made


def _of_struct(kind: Any, origin: Any) -> list[Field] | None:
    if origin.__struct_config__.array_like:
        return None
    tag, named = origin.__struct_config__.tag, origin.__struct_config__.tag_field
    made = [] if tag is None else [Field(named, Literal[tag], required=True)]
    for each in msgspec.structs.fields(kind):
        plain = each.default is not msgspec.NODEFAULT and each.default is not msgspec.UNSET
        made.append(Field(each.encode_name, each.type, each.required, each.default if plain else NO_DEFAULT))
    return made


def _of_typed_dict(name: str, hint: Any, kind: Any) -> Field:
    # A class whose annotations are strings does not know of these marks itself.
    mark = typing.get_origin(hint)
    if mark in (typing.Required, typing.NotRequired):
        return Field(name, typing.get_args(hint)[0], mark is typing.Required)
    return Field(name, hint, name in kind.__required_keys__)


def _hints(kind: Any, origin: Any) -> dict[str, Any]:
    """With the types that stand for the variables of a generic class."""
    hints: dict[str, Any] = typing.get_type_hints(origin, include_extras=True)
    bound: dict[Any, Any] = dict(zip(getattr(origin, "__parameters__", ()), typing.get_args(kind), strict=False))
    if not bound:
        return hints
    made: dict[str, Any] = {}
    for name, hint in hints.items():
        free = tuple(bound.get(each, each) for each in getattr(hint, "__parameters__", ()))
        made[name] = bound.get(hint, hint) if isinstance(hint, typing.TypeVar) else hint[free] if free else hint
    return made


def is_class(kind: Any) -> bool:
    """True for a class whose values are read from objects with properties of their own."""
    if not isinstance(kind, type):
        return False
    of: Any = kind
    if issubclass(kind, msgspec.Struct):
        return not of.__struct_config__.array_like
    return attrs.has(of) or dataclasses.is_dataclass(of) or typing.is_typeddict(of)
