"""A schema in the words that a provider's native mode understands, and a value brought back to the schema's own.

What a mode cannot say is left out where that only allows more, for it is checked here anyway; where it cannot be said
at all, the next way of asking is taken (a tool, then words). Not here: how a codec puts it on its wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from penstock.policy.json_schema import SchemaCheck, pointed
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_nulls import WithoutNulls, allows_null
from penstock.policy.schema_rules import kind_of
from penstock.types import SchemaLimits

__all__ = ["WRAPPER", "Shaped", "Unshapeable", "as_parameters", "asks_for_object", "shape_schema", "unshaped"]

WRAPPER = "value"
"""The one property of the object that stands around a value that is none: every native mode wants an object."""
BELOW = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
"""Keywords that hold schemas by name."""
ASIDE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
"""Keywords that hold one schema."""
SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
ABOUT = frozenset({"title", "description", "default", "deprecated", "examples", "readOnly", "writeOnly", "$comment"})
"""Keywords that tell of a part, and ask nothing of it."""
SIMPLE_KINDS = frozenset({"string", "integer", "number", "boolean", "null"})
MOST_WRITTEN_OUT = 100
"""References that are written out for what stands beside them: each brings all that it refers to."""


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


def unshaped(value: Json, check: SchemaCheck, shaped: Shaped) -> Json:
    """The value as the checked schema has it: out of its wrapper, without the nulls that stand for nothing."""
    if shaped.wrapped and is_object(value) and value.keys() == {WRAPPER}:
        value = value[WRAPPER]
    return WithoutNulls(check).of(value) if shaped.nulls else value


ANYTHING = "a part of it allows anything"
MORE_BESIDE = "a part of it asks for more beside a reference"


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
    """The schema as a tool's parameters: an object, and nothing else is asked of them. A wrapper has no other members:
    what has some is judged by the schema's own rules.
    """
    if _is_object_schema(schema, schema) and "$ref" not in schema:
        return Shaped(dict(schema))
    return Shaped({**_wrapped(schema), "additionalProperties": False}, wrapped=True)


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
        self.properties = self.optional = self.written_out = 0
        self.unions: int = 0
        self.enumerated: int = 0
        self.nulls = False
        self.root: Mapping[str, Json] = {}
        self.within: list[str] = []
        """The references that are being written out."""

    def run(self, schema: dict[str, Json]) -> dict[str, Json]:
        self.root = schema
        if not self.limits.recursion and _refers_to_itself(schema):
            raise _Unsayable("it refers to itself")
        if "$ref" in schema:
            # The root has to be an object in its own words.
            if schema.keys() - ABOUT - self.limits.unsaid - {"$ref", "$defs", "definitions"}:
                raise _Unsayable(MORE_BESIDE)
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

    def shape(self, schema: Json, depth: int) -> Json:
        if not is_object(schema):
            if schema is True:
                raise _Unsayable(ANYTHING)
            return schema
        if self.limits.deepest is not None and depth > self.limits.deepest:
            raise _Unsayable(f"it is nested deeper than {self.limits.deepest} levels")
        if not schema.keys() - ABOUT:
            raise _Unsayable(ANYTHING)
        if "$ref" in schema:
            return self.reference(schema, depth)
        if is_array(schema.get("allOf")) and len(schema["allOf"]) == 1 and not schema.keys() - ABOUT - {"allOf"}:
            # As some write a reference with a description.
            (only,) = schema["allOf"]
            if is_object(only):
                return self.shape({**only, **{name: schema[name] for name in schema if name != "allOf"}}, depth)
        shaped = {
            "anyOf" if keyword == "oneOf" and keyword in self.limits.refused else keyword: self.said(
                keyword, held, depth
            )
            for keyword, held in schema.items()
            if self.is_said(keyword, held)
        }
        if self.limits.typed:
            _name_type(shaped)
        self.unions += int("anyOf" in shaped or is_array(shaped.get("type")))
        listed: list[Json] = shaped.get("enum", [])
        self.enumerated += len(listed)
        if shaped.get("type") == "object" or "properties" in shaped:
            self.close(schema, shaped)
        return _or_null(shaped) if schema.get("nullable") is True and "nullable" in self.limits.unsaid else shaped

    def is_said(self, keyword: str, held: Json) -> bool:
        """False for what is left out."""
        if keyword in self.limits.refused and keyword != "oneOf":
            raise _Unsayable(f"it has {keyword}")
        formats = self.limits.formats
        return keyword not in self.limits.unsaid and not (keyword == "format" and formats and held not in formats)

    def said(self, keyword: str, held: Json, depth: int) -> Json:
        """What is said by a keyword."""
        if keyword in BELOW and is_object(held):
            deeper = depth + (keyword == "properties")
            return {name: self.shape(each, deeper) for name, each in held.items()}
        if keyword in ASIDE and is_object(held) and keyword != "additionalProperties":
            return self.shape(held, depth + 1)
        if keyword in SEVERAL and is_array(held):
            return [self.shape(each, depth) for each in held]
        if keyword == "items" and is_array(held) and "prefixItems" in self.limits.refused:
            raise _Unsayable("it has items one by one")  # as it was written until 2019
        return held

    def reference(self, schema: Mapping[str, Json], depth: int) -> Json:
        """A reference. What is told beside it is told of a copy, where nothing may stand beside it."""
        name, limits = schema["$ref"], self.limits
        if schema.keys() - ABOUT - limits.unsaid - {"$ref"}:
            raise _Unsayable(MORE_BESIDE)
        if not limits.lone_references:
            return {keyword: held for keyword, held in schema.items() if keyword not in limits.unsaid}
        if "description" not in schema or name in self.within or self.written_out >= MOST_WRITTEN_OUT:
            return {"$ref": name}
        meant = pointed(self.root, name)
        if not is_object(meant):
            return {"$ref": name}
        self.written_out += 1
        self.within.append(name)
        beside = {keyword: schema[keyword] for keyword in ("title", "description") if keyword in schema}
        before = self.properties, self.optional, self.unions, self.enumerated
        try:
            return self.shape({**meant, **beside}, depth)
        except _Unsayable:
            # Too deep, as a copy: where it is not for that, what is referred to says so itself.
            self.properties, self.optional, self.unions, self.enumerated = before
            return {"$ref": name}
        finally:
            self.within.pop()

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


def _name_type(shaped: dict[str, Json]) -> None:
    """Says of what is listed of which type it is, and of a list of anything that it cannot be said."""
    if shaped.get("type") == "array" and "items" not in shaped:
        raise _Unsayable(ANYTHING)
    if not shaped.keys().isdisjoint({"type", "anyOf"}):
        return
    listed = [shaped["const"]] if "const" in shaped else shaped.get("enum", ())
    kinds = list(dict.fromkeys(map(kind_of, listed)))
    if not kinds or not SIMPLE_KINDS.issuperset(kinds):
        raise _Unsayable(ANYTHING)
    shaped["type"] = kinds[0] if len(kinds) == 1 else kinds


def _or_null(schema: Json) -> Json:
    if allows_null(schema):
        return schema
    if is_object(schema) and isinstance(schema.get("type"), str) and "enum" not in schema and "const" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


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
