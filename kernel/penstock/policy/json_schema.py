"""JSON Schema, compiled once and asked often: does a value fit, and where does it not.

Draft 2020-12 without what needs annotations (`unevaluated*`, `$dynamicRef`) or the network; `items` as a list,
`definitions`, `dependencies` and OpenAPI's `nullable` are read as well, for schemas out there have them. `format` is an
annotation, as the standard says. Not here: how a schema is shaped for a provider (`schema_shaping`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from penstock.policy.json_values import Flaw, Json, is_array, is_object, is_text
from penstock.policy.schema_rules import (
    MOST_FLAWS,
    SIMPLE,
    Findings,
    Path,
    Rule,
    all_rules,
    compiled_pattern,
    dependent,
    flaws_by,
    kind_of,
    nothing_fits,
    tell,
    whole_number,
)
from penstock.policy.schema_tags import Tags, tags_of

__all__ = ["SchemaCheck", "SchemaError", "pointed"]

DEEPEST = 100
"""Objects and lists within one another in a schema: whoever walks through it may do so by recursion."""
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
    it fits. The work is bounded by the size of the value times that of the schema, however choices are nested.
    """

    def __init__(self, schema: Mapping[str, Json] | bool) -> None:  # noqa: FBT001 - a schema may be a boolean
        self.schema = schema
        self._root: Mapping[str, Json] = schema if is_object(schema) else {}
        self._references: dict[str, list[Rule]] = {}
        if _is_deeper(schema, DEEPEST):
            raise SchemaError(f"it is nested deeper than {DEEPEST} levels")
        try:
            self._rules = self._compile(schema, "#")
        except RecursionError:  # along references, which may be long
            raise SchemaError("its references lead too deep") from None

    def fits(self, value: Json) -> bool:
        """True where the value has no flaw."""
        return not self.flaws(value)

    def flaws(self, value: Json) -> tuple[Flaw, ...]:
        """The first flaws of the value, at most 20."""
        found = Findings()
        try:
            for rule in self._rules:
                rule(value, None, found)
        except RecursionError:
            return (Flaw("$", "is nested too deep to be checked"),)
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
                except (TypeError, ValueError, OverflowError, re.error) as wrong:
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

        def follow(value: Json, path: Path, found: Findings) -> None:
            key = (id(rules), id(value))
            if key not in found.known:
                found.known[key] = None
                apart = Findings(found.known)
                for rule in rules:
                    rule(value, path, apart)
                found.known[key] = apart
            # One that leads back to itself without going into the value asks nothing of it.
            known = found.known[key]
            if len(found) < MOST_FLAWS:
                found.extend(known or ())
            if not (is_object(value) or is_array(value)):
                found.known.pop(key, None)  # the same word may stand in many places

        return follow

    def tags_at(self, schema: Json) -> Tags:
        """The properties by which a schema within this one can be told from others."""
        return tags_of(self._behind(schema), self._behind)

    def _behind(self, schema: Json) -> Json:
        """The schema that a reference stands for."""
        for _ in range(16):
            if is_object(schema) and "$ref" in schema:
                schema = pointed(self._root, schema["$ref"])
        return schema


def _is_deeper(schema: Json, most: int) -> bool:
    level: list[Json] = [schema]
    for _ in range(most + 1):
        below: list[Json] = []
        for at in level:
            if is_object(at):
                below.extend(at.values())
            elif is_array(at):
                below.extend(at)
        level = below
        if not level:
            return False
    return True


# What looks into the value, or at it by other schemas


def _properties(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    rules = [(name, check.compile_at(schema, f"{where}/{name}")) for name, schema in _object(asked, where).items()]

    def look(value: Json, path: Path, found: Findings) -> None:
        if is_object(value):
            for name, rule in rules:
                if name in value:
                    rule(value[name], (path, name), found)

    return [look]


def _pattern_properties(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    patterns = _patterns(asked, where)
    schemas = zip(patterns, asked.items(), strict=True)
    rules = [(pattern, check.compile_at(schema, f"{where}/{name}")) for pattern, (name, schema) in schemas]

    def look(value: Json, path: Path, found: Findings) -> None:
        if is_object(value):
            for name, held in value.items():
                for pattern, rule in rules:
                    if pattern.search(name):
                        rule(held, (path, name), found)

    return [look]


def _patterns(asked: Json, where: str) -> list[re.Pattern[str]]:
    try:
        return [compiled_pattern(pattern) for pattern in _object(asked, where)]
    except (OverflowError, re.error) as wrong:
        raise SchemaError(f"{where}: {wrong}") from None


def _additional(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    named = frozenset(_object(stated.get("properties", {}), where))
    patterns = _patterns(stated.get("patternProperties", {}), where)
    rule = check.compile_at(asked, where)

    def look(value: Json, path: Path, found: Findings) -> None:
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

    def look(value: Json, path: Path, found: Findings) -> None:
        if is_object(value):
            for name in value:
                rule(name, (path, name), found)

    return [look]


def _items(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    if is_array(asked):  # as it was until 2019: one schema for each place
        first = [check.compile_at(schema, where) for schema in asked]
        rest = check.compile_at(stated.get("additionalItems", True), where)
        return [_in_order(first), _from(len(first), rest)]
    first_free = len(_list(stated.get("prefixItems", []), where))
    return [_from(first_free, check.compile_at(asked, where))]


def _prefix_items(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    return [_in_order([check.compile_at(schema, where) for schema in _list(asked, where)])]


def _in_order(rules: Sequence[Rule]) -> Rule:
    def look(value: Json, path: Path, found: Findings) -> None:
        if is_array(value):
            for at, (held, rule) in enumerate(zip(value, rules, strict=False)):
                rule(held, (path, at), found)

    return look


def _from(first: int, rule: Rule) -> Rule:
    def look(value: Json, path: Path, found: Findings) -> None:
        if is_array(value):
            for at in range(first, len(value)):
                rule(value[at], (path, at), found)

    return look


def _contains(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)
    try:
        least = whole_number(stated.get("minContains", 1))
        most = whole_number(stated["maxContains"]) if "maxContains" in stated else math.inf
    except TypeError as wrong:
        raise SchemaError(f"{where}: its minContains or maxContains {wrong}") from None

    def look(value: Json, path: Path, found: Findings) -> None:
        if is_array(value):
            many = sum(not flaws_by(rule, each, path, found) for each in value)
            if not least <= many <= most:
                up_to = f" and {most} at most" if most < math.inf else ""
                tell(found, path, f"must contain at least {least}{up_to} of what it is to contain, and has {many}")

    return [look]


def _all_of(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    return [check.compile_at(schema, f"{where}/{at}") for at, schema in enumerate(_choices(asked, where))]


class _Choices:
    """Several schemas for one value. By its tags, where it has some, most are out of the question at once."""

    def __init__(self, check: SchemaCheck, asked: Json, where: str) -> None:
        self.rules = [check.compile_at(schema, f"{where}/{at}") for at, schema in enumerate(_choices(asked, where))]
        self.tags = [check.tags_at(schema) for schema in asked]

    def possible(self, value: Json) -> list[Rule]:
        """Those that the value may be meant for; all of them where its tags are none of theirs."""
        if not is_object(value):
            return self.rules
        return [rule for rule, tags in zip(self.rules, self.tags, strict=True) if tags.allow(value)] or self.rules

    def any(self, value: Json, path: Path, found: Findings) -> None:
        """One has to fit. The flaws by the one that is nearest help more than "none of 7 fits"."""
        nearest: Findings | None = None
        for rule in self.possible(value):
            flaws = flaws_by(rule, value, path, found)
            if not flaws:
                return
            if nearest is None or _distance(flaws) < _distance(nearest):
                nearest = flaws
        if len(found) < MOST_FLAWS:
            found.extend(nearest or ())

    def one(self, value: Json, path: Path, found: Findings) -> None:
        """Exactly one has to fit."""
        fitting = sum(not flaws_by(rule, value, path, found) for rule in self.possible(value))
        if fitting > 1:
            tell(found, path, f"fits {fitting} of the choices, and must fit one")
        elif not fitting:
            self.any(value, path, found)


def _any_of(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    return [_Choices(check, asked, where).any]


def _one_of(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    return [_Choices(check, asked, where).one]


def _distance(flaws: Findings) -> tuple[bool, int]:
    """A wrong type or tag means that another choice was meant."""
    return any(flaw.says.startswith("must be ") for flaw in flaws), len(flaws)


def _not(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)

    def look(value: Json, path: Path, found: Findings) -> None:
        if not flaws_by(rule, value, path, found):
            tell(found, path, "is what the schema rules out")

    return [look]


def _if(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)
    then = check.compile_at(stated.get("then", True), where)
    otherwise = check.compile_at(stated.get("else", True), where)

    def look(value: Json, path: Path, found: Findings) -> None:
        (otherwise if flaws_by(rule, value, path, found) else then)(value, path, found)

    return [look]


def _dependent_schemas(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    # `dependencies`, until 2019, held lists of names too.
    rules = [
        (name, check.compile_at(schema, f"{where}/{name}"))
        for name, schema in _object(asked, where).items()
        if not is_array(schema)
    ]

    def look(value: Json, path: Path, found: Findings) -> None:
        if is_object(value):
            for name, rule in rules:
                if name in value:
                    rule(value, path, found)

    names = {name: needed for name, needed in asked.items() if is_array(needed)}
    try:
        return [look, dependent(names, stated)]
    except TypeError as wrong:
        raise SchemaError(f"{where}: {wrong}") from None


def _object(asked: Json, where: str) -> dict[str, Json]:
    if not is_object(asked) or not all(map(is_text, asked)):
        raise SchemaError(f"{where}: must be an object")
    return dict(asked)


def _list(asked: Json, where: str) -> list[Json]:
    if not is_array(asked):
        raise SchemaError(f"{where}: must be a list")
    return asked


def _choices(asked: Json, where: str) -> list[Json]:
    if not _list(asked, where):
        raise SchemaError(f"{where}: must hold a schema")
    return asked


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
