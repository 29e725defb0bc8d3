"""The names that a schema asks for, and whether an object has them, or nearly such.

Not here: what follows from that (`json_rivals`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import root_shapes

__all__ = ["AskedNames", "names_of_type", "plain_name"]

MOST_HELD = 64
"""Values inside of a value that are looked at."""
MOST_OBJECTS = 4_096
"""Objects of all of them whose names are looked at: about 20 ms, however many names each has."""
MOST_COMPARISONS = 40_000
"""Of beginnings and ends of different names: about 20 ms. Names come again and again, and are compared once."""
COST_OF_A_NAME = 8
"""Comparisons that take as long as to make a name plain."""

_PLAIN = re.compile(r"[\W_]+")


class AskedNames:
    """Those of one schema. What is looked at of objects is bounded: where they have more names, there is doubt enough,
    and they are said to have those that are asked for.
    """

    def __init__(self, schema: Json) -> None:
        self.all = _names(schema)
        """Of the properties of the value, or of its items."""
        self.plain = frozenset(map(plain_name, self.all))
        self._wanted = _wanted(schema)
        asked = self.plain.union(*self._wanted)
        self._asked = asked
        self._lengths = sorted({len(name) for name in asked if len(name) > 2})
        self._known: dict[str, frozenset[str]] = {}
        self._objects_left = MOST_OBJECTS
        self._comparisons_left = MOST_COMPARISONS

    def are_all_in(self, value: Json) -> bool:
        """True where it, or what it holds, has all names that are asked for, or nearly such: only values are wrong."""
        for each in _objects(value) if self._wanted else ():
            self._objects_left -= 1
            had = set[str]()
            for name in islice(each, MOST_HELD):
                had |= self._alike(name)
            if had and any(wanted <= had for wanted in self._wanted):
                return True
            if self._objects_left < 0 or self._comparisons_left < 0:
                return True
        return False

    def are_some_in(self, value: Mapping[str, Json]) -> bool:
        """True where one of its own names is one that is asked for, or nearly such."""
        found = any(not self.plain.isdisjoint(self._alike(name)) for name in islice(value, MOST_HELD))
        return found or self._comparisons_left < 0

    def _alike(self, name: str) -> frozenset[str]:
        """Which of them it may be: `Number` and `invoice_number` are `number`."""
        known = self._known.get(name)
        if known is None:
            self._comparisons_left -= len(self._lengths) + COST_OF_A_NAME
            known = frozenset[str]() if self._comparisons_left < 0 else self._asked & self._parts(plain_name(name))
            self._known[name] = known
        return known

    def _parts(self, plain: str) -> set[str]:
        """Itself, its beginnings and its ends."""
        lengths = [length for length in self._lengths if length < len(plain)]
        return {plain, *(plain[:length] for length in lengths), *(plain[-length:] for length in lengths)}


def plain_name(name: str) -> str:
    """Without what names are joined by, in small letters."""
    return _PLAIN.sub("", name).lower()


def names_of_type(schema: Any) -> set[str]:
    """Its title, or that of its items, of one and of many; all plain."""
    shapes = root_shapes(schema)
    items = (item for shape in shapes if "items" in shape for item in root_shapes(schema, shape["items"]))
    titles = (shape.get("title") for shape in (*shapes, *items))
    own = {plain_name(title) for title in titles if isinstance(title, str)} - {""}
    return {many for one in own for many in (one, f"{one}s", f"{one}es", f"{one.removesuffix('y')}ies")}


def _wanted(schema: Json) -> list[frozenset[str]]:
    """The names that are asked for, of each shape of the value or of its items."""
    return [
        frozenset(map(plain_name, shape["required"]))
        for held in root_shapes(schema)
        for shape in (held, *root_shapes(schema, held.get("items")))
        if is_array(shape.get("required")) and shape["required"]
    ]


def _names(schema: Any) -> frozenset[str]:
    names: set[str] = set()
    for shape in root_shapes(schema):
        names.update(shape.get("properties", ()))
        for item in root_shapes(schema, shape.get("items")):
            names.update(item.get("properties", ()))
    return frozenset(names)


def _objects(value: Json) -> Iterator[Mapping[str, Json]]:
    """Itself, and what stands in it; but for the parts of a schema."""
    level: list[Json] = [value]
    for _ in range(3):
        below: list[Json] = []
        for each in level[:MOST_HELD]:
            if is_object(each):
                yield each
                below.extend(
                    held for name, held in islice(each.items(), MOST_HELD) if name not in ("properties", "$defs")
                )
            elif is_array(each):
                below.extend(each[:MOST_HELD])
        level = below
