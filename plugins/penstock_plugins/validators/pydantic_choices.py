"""What pydantic loses in a union of classes: of a value that does not quite fit the class that it was meant for, it
makes another one that has no name for the part that is wrong.

`{"x": 1, "y": "no"}` for `Base | Wide`, which has a number `y`: to pydantic that is a `Base`. Not here: unions whose
classes it does not build (`class_choices`, which does not lose it either), and which class it takes where several fit:
that is its own decision, or that of the type's `union_mode`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Flaw, Json, is_array, is_object, json_path
from penstock.policy.schema_knowledge import root_shapes
from penstock_plugins.validators.class_choices import shape_of

__all__ = ["Losses", "takes_names"]

MOST_FLAWS = 20

_Path = tuple[str | int, ...]
_Shape = Mapping[str, Json]


class Losses:
    """Those of one type. `parts`: its classes, whose fields may have more names than the schema says."""

    def __init__(self, schema: Mapping[str, Json], parts: Sequence[Any] = ()) -> None:
        self._root = schema
        self._other_names = dict(other for part in parts for other in _other_names(part))
        self._check = SchemaCheck(schema)
        self._checks: dict[int, SchemaCheck] = {}
        self._chosen = _has_choices(schema, schema)

    def of(self, value: Json, built: Any) -> list[Flaw]:
        """What was wrong with parts of the value that are not in what was built of it; none where nothing was lost."""
        found: list[Flaw] = []
        left: list[tuple[Json, Any, list[_Shape], _Path]] = []
        if self._chosen:
            left.append((value, built, root_shapes(self._root), ()))
        while left and len(found) < MOST_FLAWS:
            at, made, shapes, path = left.pop()
            made = _unrooted(made)
            if is_array(at) and type(made) in (list, tuple):
                items = self._behind(shape.get("items") for shape in shapes)
                places = [self._behind(own) for own in zip_longest(*(shape.get("prefixItems", ()) for shape in shapes))]
                left.extend(
                    (held, its, places[n] if n < len(places) else items, (*path, n))
                    for n, (held, its) in enumerate(zip(at, made, strict=False))
                )
            elif is_object(at) and (members := _members(made)) is not None:
                found.extend(self._lost(at, members.keys(), shapes, path))
                own = _nearest(shapes, members.keys())
                for name in at.keys() & members.keys():
                    below = self._behind(_property(shape, name) for shape in own)
                    left.append((at[name], members[name], below, (*path, name)))
        return found

    def _behind(self, schemas: Iterable[Json]) -> list[_Shape]:
        below = list(schemas)
        return root_shapes(self._root, *below) if below else []

    def _lost(self, value: dict[str, Json], known: Any, shapes: list[_Shape], path: _Path) -> Iterator[Flaw]:
        lost = value.keys() - known
        if not lost or any(shape.get("additionalProperties") for shape in shapes):
            return
        if not lost.isdisjoint(self._other_names):
            value = {self._other_names.get(name, name) if name in lost else name: value[name] for name in value}
        meant = [shape for shape in _of_objects(shapes) if len(value.keys() - shape["properties"].keys()) < len(lost)]
        may_be = [shape for shape in meant if self._may_be(shape, value)]
        flaws = [self._check_of(shape).flaws(value) for shape in may_be]
        if flaws and all(flaws):
            for flaw in flaws[0]:
                yield Flaw(json_path(path) + flaw.path[1:], flaw.says)

    def _may_be(self, shape: _Shape, value: dict[str, Json]) -> bool:
        required, _, tags = shape_of(shape, self._check)
        return value.keys() >= required and tags.allow(value)

    def _check_of(self, shape: _Shape) -> SchemaCheck:
        check = self._checks.get(id(shape))
        if check is None:
            check = self._checks[id(shape)] = SchemaCheck({**shape, "$defs": self._root.get("$defs", {})})
        return check


def _of_objects(shapes: list[_Shape]) -> list[_Shape]:
    return [shape for shape in shapes if shape.get("properties")]


def _has_choices(root: Mapping[str, Json], schema: Json) -> bool:
    """True where some union holds several classes."""
    left: list[Json] = [schema]
    while left:
        at = left.pop()
        if is_object(at):
            for choices in ("anyOf", "oneOf"):
                if is_array(at.get(choices)) and len(_of_objects(root_shapes(root, *at[choices]))) > 1:
                    return True
            left.extend(at.values())
        elif is_array(at):
            left.extend(at)
    return False


def _nearest(shapes: list[_Shape], known: Any) -> list[_Shape]:
    """The schemas of the class that was built, as far as its names tell; of an object of any names, all."""
    own = [shape for shape in _of_objects(shapes) if shape["properties"].keys() <= known]
    most = max((len(shape["properties"]) for shape in own), default=0)
    return [shape for shape in own or shapes if len(shape.get("properties", ())) >= most]


def _property(shape: _Shape, name: str) -> Json:
    return shape.get("properties", {}).get(name, shape.get("additionalProperties"))


def _unrooted(made: Any) -> Any:
    """What a RootModel holds: JSON has no name for it."""
    while getattr(made, "__pydantic_root_model__", False):
        made = made.root
    return made


def _members(made: Any) -> dict[str, Any] | None:
    """What was built, by the names that JSON has for it; None for what has no such names."""
    if is_object(made):
        return made
    fields: Mapping[str, Any] = getattr(made, "__pydantic_fields__", {})
    names = [*fields]
    if not names and dataclasses.is_dataclass(made):
        names = [each.name for each in dataclasses.fields(made)]
    if not names:
        return None
    members: dict[str, Any] = {}
    for name in names:
        for written in (name, *_aliases(fields.get(name))):
            members[written] = getattr(made, name, None)
    members.update(getattr(made, "__pydantic_extra__", None) or {})
    return members


def _aliases(field: Any) -> Iterator[str]:
    alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
    for each in getattr(alias, "choices", [alias]):
        if isinstance(each, str):
            yield each


def _other_names(part: Any) -> Iterator[tuple[str, str]]:
    """Names by which a class reads its fields, beside those that its schema has for them."""
    fields: Mapping[str, Any] = getattr(part, "__pydantic_fields__", {}) if isinstance(part, type) else {}
    for name, field in fields.items():
        first, *others = [*_aliases(field), *([name] if takes_names(part) else [])] or [name]
        for other in others:
            if other != first:
                yield other, first


def takes_names(part: Any) -> bool:
    """True for a class that reads its fields by their own names as well."""
    config: Mapping[str, Any] = getattr(part, "model_config", None) or getattr(part, "__pydantic_config__", None) or {}
    return bool(config.get("populate_by_name") or config.get("validate_by_name"))
