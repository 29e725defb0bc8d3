"""JSON Schema, compiled once and asked often: does a value fit, and where does it not.

Draft 2020-12 without what needs annotations (`unevaluated*`, `$dynamicRef`) or the network; `items` as a list,
`definitions`, `dependencies` and OpenAPI's `nullable` are read as well, for schemas out there have them. `format` is an
annotation, as the standard says. Not here: how a schema is shaped for a provider (`schema_shaping`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from penstock.policy.json_values import Flaw, Json, is_array, is_object
from penstock.policy.schema_rules import (
    MOST_FLAWS,
    SIMPLE,
    Path,
    Rule,
    all_rules,
    dependent,
    kind_of,
    nothing_fits,
    tell,
)

__all__ = ["SchemaCheck", "SchemaError", "pointed"]


NOT_HERE = ("$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems")


class SchemaError(ValueError):
    """The schema itself is wrong, or says what is not understood here. Names the place and the keyword."""


def pointed(root: Mapping[str, Json], reference: str) -> Json:
    """What a local `$ref` points to. Raises SchemaError."""
    if reference == "#":
        return root
    if not reference.startswith("#"):
        raise SchemaError(f"$ref {reference!r}: only references into the schema itself are followed")
    if not reference.startswith("#/"):
        return _anchored(root, reference[1:])
    at: Json = root
    for raw in reference[2:].split("/"):
        step = raw.replace("~1", "/").replace("~0", "~").replace("%25", "%")
        if is_object(at) and step in at:
            at = at[step]
        elif is_array(at) and step.isdecimal() and int(step) < len(at):
            at = at[int(step)]
        else:
            raise SchemaError(f"$ref {reference!r} points nowhere")
    return at


def _anchored(root: Json, name: str) -> Json:
    left: list[Json] = [root]
    while left:
        at = left.pop()
        if is_object(at):
            if at.get("$anchor") == name:
                return at
            left.extend(at.values())
        elif is_array(at):
            left.extend(at)
    raise SchemaError(f"$ref '#{name}' points nowhere")


class SchemaCheck:
    """A schema, compiled. Raises SchemaError where it is wrong.

    Laws: it never changes the value or the schema; the same value has the same flaws; a value has none exactly where
    it fits.
    """

    def __init__(self, schema: Mapping[str, Json] | bool) -> None:  # noqa: FBT001 - a schema may be a boolean
        self.schema = schema
        self._root: Mapping[str, Json] = schema if is_object(schema) else {}
        self._references: dict[str, list[Rule]] = {}
        self._rules = self._compile(schema, "#")

    def fits(self, value: Json) -> bool:
        """True where the value has no flaw."""
        return not self.flaws(value)

    def flaws(self, value: Json) -> tuple[Flaw, ...]:
        """The first flaws of the value, at most 20."""
        found: list[Flaw] = []
        for rule in self._rules:
            rule(value, None, found)
        return tuple(found[:MOST_FLAWS])

    def _compile(self, schema: Json, where: str) -> list[Rule]:  # noqa: C901 - keyword by keyword
        if schema is True:
            return []
        if schema is False:
            return [nothing_fits]
        if not is_object(schema):
            raise SchemaError(f"{where}: a schema is an object or a boolean, and this is {kind_of(schema)}")
        stated = schema
        for keyword in NOT_HERE:
            if keyword in stated:
                raise SchemaError(f"{where}: {keyword} is not supported")
        rules: list[Rule] = []
        if "$ref" in stated:
            rules.append(self._reference(stated["$ref"], where))
        for keyword, make in SIMPLE.items():
            if keyword in stated:
                try:
                    rules.append(make(stated[keyword], stated))
                except (TypeError, ValueError, re.error) as wrong:
                    raise SchemaError(f"{where}/{keyword}: {wrong}") from None
        for keyword, compound in _COMPOUND.items():
            if keyword in stated:
                rules.extend(compound(self, stated[keyword], stated, f"{where}/{keyword}"))
        return rules

    def compile_at(self, schema: Json, where: str) -> Rule:
        """One rule out of a schema within this one."""
        return all_rules(self._compile(schema, where))

    def _reference(self, reference: Json, where: str) -> Rule:
        if not isinstance(reference, str):
            raise SchemaError(f"{where}/$ref: must be a string")
        if reference not in self._references:
            # Put there before it is compiled: it may refer to itself.
            held: list[Rule] = []
            self._references[reference] = held
            held.extend(self._compile(pointed(self._root, reference), reference))
        rules = self._references[reference]
        busy: set[tuple[int, int]] = set()

        def follow(value: Json, path: Path, found: list[Flaw]) -> None:
            # A reference that leads back to itself without going into the value asks nothing of it.
            step = (id(value), id(path))
            if step in busy:
                return
            busy.add(step)
            try:
                for rule in rules:
                    rule(value, path, found)
            finally:
                busy.discard(step)

        return follow


# What looks into the value, or at it by other schemas


def _properties(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    rules = [(name, check.compile_at(schema, f"{where}/{name}")) for name, schema in _object(asked, where).items()]

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_object(value):
            for name, rule in rules:
                if name in value:
                    rule(value[name], (path, name), found)

    return [look]


def _pattern_properties(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    patterns = _patterns(asked, where)
    rules = [(pattern, check.compile_at(asked[pattern.pattern], f"{where}/{pattern.pattern}")) for pattern in patterns]

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_object(value):
            for name, held in value.items():
                for pattern, rule in rules:
                    if pattern.search(name):
                        rule(held, (path, name), found)

    return [look]


def _patterns(asked: Json, where: str) -> list[re.Pattern[str]]:
    try:
        return [re.compile(pattern) for pattern in _object(asked, where)]
    except re.error as wrong:
        raise SchemaError(f"{where}: {wrong}") from None


def _additional(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    named = frozenset(_object(stated.get("properties", {}), where))
    patterns = _patterns(stated.get("patternProperties", {}), where)
    rule = check.compile_at(asked, where)

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_object(value):
            for name in value:
                if name in named or any(pattern.search(name) for pattern in patterns):
                    continue
                if asked is False:
                    tell(found, (path, name), "is no property of the schema")
                else:
                    rule(value[name], (path, name), found)

    return [] if asked is True else [look]


def _property_names(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_object(value):
            for name in value:
                rule(name, (path, name), found)

    return [look]


def _items(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    if is_array(asked):  # as it was until 2019: one schema for each place
        first = [check.compile_at(schema, where) for schema in asked]
        rest = check.compile_at(stated.get("additionalItems", True), where)
        return [_in_order(first), _from(len(first), rest)]
    first_free = len(stated.get("prefixItems", ()))
    return [_from(first_free, check.compile_at(asked, where))]


def _prefix_items(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    return [_in_order([check.compile_at(schema, where) for schema in asked])]


def _in_order(rules: Sequence[Rule]) -> Rule:
    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_array(value):
            for at, (held, rule) in enumerate(zip(value, rules, strict=False)):
                rule(held, (path, at), found)

    return look


def _from(first: int, rule: Rule) -> Rule:
    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_array(value):
            for at in range(first, len(value)):
                rule(value[at], (path, at), found)

    return look


def _contains(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)
    least, most = stated.get("minContains", 1), stated.get("maxContains", math.inf)

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_array(value):
            many = sum(not _flaws_by(rule, each) for each in value)
            if not least <= many <= most:
                tell(found, path, f"must contain {least} or more of what it is to contain, and has {many}")

    return [look]


def _flaws_by(rule: Rule, value: Json, path: Path = None) -> list[Flaw]:
    found: list[Flaw] = []
    rule(value, path, found)
    return found


def _all_of(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    return [check.compile_at(schema, f"{where}/{at}") for at, schema in enumerate(asked)]


def _any_of(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    rules = [check.compile_at(schema, f"{where}/{at}") for at, schema in enumerate(asked)]

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        nearest: list[Flaw] | None = None
        for rule in rules:
            flaws = _flaws_by(rule, value, path)
            if not flaws:
                return
            if nearest is None or _distance(flaws) < _distance(nearest):
                nearest = flaws
        # The flaws by the choice that is nearest help more than "none of 7 fits".
        found.extend(nearest or ())

    return [look]


def _distance(flaws: list[Flaw]) -> tuple[bool, int]:
    """A wrong type or tag means that another choice was meant."""
    return any(flaw.says.startswith("must be ") for flaw in flaws), len(flaws)


def _one_of(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    rules = [check.compile_at(schema, f"{where}/{at}") for at, schema in enumerate(asked)]
    (any_of,) = _any_of(check, asked, stated, where)

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        fitting = sum(not _flaws_by(rule, value) for rule in rules)
        if fitting > 1:
            tell(found, path, f"fits {fitting} of the choices, and must fit one")
        elif not fitting:
            any_of(value, path, found)

    return [look]


def _not(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if not _flaws_by(rule, value):
            tell(found, path, "is what the schema rules out")

    return [look]


def _if(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)
    then = check.compile_at(stated.get("then", True), where)
    otherwise = check.compile_at(stated.get("else", True), where)

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        (otherwise if _flaws_by(rule, value) else then)(value, path, found)

    return [look]


def _dependent_schemas(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    # `dependencies`, until 2019, held lists of names too.
    rules = [
        (name, check.compile_at(schema, f"{where}/{name}"))
        for name, schema in _object(asked, where).items()
        if not is_array(schema)
    ]

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_object(value):
            for name, rule in rules:
                if name in value:
                    rule(value, path, found)

    return [look, dependent(asked, stated)]


def _object(asked: Json, where: str) -> dict[str, Json]:
    if not is_object(asked):
        raise SchemaError(f"{where}: must be an object")
    return dict(asked)


_COMPOUND: dict[str, Callable[[SchemaCheck, Json, Mapping[str, Json], str], list[Rule]]] = {
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "propertyNames": _property_names,
    "items": _items,
    "prefixItems": _prefix_items,
    "contains": _contains,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "dependentSchemas": _dependent_schemas,
    "dependencies": _dependent_schemas,
}
