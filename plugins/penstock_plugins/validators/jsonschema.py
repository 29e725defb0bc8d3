"""Values of a raw JSON Schema: they are handed on as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from penstock.abc import InvalidValueError, Validator
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.policy.json_schema import SchemaCheck

__all__ = ["SchemaValidator", "penstock_validators"]


class SchemaValidator(Validator):
    """Checks values by one schema. Raises SchemaError where that is wrong."""

    takes_json = True

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._check = SchemaCheck(schema)
        self._schema = schema

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema itself."""
        return self._schema

    def check(self, value: Any) -> Any:
        """The value itself."""
        flaws = self._check.flaws(value)
        if flaws:
            raise InvalidValueError(flaws=flaws)
        return value


def _make(kind: Any) -> Validator | None:
    return SchemaValidator(cast("Mapping[str, Any]", kind)) if isinstance(kind, Mapping) else None


@hookimpl
def penstock_validators() -> Sequence[ValidatorSpec]:
    """The one validator of this file."""
    return (ValidatorSpec("jsonschema", _make),)
