"""Values of whatever msgspec builds: Structs, dataclasses, TypedDicts, NamedTuples, enums, Literals, unions, lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.abc import InvalidValueError, Validator
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.policy.json_values import Flaw
from penstock_plugins.validators.class_schemas import has_no_values, refused_by_msgspec, schema_of
from penstock_plugins.validators.type_parts import parts_of, pydantic_part, said_of

__all__ = ["MsgspecValidator", "flaw_of", "penstock_validators"]

_PLACE = re.compile(r"(.*) - at `(\$.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.+)`")


class MsgspecValidator(Validator):
    """Builds values of one type. Strict: "1" is no number, except as the name of a property.

    Raises TypeError for what it cannot build, or only without the rules of another library.
    """

    takes_json = True

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        parts = parts_of(kind)
        foreign = pydantic_part(parts)
        if foreign is not None:
            raise TypeError(f"{kind!r} cannot be asked for: {said_of(foreign)}, and it would not be asked")
        wrong = refused_by_msgspec(kind) or has_no_values(parts)
        if wrong is not None:
            raise TypeError(f"{kind!r} cannot be asked for: {wrong}")
        self._schema = schema_of(kind)

    @property
    def schema(self) -> Mapping[str, Any]:
        """As msgspec writes it."""
        return self._schema

    def check(self, value: Any) -> Any:
        """The value, built."""
        try:
            return msgspec.convert(value, self._kind, str_keys=True)
        except msgspec.ValidationError as wrong:
            raise InvalidValueError(flaws=[flaw_of(str(wrong))]) from None


def flaw_of(message: str) -> Flaw:
    """What msgspec says, and where."""
    place = _PLACE.fullmatch(message)
    says, path = (place[1], place[2]) if place is not None else (message, "$")
    missing = _MISSING.fullmatch(says)
    return Flaw(f"{path}.{missing[1]}", "is missing") if missing is not None else Flaw(path, says)


def _make(kind: Any) -> Validator | None:
    """Whatever nobody else knows is taken for msgspec's: it says what is wrong with it."""
    return None if isinstance(kind, Mapping) else MsgspecValidator(kind)


@hookimpl
def penstock_validators() -> Sequence[ValidatorSpec]:
    """The one validator of this file."""
    return (ValidatorSpec("msgspec", _make),)
