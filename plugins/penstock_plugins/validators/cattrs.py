"""Values of attrs classes, built by cattrs. Their schema is read from their fields and types."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import cattrs
import msgspec
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.v import transform_error

from penstock.abc import InvalidValueError, Validator
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.policy.json_values import Flaw
from penstock_plugins.validators.jsonschema import SchemaValidator

__all__ = ["CattrsValidator", "penstock_validators"]


class CattrsValidator(Validator):
    """Builds values of one attrs class, or of lists, unions and the like of such classes."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._plain = SchemaValidator(_schema_of(kind))
        self._converter = cattrs.Converter(forbid_extra_keys=True)

    @property
    def schema(self) -> Mapping[str, Any]:
        """Made of the fields."""
        return self._plain.schema

    def check(self, value: Any) -> Any:
        """The value, built. What cattrs would convert quietly (a number out of a string) is refused before."""
        self._plain.check(value)
        try:
            return self._converter.structure(value, self._kind)
        except (BaseValidationError, ForbiddenExtraKeysError) as wrong:
            told = [message.rsplit(" @ ", 1) for message in transform_error(wrong)]
            raise InvalidValueError(flaws=[Flaw(each[-1], each[0]) for each in told]) from None


def _schema_of(kind: Any) -> dict[str, Any]:
    """Msgspec writes the schemas of attrs classes, but for what their aliases and converters change."""
    try:
        return msgspec.json.schema(kind)
    except (TypeError, RuntimeError) as wrong:
        raise TypeError(f"{kind!r} cannot be asked for: {wrong}") from None


def _holds_attrs(kind: Any) -> bool:
    if isinstance(kind, type) and attrs.has(kind):
        return True
    return any(_holds_attrs(each) for each in typing.get_args(kind))


def _make(kind: Any) -> Validator | None:
    return CattrsValidator(kind) if _holds_attrs(kind) else None


@hookimpl
def penstock_validators() -> Sequence[ValidatorSpec]:
    """The one validator of this file."""
    return (ValidatorSpec("cattrs", _make),)
