"""Values of pydantic models and dataclasses, and of whatever holds them: lists, unions, dataclasses, TypedDicts.

Pydantic is imported where such a type is asked for, and not before: whoever has one has imported it.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.abc import InvalidValueError, Validator
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.policy.json_values import Flaw, json_path
from penstock_plugins.validators.type_parts import parts_of, pydantic_part

__all__ = ["PydanticValidator", "penstock_validators"]


_OTHERS = {"__struct_fields__": "a msgspec Struct", "__attrs_attrs__": "an attrs class"}


class PydanticValidator(Validator):
    """Builds values by pydantic's own rules: what a model converts, it converts.

    Raises TypeError for what pydantic cannot build.
    """

    takes_json = True

    def __init__(self, kind: Any, pydantic: Any) -> None:
        self._error = pydantic.ValidationError
        try:
            self._adapter = pydantic.TypeAdapter(_taken(kind))
            self._schema: dict[str, Any] = self._adapter.json_schema()
        except pydantic.errors.PydanticUserError as wrong:
            raise TypeError(f"{kind!r} cannot be asked for: {wrong}") from None

    @property
    def schema(self) -> Mapping[str, Any]:
        """As pydantic writes it."""
        return self._schema

    def check(self, value: Any) -> Any:
        """The value, built."""
        try:
            # As JSON: a strict model takes a date out of a string there, and nowhere else.
            return self._adapter.validate_json(json.dumps(value))
        except self._error as wrong:
            # Without its values: they are the model's words, and may be anybody's secrets.
            told = wrong.errors(include_input=False, include_url=False, include_context=False)
            raise InvalidValueError(flaws=[Flaw(json_path(each["loc"]), each["msg"]) for each in told]) from None


def _taken(kind: Any) -> Any:
    """Before Python 3.12 pydantic takes no TypedDict but that of typing_extensions, which it brings: it is made one."""
    if sys.version_info >= (3, 12) or not typing.is_typeddict(kind):
        return kind
    from typing_extensions import TypedDict  # noqa: PLC0415 - it comes with pydantic

    fields: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        # A class whose annotations are strings does not know of these marks itself.
        mark = typing.get_origin(hint)
        marked = mark in (typing.Required, typing.NotRequired)
        made = _taken(typing.get_args(hint)[0] if marked else hint)
        needed = mark is typing.Required if marked else name in kind.__required_keys__
        fields[name] = typing.Required[made] if needed else typing.NotRequired[made]
    make: Any = TypedDict
    return make(kind.__name__, fields)


def _make(kind: Any) -> Validator | None:
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or isinstance(kind, Mapping):
        return None
    parts = parts_of(kind)
    own = pydantic_part(parts)
    if own is None:
        return None
    for part in parts:
        whose = next((says for mark, says in _OTHERS.items() if isinstance(part, type) and hasattr(part, mark)), None)
        if whose is not None:
            raise TypeError(
                f"{part.__name__} is {whose} and {own.__name__} is pydantic's, and neither library builds the other's;"
                " make both of one kind"
            )
    return PydanticValidator(kind, pydantic)


@hookimpl
def penstock_validators() -> Sequence[ValidatorSpec]:
    """The one validator of this file."""
    return (ValidatorSpec("pydantic", _make),)
