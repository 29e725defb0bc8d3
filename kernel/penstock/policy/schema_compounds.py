"""Rules of JSON Schema that look into a value, or at it by other schemas.

Not here: those that look at it alone (`schema_rules`), and how they are put together (`json_schema`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from penstock.policy.json_values import Json, is_array, is_object, is_text
from penstock.policy.schema_plain import Surely
from penstock.policy.schema_references import SchemaError
from penstock.policy.schema_rules import (
    Findings,
    Path,
    Rule,
    compiled_pattern,
    dependent,
    fits_by,
    flaws_by,
    tell,
    whole_number,
)
from penstock.policy.schema_tags import Tags

__all__ = ["COMPOUND"]


class SchemaCheck(Protocol):
    """The whole that they are parts of."""

    def compile_at(self, schema: Json, where: str, /) -> Rule:
        """One rule out of a schema within it."""
        ...

    def decides(self, schema: Json, /) -> Surely | None:
        """A function that tells what fits a schema within it, and what does not; None where that takes rules."""
        ...

    def kinds_of(self, schema: Json, /) -> frozenset[type]:
        """The kinds of which every value fits a schema within it, where it asks for nothing but a kind; else none."""
        ...

    def tags_at(self, schema: Json, /) -> Tags:
        """The properties by which a schema within it can be told from others."""
        ...


def _properties(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    rules = [(name, check.compile_at(schema, f"{where}/{name}")) for name, schema in _object(asked, where).items()]

    def look(value: Json, path: Path, found: Findings) -> None:
        if is_object(value):
            for name, rule in rules:
                if name in value:
                    rule(value[name], (path, name), found)
                    if found and found.full:
                        return

    return [look]


def _pattern_properties(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    patterns = _patterns(asked, where)
    schemas = zip(patterns, asked.items(), strict=True)
    rules = [(pattern, check.compile_at(schema, f"{where}/{name}")) for pattern, (name, schema) in schemas]

    def look(value: Json, path: Path, found: Findings) -> None:
        if is_object(value):
            for name, held in value.items():
                if found and found.full:
                    return
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
                if found and found.full:
                    return
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
                if found and found.full:
                    return
                rule(name, (path, name), found)

    return [look]


def _items(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    if is_array(asked):  # as it was until 2019: one schema for each place
        first = [check.compile_at(schema, where) for schema in asked]
        rest = check.compile_at(stated.get("additionalItems", True), where)
        return [_in_order(first), _from(len(first), rest)]
    first_free = len(_list(stated.get("prefixItems", []), where))
    look, kinds = _from(first_free, check.compile_at(asked, where)), check.kinds_of(asked)

    def look_at_others(value: Json, path: Path, found: Findings) -> None:
        if not (is_array(value) and kinds.issuperset(map(type, value))):
            look(value, path, found)

    return [look_at_others if kinds else look]


def _prefix_items(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    return [_in_order([check.compile_at(schema, where) for schema in _list(asked, where)])]


def _in_order(rules: Sequence[Rule]) -> Rule:
    def look(value: Json, path: Path, found: Findings) -> None:
        if is_array(value):
            for at, (held, rule) in enumerate(zip(value, rules, strict=False)):
                if not (found and found.full):
                    rule(held, (path, at), found)

    return look


def _from(first: int, rule: Rule) -> Rule:
    def look(value: Json, path: Path, found: Findings) -> None:
        if is_array(value):
            for at in range(first, len(value)):
                if found and found.full:
                    return
                rule(value[at], (path, at), found)

    return look


def _contains(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)
    try:
        least = whole_number(stated.get("minContains", 1))
        most = whole_number(stated["maxContains"]) if "maxContains" in stated else math.inf
    except TypeError as wrong:
        raise SchemaError(f"{where}: its minContains or maxContains {wrong}") from None

    plainly = check.decides(asked)

    def many_in(value: list[Json], found: Findings) -> int:
        if plainly is not None:
            return sum(map(plainly, value))
        many, apart = 0, found.asked()
        for each in value:  # by one list of flaws for all: of a megabyte, each of its own would cost more than the rule
            rule(each, None, apart)
            if apart:
                apart.clear()
            else:
                many += 1
        return many

    def look(value: Json, path: Path, found: Findings) -> None:
        if is_array(value):
            many = many_in(value, found)
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
        if not found.full:
            found.extend(nearest or ())

    def one(self, value: Json, path: Path, found: Findings) -> None:
        """Exactly one has to fit."""
        fitting = sum(fits_by(rule, value, found) for rule in self.possible(value))
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
        if fits_by(rule, value, found):
            tell(found, path, "is what the schema rules out")

    return [look]


def _if(check: SchemaCheck, asked: Json, stated: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)
    then = check.compile_at(stated.get("then", True), where)
    otherwise = check.compile_at(stated.get("else", True), where)

    def look(value: Json, path: Path, found: Findings) -> None:
        (then if fits_by(rule, value, found) else otherwise)(value, path, found)

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
                if name in value and not (found and found.full):
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
    choices = _list(asked, where)
    if not choices:
        raise SchemaError(f"{where}: must hold a schema")
    return choices


COMPOUND: dict[str, Callable[[SchemaCheck, Json, Mapping[str, Json], str], list[Rule]]] = {
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
