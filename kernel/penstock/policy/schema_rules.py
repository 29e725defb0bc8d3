"""Rules of JSON Schema that look at a value alone: its kind, its size, its pattern.

Not here: those that look into it by other schemas (`json_schema`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from penstock.policy.json_values import Flaw, Json, frozen, is_array, is_object, is_text, json_path

__all__ = ["MOST_FLAWS", "SIMPLE", "Path", "Rule", "all_rules", "nothing_fits", "tell"]

Path: TypeAlias = "tuple[Path, str | int] | None"
"""Linked from the leaf to the root: a step costs the same however deep it is."""
Rule: TypeAlias = "Callable[[Json, Path, list[Flaw]], None]"

MOST_FLAWS = 20
"""More than a model, or a person, reads; what is checked after them is not told."""
NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
LONGEST_SHOWN = 60


def all_rules(rules: list[Rule]) -> Rule:
    """One rule out of several."""
    if len(rules) == 1:
        return rules[0]

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        for rule in rules:
            rule(value, path, found)

    return check


def tell(found: list[Flaw], path: Path, says: str) -> None:
    """Adds a flaw, as long as there are not too many."""
    if len(found) >= MOST_FLAWS:
        return
    keys: list[str | int] = []
    at = path
    while at is not None:
        at, key = at
        keys.append(key)
    found.append(Flaw(json_path(reversed(keys)), says))


def nothing_fits(value: Json, path: Path, found: list[Flaw]) -> None:
    """The rule of the schema `false`."""
    del value
    tell(found, path, "must not be there")


def kind_of(value: Json) -> str:
    """The kind of a value, in JSON's words."""
    return (
        "null" if value is None else next((name for kind, name in NAMES.items() if isinstance(value, kind)), "unknown")
    )


def _is_number(value: Json) -> bool:
    return type(value) is int or type(value) is float


_TYPES: dict[str, Callable[[Json], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: type(value) is bool,
    "integer": lambda value: type(value) is int or (type(value) is float and value.is_integer()),
    "number": _is_number,
    "string": lambda value: type(value) is str,
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
}


def _type(asked: Json, stated: Mapping[str, Json]) -> Rule:
    names = [asked] if isinstance(asked, str) else list(asked)
    unknown = [name for name in names if name not in _TYPES]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no type; valid are {', '.join(_TYPES)}")
    if stated.get("nullable") is True and "null" not in names:
        names.append("null")
    tests = [_TYPES[name] for name in names]
    says = f"must be {' or '.join(names)}"

    def several(value: Json, path: Path, found: list[Flaw]) -> None:
        if not any(test(value) for test in tests):
            tell(found, path, f"{says}, and is {kind_of(value)}")

    if len(tests) > 1:
        return several
    only = tests[0]

    def one(value: Json, path: Path, found: list[Flaw]) -> None:
        if not only(value):
            tell(found, path, f"{says}, and is {kind_of(value)}")

    return one


def _shown(value: Json) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _enum(asked: Json, _: Mapping[str, Json]) -> Rule:
    if not is_array(asked):
        raise TypeError("must be a list")
    choices = asked
    allowed = {frozen(each) for each in choices}
    says = f"must be one of {', '.join(_shown(each) for each in choices[:MOST_FLAWS])}"

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if frozen(value) not in allowed:
            tell(found, path, says)

    return check


def _const(asked: Json, _: Mapping[str, Json]) -> Rule:
    allowed, says = frozen(asked), f"must be {_shown(asked)}"

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if frozen(value) != allowed:
            tell(found, path, says)

    return check


def _number(test: Callable[[float, float], bool], says: str) -> Callable[[Json, Mapping[str, Json]], Rule]:
    def make(limit: Json, _: Mapping[str, Json]) -> Rule:
        if not _is_number(limit):
            raise TypeError("must be a number")

        def check(value: Json, path: Path, found: list[Flaw]) -> None:
            if _is_number(value) and not test(value, limit):
                tell(found, path, f"must be {says} {limit}")

        return check

    return make


def _is_multiple(value: float, of: float) -> bool:
    if isinstance(value, int) and isinstance(of, int):
        return value % of == 0
    ratio = value / of
    return math.isfinite(ratio) and math.isclose(ratio, round(ratio), rel_tol=1e-12, abs_tol=1e-9)


def _size(
    counts: Callable[[Json], bool], test: Callable[[int, int], bool], says: str
) -> Callable[[Json, Mapping[str, Json]], Rule]:
    def make(limit: Json, _: Mapping[str, Json]) -> Rule:
        if type(limit) is not int and not (type(limit) is float and limit.is_integer()):
            raise TypeError("must be a whole number")
        whole = int(limit)

        def check(value: Json, path: Path, found: list[Flaw]) -> None:
            if counts(value) and not test(len(value), whole):
                tell(found, path, f"must have {says.format(whole)}, and has {len(value)}")

        return check

    return make


def _pattern(asked: Json, _: Mapping[str, Json]) -> Rule:
    expression = re.compile(asked)

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if type(value) is str and expression.search(value) is None:
            tell(found, path, f"must match {asked}")

    return check


def _unique(asked: Json, _: Mapping[str, Json]) -> Rule:
    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if asked is True and is_array(value) and len({frozen(each) for each in value}) < len(value):
            tell(found, path, "must not hold the same twice")

    return check


def _required(asked: Json, _: Mapping[str, Json]) -> Rule:
    names: Sequence[str] = tuple(asked)

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_object(value):
            for name in names:
                if name not in value:
                    tell(found, (path, name), "is missing")

    return check


def dependent(asked: Json, _: Mapping[str, Json]) -> Rule:
    """What `dependentRequired` asks."""
    needs: dict[str, Sequence[str]] = {name: tuple(others) for name, others in asked.items() if is_array(others)}

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_object(value):
            for name, others in needs.items():
                for other in others if name in value else ():
                    if other not in value:
                        tell(found, (path, other), f"is missing beside {name}")

    return check


SIMPLE: dict[str, Callable[[Json, Mapping[str, Json]], Rule]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "minimum": _number(lambda value, limit: value >= limit, "at least"),
    "maximum": _number(lambda value, limit: value <= limit, "at most"),
    "exclusiveMinimum": _number(lambda value, limit: value > limit, "more than"),
    "exclusiveMaximum": _number(lambda value, limit: value < limit, "less than"),
    "multipleOf": _number(_is_multiple, "a multiple of"),
    "minLength": _size(is_text, lambda size, limit: size >= limit, "at least {} characters"),
    "maxLength": _size(is_text, lambda size, limit: size <= limit, "at most {} characters"),
    "pattern": _pattern,
    "minItems": _size(is_array, lambda size, limit: size >= limit, "at least {} items"),
    "maxItems": _size(is_array, lambda size, limit: size <= limit, "at most {} items"),
    "uniqueItems": _unique,
    "minProperties": _size(is_object, lambda size, limit: size >= limit, "at least {} properties"),
    "maxProperties": _size(is_object, lambda size, limit: size <= limit, "at most {} properties"),
    "required": _required,
    "dependentRequired": dependent,
}
