"""Whole numbers that were written as 3.0, as the integers that a schema asks for: to JSON they are the same.

Not here: whether a value fits (`json_schema`).
"""

from __future__ import annotations

from typing import Any

from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Json, frozen, is_array, is_object

__all__ = ["WholeNumbers"]


class WholeNumbers:
    """Of values that fit the schema of a check.

    Laws: a number is made an integer only where no choice of the schema would take 3.5 in its place; all else stays
    the same, and a value in which nothing changes is returned itself; what is given is never changed.
    """

    def __init__(self, check: SchemaCheck) -> None:
        self._check = check

    def of(self, value: Json) -> Json:
        """The value with its integers."""
        try:
            return self._by(self._check.schema, value)
        except RecursionError:  # nested so deep that nobody can build it either
            return value

    def _by(self, schema: Json, value: Json) -> Json:
        schema = self._check.behind(schema)
        if not is_object(schema):
            return value
        if type(value) is float:
            return self._number(schema, value) if value.is_integer() else value
        if is_array(value):
            made = self._list(schema, value)
        elif is_object(value):
            made = self._object(schema, value)
        else:
            return value
        for part in _list_in(schema, "allOf"):
            made = self._by(part, made)
        choices = _list_in(schema, "anyOf") or _list_in(schema, "oneOf")
        meant = next((each for each in choices if self._may_be(each, made)), None)
        return made if meant is None else self._by(meant, made)

    def _may_be(self, choice: Json, value: Json) -> bool:
        if is_object(value) and not self._check.tags_at(choice).allow(value):
            return False
        return self._check.part_fits(choice, value)

    def _number(self, schema: dict[str, Any], number: float) -> Json:
        stated = schema.get("type", ())
        kinds = stated if is_array(stated) else [stated]
        listed = [schema["const"]] if "const" in schema else _list_in(schema, "enum")
        if "integer" in kinds and "number" not in kinds:
            return int(number)
        if listed:
            return next((each for each in listed if frozen(each) == number and type(each) is int), number)
        for part in _list_in(schema, "allOf"):
            if type(made := self._by(part, number)) is int:
                return made
        choices = _list_in(schema, "anyOf") or _list_in(schema, "oneOf")
        made_by = [self._by(each, number) for each in choices if self._check.part_fits(each, number)]
        return made_by[0] if made_by and all(type(each) is int for each in made_by) else number

    def _list(self, schema: dict[str, Any], items: list[Json]) -> Json:
        first, rest = _list_in(schema, "prefixItems"), schema.get("items")
        if is_array(rest):  # as it was until 2019
            first, rest = rest, schema.get("additionalItems")
        if not first and rest is None:
            return items
        made = [self._by(first[at] if at < len(first) else rest, each) for at, each in enumerate(items)]
        return made if any(one is not other for one, other in zip(made, items, strict=True)) else items

    def _object(self, schema: dict[str, Any], members: dict[str, Json]) -> Json:
        known, rest = schema.get("properties", {}), schema.get("additionalProperties")
        if not known and rest is None:
            return members
        if "patternProperties" in schema:
            rest = None
        made = {name: self._by(known.get(name, rest), held) for name, held in members.items()}
        return made if any(made[name] is not held for name, held in members.items()) else members


def _list_in(schema: dict[str, Any], keyword: str) -> list[Json]:
    held = schema.get(keyword)
    return held if is_array(held) else []
