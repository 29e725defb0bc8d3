"""Values of pydantic models, of types with its rules or those of annotated_types, and of what holds them: lists,
unions, dataclasses, TypedDicts.

Pydantic is imported where such a type is asked for, and not before.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.abc import InvalidValueError, Validator
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.policy.json_values import Flaw, json_path
from penstock_plugins.validators.pydantic_choices import Losses, takes_names
from penstock_plugins.validators.type_parts import foreign_rule, parts_of, pydantic_part, said_of

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
        self._losses = Losses(self._schema, parts_of(kind))

    @property
    def schema(self) -> Mapping[str, Any]:
        """As pydantic writes it."""
        return self._schema

    def check(self, value: Any) -> Any:
        """The value, built."""
        try:
            # As JSON: a strict model takes a date out of a string there, and nowhere else.
            built = self._adapter.validate_json(json.dumps(value))
        except self._error as wrong:
            # Without its values: they are the model's words, and may be anybody's secrets.
            told = wrong.errors(include_input=False, include_url=False, include_context=False)
            raise InvalidValueError(flaws=[Flaw(json_path(each["loc"]), each["msg"]) for each in told]) from None
        if lost := self._losses.of(value, built):
            raise InvalidValueError(flaws=lost)
        return built


def _taken(kind: Any) -> Any:
    """Before Python 3.12 pydantic takes no TypedDict but that of typing_extensions, which it brings: it is made one."""
    if sys.version_info >= (3, 12):
        return kind
    if typing.is_typeddict(kind):
        return _typed_dict(kind)
    origin, held = typing.get_origin(kind), typing.get_args(kind)
    if origin in (None, typing.Literal) or not any(map(typing.is_typeddict, parts_of(kind))):
        return kind
    if origin is typing.Annotated:
        return typing.Annotated[(_taken(held[0]), *held[1:])]
    made = tuple(each if each is ... else _taken(each) for each in held)
    if origin in (typing.Union, types.UnionType):
        union: Any = typing.Union
        return union[made]
    return types.GenericAlias(origin, made)


def _typed_dict(kind: Any) -> Any:
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
    if isinstance(kind, Mapping):
        return None
    parts = parts_of(kind)
    own = pydantic_part(parts)
    if own is None:
        return None
    try:
        pydantic: Any = importlib.import_module("pydantic")
    except ImportError:  # annotated_types comes alone as well
        return None
    for part in parts:
        whose = next((says for mark, says in _OTHERS.items() if isinstance(part, type) and hasattr(part, mark)), None)
        if whose is not None:
            raise TypeError(
                f"{part.__name__} is {whose} and {said_of(own)}, and neither library builds the other's;"
                " make both of one kind (to a Struct or an attrs class msgspec.Meta says the same)"
            )
    if foreign_rule(parts) is not None:
        raise TypeError(
            f"{said_of(own)}, and it does not ask a msgspec.Meta; say what that says in pydantic.Field as well"
        )
    _check_asked(parts, pydantic)
    return PydanticValidator(kind, pydantic)


def _check_asked(parts: Sequence[Any], pydantic: Any) -> None:
    """Raises TypeError for what pydantic reads in another place than its own schema names, or does not ask at all."""
    for part in parts:
        if type(part).__name__ == "Timezone" and type(part).__module__ == "annotated_types":
            raise TypeError("Timezone is a rule of annotated_types that pydantic does not ask; use AwareDatetime")
        fields: Mapping[str, Any] = getattr(part, "__pydantic_fields__", {}) if isinstance(part, type) else {}
        by_name = takes_names(part)
        of_classes = [(f"{part.__name__}.{name}", field) for name, field in fields.items() if not by_name]
        alone = [("a field", part)] if isinstance(part, pydantic.fields.FieldInfo) else []
        named: list[tuple[str, Any]] = [*of_classes, *alone]
        for name, field in named:
            if _has_no_name(field.validation_alias, pydantic):
                raise TypeError(
                    f"{name} is read from {field.validation_alias!r}, which its schema cannot say;"
                    " give it an alias that is one name, or nest the models as the answer is to be nested"
                )


def _has_no_name(alias: Any, pydantic: Any) -> bool:
    """True for an alias without a name that stands in the object itself: of several, the schema names the first one."""
    choices = alias.choices if isinstance(alias, pydantic.AliasChoices) else [alias]
    return all(isinstance(each, pydantic.AliasPath) and len(each.path) > 1 for each in choices)


@hookimpl
def penstock_validators() -> Sequence[ValidatorSpec]:
    """The one validator of this file."""
    return (ValidatorSpec("pydantic", _make),)
