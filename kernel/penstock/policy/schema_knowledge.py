"""What a schema says about one place and one word: whatever finding JSON in a text needs of it.

Not here: checking values (`json_schema`), and what holds them (`json_envelopes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_references import pointed

__all__ = [
    "NONE",
    "may_be_word",
    "own_words",
    "property_names",
    "replaced",
    "root_shapes",
    "says_nothing",
    "schema_at",
    "schemas_at",
    "takes_no_more",
    "value_at",
    "wants_array",
    "words_of",
]

MOST_SHAPES = 64
"""Of one place; a union of more is not told apart."""

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


def root_shapes(root: Any, *below: Json) -> list[Mapping[str, Json]]:
    """The schemas that a value has to fit one of, behind references and choices; of the root where nothing is named."""
    found: list[Mapping[str, Json]] = []
    left: list[Json] = list(below) if below else [root]
    steps = 0
    while left and steps < MOST_SHAPES:
        steps += 1
        at = left.pop()
        if not is_object(at):
            continue
        found.append(at)
        if "$ref" in at and is_object(root):
            left.append(pointed(root, at["$ref"]))
        for choices in ("anyOf", "oneOf", "allOf"):
            held = at.get(choices)
            left.extend(held if is_array(held) else ())
    return found


def property_names(shapes: Iterable[Mapping[str, Json]]) -> frozenset[str]:
    """All properties that one of these schemas names."""
    return frozenset(name for shape in shapes for name in shape.get("properties", ()))


def wants_array(root: Any) -> bool:
    """True where the value may be a list."""
    return any("items" in shape or shape.get("type") == "array" for shape in root_shapes(root))


def schemas_at(root: Any, path: tuple[str | int, ...]) -> list[Mapping[str, Json]]:
    """All schemas that may be asked about a place in the value; none where nobody can say."""
    at = root_shapes(root)
    for step in path:
        below: list[Json] = []
        for shape in at:
            if isinstance(step, str):
                below.append(shape.get("properties", {}).get(step, shape.get("additionalProperties")))
            else:
                below.append(shape.get("items"))
                below.extend(shape.get("prefixItems", ())[step : step + 1])
        at = root_shapes(root, *below)
        if len(at) >= MOST_SHAPES:
            return []
    return at


def may_be_word(root: Any, path: tuple[str | int, ...], written: str, literal: Json) -> bool | None:
    """Whether a bare word that is also a literal of some language is a string there: None where it may be either."""
    at = schemas_at(root, path)
    word = any(written in _listed(shape) for shape in at)
    other = not at or any(_takes(shape, literal) for shape in at)
    return None if word and other else word


def _takes(schema: Mapping[str, Json], literal: Json) -> bool:
    """True where a schema by itself may take null, true or false."""
    if "enum" in schema or "const" in schema:
        listed = schema.get("enum")
        return any(each is literal for each in (*(listed if is_array(listed) else ()), schema.get("const", "")))
    stated = schema.get("type")
    if stated is None:
        return not any(name in schema for name in ("$ref", "anyOf", "oneOf", "allOf"))
    return ("null" if literal is None else "boolean") in (stated if is_array(stated) else [stated])


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


def says_nothing(value: Json, schema: Any) -> bool:
    """True for an object of other names alone than those of its schema, or a list that holds one.

    To a type whose properties are all optional that fits, and comes to nothing but defaults: what the model said would
    be lost without a word.
    """
    if is_array(value):
        below = [shape["items"] for shape in root_shapes(schema) if "items" in shape]
        shapes = root_shapes(schema, *below) if below else []
        return any(_says_nothing(each, shapes) for each in value if is_object(each)) if shapes else False
    return _says_nothing(value, root_shapes(schema))


def _says_nothing(value: Json, shapes: list[Mapping[str, Json]]) -> bool:
    if not is_object(value) or not value:
        return False
    known = False
    for shape in shapes:
        named = shape.get("properties", {})
        known = known or bool(named)
        if shape.get("additionalProperties") or "patternProperties" in shape or not value.keys().isdisjoint(named):
            return False
    return known
