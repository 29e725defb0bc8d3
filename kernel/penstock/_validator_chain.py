"""What a value has to pass behind its type: validators, functions, and plugins by their names.

Not here: the type itself (`_outputs`), and the validators (plugins).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import attrs
import msgspec
from msgspec import UNSET, Struct

from penstock._discreet import type_name
from penstock._nearest import did_you_mean, quoted
from penstock._validator import InvalidValueError, Validator
from penstock.errors import UnsendableRequestError
from penstock.hookspecs import ValidatorSpec
from penstock.policy.json_values import Flaw

__all__ = ["Further", "Link", "Step", "checked", "linked", "plain_part", "through"]

logger = logging.getLogger("penstock")

Further: TypeAlias = "Validator | Callable[[Any], Any] | str | tuple[str, Any]"
"""What stands behind a type: a Validator, or a function that raises ValueError for a no, and returns the value, another
in its place, or None; or the name of a validator plugin, alone or with what its validator is to be made of: a schema, a
pattern, another type. Alone it is made of the type that was asked for."""


class Link(Struct, frozen=True, eq=False):
    """A plugin's validator, under its name. It is given plain JSON data, as if it stood at the head of a chain."""

    name: str
    validator: Validator


Step: TypeAlias = Validator | Callable[[Any], Any] | Link
"""One of a chain, ready to be passed."""


def linked(each: object, kind: Any, specs: Sequence[ValidatorSpec]) -> Link:
    """The validator of a name, or of a pair. Raises UnsendableRequestError for what is neither."""
    given = type_name(each)
    if isinstance(each, str):
        return _made(each, kind, specs)
    pair = cast("tuple[object, ...]", each) if isinstance(each, tuple) else ()
    if len(pair) == 2 and isinstance(name := pair[0], str):
        return _made(name, pair[1], specs)
    raise UnsendableRequestError(
        f"validators: {given} given; give a Validator, a function, the name of a plugin, or a pair of its"
        " name and a schema, pattern or type"
    )


def _made(name: str, of: Any, specs: Sequence[ValidatorSpec]) -> Link:
    spec = next((spec for spec in specs if spec.name == name), None)
    if spec is None:
        meant = did_you_mean(name, [spec.name for spec in specs])
        raise UnsendableRequestError(f"validators: no validator plugin is named {quoted(name)}{meant}")
    try:
        validator = spec.make(of)
    except (TypeError, ValueError) as wrong:  # a SchemaError is one
        raise UnsendableRequestError(f"validators: {name}: {wrong}") from None
    except Exception as bug:  # foreign code
        raise UnsendableRequestError(f"validators: {name} broke ({type(bug).__name__})") from bug
    if validator is None:
        what = of.__name__ if isinstance(of, type) else type(of).__name__
        raise UnsendableRequestError(
            f"validators: {name} can check nothing by {what}; name what it is to go by: ({name!r}, ...)"
        )
    return Link(name, validator)


def through(chain: Sequence[Step], value: Any, plain: Any) -> Any:
    """What comes out at the end. `plain` is the JSON data that the value was built from. Raises InvalidValueError."""
    for each in chain:
        before = value
        match each:
            case Link(name=name, validator=validator):
                if plain is UNSET:
                    plain = checked(_plain_value, value, name)
                made = checked(validator.check, plain, name)
                # One that only checks hands on what it was given: that says nothing against what the type has built.
                value = before if made is plain else made
                continue
            case Validator():
                value = checked(each.check, value, type(each).__name__)
            case function:
                changed = checked(function, value, getattr(function, "__name__", "validator"))
                value = value if changed is None else changed
        if value is not before:
            plain = UNSET
    return value


def checked(check: Callable[[Any], Any], value: Any, name: str) -> Any:
    """What a check returns. Raises InvalidValueError for its no, and where it breaks."""
    try:
        return check(value)
    except InvalidValueError:
        raise
    except (ValueError, AssertionError) as no:
        raise InvalidValueError(flaws=[Flaw("$", str(no) or f"is not valid ({name})")]) from None
    except Exception as bug:  # foreign code: its no is no answer, and the call goes on
        logger.exception("the validator %s broke", name)
        raise InvalidValueError(
            flaws=[Flaw("$", f"could not be checked: {name} broke ({type(bug).__name__})")]
        ) from bug


def _plain_value(value: object) -> Any:
    """The value as JSON data. Raises TypeError where it holds what JSON cannot say."""
    return msgspec.to_builtins(value, enc_hook=plain_part)


def plain_part(value: Any) -> Any:
    """What msgspec does not write by itself: pydantic's models, attrs classes without slots."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if attrs.has(value.__class__):
        names: list[str] = [field.name for field in attrs.fields(value.__class__)]
        return {name: getattr(value, name) for name in names}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
