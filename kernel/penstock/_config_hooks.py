"""Single values for cattrs: each taken for what it is in the file, and for nothing else.

Not here: arrays, tables and classes (`_config_structure`).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, NewType, get_args, get_origin

from penstock._config_mistakes import WrongError
from penstock._nearest import nearest, one_of
from penstock.policy.money import nano_from_usd

__all__ = ["LARGEST", "SCALARS", "NanoUsd", "is_literal", "is_nano_usd", "read_literal", "read_nano_usd"]

NanoUsd = NewType("NanoUsd", int)
"""A figure in USD in the file, whole nano-USD once it is read."""
LARGEST = 2**63 - 1


def read_bool(value: object, _: object) -> bool:
    if isinstance(value, bool):
        return value
    raise WrongError(value, "must be true or false")


def read_int(value: object, _: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongError(value, "must be a whole number")
    if not -LARGEST <= value <= LARGEST:
        raise WrongError(value, "is too large")
    return value


def read_float(value: object, _: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongError(value, "must be a number")
    if not -LARGEST <= value <= LARGEST:
        raise WrongError(value, "must be a finite number" if isinstance(value, float) else "is too large")
    return float(value)


def read_str(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise WrongError(value, "must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise WrongError(value, "must be text that Unicode can encode") from None
    return value


SCALARS: dict[type, Callable[[object, object], Any]] = {
    bool: read_bool,
    int: read_int,
    float: read_float,
    str: read_str,
}


def is_nano_usd(kind: Any) -> bool:
    return kind is NanoUsd


def read_nano_usd(value: object, _: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise WrongError(value, "must be an amount in USD")
    try:
        return nano_from_usd(value)
    except ValueError:
        raise WrongError(value, "must be an amount in USD: finite, not negative, less than 10**18") from None


def is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def read_literal(value: object, kind: object) -> object:
    choices = get_args(kind)
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return value
    names = [str(choice) for choice in choices]
    near = nearest(value, names) if isinstance(value, str) else None
    raise WrongError(value, f"must be one of {one_of(names)}" + (f"; did you mean {near!r}?" if near else ""))
