"""Tables to attrs values, by cattrs: strict about types, and telling every mistake with its path.

Not here: which tables there are (`_config_tables`). Imported only when a configuration is read, for cattrs is heavy.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, TypeAlias, TypeVar, Union, cast, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.errors import (
    BaseValidationError,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from penstock._config_checks import LATER, NOT_IN_A_FILE
from penstock._config_hooks import LARGEST, SCALARS, is_literal, is_nano_usd, read_literal, read_nano_usd
from penstock._config_mistakes import Mistakes, WrongError, is_secret, join, shown
from penstock._foreign import let_through
from penstock._nearest import did_you_mean

__all__ = ["Reader", "make_converter", "plain_reader"]

T = TypeVar("T")
_Hook: TypeAlias = Callable[[Any, Any], Any]
_HookMaker: TypeAlias = Callable[[Converter, Any], _Hook]

LONGEST_SENTENCE = 300
_SEQUENCES: dict[object, Callable[[list[Any]], Any]] = {
    tuple: tuple,
    list: list,
    Sequence: tuple,
    set: set,
    frozenset: frozenset,
    AbstractSet: frozenset,
}


@attrs.frozen
class Reader:
    """Makes values of tables. `keys_later` are, per class, keys that are known but not built in this version."""

    converter: Converter
    keys_later: Mapping[type, frozenset[str]] = attrs.field(factory=dict[type, frozenset[str]])

    def read(
        self,
        cls: type[T],
        table: object,
        path: str,
        mistakes: Mistakes,
        *,
        origin: Callable[[str], str] | None = None,
    ) -> T | None:
        """The value of the table at `path`; None where it has mistakes, which then are in `mistakes`.

        `origin` tells the path of each key, where the table was put together from several.
        """
        try:
            return self.converter.structure(table, cls)
        except BaseException as error:  # noqa: BLE001  # the validators of foreign option classes may raise anything
            let_through(error)
            for where, says in self._told(error, path, table, cls, origin or partial(join, path)):
                mistakes.add(where, says)
            return None

    def _told(
        self, error: BaseException, path: str, value: object, cls: type, place: Callable[[Any], str] | None = None
    ) -> Iterator[tuple[str, str]]:
        place = place or partial(join, path)
        match error:
            case ClassValidationError():
                inside, others = error.group_exceptions()
                for inner, note in inside:
                    yield from self._told(inner, place(note.name), _item(value, note.name), error.cl)
                for inner in others:
                    yield from self._told(inner, path, value, error.cl, place)
            case IterableValidationError():
                items, others = error.group_exceptions()
                for inner, item in items:
                    # str has a method `index` too, which hides the field from type checkers.
                    at: Any = item.index
                    yield from self._told(inner, place(at), _item(value, at), cls)
                for inner in others:
                    yield from self._told(inner, path, value, cls)
            case ForbiddenExtraKeysError():
                for key in sorted(error.extra_fields):
                    yield place(key), self._unknown(key, error.cl)
            case KeyError():
                yield path, "is missing"
            case _:
                yield path, _says(error, path, value)

    def _unknown(self, key: str, cls: type) -> str:
        if key in self.keys_later.get(cls, ()):
            return "is not available in this version"
        return f"is unknown{did_you_mean(key, [field.name for field in _fields(cls)])}"


@functools.cache
def plain_reader() -> Reader:
    """A reader that knows no tables of ours: for the options of plugins."""
    return Reader(make_converter())


def make_converter() -> Converter:
    """A converter that takes nothing for what it is not: no number from a string, no array from a string."""
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind, hook in SCALARS.items():
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(is_nano_usd, read_nano_usd)
    converter.register_structure_hook_func(is_literal, read_literal)
    factories: list[tuple[Callable[[Any], bool], _HookMaker]] = [
        (_is_sequence, _sequence_hook),
        (_is_table, _table_hook),
        (_is_union, _union_hook),
        (attrs.has, _attrs_hook),
    ]
    for fits, make_hook in factories:
        converter.register_structure_hook_factory(fits, partial(make_hook, converter))
    return converter


def _is_sequence(kind: object) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        return len(arguments) == 2 and arguments[1] is ...
    return origin in _SEQUENCES


def _sequence_hook(converter: Converter, kind: Any) -> _Hook:
    make, element = _SEQUENCES[get_origin(kind)], get_args(kind)[0]

    def read(value: object, _: object) -> Any:
        if not isinstance(value, list):
            raise WrongError(value, "must be an array")
        return make(_each(enumerate(cast("list[object]", value)), element, converter))

    return read


def _is_table(kind: object) -> bool:
    return kind is dict or get_origin(kind) in {dict, Mapping}


def _table_hook(converter: Converter, kind: Any) -> _Hook:
    element = (get_args(kind) or (str, Any))[1]

    def read(value: object, _: object) -> Any:
        if not isinstance(value, dict):
            raise WrongError(value, "must be a table")
        table = cast("dict[str, object]", value)
        return dict(zip(table, _each(table.items(), element, converter), strict=True))

    return read


def _each(items: Iterable[tuple[int | str, object]], element: Any, converter: Converter) -> list[Any]:
    structured: list[Any] = []
    errors: list[Exception] = []
    for place, item in items:
        try:
            structured.append(converter.structure(item, element))
        except Exception as error:  # noqa: BLE001  # gathered, each with its place, and raised together
            error.add_note(IterableValidationNote("", place, element))
            errors.append(error)
    if errors:
        raise IterableValidationError("", errors, element)  # pyright: ignore[reportCallIssue]  # its __new__ takes three
    return structured


def _is_union(kind: object) -> bool:
    return get_origin(kind) in {Union, types.UnionType}


def _union_hook(converter: Converter, kind: Any) -> _Hook:
    members = [member for member in get_args(kind) if member is not type(None)]
    optional = len(members) < len(get_args(kind))

    def read(value: object, _: object) -> Any:
        if value is None and optional:
            return None
        errors: list[Exception] = []
        for member in members:
            try:
                return converter.structure(value, member)
            except Exception as error:  # noqa: BLE001  # the next member may take it; else all are told
                errors.append(error)
        # A group tells of mistakes inside the value: then it is of the right kind for that member.
        inside = [error for error in errors if isinstance(error, BaseValidationError)]
        if len(errors) == 1 or inside:
            raise (inside or errors)[0]
        raise WrongError(value, ", or ".join(_sentence(error, value) for error in errors))

    return read


def _attrs_hook(converter: Converter, cls: Any) -> _Hook:
    attrs.resolve_types(cls)
    known = {field.name for field in _fields(cls)}
    overrides: dict[str, Any] = {
        field.name: override(struct_hook=_field_hook(converter, field)) if field.name in known else override(omit=True)
        for field in attrs.fields(cls)
        if field.init
    }
    whole: Callable[[Any, Any], Any] = make_dict_structure_fn(cls, converter, True, **overrides)

    def read(value: object, kind: object) -> Any:
        if not isinstance(value, dict):
            raise WrongError(value, "must be a table")
        return whole(cast("dict[str, Any]", value), kind)

    return read


def _fields(cls: type) -> list[attrs.Attribute[Any]]:
    """The fields that a table can set."""
    return [field for field in attrs.fields(cls) if field.init and NOT_IN_A_FILE not in field.metadata]


def _field_hook(converter: Converter, field: Any) -> _Hook:
    later: Sequence[str] = field.metadata.get(LATER, ())

    def read(value: Any, _: object) -> Any:
        if _is_later(value, later):
            raise WrongError(value, "is not available in this version")
        structured: Any = converter.structure(value, field.type) if field.type else value
        if field.converter is None and field.validator is not None:
            _validate(field, value, structured)
        return structured

    return read


def _is_later(value: object, later: Sequence[str]) -> bool:
    # A choice that takes parameters is written as a table; none of those are built yet.
    return bool(later) and (isinstance(value, dict) or value in later)


def _validate(field: attrs.Attribute[Any], value: object, structured: object) -> None:
    # Before there is an instance, so that every mistake of a table is told and not only the first.
    try:
        cast("Callable[[object, object, object], None]", field.validator)(None, field, structured)
    except (ValueError, TypeError) as error:
        raise WrongError(value, _sentence(error, value)) from None
    except AttributeError:
        # A validator that looks at the instance: it runs when there is one.
        return


def _says(error: BaseException, path: str, value: Any) -> str:
    sentence = _sentence(error, value)
    if is_secret(path) and isinstance(value, str) and value and value in sentence:
        sentence = "is not valid"
    # A table that is wrong as a whole needs no naming; a table where something else must be does.
    told = f"{shown(value, path)}: {sentence}"
    return sentence if isinstance(value, dict) and not isinstance(error, WrongError) else told


def _sentence(error: BaseException, value: object) -> str:
    if isinstance(error, WrongError):
        return error.says
    # attrs adds objects after its sentence, and the value at its end: neither is for a user's eyes.
    first = error.args[0] if error.args else ""
    says = first[:LONGEST_SENTENCE] if isinstance(first, str) and first else type(error).__name__
    if isinstance(value, float | str) or (isinstance(value, int) and abs(value) <= LARGEST):
        says = re.sub(rf"\s*[:(]\s*(got )?{re.escape(repr(value))}\)?$", "", says)
    return says


def _item(value: object, key: int | str) -> object:
    match value:
        case dict():
            return cast("dict[str, object]", value).get(str(key))
        case list() if isinstance(key, int):
            return cast("list[object]", value)[key]
        case _:
            return None
