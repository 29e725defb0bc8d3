"""JSON Schema, compiled once and asked often: does a value fit, and where does it not.

Draft 2020-12 without what needs annotations (`unevaluated*`, `$dynamicRef`) or the network; `items` as a list,
`definitions`, `dependencies` and OpenAPI's `nullable` are read as well, for schemas out there have them. `format` is an
annotation, as the standard says. Not here: how a schema is shaped for a provider (`schema_shaping`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

from msgspec import Struct

__all__ = ["Flaw", "Json", "SchemaCheck", "SchemaError", "frozen", "is_array", "is_object", "json_path", "pointed"]

Json: TypeAlias = Any
Path: TypeAlias = "tuple[Path, str | int] | None"
"""Linked from the leaf to the root: a step costs the same however deep it is."""
Rule: TypeAlias = "Callable[[Json, Path, list[Flaw]], None]"

MOST_FLAWS = 20
"""More than a model, or a person, reads; what is checked after them is not told."""
NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
NOT_HERE = ("$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems")
LONGEST_SHOWN = 60


class SchemaError(ValueError):
    """The schema itself is wrong, or says what is not understood here. Names the place and the keyword."""


class Flaw(Struct, frozen=True):
    """One place where a value does not fit."""

    path: str
    """As in JSONPath: `$.items[2].name`."""
    says: str


def is_array(value: Json) -> TypeGuard[list[Json]]:
    """True for a list, of whatever it holds."""
    return type(value) is list


def is_text(value: Json) -> TypeGuard[str]:
    """True for a string."""
    return type(value) is str


def is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    """True for a dict, of whatever it holds."""
    return type(value) is dict


def json_path(keys: Iterable[str | int]) -> str:
    """The path of a place in a value, written out."""
    written = ["$"]
    for key in keys:
        if isinstance(key, int):
            written.append(f"[{key}]")
        else:
            written.append(f".{key}" if key.isidentifier() else f"[{key!r}]")
    return "".join(written)


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
            return [_nothing_fits]
        if not is_object(schema):
            raise SchemaError(f"{where}: a schema is an object or a boolean, and this is {_kind(schema)}")
        stated = schema
        for keyword in NOT_HERE:
            if keyword in stated:
                raise SchemaError(f"{where}: {keyword} is not supported")
        rules: list[Rule] = []
        if "$ref" in stated:
            rules.append(self._reference(stated["$ref"], where))
        for keyword, make in _SIMPLE.items():
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
        return _all(self._compile(schema, where))

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


# What looks at the value alone


def _all(rules: list[Rule]) -> Rule:
    if len(rules) == 1:
        return rules[0]

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        for rule in rules:
            rule(value, path, found)

    return check


def _tell(found: list[Flaw], path: Path, says: str) -> None:
    if len(found) >= MOST_FLAWS:
        return
    keys: list[str | int] = []
    at = path
    while at is not None:
        at, key = at
        keys.append(key)
    found.append(Flaw(json_path(reversed(keys)), says))


def _nothing_fits(value: Json, path: Path, found: list[Flaw]) -> None:
    del value
    _tell(found, path, "must not be there")


def _kind(value: Json) -> str:
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
            _tell(found, path, f"{says}, and is {_kind(value)}")

    if len(tests) > 1:
        return several
    only = tests[0]

    def one(value: Json, path: Path, found: list[Flaw]) -> None:
        if not only(value):
            _tell(found, path, f"{says}, and is {_kind(value)}")

    return one


def frozen(value: Json) -> Any:
    """Something hashable that is equal where two values are the same JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool):
        return ("boolean", value)
    if is_array(value):
        return ("array", *(frozen(each) for each in value))
    if is_object(value):
        return ("object", frozenset((key, frozen(each)) for key, each in value.items()))
    return value


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
            _tell(found, path, says)

    return check


def _const(asked: Json, _: Mapping[str, Json]) -> Rule:
    allowed, says = frozen(asked), f"must be {_shown(asked)}"

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if frozen(value) != allowed:
            _tell(found, path, says)

    return check


def _number(test: Callable[[float, float], bool], says: str) -> Callable[[Json, Mapping[str, Json]], Rule]:
    def make(limit: Json, _: Mapping[str, Json]) -> Rule:
        if not _is_number(limit):
            raise TypeError("must be a number")

        def check(value: Json, path: Path, found: list[Flaw]) -> None:
            if _is_number(value) and not test(value, limit):
                _tell(found, path, f"must be {says} {limit}")

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
                _tell(found, path, f"must have {says.format(whole)}, and has {len(value)}")

        return check

    return make


def _pattern(asked: Json, _: Mapping[str, Json]) -> Rule:
    expression = re.compile(asked)

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if type(value) is str and expression.search(value) is None:
            _tell(found, path, f"must match {asked}")

    return check


def _unique(asked: Json, _: Mapping[str, Json]) -> Rule:
    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if asked is True and is_array(value) and len({frozen(each) for each in value}) < len(value):
            _tell(found, path, "must not hold the same twice")

    return check


def _required(asked: Json, _: Mapping[str, Json]) -> Rule:
    names: Sequence[str] = tuple(asked)

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_object(value):
            for name in names:
                if name not in value:
                    _tell(found, (path, name), "is missing")

    return check


def _dependent(asked: Json, _: Mapping[str, Json]) -> Rule:
    needs: dict[str, Sequence[str]] = {name: tuple(others) for name, others in asked.items() if is_array(others)}

    def check(value: Json, path: Path, found: list[Flaw]) -> None:
        if is_object(value):
            for name, others in needs.items():
                for other in others if name in value else ():
                    if other not in value:
                        _tell(found, (path, other), f"is missing beside {name}")

    return check


_SIMPLE: dict[str, Callable[[Json, Mapping[str, Json]], Rule]] = {
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
    "dependentRequired": _dependent,
}


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
                    _tell(found, (path, name), "is no property of the schema")
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
                _tell(found, path, f"must contain {least} or more of what it is to contain, and has {many}")

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
            _tell(found, path, f"fits {fitting} of the choices, and must fit one")
        elif not fitting:
            any_of(value, path, found)

    return [look]


def _not(check: SchemaCheck, asked: Json, _: Mapping[str, Json], where: str) -> list[Rule]:
    rule = check.compile_at(asked, where)

    def look(value: Json, path: Path, found: list[Flaw]) -> None:
        if not _flaws_by(rule, value):
            _tell(found, path, "is what the schema rules out")

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

    return [look, _dependent(asked, stated)]


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
