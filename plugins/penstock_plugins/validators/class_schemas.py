"""Schemas of types of which msgspec builds the parts, but not the whole: unions of several classes or of several
kinds of words, enums of mixed values, and what holds them.

Not here: which class of a union a value is meant for (`class_choices`), and who builds the values (`cattrs`).
"""

from __future__ import annotations

import enum
import itertools
import math
import re
import types
import typing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from inspect import cleandoc
from typing import Any

import msgspec

from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Json, frozen
from penstock_plugins.validators.class_choices import Narrowness, are_told_apart, bare, name_of, narrowness
from penstock_plugins.validators.class_fields import NO_DEFAULT, Field, fields_of, is_class
from penstock_plugins.validators.type_parts import parts_of

__all__ = [
    "choices_of",
    "has_choices",
    "has_no_values",
    "is_listed",
    "is_union",
    "members_of",
    "refused_by_msgspec",
    "schema_of",
]

_BYTES = (bytes, bytearray, memoryview)


def has_choices(parts: Sequence[Any]) -> bool:
    """True where one of a type's parts is a union or an enum that msgspec does not build and others do."""
    return any(
        (is_union(each) and len(_classes(choices_of(each))) > 1)
        or ((is_listed(each) or _has_narrow(each)) and refused_by_msgspec(each) is not None)
        for each in parts
    )


def choices_of(union: Any) -> list[Any]:
    """The types that a value may have. (That of `UNSET` is what there is where there is no value.)"""
    return [each for each in typing.get_args(union) if each is not msgspec.UnsetType]


def is_listed(kind: Any) -> bool:
    """True for what lists its values: an enum, a Literal."""
    return narrowness(kind) <= Narrowness.ENUM and kind is bare(kind)


def _has_narrow(kind: Any) -> bool:
    return is_union(kind) and any(narrowness(each) < Narrowness.OTHER for each in choices_of(kind))


def is_union(kind: Any) -> bool:
    """True for a union of types."""
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def has_no_values(parts: Sequence[Any]) -> str | None:
    """Why no answer can be a value of a type, which msgspec does not see before there is one; None where some can."""
    if isinstance(parts[0], typing.TypeVar):
        return f"{parts[0]} stands for another type; give that"
    for part in parts:
        origin, held = typing.get_origin(part), typing.get_args(part)
        if isinstance(origin, type) and issubclass(origin, Mapping) and held and _is_compound(held[0]):
            return f"{held[0]} is no name of a property, which JSON has for the keys of a dict"
    return None


def _is_compound(key: Any) -> bool:
    origin = typing.get_origin(key) or key
    return isinstance(origin, type) and issubclass(origin, (tuple, list, set, frozenset, dict))


def refused_by_msgspec(kind: Any) -> str | None:
    """Why msgspec cannot build it; None where it can."""
    try:
        msgspec.json.Decoder(kind)
    except (TypeError, RuntimeError) as wrong:
        return str(wrong)
    return None


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a type. Raises TypeError for what nobody builds, and for classes that look the same."""
    try:
        if refused_by_msgspec(kind) is None:
            return msgspec.json.schema(kind)
        return _Writer().whole(kind)
    except (TypeError, RuntimeError) as wrong:
        raise TypeError(f"{kind!r} cannot be asked for: {wrong}") from None
    except KeyError:  # so msgspec says that it cannot tell them apart
        raise TypeError(f"{kind!r} cannot be asked for: {_of_one_name(kind)}") from None


def members_of(kind: Any) -> dict[Any, Any]:
    """What an enum or a Literal lists, by what JSON says for each. Raises TypeError for what JSON has no word for."""
    found: dict[Any, Any] = {}
    for member in _members(kind):
        value = _said(member)
        simple = value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))
        if not simple or frozen(value) in found:
            raise TypeError(f"{member} is no word or number of its own; give it one")
        found[frozen(value)] = member
    if not found:
        raise TypeError(f"{kind!r} lists no values")
    return found


def _members(kind: Any) -> list[Any]:
    return list(kind) if _is_enum(kind) else list(dict.fromkeys(typing.get_args(kind)))


def _said(member: Any) -> Any:
    return member.value if isinstance(member, enum.Enum) else member


class _Writer:
    """Writes the schema of one type: msgspec's own for whatever msgspec builds, and what is between."""

    def __init__(self) -> None:
        self._defs: dict[str, Json] = {}
        self._names: dict[Any, str] = {}
        self._unions: list[list[tuple[Any, Json]]] = []
        """Their classes and the schemas of those, for when all are written."""

    def whole(self, kind: Any) -> dict[str, Any]:
        root = dict(self._of(kind))
        if self._defs:
            root["$defs"] = self._defs
        check = SchemaCheck(root)
        for classes in self._unions:
            for (one, its), (other, others) in itertools.combinations(classes, 2):
                if not are_told_apart(its, others, check):
                    raise TypeError(
                        f"nothing tells {name_of(one)} from {name_of(other)}: give each a field of the same name with a"
                        ' Literal of its own (kind: Literal["a"]), or a required field that the other has not'
                    )
        return root

    def _of(self, kind: Any) -> dict[str, Json]:
        wrong = refused_by_msgspec(kind)
        if wrong is None:
            return self._by_msgspec(kind)
        if is_listed(kind):
            return self._listed(kind)
        if is_union(kind):
            return self._union(kind)
        held, origin = typing.get_args(kind), typing.get_origin(kind)
        if origin is typing.Annotated:
            said = msgspec.json.schema(typing.Annotated[(_shell(held[0]), *held[1:])])
            return {**self._of(held[0]), **{name: each for name, each in said.items() if name != "type"}}
        if bare(kind) is not kind:
            return self._of(bare(kind))
        fields = fields_of(kind)
        if fields is not None:
            return self._class(kind, fields)
        if held and isinstance(origin, type):
            return self._container(origin, held)
        if isinstance(origin or kind, type) and issubclass(origin or kind, msgspec.Struct):
            wrong += "; an attrs class or a dataclass may hold it"
        raise TypeError(wrong)

    def _by_msgspec(self, kind: Any) -> dict[str, Json]:
        (schema,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
        for name, part in parts.items():
            if self._defs.setdefault(name, part) != part:
                raise TypeError(f"two types are named {name}; give one of them another name")
        return schema

    def _listed(self, kind: Any) -> dict[str, Json]:
        members_of(kind)  # which refuses what cannot be said
        said = {"enum": [_said(member) for member in _members(kind)]}
        return self._named(kind, lambda: {"title": kind.__name__, **said}) if _is_enum(kind) else said

    def _named(self, kind: Any, make: Callable[[], dict[str, Json]]) -> dict[str, Json]:
        """A reference to what stands among the definitions; it may refer to itself."""
        if kind not in self._names:
            name = re.sub(r"[^a-zA-Z0-9.\-_]", "_", name_of(kind))
            if name in self._defs:
                raise TypeError(f"two types are named {name}; give one of them another name")
            self._names[kind] = name
            self._defs[name] = {}
            self._defs[name] = make()
        return {"$ref": f"#/$defs/{self._names[kind]}"}

    def _union(self, kind: Any) -> dict[str, Json]:
        choices = choices_of(kind)
        classes = _classes(choices)
        narrow = [each for each in choices if narrowness(each) < Narrowness.OTHER]
        others = [_shell(each) for each in choices if each not in classes and each not in narrow]
        union: Any = typing.Union
        wrong = refused_by_msgspec(union[(*others, *([_AnyClass] if classes else []))]) if others or classes else None
        if wrong is not None:
            raise TypeError(wrong)
        if narrow and any(bare(each) in _BYTES for each in choices):
            raise TypeError(
                "most words can be read as bytes too, so nothing tells those from words, dates and the like"
            )
        schemas = [self._of(each) for each in choices]
        self._unions.append([(each, its) for each, its in zip(choices, schemas, strict=True) if each in classes])
        return {"anyOf": schemas}

    def _class(self, kind: Any, fields: list[Field]) -> dict[str, Json]:
        def make() -> dict[str, Json]:
            required = [field.name for field in fields if field.required]
            schema: dict[str, Json] = {"title": name_of(kind), "type": "object"}
            schema |= {"properties": {field.name: self._property(field) for field in fields}, "required": required}
            if _is_closed(kind):
                schema["additionalProperties"] = False
            doc = cleandoc((typing.get_origin(kind) or kind).__doc__ or "")
            # A dataclass without one is given its signature for one; a TypedDict has that of dict.
            own = doc and not doc.startswith((f"{kind.__name__}(", "dict()"))
            return {**schema, "description": doc} if own else schema

        return self._named(kind, make)

    def _property(self, field: Field) -> dict[str, Json]:
        schema = dict(self._of(field.kind))
        if field.default is not NO_DEFAULT:
            with suppress(TypeError):  # where JSON cannot say it
                schema["default"] = msgspec.to_builtins(field.default, str_keys=True)
        return schema

    def _container(self, origin: Any, held: tuple[Any, ...]) -> dict[str, Json]:
        anything: Any = types.GenericAlias
        if issubclass(origin, Mapping):
            schema = self._by_msgspec(anything(origin, (held[0], Any)))
            return {**schema, "additionalProperties": self._of(held[1])}
        schema = self._by_msgspec(anything(origin, tuple(each if each is ... else Any for each in held)))
        if "prefixItems" in schema:
            return {**schema, "prefixItems": [self._of(each) for each in held]}
        return {**schema, "items": self._of(held[0])}


class _AnyClass(msgspec.Struct):
    """In place of all classes of a union, for msgspec to say what cannot stand beside one."""


def _classes(choices: Sequence[Any]) -> list[Any]:
    """Those that are read from an object with properties of their own."""
    return [each for each in choices if is_class(typing.get_origin(each) or each)]


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _is_closed(kind: Any) -> bool:
    of: Any = typing.get_origin(kind) or kind
    return issubclass(of, msgspec.Struct) and of.__struct_config__.forbid_unknown_fields


def _shell(kind: Any) -> Any:
    """The type without what it holds, as far as it has a say in what may stand beside it."""
    if refused_by_msgspec(kind) is None:
        return kind
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _shell(typing.get_args(kind)[0])
    if isinstance(origin, type) and not is_class(origin):
        return dict if issubclass(origin, Mapping) else list
    return Any if not is_class(origin or kind) else _AnyClass


def _of_one_name(kind: Any) -> str:
    named = Counter(f"{each.__module__}.{each.__qualname__}" for each in parts_of(kind) if isinstance(each, type))
    return f"two types are named {named.most_common(1)[0][0]}; give one of them another name"
