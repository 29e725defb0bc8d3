"""Objects that fit, and are none of the values asked for: calls of tools, envelopes that share a name with the type.

`{"name": "Product", "arguments": {"name": "Tea", "price": 3.5}}` fits a type of one required `name`, and is no product.
Only names that the schema does not know make an object suspicious: one of known names alone is never looked into. Not
here: what does not fit, and what that is an envelope of (`json_envelopes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from msgspec import Struct

from penstock.policy.json_envelopes import (
    ARGUMENTS,
    BESIDE_CALLS,
    BESIDE_TOOLS,
    NAMES_OF_TOOLS,
    NOTHING_SAID,
    OF_ANSWERS,
    OF_CALLS,
    is_schema,
    only_speaks_of,
)
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_states import OF_GOOD_STATES
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.json_wholes import decoded
from penstock.policy.schema_knowledge import NONE, says_nothing

__all__ = ["Wrapped", "given_by_call", "wrapped"]

MOST_LOOKED_AT = 64
"""Members of an object that the schema does not name, and items of a list that have such members."""
MOST_INSIDE = 256
"""Objects within one of them; `DEEPEST_INSIDE` levels of them."""
DEEPEST_INSIDE = 3

_ENVELOPES = (OF_ANSWERS - {"items"}) | {*ARGUMENTS, *OF_CALLS}
"""Members that hold an answer. Of an order, items are its own."""
_DEFINITIONS = ("schema", "json_schema", "input_schema")
_BESIDE = BESIDE_TOOLS | {"description", "role", "strict"}


class Wrapped(Struct, frozen=True):
    """An object that fits, and may be but what the value came in."""

    place: tuple[str | int, ...]
    """Of what it holds."""
    content: Json = NONE
    """That, where it is surely the value: the arguments of the tool that was offered."""


class _Call(Struct, frozen=True):
    name: str
    place: tuple[str | int, ...]
    arguments: Json = NONE


def wrapped(value: Json, check: SchemaCheck, tool: str = "") -> Wrapped | None:
    """What a value that fits is the wrapper of; None where it is nothing but the value.

    `tool`: the name under which the schema was offered. A call of that tool holds the value, whatever else might be
    read in it; a call of any other holds none. An object is in doubt where a member that the schema does not name holds
    what fits as well, and is called a result, arguments or the like, or as the tool; or the object has the tool's name
    for one of its own; or it says that all went well, and that one has more names of the schema, or the only one. So is
    the schema itself. Else there stands what belongs to the value: a person's manager, the children of a category.
    """
    if is_object(value):
        given = given_by_call(value, check, tool) if check.like_a_call else None
        if given is not None or check.names.issuperset(value):
            return given
        return _Wrappers(check, tool, check.names).of(value)
    if not is_array(value) or not check.item_names:
        return None
    known = check.item_names.issuperset
    strange = [at for at, each in enumerate(value) if is_object(each) and not known(each)]
    items = _Wrappers(check, tool, check.item_names, of_items=True)
    for at in strange[:MOST_LOOKED_AT]:
        found = items.of(value[at])
        if found is not None:
            surely = len(value) == 1
            return Wrapped((at, *found.place), found.content if surely else NONE)
    return None


def given_by_call(value: Json, check: SchemaCheck, tool: str) -> Wrapped | None:
    """The call by which the offered tool is given the value; None for all other values. One of a type that is itself
    like a call counts where the whole of it is a value.
    """
    if not is_object(value):
        return None
    wrappers = _Wrappers(check, tool, frozenset() if check.like_a_call else check.names)
    call = wrappers.call_in(value)
    if call is None or call.name != tool or not wrappers.is_value(call.arguments):
        return None
    return Wrapped(call.place, call.arguments)


class _Wrappers:
    def __init__(self, check: SchemaCheck, tool: str, names: frozenset[str], *, of_items: bool = False) -> None:
        self.check = check
        self.tool = tool
        self.names = names
        self.of_items = of_items

    def of(self, value: dict[str, Json]) -> Wrapped | None:
        call = self.call_in(value)
        if call is not None and (self.names or call.name == self.tool):
            own = call.name == self.tool and self.is_value(call.arguments)
            return Wrapped(call.place, call.arguments) if own else Wrapped(call.place)
        if self.names and "properties" not in self.names and (_of_schema(value) or is_schema(value)):
            return Wrapped(("properties",))  # sent back
        said = self.names & value.keys()
        words = {state.lower() for name in said if isinstance(state := value[name], str)}
        # A product that is called Product is the call of that, or made of the parts of its schema.
        named = bool(self.tool) and self.tool.lower() in words
        if named and "required" not in self.names and is_array(value.get("required")):
            return Wrapped(("required",))
        states = not words.isdisjoint(OF_GOOD_STATES)
        for name in islice((name for name in value if name not in self.names), MOST_LOOKED_AT):
            answers = named or name.lower() in _ENVELOPES or name.lower() == self.tool.lower()
            if answers or (states and not self.check.takes_other_names):
                for inner in _objects_in(value[name]):
                    same = self.names & inner.keys()
                    more = said <= same and (len(same) > len(said) or len(said) == 1)
                    if same and (answers or more) and self.fits(inner):
                        return Wrapped((name,))
        return None

    def is_value(self, arguments: Json) -> bool:
        if arguments is NONE or ("properties" not in self.check.names and is_schema(arguments)):
            return False
        return self.check.fits(arguments) and not says_nothing(arguments, self.check.schema)

    def fits(self, inner: Json) -> bool:
        """As the value; or as an item, where the object is one of a list."""
        return self.is_value([inner] if self.of_items else inner)

    def call_in(self, value: dict[str, Json]) -> _Call | None:
        """The call of a tool that an object is, or the definition of one."""
        held = [name for name in OF_CALLS if name in value and name not in self.names]
        if len(held) == 1 and all(
            name == held[0] or name in BESIDE_CALLS or other in NOTHING_SAID for name, other in value.items()
        ):
            return self.call_under(held[0], value[held[0]])
        named = [name for name in (*ARGUMENTS, *_DEFINITIONS) if name in value and name not in self.names]
        if len(named) != 1:
            return None
        arguments = _unquoted(value[named[0]])
        of_name = next((name for name in NAMES_OF_TOOLS if isinstance(value.get(name), str)), None)
        if of_name is None:
            return None
        tool = str(value[of_name]).rpartition(".")[2]
        beside = value.keys() - {of_name, named[0]} - _BESIDE
        if len(beside) > MOST_LOOKED_AT or (beside and tool != self.tool):
            return None
        if not all(self.is_aside(arguments, name, value[name]) for name in beside):
            return None
        if tool != self.tool and (of_name != "name" or not is_object(arguments)):
            return None  # an action with its parameters, say: it may be what was asked for
        return _Call(tool, (named[0],), NONE if named[0] in _DEFINITIONS else arguments)

    def is_aside(self, arguments: Json, name: str, other: Json) -> bool:
        """True for what a model says beside a call: a thought, how sure it is."""
        return name not in self.names and only_speaks_of(arguments, name, other)

    def call_under(self, name: str, held: Json) -> _Call | None:
        place: tuple[str | int, ...] = (name,)
        if is_array(held) and held and all(map(is_object, held)):
            if len(held) > 1:
                return _Call("", place)
            held, place = held[0], (name, 0)
        if not is_object(held):
            return None
        bare = _Wrappers(self.check, self.tool, frozenset(), of_items=self.of_items)
        call = bare.call_in(held)
        return None if call is None else _Call(call.name, (*place, *call.place), call.arguments)


def _of_schema(value: dict[str, Json]) -> bool:
    """True for a schema's own words around whatever stands for the properties."""
    return value.get("type") == "object" and is_object(value.get("properties"))


def _unquoted(arguments: Any) -> Json:
    """What is sent as a string on the wires."""
    if not isinstance(arguments, str) or arguments.lstrip()[:1] not in ("{", "["):
        return arguments
    return decoded(arguments)


def _objects_in(held: Json) -> Iterator[dict[str, Json]]:
    """Itself, and what stands in it."""
    level: list[Json] = [_unquoted(held)]
    left = MOST_INSIDE
    for _ in range(DEEPEST_INSIDE):
        below: list[Json] = []
        for each in level[:left]:
            if is_object(each):
                yield each
                below.extend(islice(each.values(), MOST_LOOKED_AT))
            elif is_array(each):
                below.extend(each[:MOST_LOOKED_AT])
        left = max(0, left - len(level))
        level = [each for each in below if is_object(each) or is_array(each)]
