"""Foreign JSON taken for what it should be, or for nothing.

Not here: what must have its shape for an answer to be understood (`_wire`).
"""

from __future__ import annotations

from typing import Any, cast

__all__ = ["fields_of", "is_list", "is_object", "items_of", "objects_in", "text_of"]


def is_object(told: object) -> bool:
    """True for a JSON object."""
    return isinstance(told, dict)


def is_list(told: object) -> bool:
    """True for a JSON list."""
    return isinstance(told, list)


def fields_of(told: object) -> dict[str, Any]:
    """An object's fields; none where it is no object."""
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def items_of(told: object) -> list[object]:
    """A list's items; none where it is no list."""
    return cast("list[object]", told) if isinstance(told, list) else []


def objects_in(told: object) -> list[dict[str, Any]]:
    """The objects in a list."""
    return [fields_of(item) for item in items_of(told) if is_object(item)]


def text_of(told: object) -> str:
    """A string; the empty one where it is none."""
    return told if isinstance(told, str) else ""
