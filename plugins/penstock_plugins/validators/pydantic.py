"""Values of pydantic models, and of lists, unions and the like of them. Pydantic is imported where such a type is asked
for, and not before: whoever has one has imported it.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.abc import InvalidValueError, Validator
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.policy.json_values import Flaw, json_path

__all__ = ["PydanticValidator", "penstock_validators"]


class PydanticValidator(Validator):
    """Builds values by pydantic's own rules: what a model converts, it converts."""

    def __init__(self, kind: Any, pydantic: Any) -> None:
        self._error = pydantic.ValidationError
        self._adapter = pydantic.TypeAdapter(kind)
        self._schema: dict[str, Any] = self._adapter.json_schema()

    @property
    def schema(self) -> Mapping[str, Any]:
        """As pydantic writes it."""
        return self._schema

    def check(self, value: Any) -> Any:
        """The value, built."""
        try:
            return self._adapter.validate_python(value)
        except self._error as wrong:
            # Without its values: they are the model's words, and may be anybody's secrets.
            told = wrong.errors(include_input=False, include_url=False, include_context=False)
            raise InvalidValueError(flaws=[Flaw(json_path(each["loc"]), each["msg"]) for each in told]) from None


def _holds_models(kind: Any, base: type) -> bool:
    if isinstance(kind, type) and issubclass(kind, base):
        return True
    return any(_holds_models(each, base) for each in typing.get_args(kind))


def _make(kind: Any) -> Validator | None:
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or isinstance(kind, Mapping) or not _holds_models(kind, pydantic.BaseModel):
        return None
    return PydanticValidator(kind, pydantic)


@hookimpl
def penstock_validators() -> Sequence[ValidatorSpec]:
    """The one validator of this file."""
    return (ValidatorSpec("pydantic", _make),)
