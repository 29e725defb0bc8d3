"""What surely fits a schema of plain keywords, found out at little cost: nearly all schemas, and nearly all answers.

Not here: what does not fit and why, and every keyword that is not plain (`json_schema` asks its rules then).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from penstock.policy.json_values import Json, is_array, is_object, is_text
from penstock.policy.schema_references import pointed
from penstock.policy.schema_rules import SIMPLE, Findings, Rule

__all__ = ["Surely", "surely_fits"]

Surely: TypeAlias = Callable[[Json], bool]
"""True: the value fits. False: it may fit all the same, and the rules have to be asked."""

MOST_PARTS = 200
"""Of one schema, references written out: whatever is larger, or refers to itself, is left to the rules. Each part looks
once at each part of a value, so this bounds the work as well."""
KINDS: Mapping[str, frozenset[type]] = {
    "null": frozenset({type(None)}),
    "boolean": frozenset({bool}),
    "integer": frozenset({int}),  # 3.0 is one too, which the rules know
    "number": frozenset({int, float}),
    "string": frozenset({str}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
}
SIZES = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    }
)
"""Keywords whose rules cost nothing: they may be asked twice."""
READ = SIZES | {"$ref", "type", "enum", "const", "properties", "required", "additionalProperties", "items", "anyOf"}
MISSING = object()
"""In the place of what is not there: of no kind that JSON has."""


class _NotPlainError(Exception):
    """Only the rules can tell. Caught in this file."""


class _Part(Struct, frozen=True):
    """What fits one schema."""

    kinds: frozenset[type] | None = None
    """A value has to be of one of these; None: of any."""
    tests: tuple[Surely, ...] = ()
    """And all of these have to be true of it."""

    def test(self) -> Surely:
        """The same as one function."""
        kinds, tests = self.kinds, self.tests
        if kinds is None:
            return tests[0] if len(tests) == 1 else lambda value: all(test(value) for test in tests)
        if len(tests) == 1:
            only = tests[0]
            return lambda value: type(value) in kinds and only(value)
        return lambda value: type(value) in kinds and all(test(value) for test in tests)


def surely_fits(
    schema: Json, root: Mapping[str, Json], beyond: frozenset[str], *, exactly: bool = False
) -> Surely | None:
    """A function that is true of values that fit; None where a keyword is not plain. The schema is known to be right.

    `beyond` are keywords that only rules know. All others that are not read here say nothing of what fits. `exactly`:
    a function of whose False is to be relied on as well, or None.
    """
    try:
        return _Reader(root, beyond - READ, exactly=exactly).part(schema).test()
    except _NotPlainError:
        return None


def only_kinds(schema: Json, beyond: frozenset[str]) -> frozenset[type]:
    """The kinds of which every value fits a schema, where it asks for nothing but a kind; else none."""
    plain = is_object(schema) and "type" in schema and schema.keys().isdisjoint(beyond - {"type"})
    return (_kinds(schema) if plain else None) or frozenset()


class _Reader:
    """Of one schema."""

    def __init__(self, root: Mapping[str, Json], beyond: frozenset[str], *, exactly: bool) -> None:
        self.root = root
        self.beyond = beyond
        self.parts = 0
        self.exactly = exactly

    def part(self, schema: Json) -> _Part:
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise _NotPlainError
        if schema is True:
            return _Part()
        if not is_object(schema) or not self.beyond.isdisjoint(schema):
            raise _NotPlainError
        if "$ref" not in schema:
            return self.stated(schema)
        if not schema.keys().isdisjoint(READ - {"$ref"}):
            raise _NotPlainError
        return self.part(pointed(self.root, schema["$ref"]))

    def stated(self, schema: Mapping[str, Json]) -> _Part:
        """Of one that refers to no other as a whole."""
        kinds, tests = _kinds(schema), list[Surely]()
        if self.exactly and kinds is not None and int in kinds and float not in kinds:
            kinds = kinds | {float}
            tests.append(lambda value: type(value) is not float or value.is_integer())
        if "anyOf" in schema:
            choices = [self.part(choice) for choice in schema["anyOf"]]
            if kinds is None and all(choice.kinds is not None and not choice.tests for choice in choices):
                kinds = frozenset(kind for choice in choices for kind in choice.kinds or ())
            else:
                tests.append(_any_of([choice.test() for choice in choices]))
        if "enum" in schema:
            tests.append(self.listed(schema["enum"]))
        if "const" in schema:
            tests.append(self.listed([schema["const"]]))
        tests.extend(_within(SIMPLE[keyword](schema[keyword], schema)) for keyword in SIZES if keyword in schema)
        if not schema.keys().isdisjoint({"properties", "required", "additionalProperties"}):
            tests.append(self.members(schema))
        if "items" in schema:
            tests.append(self.items(schema["items"]))
        return _Part(kinds, tuple(tests))

    def members(self, schema: Mapping[str, Json]) -> Surely:
        """Of an object."""
        needed = frozenset(schema.get("required", ()))
        named = {name: self.part(held) for name, held in schema.get("properties", {}).items()}
        kinds = [(name, part.kinds) for name, part in named.items() if part.kinds is not None]
        always = [(name, one) for name, one in kinds if name in needed]
        often = [(name, one) for name, one in kinds if name not in needed]
        deeper = [(name, test) for name, part in named.items() for test in part.tests]
        rest = schema.get("additionalProperties", True)
        if rest is not True and rest is not False:
            if named:
                raise _NotPlainError
            return self.alike(self.part(rest), needed)
        others = needed - {name for name, _ in always}
        fits = _members(always, often, deeper)
        if not others and rest is True:
            return fits
        closed = named.keys() if rest is False else None

        def fits_whole(value: Json) -> bool:
            if type(value) is not dict:
                return True
            return value.keys() >= others and (closed is None or value.keys() <= closed) and fits(value)

        return fits_whole

    def listed(self, listed: list[Json]) -> Surely:
        """Words. Others that are listed are left to the rules."""
        words = frozenset(each for each in listed if is_text(each))
        if self.exactly and not all(map(is_text, listed)):
            raise _NotPlainError
        return lambda value: type(value) is str and value in words

    @staticmethod
    def alike(part: _Part, needed: frozenset[str]) -> Surely:
        """Of an object whose values are all of one schema."""
        each = _each(part)

        def fits(value: Json) -> bool:
            return type(value) is not dict or (value.keys() >= needed and each(value.values()))

        return fits

    def items(self, asked: Json) -> Surely:
        """Of a list."""
        if is_array(asked):  # as it was until 2019
            raise _NotPlainError
        each = _each(self.part(asked))
        return lambda value: type(value) is not list or each(value)


def _members(
    always: Sequence[tuple[str, frozenset[type]]],
    often: Sequence[tuple[str, frozenset[type]]],
    deeper: Sequence[tuple[str, Surely]],
) -> Surely:
    """True of an object with members of these kinds, of which these tests are true. Other members it may have."""

    def fits(value: Json) -> bool:
        kind: type = value.__class__
        if kind is not dict:
            return True
        get = value.get
        for name, kinds in always:
            if type(get(name, MISSING)) not in kinds:
                return False
        for name, kinds in often:
            if name in value and type(value[name]) not in kinds:
                return False
        for name, test in deeper:  # noqa: SIM110 - of each answer: a generator costs more than what it looks at
            if name in value and not test(value[name]):
                return False
        return True

    return fits


def _kinds(schema: Mapping[str, Json]) -> frozenset[type] | None:
    if "type" not in schema:
        return None
    names = [schema["type"]] if is_text(schema["type"]) else [*schema["type"]]
    if schema.get("nullable") is True:
        names.append("null")
    return frozenset(kind for name in names for kind in KINDS[name])


def _each(part: _Part) -> Surely:
    """True of values that all fit. In the time that C takes, where only their kind matters."""
    kinds = part.kinds
    if kinds is not None and not part.tests:
        return lambda values: kinds.issuperset(map(type, values))
    if kinds is None and not part.tests:
        return lambda _: True
    test = part.test()
    return lambda values: all(map(test, values))


def _any_of(tests: list[Surely]) -> Surely:
    return lambda value: any(test(value) for test in tests)


def _within(rule: Rule) -> Surely:
    def fits(value: Json) -> bool:
        found = Findings(1)
        rule(value, None, found)
        return not found

    return fits
