"""Which type of a union a value is meant for: an object by its tags, by the properties that are there, by all that it
says; what is no object by the narrowest type that has it.

A word or number that a Literal lists is the Literal's, then one that an enum lists is the enum's, then what can be read
as a date (or a time, a UUID, a decimal) is that; all else is what is left: `str`, `int` before `float`. A value that
two of a kind have, as two enums may, is neither's: nobody could tell whose it is.

Not here: the schemas of unions (`class_schemas`), and who builds the values (`cattrs`).
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import typing
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.abc import InvalidValueError
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Json, is_object
from penstock.policy.schema_tags import Tags

__all__ = ["ClassChoices", "Narrowness", "are_told_apart", "bare", "name_of", "narrowness"]

_WRITTEN = (dt.date, dt.datetime, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal)
"""What JSON has as strings of a certain form, which few other strings are. (Most words can be read as bytes.)"""


class Narrowness(enum.IntEnum):
    """How few values a type has."""

    LITERAL = 0
    ENUM = 1
    WRITTEN = 2
    OTHER = 3
    FLOAT = 4


def bare(kind: Any) -> Any:
    """The type that another name stands for, or a rule is added to."""
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
            continue
        behind = getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)
        if behind is None:
            return kind
        kind = behind


def narrowness(kind: Any) -> Narrowness:
    """Of one type of a union."""
    kind = bare(kind)
    if typing.get_origin(kind) is typing.Literal:
        return Narrowness.LITERAL
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Narrowness.ENUM
    if kind in _WRITTEN:
        return Narrowness.WRITTEN
    return Narrowness.FLOAT if kind is float else Narrowness.OTHER


class ClassChoices:
    """Of one union: which of its types a value is meant for, that fits one of them."""

    def __init__(self, kinds: Sequence[tuple[Any, SchemaCheck]]) -> None:
        self._choices = [_Choice(kind, check) for kind, check in kinds]

    def meant(self, value: Json) -> Any:
        """The type. Raises InvalidValueError where it could be several."""
        left = [each for each in self._choices if each.may_be(value)]
        if len(left) == 1:  # the others are out of the question, and the value fits the union
            return left[0].kind
        if not is_object(value):
            narrowest = min((each.narrowness for each in left), default=0)
            return self._only([each for each in left if each.narrowness == narrowest])
        fewest = min((each.unnamed(value) for each in left), default=0)
        nearest = [each for each in left if each.unnamed(value) == fewest]
        # One that names more of it is meant, and what is wrong with it is not to be lost in one that does not.
        if len(nearest) == 1 and (flaws := nearest[0].check.flaws(value)):
            raise InvalidValueError(flaws=list(flaws))
        return self._only([each for each in nearest if each.check.fits(value)])

    def _only(self, left: Sequence[_Choice]) -> Any:
        if len(left) == 1:
            return left[0].kind
        names = " and ".join(name_of(each.kind) for each in left or self._choices)
        if not left:
            raise InvalidValueError(f"is none of {names}")
        raise InvalidValueError(f"fits {names}, and nothing in it says which is meant")


class _Choice:
    def __init__(self, kind: Any, check: SchemaCheck) -> None:
        self.kind = kind
        self.check = check
        self.narrowness = narrowness(kind)
        stated = check.behind(check.schema)
        self._required, self._named, self._tags = shape_of(stated, check)
        self._is_object = is_object(stated) and stated.get("type") == "object"

    def may_be(self, value: Json) -> bool:
        """False where the value cannot fit. One look at it, and none into it."""
        if not self._is_object:
            return self.check.fits(value) and (self.narrowness is not Narrowness.WRITTEN or _is_read(value, self.kind))
        return is_object(value) and value.keys() >= self._required and self._tags.allow(value)

    def unnamed(self, value: Json) -> int:
        """How many properties of the value it does not know."""
        return len(value.keys() - self._named) if is_object(value) else 0


def _is_read(value: Json, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def shape_of(stated: Json, check: SchemaCheck) -> tuple[frozenset[str], frozenset[str], Tags]:
    """What an object has to have, what its schema names, and by which of these it can be told from others."""
    if not is_object(stated):
        return frozenset(), frozenset(), Tags({})
    return frozenset(stated.get("required", ())), frozenset(stated.get("properties", ())), check.tags_at(stated)


def are_told_apart(one: Json, other: Json, check: SchemaCheck) -> bool:
    """Whether values of two classes can be told apart: by a tag, or by a property that only one of them has to have."""
    required, named, tags = shape_of(check.behind(one), check)
    others_required, others_named, others_tags = shape_of(check.behind(other), check)
    for name in tags.allowed.keys() & others_tags.allowed.keys():
        if tags.allowed[name].isdisjoint(others_tags.allowed[name]):
            return True
    return bool(required - others_named or others_required - named)


def name_of(kind: Any) -> str:
    """A type as models and errors see it."""
    name, held = getattr(kind, "__name__", None), [name_of(each) for each in getattr(kind, "__args__", ())]
    if name is None or name in ("Union", "Optional"):
        return "|".join(held) or str(kind)
    return f"{name}[{', '.join(held)}]" if held else str(name)
