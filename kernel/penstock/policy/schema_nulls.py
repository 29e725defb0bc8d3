"""Takes back the nulls that a native mode demanded in place of properties that may be missing.

Not here: how the mode is asked for them (`schema_shaping`).
"""

from __future__ import annotations

from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Json, is_array, is_object

__all__ = ["WithoutNulls", "allows_null"]


class WithoutNulls:
    """One value, brought back to the schema of its check. Neither is changed.

    Law: only properties that are null, need not be there, and may not be null are left out.
    """

    def __init__(self, check: SchemaCheck) -> None:
        self._check = check
        self._made: dict[tuple[int, int], Json] = {}
        """By a choice and a part of the value, by their identities: choices within choices are tried once."""

    def of(self, value: Json) -> Json:
        """The value without them."""
        return self._by(self._check.schema, value)

    def _by(self, schema: Json, value: Json) -> Json:
        schema = self._check.behind(schema)
        if not is_object(schema):
            return value
        choices: Json = schema.get("anyOf") or schema.get("oneOf")
        if is_array(choices) and "properties" not in schema and (is_object(value) or is_array(value)):
            return self._by_choice(choices, value)
        if is_array(value):
            return [self._by(schema.get("items"), each) for each in value]
        if not is_object(value):
            return value
        known, required = schema.get("properties", {}), schema.get("required", ())
        return {
            name: self._by(known.get(name), held)
            for name, held in value.items()
            if not (held is None and name in known and name not in required and not self._may_be_null(known[name]))
        }

    def _by_choice(self, choices: list[Json], value: Json) -> Json:
        """By the choice that is meant: the only one by its tags, or the first that the value fits then."""
        meant = [
            choice
            for choice in choices
            if choice != {"type": "null"} and not (is_object(value) and not self._check.tags_at(choice).allow(value))
        ]
        for choice in meant:
            key = (id(choice), id(value))
            if key not in self._made:
                made = self._by(choice, value)
                self._made[key] = made if len(meant) == 1 or self._check.part_fits(choice, made) else None
            if self._made[key] is not None:
                return self._made[key]
        return value

    def _may_be_null(self, schema: Json) -> bool:
        schema = self._check.behind(schema)
        says_what = is_object(schema) and not schema.keys().isdisjoint({"type", "enum", "const", "anyOf", "oneOf"})
        return not says_what or allows_null(schema)


def allows_null(schema: Json) -> bool:
    """True where a schema says in its own words that null fits."""
    if not is_object(schema):
        return schema is True
    kind, choices = schema.get("type"), schema.get("anyOf") or schema.get("oneOf") or ()
    if kind == "null" or (is_array(kind) and "null" in kind) or (kind is not None and schema.get("nullable") is True):
        return True
    return any(allows_null(each) for each in choices)
