"""What a type is made of, to the last field. Not here: what is made of each (the validators)."""

from __future__ import annotations

import typing
from typing import Any

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
    marks = (
        "__dataclass_fields__",
        "__attrs_attrs__",
        "__total__",
        "__struct_fields__",
        "__pydantic_fields__",
        "_fields",
    )
    return any(hasattr(kind, mark) for mark in marks)


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except (NameError, TypeError, AttributeError):  # whoever builds it says what is wrong with it
        return {}
