"""Which part of an object that still grows is the value: all of it, what an envelope holds, or a line of a list.

Nothing is said before it is known. An object with a name of the schema's is the value, but where that name is one that
calls of tools or envelopes have as well, as `name` and `answer` are; there the next members tell. What has no names of
its own (`dict[str, int]`) is the value once it has a member that no envelope has, or has ended. Not here: the object
itself (`json_partial`), and what a whole answer is an envelope of (`json_envelopes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from penstock.policy.json_beginning import Place
from penstock.policy.json_envelopes import (
    ARGUMENTS,
    BESIDE_CALLS,
    NAMES_OF_TOOLS,
    OF_ANSWERS,
    OF_CALLS,
    containers_under_a_name,
    only_content,
    only_speaks_of,
)
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_states import is_of_state, parts_of
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import NONE, root_shapes
from penstock.policy.schema_references import SchemaError
from penstock.policy.schema_rules import kind_of

__all__ = ["Meant"]

MOST_LOOKED_THROUGH = 16
"""Members of what may be an envelope's content: it says with its first ones what it is, or is not asked again."""
MOST_BESIDE = 64
"""What has more members is no envelope."""
DEEPEST_ENVELOPE = 5
_OF_CALLS = BESIDE_CALLS | {*NAMES_OF_TOOLS, "description", "strict"}
"""How calls of tools name what they say beside the arguments."""
_ENVELOPES = OF_ANSWERS | {*ARGUMENTS, *map(str.lower, OF_CALLS)}
"""What stands under these is the value, where it could be. Under any other name it could belong to one: a manager."""

_Verdict: TypeAlias = Literal["itself", "content", "none"]


class _Level(Struct):
    """An object that may be the value, or what it came in."""

    held: dict[str, Json]
    seen: tuple[int, int] = (0, 0)
    own: dict[str, None] = {}
    """Its names that are the schema's."""
    verdict: _Verdict | None = None
    """None where nobody knows yet; `none` where it is nothing that could be shown."""
    key: str = ""
    """Of its content."""


class Meant:
    """Of the objects of one answer, one after the other, by the schema of the value. Each question costs the same."""

    def __init__(self, schema: Json) -> None:
        self._schema = schema
        self.is_known = schema is not None
        """Else what stands there is shown as it stands there."""
        shapes = root_shapes(schema)
        self.kinds = _kinds(shapes)
        """The types of JSON that the value may be of; none where the schema does not say."""
        self.objects = not self.kinds or "object" in self.kinds
        self._shapes = _Shapes(schema, shapes)
        self._of_items = _Shapes(schema, [])
        if self.kinds == frozenset({"array"}):
            items = [item for shape in shapes for item in root_shapes(schema, shape.get("items"))]
            self._of_items = _Shapes(schema, items)
        self._levels: list[_Level] = []
        self._check: SchemaCheck | None = None
        self._checked: tuple[Json, bool] = (NONE, False)

    def is_line(self, root: dict[str, Json], place: Place, *, whole: bool) -> bool:
        """True for an object that is one of a list, and stands there without its brackets."""
        if next(iter(root), None) not in self._of_items.names:
            return False
        if place == "prose" and not self._of_items.are_all_in(root):
            return False
        level = self._at(0, root)
        self._look(level, self._of_items, whole=whole)
        return level.verdict == "itself"

    def of(self, root: dict[str, Json], place: Place, *, whole: bool) -> Json:
        """The value as far as it has come; NONE where nobody knows yet what the object is.

        Behind prose it may be but mentioned: it is shown once it cannot be passed over, with all names that are asked
        for, or whole where there are none. In a fence it needs one of them.
        """
        value: Json = root
        if not self.is_known:
            return root
        for depth in range(DEEPEST_ENVELOPE):
            level = self._at(depth, value)
            self._look(level, self._shapes, whole=whole)
            if level.verdict == "itself":
                break
            if level.verdict != "content":
                return NONE
            value = level.held[level.key]
            if not is_object(value) or not (self._shapes.names or level.key.lower() in _ENVELOPES):
                break
        else:
            return NONE
        if is_object(value) and self._shapes.names:
            return value if place != "prose" or self._shapes.are_all_in(value) else NONE
        return value if place == "first" or (whole and self.fits(value)) else NONE

    def fits(self, value: Json) -> bool:
        """Whether a whole value fits the schema. Of one value that is found out once."""
        if self._checked[0] is not value:
            try:
                self._check = self._check or SchemaCheck(self._schema if is_object(self._schema) else {})
                self._checked = value, self._check.fits(value)
            except SchemaError:
                self._checked = value, False
        return self._checked[1]

    def _at(self, depth: int, held: dict[str, Json]) -> _Level:
        if depth >= len(self._levels) or self._levels[depth].held is not held:
            self._levels[depth:] = [_Level(held)]
        return self._levels[depth]

    def _look(self, level: _Level, shapes: _Shapes, *, whole: bool) -> None:
        """Decides where there is more to go by: another member, or more of the first ones of the last."""
        held = level.held
        last = next(reversed(held.values()), None)
        seen = (len(held), len(last) if is_array(last) or is_object(last) else 0)
        if level.verdict is not None or (seen == level.seen and not whole):
            return
        # The one that was the last is looked at again: there is more of it.
        new = [*islice(reversed(held.items()), len(held) - level.seen[0] + bool(level.seen[0]))]
        few = max(len(held), level.seen[1]) <= MOST_LOOKED_THROUGH
        level.seen = seen
        if shapes.names:
            self._look_at_names(level, shapes, new, few=few, whole=whole)
        elif self.objects:
            self._look_at_members(level, new, few=few, whole=whole)
        elif few or whole:
            self._open(level, whole=True)
        if whole and level.verdict is None:
            level.verdict = "none"

    def _look_at_names(
        self, level: _Level, shapes: _Shapes, new: list[tuple[str, Json]], *, few: bool, whole: bool
    ) -> None:
        """Of an object where there are names to know it by."""
        held, own = level.held, level.own
        if whole and not held and self.objects and self.fits(held):
            level.verdict = "itself"
            return
        own.update((name, None) for name, _ in new if name in shapes.names and not is_of_state(parts_of(name)))
        inner = [name for name in own if shapes.may_hold_value(name, held[name])]
        calls = [name for name in own if name in _OF_CALLS and isinstance(held[name], str | int)]
        if len(own) > len(inner) + len(calls) or (inner and len(own) > 1):
            level.verdict = "itself" if shapes is not self._shapes or self.objects else "none"
            return
        if inner and not shapes.takes(inner[0], {}):
            level.verdict, level.key = "content", inner[0]
            return
        if few or whole:
            self._open(level, whole=whole)
        if level.verdict is None and whole and not inner and any(name in shapes.names for name in held):
            answers = not own and any(name.lower() in OF_ANSWERS and is_object(each) for name, each in held.items())
            if not answers and not any(name in held for name in {*ARGUMENTS, *OF_CALLS} - shapes.names):
                level.verdict = "itself"

    def _look_at_members(self, level: _Level, new: list[tuple[str, Json]], *, few: bool, whole: bool) -> None:
        """Of an object that has no names to know it by: all its members are of one kind, or of any."""
        held = level.held
        if len(held) > MOST_BESIDE:
            level.verdict = "itself"
            return
        for at, (name, each) in enumerate(new):
            level.verdict = self._told_by(name, each, alone=len(held) == 1, growing=at == 0 and not whole)
            if level.verdict is not None:
                level.key = name
                return
        if few or whole:
            self._open(level, whole=whole)
        called = any(name in held for name in NAMES_OF_TOOLS) and any(name in held for name in ARGUMENTS)
        if level.verdict is None and whole and not called and not any(name in held for name in OF_CALLS):
            level.verdict = "itself" if self.fits(held) else "none"

    def _told_by(self, name: str, held: Json, *, alone: bool, growing: bool) -> _Verdict | None:
        """What one member says of an object without names of its own."""
        shapes = self._shapes
        if name in ARGUMENTS or name in OF_CALLS or held in ([], {}):
            return None
        itself: _Verdict = "itself" if shapes.takes(name, held) else "none"
        if is_object(held):
            answers = name.lower() in OF_ANSWERS or containers_under_a_name({name: held}) is not NONE
            if not answers or (itself == "itself" and not shapes.may_begin_with(held)):
                return itself
            return "content" if alone and not shapes.takes(name, {}) and shapes.may_begin_with(held) else None
        if growing and (not is_array(held) or len(held) > MOST_LOOKED_THROUGH):
            return None
        return itself if name.lower() not in OF_ANSWERS and not only_speaks_of({}, name, held) else None

    def _open(self, level: _Level, *, whole: bool) -> None:
        """Whether it is an envelope. Under a name that says nothing of that, only where nothing else has come."""
        content = only_content(level.held, self._schema)
        if self._suits(content) and (self._shapes.names or not is_object(content) or self._begins_so(content)):
            key = next((name for name, each in level.held.items() if each is content), None)
            if key in OF_CALLS and is_array(content):
                level.verdict = "none"  # of the calls in it one holds the value
            elif key is None or (self.objects and not self._shapes.names and self._shapes.takes(key, content)):
                pass  # it is a value itself
            elif whole or not is_object(content) or key.lower() in _ENVELOPES:
                level.verdict, level.key = "content", key

    def _begins_so(self, content: dict[str, Json]) -> bool:
        return bool(content) and self._shapes.may_begin_with(content)

    def _suits(self, content: Json) -> bool:
        """False for JSON in a string, say: a value is not shown as what it cannot be."""
        kinds = self.kinds
        if content is NONE:
            return False
        if not kinds or is_object(content) or is_array(content):
            return not kinds or ("object" if is_object(content) else "array") in kinds
        return "string" in kinds if isinstance(content, str) else not kinds <= {"object", "array", "string"}


class _Shapes:
    """What a schema says of the members of an object."""

    def __init__(self, schema: Json, shapes: list[Mapping[str, Json]]) -> None:
        self._schema = schema
        self._members: dict[str, list[Json]] = {}
        self._others: list[Json] = []
        for shape in shapes:
            named: dict[str, Json] = shape.get("properties", {})
            for name, member in named.items():
                self._members.setdefault(name, []).append(member)
            if "properties" in shape or "additionalProperties" in shape or shape.get("type") == "object":
                self._others.append(shape.get("additionalProperties", True))
        self.names = frozenset(self._members)
        self._required = [frozenset(shape.get("required", ())) for shape in shapes if shape.get("properties")]

    def are_all_in(self, held: Mapping[str, Json]) -> bool:
        """True where it has all names that are asked for: nothing passes that over."""
        return any(names <= held.keys() for names in self._required)

    def takes(self, name: str, held: Json) -> bool:
        """True where a member may be of the kind of what is held, and so may the first of what that holds."""
        below = [shape for each in self._members.get(name, self._others) for shape in _shapes_of(self._schema, each)]
        if not _allows(_kinds(below), held):
            return False
        return not is_object(held) or not held or _Shapes(self._schema, below).may_begin_with(held)

    def may_begin_with(self, held: Mapping[str, Json]) -> bool:
        """True where an object of these shapes may have the first member that this one has."""
        if not (self.names or self._others):
            return True
        name, first = next(iter(held.items()))
        if self.names:
            return name in self.names
        below = [shape for each in self._others for shape in _shapes_of(self._schema, each)]
        return _allows(_kinds(below), first)

    def may_hold_value(self, name: str, held: Json) -> bool:
        """True for `{"answer": {"answer": ...}}`, where the inner one may be the value."""
        if not is_object(held) or (name.lower() not in OF_ANSWERS and name not in ARGUMENTS):
            return False
        return not held or next(iter(held)) in self.names or not self.takes(name, held)


def _shapes_of(schema: Json, below: Json) -> list[Mapping[str, Json]]:
    return root_shapes(schema, {} if below is True else below)


def _allows(kinds: frozenset[str], held: Json) -> bool:
    kind = kind_of(held)
    return not kinds or kind in kinds or (kind in {"integer", "number"} and not kinds.isdisjoint({"integer", "number"}))


def _kinds(shapes: list[Mapping[str, Any]]) -> frozenset[str]:
    kinds: set[str] = set()
    for shape in shapes:
        stated, listed = shape.get("type"), [shape["const"]] if "const" in shape else shape.get("enum")
        if stated is not None:
            kinds.update(stated if is_array(stated) else (stated,))
        elif is_array(listed):
            kinds.update(map(kind_of, listed))
        elif not any(name in shape for name in ("$ref", "anyOf", "oneOf", "allOf")):
            return frozenset()
    return frozenset(kinds)
