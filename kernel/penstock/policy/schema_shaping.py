"""A schema in the words that a provider's native mode understands, and a value brought back to the schema's own.

What a mode cannot say is left out where that only allows more, for it is checked here anyway; where it cannot be said
at all, the next way of asking is taken (a tool, then words). Not here: how a codec puts it on its wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from penstock.policy.json_schema import SchemaError, pointed
from penstock.policy.json_values import Json, is_array, is_object
from penstock.types import SchemaLimits

__all__ = ["WRAPPER", "Shaped", "Unshapeable", "as_parameters", "asks_for_object", "shape_schema", "unshaped"]

WRAPPER = "value"
"""The one property of the object that stands around a value that is none: every native mode wants an object."""
BELOW = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
"""Keywords that hold schemas by name."""
ASIDE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
"""Keywords that hold one schema."""
SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")


class Shaped(Struct, frozen=True):
    """The schema as it is sent."""

    schema: dict[str, Any]
    wrapped: bool = False
    """The value stands in an object, under `WRAPPER`."""
    nulls: bool = False
    """Properties that may be missing are asked for all the same, and null where they are."""


class Unshapeable(Struct, frozen=True):
    """The mode has no way to say it."""

    says: str


def shape_schema(schema: Mapping[str, Json], limits: SchemaLimits) -> Shaped | Unshapeable:
    """The schema within a mode's limits. Pure; the schema given is not changed.

    Laws: whatever fits the schema can be said in what is sent, once `unshaped` has taken it back.
    """
    wrapped = not _is_object_schema(schema, schema)
    try:
        shaping = _Shaping(limits)
        sent = shaping.run(_wrapped(schema) if wrapped else dict(schema))
    except _Unsayable as reason:
        return Unshapeable(str(reason))
    return Shaped(sent, wrapped, shaping.nulls)


def unshaped(value: Json, schema: Mapping[str, Json], shaped: Shaped) -> Json:
    """The value as the schema has it: out of its wrapper, without the nulls that stand for nothing."""
    if shaped.wrapped and is_object(value) and value.keys() == {WRAPPER}:
        value = value[WRAPPER]
    return _without_nulls(value, schema, schema) if shaped.nulls else value


class _Unsayable(Exception):  # noqa: N818 - caught in this file
    pass


def _is_object_schema(schema: Json, root: Mapping[str, Json]) -> bool:
    for _ in range(16):
        if is_object(schema) and "$ref" in schema:
            schema = pointed(root, schema["$ref"])
    return is_object(schema) and schema.get("type") == "object"


def asks_for_object(schema: Mapping[str, Json]) -> bool:
    """True where every value of the schema is an object."""
    return _is_object_schema(schema, schema)


def as_parameters(schema: Mapping[str, Json]) -> Shaped:
    """The schema as a tool's parameters: an object, and nothing else is asked of them."""
    wrapped = not _is_object_schema(schema, schema) or "$ref" in schema
    return Shaped(_wrapped(schema) if wrapped else dict(schema), wrapped=wrapped)


def _wrapped(schema: Mapping[str, Json]) -> dict[str, Json]:
    """An object around it; what it refers to moves along to the root."""
    inner = dict(schema)
    outer: dict[str, Json] = {"type": "object", "properties": {WRAPPER: inner}, "required": [WRAPPER]}
    for keyword in ("$defs", "definitions"):
        if keyword in inner:
            outer[keyword] = inner.pop(keyword)
    return outer


class _Shaping:
    """One schema, one mode."""

    def __init__(self, limits: SchemaLimits) -> None:
        self.limits = limits
        self.properties = self.optional = self.unions = self.enumerated = 0
        self.nulls = False

    def run(self, schema: dict[str, Json]) -> dict[str, Json]:
        if not self.limits.recursion and _refers_to_itself(schema):
            raise _Unsayable("it refers to itself")
        if "$ref" in schema:
            # The root has to be an object in its own words.
            schema = {**pointed(schema, schema["$ref"]), **{key: schema[key] for key in schema if key != "$ref"}}
        shaped: dict[str, Json] = self.shape(schema, 0)
        for name, count, most in (
            ("properties", self.properties, self.limits.most_properties),
            ("properties that may be missing", self.optional, self.limits.most_optional),
            ("unions", self.unions, self.limits.most_unions),
            ("listed values", self.enumerated, self.limits.most_enumerated),
        ):
            if most is not None and count > most:
                raise _Unsayable(f"it has {count} {name}, and {most} are allowed")
        return shaped

    def shape(self, schema: Json, depth: int) -> Json:  # noqa: C901 - keyword by keyword
        if not is_object(schema):
            if schema is True:
                raise _Unsayable("a part of it allows anything")
            return schema
        if self.limits.deepest is not None and depth > self.limits.deepest:
            raise _Unsayable(f"it is nested deeper than {self.limits.deepest} levels")
        if not schema.keys() - {"title", "description", "default"}:
            raise _Unsayable("a part of it allows anything")
        shaped: dict[str, Json] = {}
        for keyword, held in schema.items():
            if keyword in self.limits.unsaid:
                continue
            if keyword in BELOW and is_object(held):
                deeper = depth + (keyword == "properties")
                shaped[keyword] = {name: self.shape(each, deeper) for name, each in held.items()}
            elif keyword in ASIDE and is_object(held) and keyword != "additionalProperties":
                shaped[keyword] = self.shape(held, depth + 1)
            elif keyword in SEVERAL and is_array(held):
                word = "anyOf" if keyword == "oneOf" and self.limits.all_required else keyword
                shaped[word] = [self.shape(each, depth) for each in held]
            else:
                shaped[keyword] = held
        self.unions += "anyOf" in shaped or is_array(shaped.get("type"))
        self.enumerated += len(shaped.get("enum", ()))
        if shaped.get("type") == "object" or "properties" in shaped:
            self.close(schema, shaped)
        return shaped

    def close(self, schema: Mapping[str, Json], shaped: dict[str, Json]) -> None:
        """No property but those named; where the mode wants all of them, none that may be missing."""
        names = shaped.setdefault("properties", {})
        if schema.get("additionalProperties", not names) not in (False, None) and not (
            names and "additionalProperties" not in schema
        ):
            raise _Unsayable("it allows properties that it does not name")
        self.properties += len(names)
        shaped["additionalProperties"] = False
        required = schema.get("required", [])
        missing = [name for name in names if name not in required]
        if not self.limits.all_required:
            self.optional += len(missing)
            return
        self.nulls |= bool(missing)
        for name in missing:
            names[name] = _or_null(names[name])
        shaped["required"] = list(names)


def _or_null(schema: Json) -> Json:
    if _allows_null(schema):
        return schema
    if is_object(schema) and isinstance(schema.get("type"), str) and "enum" not in schema and "const" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _allows_null(schema: Json) -> bool:
    if not is_object(schema):
        return schema is True
    kind, choices = schema.get("type"), schema.get("anyOf") or schema.get("oneOf") or ()
    return kind == "null" or (is_array(kind) and "null" in kind) or any(_allows_null(each) for each in choices)


def _refers_to_itself(root: Mapping[str, Json]) -> bool:
    """True where following references can lead to where it came from."""
    done: set[str] = set()
    path: list[tuple[str, Iterator[str]]] = [("#", iter(_references(root)))]
    while path:
        name, below = path[-1]
        following = next(below, None)
        if following is None:
            done.add(name)
            path.pop()
        elif following in {each for each, _ in path}:
            return True
        elif following not in done:
            path.append((following, iter(_references(pointed(root, following)))))
    return False


def _references(schema: Json) -> list[str]:
    """What it refers to, definitions left out."""
    found: list[str] = []
    left: list[Json] = [schema]
    while left:
        at = left.pop()
        if is_object(at):
            if isinstance(at.get("$ref"), str):
                found.append(at["$ref"])
            left.extend(held for keyword, held in at.items() if keyword not in ("$defs", "definitions"))
        elif is_array(at):
            left.extend(at)
    return found


def _without_nulls(value: Json, schema: Json, root: Mapping[str, Json]) -> Json:
    """Without the properties that are null, need not be there, and may not be null."""
    for _ in range(16):
        if is_object(schema) and "$ref" in schema:
            try:
                schema = pointed(root, schema["$ref"])
            except SchemaError:
                return value
    if not is_object(schema):
        return value
    if is_array(value):
        return [_without_nulls(each, schema.get("items"), root) for each in value]
    if not is_object(value):
        return value
    choices = [each for each in (schema.get("anyOf") or schema.get("oneOf") or ()) if each != {"type": "null"}]
    if len(choices) == 1 and "properties" not in schema:
        return _without_nulls(value, choices[0], root)
    known, required = schema.get("properties", {}), schema.get("required", ())
    return {
        name: _without_nulls(held, known.get(name), root)
        for name, held in value.items()
        if not (held is None and name in known and name not in required and not _may_be_null(known[name], root))
    }


def _may_be_null(schema: Json, root: Mapping[str, Json]) -> bool:
    for _ in range(16):
        if is_object(schema) and "$ref" in schema:
            schema = pointed(root, schema["$ref"])
    says_what = is_object(schema) and not schema.keys().isdisjoint({"type", "enum", "const", "anyOf", "oneOf"})
    return _allows_null(schema) or not says_what
