"""Values of attrs classes, of unions of several classes or of several kinds of words, and of enums of mixed values,
built by cattrs.

Their schema is read from their fields and types.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import attrs
import cattrs
import msgspec
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.v import format_exception, transform_error

from penstock.abc import InvalidValueError, Validator
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Flaw, frozen
from penstock.policy.schema_rules import MOST_FLAWS
from penstock_plugins.validators.class_choices import ClassChoices
from penstock_plugins.validators.class_schemas import (
    choices_of,
    has_choices,
    is_listed,
    is_union,
    members_of,
    refused_by_msgspec,
    schema_of,
)
from penstock_plugins.validators.jsonschema import SchemaValidator
from penstock_plugins.validators.msgspec import flaw_of
from penstock_plugins.validators.type_parts import parts_of, pydantic_part, said_of

__all__ = ["CattrsValidator", "penstock_validators"]

_LISTS: dict[Any, Callable[[list[Any]], Any]] = {
    **dict.fromkeys((list, Sequence, MutableSequence, Collection, Iterable), list),
    **dict.fromkeys((set, MutableSet), set),
    **dict.fromkeys((frozenset, AbstractSet), frozenset),
    tuple: tuple,
}
"""What is made of the items."""
Hook: typing.TypeAlias = Callable[[Any, Any], Any]


class CattrsValidator(Validator):
    """Builds values of one attrs class, or of lists, unions and the like of such classes; and of unions of dataclasses,
    TypedDicts and Structs, of which msgspec takes one at most.

    Raises TypeError for what neither library builds, and for classes of a union that nothing tells apart.
    """

    takes_json = True

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._plain = SchemaValidator(schema_of(kind))
        for part in parts_of(kind):
            if isinstance(part, type) and attrs.has(part):
                # What is said by its name within another type (`list["Node"]`), cattrs would not find.
                attrs.resolve_types(part, include_extras=True)
        self._converter = _converter()

    @property
    def schema(self) -> Mapping[str, Any]:
        """Made of the fields."""
        return self._plain.schema

    def check(self, value: Any) -> Any:
        """The value, built. What cattrs would convert quietly (a number out of a string) is refused before."""
        self._plain.check(value)
        try:
            return self._converter.structure(value, self._kind)
        except msgspec.ValidationError as wrong:
            raise InvalidValueError(flaws=[flaw_of(str(wrong))]) from None
        except BaseValidationError as wrong:
            told = [message.rsplit(" @ ", 1) for message in transform_error(wrong, format_exception=_says)]
            raise InvalidValueError(flaws=[Flaw(each[-1], each[0]) for each in told]) from None


def _converter() -> cattrs.Converter:
    """Whatever holds no attrs class is built by msgspec: dates, decimals, unions and the rest, as in a Struct."""
    converter = cattrs.Converter()

    def plain(kind: Any) -> Hook:
        return lambda value, _: msgspec.convert(value, kind, str_keys=True)

    def union(kind: Any) -> Hook:
        choices = ClassChoices([(each, SchemaCheck(schema_of(each))) for each in choices_of(kind)])
        return lambda value, _: converter.structure(value, choices.meant(value))

    def struct(kind: Any) -> Hook:
        make, fields = typing.get_origin(kind) or kind, msgspec.structs.fields(kind)
        return lambda value, _: _struct(converter, value, make, fields)

    def mixed(kind: Any) -> Hook:
        members = members_of(kind)
        return lambda value, _: members[frozen(value)]

    def keyed(kind: Any) -> Hook:
        key, held = typing.get_args(kind)
        names: Any = types.GenericAlias(dict, (key, None))

        def structure(value: Any, _: Any) -> Any:
            keys = msgspec.convert(dict.fromkeys(value), names, str_keys=True)
            return dict(zip(keys, _each(converter, value.items(), held, kind), strict=True))

        return structure

    def listed(kind: Any) -> Hook:
        make, held = _LISTS[typing.get_origin(kind)], typing.get_args(kind)[0]

        def structure(value: Any, _: Any) -> Any:
            items: Any = enumerate(value)
            return make(_each(converter, items, held, kind))

        return structure

    converter.register_structure_hook(bytes, plain(bytes))  # those of cattrs itself for a class go before factories
    converter.register_structure_hook_factory(_is_keyed, keyed)
    converter.register_structure_hook_factory(_is_listed, listed)
    converter.register_structure_hook_factory(is_union, union)
    converter.register_structure_hook_factory(is_listed, mixed)
    converter.register_structure_hook_factory(_is_struct, struct)
    converter.register_structure_hook_factory(_is_plain, plain)
    return converter


def _is_plain(kind: Any) -> bool:
    if any(isinstance(part, type) and attrs.has(part) for part in parts_of(kind)):
        return False
    return refused_by_msgspec(kind) is None


def _is_struct(kind: Any) -> bool:
    of = typing.get_origin(kind) or kind
    return isinstance(of, type) and issubclass(of, msgspec.Struct)


def _is_keyed(kind: Any) -> bool:
    return typing.get_origin(kind) in (dict, Mapping)


def _is_listed(kind: Any) -> bool:
    origin, held = typing.get_origin(kind), typing.get_args(kind)
    return origin in _LISTS and (origin is not tuple or (len(held) == 2 and held[1] is ...))


def _each(converter: cattrs.Converter, items: Iterable[tuple[Any, Any]], held: Any, kind: Any) -> list[Any]:
    """What is made of each item. Those behind the first that cannot be built are looked at for a few flaws more."""
    note: Any = IterableValidationNote
    group: Any = IterableValidationError
    made: list[Any] = []
    wrong: list[Exception] = []
    for at, item in items:
        try:
            made.append(converter.structure(item, held))
        except Exception as error:  # noqa: BLE001 - the classes' own code; it is told with the others below
            error.add_note(note(f"Structuring {kind!r} at {at!r}", at, held))
            wrong.append(error)
            if sum(map(_flaws_in, wrong)) >= MOST_FLAWS:
                break
    if wrong:
        raise group(f"While structuring {kind!r}", wrong, kind)
    return made


def _struct(converter: cattrs.Converter, value: Any, make: Any, fields: Sequence[msgspec.structs.FieldInfo]) -> Any:
    note: Any = AttributeValidationNote
    group: Any = ClassValidationError
    made: dict[str, Any] = {}
    wrong: list[Exception] = []
    for field in fields:
        if field.encode_name in value:
            try:
                made[field.name] = converter.structure(value[field.encode_name], field.type)
            except Exception as error:  # noqa: BLE001 - the classes' own code; it is told with the others below
                error.add_note(note(f"Structuring {make!r} @ {field.name}", field.encode_name, field.type))
                wrong.append(error)
    if not wrong:
        try:
            return make(**made)
        except (TypeError, ValueError) as error:  # of its `__post_init__`; so msgspec tells them
            wrong.append(msgspec.ValidationError(str(error)))
    raise group(f"While structuring {make!r}", wrong, make)


def _flaws_in(error: BaseException) -> int:
    return sum(map(_flaws_in, error.exceptions)) if isinstance(error, BaseValidationError) else 1


def _says(wrong: BaseException, kind: type | None) -> str:
    own = isinstance(wrong, msgspec.ValidationError | InvalidValueError)
    return str(wrong) if own else format_exception(wrong, kind)


def _holds_attrs(kind: Any) -> bool:
    if isinstance(kind, type) and attrs.has(kind):
        return True
    return any(_holds_attrs(each) for each in typing.get_args(kind))


def _make(kind: Any) -> Validator | None:
    if isinstance(kind, Mapping):
        return None
    parts = parts_of(kind)
    foreign, holds = pydantic_part(parts), _holds_attrs(kind)
    if not holds and (foreign is not None or not has_choices(parts)):
        return None
    if foreign is not None:
        raise TypeError(
            f"{kind!r} cannot be asked for: {said_of(foreign)}, and attrs classes are not built by it;"
            " make both of one kind (msgspec.Meta says the same to an attrs class)"
        )
    return CattrsValidator(kind)


@hookimpl
def penstock_validators() -> Sequence[ValidatorSpec]:
    """The one validator of this file."""
    return (ValidatorSpec("cattrs", _make),)
