"""What a single value of the configuration may be: attrs validators, and marks on fields for who reads files.

Not here: types (`_config_structure`), and values that must fit one another (`_config_load`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sized
from typing import Any
from zoneinfo import available_timezones

import attrs

from penstock._key_shapes import looks_like_key
from penstock._nearest import nearest
from penstock.policy.window import check_zone

__all__ = [
    "LATER",
    "NOT_IN_A_FILE",
    "a_share",
    "a_store",
    "a_zone",
    "at_least_one",
    "attempts_that_end",
    "is_header_name",
    "is_header_value",
    "is_store_name",
    "more_than_zero",
    "no_key",
    "not_empty",
    "sendable_headers",
    "sendable_json",
    "shares",
    "zero_or_more",
]

MOST_ATTEMPTS = 1_000
"""Of one stage. At the longest back-off the last of so many comes two hours after the first: more is a slip, and who
asks what a call comes to at most would count them all."""
NOT_IN_A_FILE = "penstock_not_in_a_file"
"""In the metadata of a field: no table can set it."""
LATER = "penstock_later"
"""In the metadata of a field: values that are known, but whose guard this version does not have."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SENDABLE = re.compile(r"[\x20-\x7e\t]*")
FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-encoding", "expect"})
"""Headers that say how the body travels: the transport's own."""


def more_than_zero(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """An attrs validator: a number that is finite and more than 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{attribute.name} must be more than 0 and finite")


def zero_or_more(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """An attrs validator: a number that is finite and not below 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{attribute.name} must be 0 or more, and finite")


def at_least_one(_: object, attribute: attrs.Attribute[Any], value: int) -> None:
    """An attrs validator: a whole number from 1 on."""
    if value < 1:
        raise ValueError(f"{attribute.name} must be at least 1")


def attempts_that_end(_: object, attribute: attrs.Attribute[Any], value: int) -> None:
    """An attrs validator: how often something may be tried, from 1 on, and no more often than anybody can mean."""
    at_least_one(_, attribute, value)
    if value > MOST_ATTEMPTS:
        raise ValueError(
            f"{attribute.name} must be at most {MOST_ATTEMPTS}; give fewer: how long a call goes on, its timeout says"
        )


def is_header_name(name: str) -> bool:
    """Whether a request of ours can have a header of that name."""
    return _TOKEN.fullmatch(name) is not None and name.lower() not in FRAMING


def is_header_value(value: str) -> bool:
    """Whether HTTP can carry it: plain ASCII in one line."""
    return _SENDABLE.fullmatch(value) is not None


def sendable_headers(_: object, attribute: attrs.Attribute[Any], headers: dict[str, str]) -> None:
    """An attrs validator: names and values that HTTP can carry, none of them twice."""
    for place, (name, value) in enumerate(headers.items(), 1):
        if not _TOKEN.fullmatch(name):
            # It is not shown: a credential may stand where a name should.
            raise ValueError(f"number {place} of them has a name that no header may have")
        if name.lower() in FRAMING:
            raise ValueError(f"the header {name} is the transport's own")
        if not is_header_value(value):
            raise ValueError(f"the value of {name} holds a line break or a character that is not plain ASCII")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError(f"{attribute.name} names a header twice: upper and lower case are the same")


def sendable_json(_: object, attribute: attrs.Attribute[Any], params: dict[str, Any]) -> None:
    """An attrs validator: what JSON can say."""
    try:
        # Not by msgspec, with which the codecs write: it would make a string of a date, and null of NaN.
        json.dumps(params, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = "text that is not Unicode" if isinstance(error, UnicodeError) else str(error)
        raise ValueError(f"{attribute.name} cannot be sent as JSON: {reason[:100]}") from None


def not_empty(_: object, attribute: attrs.Attribute[Any], value: Sized) -> None:
    """An attrs validator."""
    if not value:
        raise ValueError(f"{attribute.name} must not be empty")


def a_store(_: object, attribute: attrs.Attribute[Any], name: str) -> None:
    """An attrs validator: the name of a store, and no address of one, which may hold a password."""
    not_empty(None, attribute, name)
    if not is_store_name(name):
        raise ValueError(f'{attribute.name} is a name such as "sqlite" or "redis"; an address goes into url, beside it')


def is_store_name(name: str) -> bool:
    """Whether a plugin can offer a store of that name."""
    return bool(name) and not any(sign in name for sign in "/:@")


def no_key(_: object, attribute: attrs.Attribute[Any], name: str) -> None:
    """An attrs validator: no credential where a name should be."""
    if looks_like_key(name):
        raise ValueError(f"{attribute.name} is a name, and this looks like a key: that goes into api_key")


def a_zone(_: object, __: object, name: str) -> None:
    """An attrs validator: a time zone of the IANA database."""
    try:
        check_zone(name)
    except ValueError as error:
        near = nearest(name, available_timezones())
        raise ValueError(
            "is not a time zone of the IANA database" + (f"; did you mean {near!r}?" if near else ".")
        ) from error


def a_share(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """An attrs validator."""
    if not 0 < value <= 1:
        raise ValueError(f"{attribute.name} is a share of the limit: more than 0, at most 1")


def shares(_: object, attribute: attrs.Attribute[Any], value: float | tuple[float, ...]) -> None:
    """An attrs validator: one share, or several."""
    for share in value if isinstance(value, tuple) else (value,):
        a_share(None, attribute, share)
