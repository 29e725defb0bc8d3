"""What a value has to pass behind its type: validators, functions, and plugins by their names.

Not here: the type itself (`_outputs`), and the validators (plugins).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from inspect import iscoroutine, iscoroutinefunction
from traceback import extract_tb
from typing import Any, TypeAlias, cast

import attrs
import msgspec
from msgspec import UNSET, Struct

from penstock._discreet import type_name
from penstock._foreign import interruptible, let_through
from penstock._nearest import did_you_mean, quoted
from penstock._validator import InvalidValueError, Validator
from penstock.errors import UnsendableRequestError
from penstock.hookspecs import ValidatorSpec
from penstock.policy.json_values import Flaw

__all__ = ["Further", "Link", "Step", "checked", "linked", "plain_part", "taken", "through", "words_of"]

logger = logging.getLogger("penstock")

Further: TypeAlias = "Validator | Callable[[Any], Any] | str | tuple[str, Any]"
"""What stands behind a type: a Validator, or a function that raises ValueError or returns False for a no, and else
returns the value, another in its place, True or None; or the name of a validator plugin, alone or with what its
validator is to be made of: a schema, a pattern, another type. Alone it is made of the type that was asked for."""


class Link(Struct, frozen=True, eq=False):
    """A validator, and its name in errors."""

    name: str
    validator: Validator
    takes_json: bool = True
    """A plugin's is given plain JSON data, as if it stood at the head of a chain."""


Step: TypeAlias = Callable[[Any], Any] | Link
"""One of a chain, ready to be passed."""


def taken(each: Validator | Callable[[Any], Any]) -> Step:
    """A validator or a function of the program's own. Raises UnsendableRequestError for one that has to be awaited."""
    called = each.check if isinstance(each, Validator) else each
    if iscoroutinefunction(called) or iscoroutinefunction(type(called).__call__):
        raise UnsendableRequestError(
            f"validators: {_name(each)} is async, and nobody awaits it; check the value after the call"
        )
    return Link(_name(each), each, each.takes_json) if isinstance(each, Validator) else each


def _name(each: object) -> str:
    return getattr(each, "__name__", None) or type(each).__name__


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


@interruptible
def _made(name: str, of: Any, specs: Sequence[ValidatorSpec]) -> Link:
    spec = next((spec for spec in specs if spec.name == name), None)
    if spec is None:
        meant = did_you_mean(name, [spec.name for spec in specs])
        raise UnsendableRequestError(f"validators: no validator plugin is named {quoted(name)}{meant}")
    try:
        validator = spec.make(of)
    except (TypeError, ValueError) as wrong:  # a SchemaError is one
        raise UnsendableRequestError(f"validators: {name}: {words_of(wrong)}") from None
    except BaseException as bug:  # foreign code
        let_through(bug)
        raise UnsendableRequestError(f"validators: {name} broke ({type(bug).__name__})") from bug
    if validator is None:
        what = of.__name__ if isinstance(of, type) else type(of).__name__
        raise UnsendableRequestError(
            f"validators: {name} can check nothing by {what}; name what it is to go by: ({name!r}, ...)"
        )
    if not isinstance(cast("object", validator), Validator):
        raise UnsendableRequestError(f"validators: {name} broke ({type(validator).__name__} in place of a Validator)")
    return Link(name, validator)


def through(chain: Sequence[Step], value: Any, plain: Any) -> Any:
    """What comes out at the end. `plain` is the JSON data that the value was built from. Raises InvalidValueError."""
    for each in chain:
        match each:
            case Link(name=name, validator=validator, takes_json=True):
                if plain is UNSET:
                    plain = checked(_plain_value, value, name)
                made = checked(validator.check, plain, name)
                # One that only checks hands on what it was given: that says nothing against what the type has built.
                value = value if made is plain else made
                continue
            case Link(name=name, validator=validator):
                value = checked(validator.check, value, name)
            case function:
                value = _told(checked(function, value, _name(function)), value, _name(function))
        plain = UNSET  # even the same value may have been changed
    return value


def _told(said: Any, value: Any, name: str) -> Any:
    """What a function's answer makes of a value. Raises InvalidValueError for its no.

    A bool in place of what was no bool is what a check says of it, and not a value: whoever makes bools of other things
    writes a Validator, whose answer is always the value.
    """
    if said is False and not isinstance(value, bool):
        raise InvalidValueError(flaws=[Flaw("$", f"is not valid ({name})")])
    return value if said is None or (said is True and not isinstance(value, bool)) else said


@interruptible
def checked(check: Callable[[Any], Any], value: Any, name: str) -> Any:
    """What a check returns. Raises InvalidValueError for its no, and where it breaks."""
    try:
        return _unawaited(check(value))
    except InvalidValueError as no:
        if _says_flaws(no):
            raise
        raise _broken(name, no) from None
    except (ValueError, AssertionError) as no:
        raise InvalidValueError(flaws=[Flaw("$", words_of(no) or f"is not valid ({name})")]) from None
    except BaseException as bug:  # noqa: BLE001 - foreign code: its no is no answer, and the call goes on
        let_through(bug)
        raise _broken(name, bug) from None


def _broken(name: str, bug: BaseException) -> InvalidValueError:
    """What a validator that breaks comes to: told here, by name and place, and a no."""
    # Neither what it says nor its traceback: they quote the answer.
    place = extract_tb(bug.__traceback__)[-1]
    logger.error("the validator %s broke: %s in %s, line %d", name, type(bug).__name__, place.filename, place.lineno)
    return InvalidValueError(flaws=[Flaw("$", f"could not be checked: {name} broke ({type(bug).__name__})")])


@interruptible
def _says_flaws(no: InvalidValueError) -> bool:
    """False where what it was made of, or has in their place, are no flaws: nothing else checks that."""
    try:
        said = cast("tuple[object, ...]", (str(no), *no.flaws))
        return all(isinstance(flaw, Flaw) and {type(flaw.path), type(flaw.says)} == {str} for flaw in said[1:])
    except BaseException as error:  # noqa: BLE001 - foreign code: its own class may say them anew
        let_through(error)
        return False


def _unawaited(made: Any) -> Any:
    """What a check has made. Raises TypeError where it only began to."""
    if iscoroutine(made):
        made.close()
        raise TypeError("it is async, and nobody awaits it")
    return made


def _plain_value(value: object) -> Any:
    """The value as JSON data. Raises TypeError where it holds what JSON cannot say."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=plain_part)


def plain_part(value: Any) -> Any:
    """What msgspec does not write by itself: pydantic's models, attrs classes without slots."""
    pydantic = sys.modules.get("pydantic_core")
    if pydantic is not None and hasattr(value, "__pydantic_serializer__"):
        return pydantic.to_jsonable_python(value, by_alias=True)
    if attrs.has(value.__class__):
        names: list[str] = [field.name for field in attrs.fields(value.__class__)]
        return {name: getattr(value, name) for name in names}
    if pydantic is not None and type(value).__module__.startswith("pydantic"):
        return pydantic.to_jsonable_python(value)  # an address, a path, and the like
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


@interruptible
def words_of(no: BaseException) -> str:
    """What a foreign error says of itself, where it can."""
    try:
        return str(no)
    except BaseException as error:  # noqa: BLE001 - foreign code
        let_through(error)
        return ""
