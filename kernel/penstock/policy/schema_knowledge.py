"""What a schema says about one place, one word, one envelope: whatever finding JSON in a text needs of it.

Not here: checking values (`json_schema`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.policy.json_schema import pointed
from penstock.policy.json_values import Json, is_array, is_object

__all__ = ["NONE", "only_content", "own_words", "replaced", "schema_at", "takes_no_more", "value_at", "words_of"]

NONE: Json = object()
"""No value: null is one."""


def words_of(schema: Any) -> frozenset[str]:
    """The strings that some `enum` or `const` of the schema lists."""
    found: set[str] = set()
    left: list[Json] = [schema]
    while left:
        at = left.pop()
        if is_object(at):
            stated = at
            found.update(_listed(stated))
            left.extend(value for key, value in stated.items() if key not in ("enum", "const"))
        elif is_array(at):
            left.extend(at)
    return frozenset(found)


def _listed(schema: Mapping[str, Json]) -> Iterator[str]:
    listed = schema.get("enum")
    for each in (*(listed if is_array(listed) else ()), schema.get("const")):
        if isinstance(each, str):
            yield each


def schema_at(root: Mapping[str, Json], path: tuple[str | int, ...]) -> Mapping[str, Json] | None:
    """The one schema that a place in the value has to fit; None where several might, or nobody can say."""
    at = _plain(root, root)
    for step in path:
        if at is None:
            return None
        below: Json
        if isinstance(step, str):
            below = at.get("properties", {}).get(step)
        else:
            below = at.get("items") if "prefixItems" not in at else None
        at = _plain(root, below)
    return at


def _plain(root: Mapping[str, Json], schema: Json) -> Mapping[str, Json] | None:
    """Behind references, and out of a choice whose other side is null."""
    for _ in range(16):
        if not is_object(schema):
            return None
        stated = schema
        choices = stated.get("anyOf") or stated.get("oneOf")
        if "$ref" in stated:
            schema = pointed(root, stated["$ref"])
        elif is_array(choices):
            real = [each for each in choices if each != {"type": "null"}]
            if len(real) != 1:
                return None
            schema = real[0]
        else:
            return stated
    return None


def own_words(schema: Mapping[str, Json]) -> list[str]:
    """The strings that the schema of one place lists."""
    return list(dict.fromkeys(_listed(schema)))


def takes_no_more(schema: Mapping[str, Json], value: Json) -> bool:
    """True where nothing could follow the last comma."""
    if is_array(value):
        return schema.get("maxItems") == len(value)
    known = schema.get("properties", {})
    return (
        schema.get("additionalProperties") is False
        and "patternProperties" not in schema
        and known.keys() <= value.keys()
    )


def value_at(value: Json, path: tuple[str | int, ...]) -> Json:
    """What stands at a place."""
    for step in path:
        value = value[step]
    return value


def replaced(value: Json, path: tuple[str | int, ...], leaf: Json) -> Json:
    """The value itself, with another leaf: nobody else has seen it yet."""
    holder = value_at(value, path[:-1])
    holder[path[-1]] = leaf
    return value


_ENVELOPES = ("arguments", "parameters", "input", "args")
"""How calls of tools name what is meant for the tool."""


def only_content(value: Json, schema: Any) -> Json:
    """What an object of one property, a list of one item, or the call of a tool holds."""
    if is_array(value):
        items = value
        return items[0] if len(items) == 1 else NONE
    if not is_object(value):
        return NONE
    fields = value
    known: Mapping[str, Json] = {}
    if is_object(schema):
        known = (_plain(schema, schema) or {}).get("properties", {})
    if any(name in known for name in fields):
        return NONE  # a value of the schema, and a wrong one
    if len(fields) == 1:
        return next(iter(fields.values()))
    named = [name for name in _ENVELOPES if name in fields]
    return fields[named[0]] if len(named) == 1 and "name" in fields else NONE
