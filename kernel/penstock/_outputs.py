"""The types that answers are to become, made ready once: schema, check, and whoever builds the values.

Not here: one call with its repairs (`_extraction`), what stands behind a type (`_validator_chain`), and the validators
(plugins).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, cast
from weakref import WeakKeyDictionary

import attrs
import msgspec
from msgspec import Struct

from penstock._foreign import interruptible, let_through
from penstock._validator import InvalidValueError, Validator
from penstock._validator_chain import Further, Link, Step, checked, linked, taken, through, words_of
from penstock.errors import UnsendableRequestError
from penstock.hookspecs import ValidatorSpec
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.refused_ways import Way
from penstock.policy.schema_shaping import Shaped, Unshapeable, as_parameters, shape_schema
from penstock.policy.shown_paths import names_of
from penstock.policy.whole_numbers import WholeNumbers
from penstock.types import SchemaLimits

__all__ = ["OutputBook", "ReadyType", "Wanted"]

MOST_KEPT = 256
"""Types that are kept ready; programs have a few. Those made at run time must not fill the memory."""
MAX_REPAIRS = 2
NO_WAYS = frozenset[Way]()


class Refusals:
    """By target: ways in which it was asked for a schema, and refused to be. Remembered as long as the target lives."""

    def __init__(self) -> None:
        self.changes = 0
        """How often something was added."""
        self._told: WeakKeyDictionary[Any, set[tuple[Way, bytes]]] = WeakKeyDictionary()

    def __bool__(self) -> bool:
        return bool(self._told)

    def of(self, target: Any, digest: bytes) -> frozenset[Way]:
        """Those of one target for the schema of that digest."""
        told = self._told.get(target)
        return frozenset([way for way, schema in told if schema == digest]) if told else NO_WAYS

    def add(self, target: Any, way: Way, digest: bytes) -> None:
        """The target does not want to be asked so for that schema."""
        told = self._told.setdefault(target, set())
        if len(told) >= MOST_KEPT:
            told.clear()
        told.add((way, digest))
        self.changes += 1


@attrs.define(eq=False)
class ReadyType:
    """One type: what is asked for it, and what its values are built by."""

    validator: Validator
    schema: Mapping[str, Any]
    check: SchemaCheck
    name: str
    plain: bool = False
    """A JSON Schema: its values are handed on as they are, and nobody after us makes 3 of 3.0."""
    refusals: Refusals = attrs.Factory(Refusals)
    """The book's: what targets have refused, of this type and of others."""
    shapes: dict[SchemaLimits, Shaped | Unshapeable] = attrs.Factory(dict[SchemaLimits, Shaped | Unshapeable])

    checks: dict[int, SchemaCheck] = attrs.Factory(dict[int, SchemaCheck])
    """Of shapes that are checked by themselves, by their identity: `shapes` keeps them."""
    askings: WeakKeyDictionary[Any, Any] = attrs.Factory(WeakKeyDictionary[Any, Any])
    """How targets are asked for it, as far as calls have found out."""
    ways: dict[tuple[Way, int], Any] = attrs.Factory(dict[tuple[Way, int], Any])
    """All ways of asking for it, one for all targets that are asked so: by the identity of the shape that is sent."""
    parameters: Shaped = attrs.field(init=False)
    """The shape of a tool's parameters."""

    def __attrs_post_init__(self) -> None:
        self.parameters = as_parameters(self.schema)

    def check_of(self, shaped: Shaped) -> SchemaCheck | None:
        """The check of what is sent, where that is another than the schema. Made once."""
        if not (shaped.wrapped or shaped.nulls):
            return None
        if id(shaped) not in self.checks:
            self.checks[id(shaped)] = SchemaCheck(shaped.schema)
        return self.checks[id(shaped)]

    def made(self, value: Any) -> tuple[Any, Any]:
        """What the type makes of a value, and the value it was made of. Raises InvalidValueError.

        To JSON 3.0 is an integer, and fits what was asked for; not everyone who builds values takes it for one. Only
        then it is looked for: most have none.
        """
        validator, name = self.validator, type(self.validator).__name__
        if self.plain:
            value = self.whole_numbers.of(value)
        try:
            return checked(validator.check, value, name), value
        except InvalidValueError:
            whole = self.whole_numbers.of(value)
            if whole is value:
                raise
        return checked(validator.check, whole, name), whole

    @cached_property
    def whole_numbers(self) -> WholeNumbers:
        """Its integers."""
        return WholeNumbers(self.check)

    @cached_property
    def names(self) -> frozenset[str]:
        """The properties that it names."""
        return names_of(self.schema)

    @cached_property
    def digest(self) -> bytes:
        """The same for the same schema."""
        return blake2b(msgspec.json.encode(self.schema, order="deterministic"), digest_size=16).digest()

    def refused_by(self, target: Any) -> frozenset[Way]:
        """The ways in which the target did not want to be asked for it."""
        return self.refusals.of(target, self.digest) if self.refusals else NO_WAYS

    def refuse(self, target: Any, way: Way) -> None:
        """The target does not want to be asked so. Remembered as long as the kernel and the target live."""
        self.refusals.add(target, way, self.digest)
        self.askings.pop(target, None)

    def shaped(self, limits: SchemaLimits) -> Shaped | Unshapeable:
        """The schema within the limits of a native mode, made once for each."""
        if limits not in self.shapes:
            self.shapes[limits] = shape_schema(self.schema, limits)
        return self.shapes[limits]


class Wanted(Struct, frozen=True, eq=False):
    """What one call's answer is to become."""

    ready: ReadyType
    further: tuple[Step, ...] = ()
    max_repairs: int = MAX_REPAIRS

    def built(self, value: Any) -> Any:
        """The value, by the type and then by what stands behind it. Raises InvalidValueError."""
        made, plain = self.ready.made(value)
        return through(self.further, made, plain) if self.further else made


@attrs.define(eq=False)
class OutputBook:
    """Those of one kernel."""

    specs: Callable[[], Sequence[ValidatorSpec]] = tuple
    refusals: Refusals = attrs.Factory(Refusals)
    _ready: dict[Any, ReadyType] = attrs.Factory(dict[Any, ReadyType])
    _links: dict[Any, Link] = attrs.Factory(dict[Any, Link])

    def wanted(self, kind: Any, further: Sequence[Further] = (), max_repairs: int = MAX_REPAIRS) -> Wanted:
        """What a call for that type wants. Raises UnsendableRequestError where nothing can build it."""
        if further == () and max_repairs == MAX_REPAIRS and type(max_repairs) is int:
            return Wanted(self._of(kind))
        if isinstance(further, str) or not isinstance(cast("object", further), Sequence):
            raise UnsendableRequestError(f"validators: {type(further).__name__} given; give a list of them")
        if not isinstance(cast("object", max_repairs), int) or max_repairs < 0:
            raise UnsendableRequestError(f"max_repairs is {max_repairs!r}; it must be 0 or more")
        return Wanted(self._of(kind), tuple(self._link(each, kind) for each in further), max_repairs)

    def _link(self, each: Further, kind: Any) -> Step:
        if isinstance(each, Validator) or callable(each):
            return taken(each)
        named: object = (each, kind) if isinstance(each, str) else each
        try:
            known = self._links.get(named)
        except TypeError:  # as with types
            return linked(each, kind, self.specs())
        if known is None:
            if len(self._links) >= MOST_KEPT:
                self._links.clear()
            known = self._links[named] = linked(each, kind, self.specs())
        return known

    def _of(self, kind: Any) -> ReadyType:
        try:
            known = self._ready.get(kind)
        except TypeError:  # a dict cannot be a key; its identity could be another's later
            return self._made(kind)
        if known is None:
            if len(self._ready) >= MOST_KEPT:
                self._ready.clear()
            known = self._ready[kind] = self._made(kind)
        return known

    @interruptible
    def _made(self, kind: Any) -> ReadyType:
        try:
            for spec in self.specs():
                validator = spec.make(kind)
                if validator is not None:
                    if not isinstance(cast("object", validator), Validator):
                        raise TypeError(f"{spec.name} made {type(validator).__name__} in place of a Validator")  # noqa: TRY301
                    schema = validator.schema or {}
                    msgspec.json.encode(schema)  # what cannot be sent shall show here
                    plain = isinstance(kind, Mapping)
                    return ReadyType(validator, schema, SchemaCheck(schema), _name_of(kind), plain, self.refusals)
        except (TypeError, ValueError) as wrong:  # a SchemaError is one
            raise UnsendableRequestError(f"output: {words_of(wrong)}") from None
        except BaseException as bug:  # foreign code
            let_through(bug)
            raise UnsendableRequestError(f"output: a validator plugin broke ({type(bug).__name__})") from bug
        raise UnsendableRequestError(f"output: no validator plugin knows what to make of {kind!r}")


def _name_of(kind: Any) -> str:
    """As models see it: of a class its name, of a schema its title."""
    title: Any = ""
    if isinstance(kind, Mapping):
        title = cast("Mapping[str, Any]", kind).get("title")
    elif isinstance(kind, type) and kind.__module__ != "builtins":
        title = kind.__name__
    return title if isinstance(title, str) and title.isidentifier() and title.isascii() else "output"
