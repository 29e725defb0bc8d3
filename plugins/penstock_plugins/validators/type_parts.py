"""What a type is made of, to the last field. Not here: what is made of each (the validators)."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import attrs
import msgspec

__all__ = ["parts_of", "pydantic_part"]


def parts_of(kind: Any) -> list[Any]:
    """The type, its arguments, the fields of its classes, and theirs. Each once."""
    found: list[Any] = []
    seen: set[int] = set()
    left: list[Any] = [kind]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        found.append(each)  # held, so that no other takes its identity
        left.extend(typing.get_args(each))
        left.extend(getattr(each, behind, None) for behind in ("__origin__", "__supertype__", "__value__"))
        if isinstance(each, type) and _has_fields(each):
            left.extend(_hints(each).values())
    return found


def pydantic_part(parts: list[Any]) -> type | None:
    """The first of them that pydantic builds, by rules that nobody else knows: a model, or a dataclass of its own."""
    return next((each for each in parts if isinstance(each, type) and hasattr(each, "__pydantic_validator__")), None)


def _has_fields(kind: type) -> bool:
    return (
        dataclasses.is_dataclass(kind)
        or attrs.has(kind)
        or typing.is_typeddict(kind)
        or issubclass(kind, msgspec.Struct)
        or hasattr(kind, "__pydantic_fields__")
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except (NameError, TypeError, AttributeError):  # whoever builds it says what is wrong with it
        return {}
