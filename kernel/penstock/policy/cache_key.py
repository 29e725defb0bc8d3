"""The key of a cached answer: everything that can change it, and nothing that cannot.

Taken from the unstreamed wire request, so that a field that is new to penstock is in by itself, and one that a target
is never sent does not split the cache.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import msgspec

from penstock.types import WireRequest

__all__ = ["SCHEMA_VERSION", "Parts", "cache_key", "differing", "key_parts", "tenant_prefix"]

SCHEMA_VERSION = 2
"""Counted up when keys or stored entries change their meaning."""
NOT_THE_QUESTION: Mapping[str, frozenset[str]] = {
    "anthropic-messages": frozenset({"metadata"}),
    "openai-chat": frozenset({"metadata", "safety_identifier", "user"}),
}
"""By wire family, body fields that say who asks, not what: they do not change the answer and would split the cache by
user. Of a family that is not named here nothing is left out: there, "user" may well be the question."""
NO_FIELDS = frozenset[str]()
MOST_ITEMS = 64
"""Items of a list (messages, tools) that are told apart; those beyond it count as one part."""

Parts = dict[str, int]
"""A short sum of each part of a request by its name, such as `temperature` or `messages[2]`. It says whether two
requests are the same there, and nothing of what they are."""


def _number(text: str) -> float:
    """1.0 and 1 are the same number, and every wire takes them for it."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < EXACT else number


EXACT = 2**53
"""Below it a float that is whole is exactly that integer."""
_READER = msgspec.json.Decoder(float_hook=_number)
_canonical = msgspec.json.Encoder(order="deterministic").encode


@lru_cache(maxsize=1_024)
def tenant_prefix(tenant: str) -> str:
    """How every key of that tenant begins, and none of another."""
    return hashlib.blake2b(msgspec.json.encode(tenant), digest_size=8, person=b"tenant").hexdigest() + "/"


def cache_key(wire: WireRequest, *, family: str, significant_headers: frozenset[str], tenant: str) -> str:
    """A key over method, URL, canonical body, significant headers and tenant, encoded without ambiguity."""
    headers = sorted((name.lower(), value) for name, value in wire.headers if name.lower() in significant_headers)
    parts = (SCHEMA_VERSION, wire.method, wire.url, *_question(wire.body, family), headers, tenant)
    digest = hashlib.blake2b(_canonical(parts), digest_size=32).hexdigest()
    return tenant_prefix(tenant) + digest


def key_parts(wire: WireRequest, *, family: str, significant_headers: frozenset[str]) -> Parts:
    """What the same key is made of, part by part."""
    parts = {"method": _sum(wire.method), "url": _sum(wire.url)}
    headers = [(name.lower(), value) for name, value in wire.headers if name.lower() in significant_headers]
    for name, _ in headers:
        parts[f"header {name}"] = _sum([value for key, value in headers if key == name])
    form, question = _question(wire.body, family)
    if not isinstance(question, dict):
        parts[f"body ({form})"] = _sum(question)
        return parts
    for name, field in cast("dict[str, object]", question).items():
        if isinstance(field, list):
            for item, value in _items(name, cast("list[object]", field)):
                parts[item] = _sum(value)
        else:
            parts[name] = _sum(field)
    return parts


def differing(one: Parts, other: Parts) -> tuple[str, ...]:
    """The names of the parts in which two requests differ, in order."""
    return tuple(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))


def _items(name: str, items: list[object]) -> Iterator[tuple[str, object]]:
    for place, item in enumerate(items[:MOST_ITEMS]):
        yield f"{name}[{place}]", item
    if len(items) > MOST_ITEMS or not items:
        yield f"{name}[{len(items[:MOST_ITEMS])}...]", items[MOST_ITEMS:]


def _sum(value: object) -> int:
    return zlib.crc32(_canonical(value))


def _question(body: bytes, family: str) -> tuple[str, object]:
    """What is asked, and in what form: bytes that are no JSON must not look like a text that spells them."""
    try:
        parsed: object = _READER.decode(body)
    except msgspec.DecodeError:
        return "bytes", body.hex()
    if not isinstance(parsed, dict):
        return "json", parsed
    left_out = NOT_THE_QUESTION.get(family, NO_FIELDS)
    fields = cast("dict[str, Any]", parsed)
    if family == "openai-chat":
        _read_arguments(fields.get("messages"))
    return "json", {name: value for name, value in fields.items() if name not in left_out}


def _read_arguments(messages: object) -> None:
    """Arguments of tool calls are JSON in a string there: the order of their fields means nothing either."""
    for message in _tables_in(messages):
        for call in _tables_in(message.get("tool_calls")):
            for function in _tables_in([call.get("function")]):
                if "arguments" in function:
                    function["arguments"] = _read_text(function["arguments"])


def _tables_in(items: object) -> list[dict[str, Any]]:
    """Those of a list; none where it is no list."""
    listed = cast("list[object]", items) if isinstance(items, list) else []
    return [cast("dict[str, Any]", item) for item in listed if isinstance(item, dict)]


def _read_text(value: Any) -> tuple[str, object]:
    """What is in a text, and what it is: no other value in its place may look like it."""
    if not isinstance(value, str):
        return "value", value
    try:
        return "json", _READER.decode(value)
    except msgspec.DecodeError:
        return "text", value
