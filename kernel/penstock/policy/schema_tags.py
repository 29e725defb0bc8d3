"""The properties by which one of several schemas is told from the others: those that list what they may be.

Not here: whether a value fits (`json_schema`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from penstock.policy.json_values import Json, frozen, is_array, is_object

__all__ = ["Tags", "tags_of"]


class Tags(Struct, frozen=True):
    """What the listed properties of one schema may be."""

    allowed: Mapping[str, frozenset[Any]]

    def allow(self, value: Mapping[str, Json]) -> bool:
        """False where a property of the value is none of the listed: the schema cannot fit, whatever else holds."""
        for name, listed in self.allowed.items():
            if name in value:
                held = value[name]
                if is_array(held) or is_object(held) or frozen(held) not in listed:
                    return False
        return True


def tags_of(schema: Json, behind: Callable[[Json], Json]) -> Tags:
    """Those of a schema. `behind` follows references."""
    allowed: dict[str, frozenset[Any]] = {}
    properties: Json = schema.get("properties") if is_object(schema) else None
    for name, held in properties.items() if is_object(properties) else ():
        listed = _listed(behind(held))
        if listed is not None:
            allowed[name] = listed
    return Tags(allowed)


def _listed(schema: Json) -> frozenset[Any] | None:
    """The words, numbers and the like that a schema lists; None where it lists none, or larger things."""
    if not is_object(schema):
        return None
    listed: Json = [schema["const"]] if "const" in schema else schema.get("enum")
    if not is_array(listed) or any(is_array(each) or is_object(each) for each in listed):
        return None
    return frozenset(map(frozen, listed))
