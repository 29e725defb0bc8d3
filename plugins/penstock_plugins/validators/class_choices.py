"""Which type of a union a value is meant for: by its tags, by the properties that are there, by all that it says.

Not here: the schemas of unions (`class_schemas`), and who builds the values (`cattrs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.abc import InvalidValueError
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Json, is_object
from penstock.policy.schema_tags import Tags

__all__ = ["ClassChoices", "are_told_apart", "name_of"]


class ClassChoices:
    """Of one union: which of its types a value is meant for, that fits one of them."""

    def __init__(self, kinds: Sequence[tuple[Any, SchemaCheck]]) -> None:
        self._choices = [_Choice(kind, check) for kind, check in kinds]

    def meant(self, value: Json) -> Any:
        """The type. Raises InvalidValueError where it could be several."""
        left = [each for each in self._choices if each.may_be(value)]
        if len(left) == 1:  # the others are out of the question, and the value fits the union
            return left[0].kind
        fewest = min((each.unnamed(value) for each in left), default=0)
        nearest = [each for each in left if each.unnamed(value) == fewest]
        # One that names more of it is meant, and what is wrong with it is not to be lost in one that does not.
        if len(nearest) == 1 and (flaws := nearest[0].check.flaws(value)):
            raise InvalidValueError(flaws=list(flaws))
        nearest = [each for each in nearest if each.check.fits(value)]
        if len(nearest) == 1:
            return nearest[0].kind
        names = " and ".join(name_of(each.kind) for each in nearest) or "none of them"
        raise InvalidValueError(f"fits {names}, and nothing in it says which is meant")


class _Choice:
    def __init__(self, kind: Any, check: SchemaCheck) -> None:
        self.kind = kind
        self.check = check
        stated = check.behind(check.schema)
        self._required, self._named, self._tags = shape_of(stated, check)
        self._is_object = is_object(stated) and stated.get("type") == "object"

    def may_be(self, value: Json) -> bool:
        """False where the value cannot fit. One look at it, and none into it."""
        if not self._is_object:
            return self.check.fits(value)
        return is_object(value) and value.keys() >= self._required and self._tags.allow(value)

    def unnamed(self, value: Json) -> int:
        """How many properties of the value it does not know."""
        return len(value.keys() - self._named) if is_object(value) else 0


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
