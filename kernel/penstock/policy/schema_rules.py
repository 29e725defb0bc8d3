"""Rules of JSON Schema that look at a value alone: its kind, its size, its pattern.

Not here: those that look into it by other schemas (`json_schema`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeAlias

from penstock.policy.json_values import Flaw, Json, frozen, is_array, is_object, is_same, is_text, json_path
from penstock.policy.same_values import holds_twice

__all__ = [
    "MOST_FLAWS",
    "SIMPLE",
    "Findings",
    "Path",
    "Rule",
    "all_rules",
    "compiled_pattern",
    "fits_by",
    "flaws_by",
    "names_in",
    "nothing_fits",
    "tell",
    "whole_number",
]

Path: TypeAlias = "tuple[Path, str | int] | None"
"""Linked from the leaf to the root: a step costs the same however deep it is."""
Rule: TypeAlias = "Callable[[Json, Path, Findings], None]"

MOST_FLAWS = 20
"""More than a model, or a person, reads; what is checked after them is not told."""
NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
LONGEST_SHOWN = 60
SOME_FLAW = Flaw("$", "does not fit")


Known: TypeAlias = "dict[tuple[int, int], Findings | None]"
"""By a rule and an object or a list, by their identities: both outlive this. None: it is being looked at."""


class Findings(list[Flaw]):
    """The flaws of one value, and what the rules have found out about its parts so far.

    Choices within choices would ask the same rule about the same part over and over, twice as often at each level down.
    """

    __slots__ = ("brief", "known", "most")

    def __init__(self, most: int = MOST_FLAWS, known: Known | None = None, brief: Known | None = None) -> None:
        super().__init__()
        self.most = most
        """After so many nothing more is looked at: a megabyte of what does not fit is not worth its time."""
        self.known: Known = {} if known is None else known
        self.brief: Known = self.known if most == 1 else {} if brief is None else brief
        """The same of those that are only asked whether there is a flaw."""

    def apart(self) -> Findings:
        """For the same value, by another rule."""
        return Findings(self.most, self.known, self.brief)

    def asked(self) -> Findings:
        """For the same value, where only yes or no is of use."""
        return Findings(1, self.brief)

    @property
    def full(self) -> bool:
        """True where nothing more is told. To ask first whether there is anything costs less, in what is hot."""
        return len(self) >= self.most


def flaws_by(rule: Rule, value: Json, path: Path, found: Findings) -> Findings:
    """What a rule has against a value, apart from what else was found. An object or a list is looked at once."""
    if not (is_object(value) or is_array(value)):
        apart = found.apart()
        rule(value, path, apart)
        return apart
    key = (id(rule), id(value))
    known = found.known.get(key)
    if known is None:
        known = found.apart()
        rule(value, path, known)
        found.known[key] = known
    return known


def fits_by(rule: Rule, value: Json, found: Findings) -> bool:
    """Whether a rule has nothing against a value."""
    asked = found.asked()
    if is_object(value) or is_array(value):
        return not flaws_by(rule, value, None, asked)
    rule(value, None, asked)
    return not asked


def all_rules(rules: list[Rule]) -> Rule:
    """One rule out of several."""
    if len(rules) == 1:
        return rules[0]

    def check(value: Json, path: Path, found: Findings) -> None:
        for rule in rules:
            rule(value, path, found)
            if found and found.full:
                return

    return check


def tell(found: Findings, path: Path, says: str) -> None:
    """Adds a flaw, as long as there are not too many."""
    if found.full:
        return
    if found.most == 1:  # nobody asks which
        found.append(SOME_FLAW)
        return
    keys: list[str | int] = []
    at = path
    while at is not None:
        at, key = at
        keys.append(key)
    found.append(Flaw(json_path(reversed(keys)), says))


def nothing_fits(value: Json, path: Path, found: Findings) -> None:
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
    names = [asked] if isinstance(asked, str) else list(names_in(asked))
    if not names:
        raise ValueError("must name a type")
    unknown = [name for name in names if name not in _TYPES]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no type; valid are {', '.join(_TYPES)}")
    if stated.get("nullable") is True and "null" not in names:
        names.append("null")
    tests = [_TYPES[name] for name in names]
    says = f"must be {' or '.join(names)}"

    def several(value: Json, path: Path, found: Findings) -> None:
        if not any(test(value) for test in tests):
            tell(found, path, f"{says}, and is {kind_of(value)}")

    if len(tests) > 1:
        return several
    only = tests[0]

    def one(value: Json, path: Path, found: Findings) -> None:
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
    words = {frozen(each) for each in choices if not _holds(each)}
    others = [each for each in choices if _holds(each)]
    says = f"must be one of {', '.join(_shown(each) for each in choices[:MOST_FLAWS])}"

    def check(value: Json, path: Path, found: Findings) -> None:
        known = any(is_same(value, each) for each in others) if _holds(value) else frozen(value) in words
        if not known:
            tell(found, path, says)

    return check


def _const(asked: Json, _: Mapping[str, Json]) -> Rule:
    says = f"must be {_shown(asked)}"

    def check(value: Json, path: Path, found: Findings) -> None:
        if not is_same(value, asked):
            tell(found, path, says)

    return check


def _holds(value: Json) -> bool:
    return is_array(value) or is_object(value)


def _number(test: Callable[[float, float], bool], says: str) -> Callable[[Json, Mapping[str, Json]], Rule]:
    def make(limit: Json, _: Mapping[str, Json]) -> Rule:
        if not _is_number(limit) or not _is_finite(limit):
            raise TypeError("must be a number")

        def check(value: Json, path: Path, found: Findings) -> None:
            if _is_number(value) and not test(value, limit):
                tell(found, path, f"must be {says} {limit}")

        return check

    return make


def _multiple(of: Json, _: Mapping[str, Json]) -> Rule:
    if not _is_number(of) or not 0 < of < math.inf:
        raise TypeError("must be a number above 0")
    step = _exactly(of)

    def check(value: Json, path: Path, found: Findings) -> None:
        if _is_number(value) and not (_is_finite(value) and (_exactly(value) / step).denominator == 1):
            tell(found, path, f"must be a multiple of {of}")

    return check


def _is_finite(number: float) -> bool:
    return type(number) is int or math.isfinite(number)  # of an integer of 400 digits it cannot be asked


def _exactly(number: float) -> Fraction:
    """As it is written: 0.3 is three times 0.1, and a number of 400 digits is one."""
    return Fraction(number) if type(number) is int else Fraction(repr(number))


def whole_number(limit: Json) -> int:
    """A count in a schema. Raises TypeError."""
    whole = type(limit) is int or (type(limit) is float and limit.is_integer())
    if not whole or limit < 0:
        raise TypeError("must be a whole number, 0 or more")
    return int(limit)


def names_in(asked: Json) -> tuple[str, ...]:
    """A list of names in a schema. Raises TypeError."""
    if not is_array(asked) or not all(map(is_text, asked)):
        raise TypeError("must be a list of strings")
    return tuple(asked)


def _size(
    counts: Callable[[Json], bool], test: Callable[[int, int], bool], says: str
) -> Callable[[Json, Mapping[str, Json]], Rule]:
    def make(limit: Json, _: Mapping[str, Json]) -> Rule:
        whole = whole_number(limit)

        def check(value: Json, path: Path, found: Findings) -> None:
            if counts(value) and not test(len(value), whole):
                tell(found, path, f"must have {says.format(whole)}, and has {len(value)}")

        return check

    return make


_ENDS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(\$)", re.DOTALL)
"""The dollars of a pattern that are an end, and not a sign in a class or behind a backslash."""


def compiled_pattern(asked: Json) -> re.Pattern[str]:
    """A pattern of a schema. To Python `$` may also stand before a last line break; in schemas it is the end."""
    if not isinstance(asked, str):
        raise TypeError("must be a string")
    return re.compile(_ENDS.sub(lambda found: r"\Z" if found[1] else found[0], asked))


def _pattern(asked: Json, _: Mapping[str, Json]) -> Rule:
    expression = compiled_pattern(asked)

    def check(value: Json, path: Path, found: Findings) -> None:
        if type(value) is str and expression.search(value) is None:
            tell(found, path, f"must match {asked}")

    return check


def _unique(asked: Json, _: Mapping[str, Json]) -> Rule:
    if not isinstance(asked, bool):
        raise TypeError("must be true or false")

    def check(value: Json, path: Path, found: Findings) -> None:
        if asked is True and is_array(value) and holds_twice(value):
            tell(found, path, "must not hold the same twice")

    return check


def _required(asked: Json, _: Mapping[str, Json]) -> Rule:
    names = names_in(asked)

    def check(value: Json, path: Path, found: Findings) -> None:
        if is_object(value):
            for name in names:
                if name not in value:
                    tell(found, (path, name), "is missing")

    return check


def dependent(asked: Json, _: Mapping[str, Json]) -> Rule:
    """What `dependentRequired` asks."""
    if not is_object(asked):
        raise TypeError("must be an object")
    needs = {name: names_in(others) for name, others in asked.items()}

    def check(value: Json, path: Path, found: Findings) -> None:
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
    "multipleOf": _multiple,
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
