"""The key of a cached answer: everything that can change it, and nothing that cannot.

Taken from the unstreamed wire request, so that a field that is new to penstock is in by itself, and one that a target
is never sent does not split the cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from penstock.types import WireRequest

__all__ = ["SCHEMA_VERSION", "cache_key"]

SCHEMA_VERSION = 1
"""Counted up when keys or stored entries change their meaning."""
NOT_THE_QUESTION: Mapping[str, frozenset[str]] = {
    "anthropic-messages": frozenset({"metadata"}),
    "openai-chat": frozenset({"metadata", "safety_identifier", "user"}),
}
"""By wire family, body fields that say who asks, not what: they do not change the answer and would split the cache by
user. Of a family that is not named here nothing is left out: there, "user" may well be the question."""
NO_FIELDS = frozenset[str]()


def cache_key(wire: WireRequest, *, family: str, significant_headers: frozenset[str], tenant: str) -> str:
    """A key over method, URL, canonical body, significant headers and tenant, encoded without ambiguity."""
    headers = sorted((name.lower(), value) for name, value in wire.headers if name.lower() in significant_headers)
    parts = (SCHEMA_VERSION, wire.method, wire.url, *_question(wire.body, family), headers, tenant)
    return hashlib.blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=32).hexdigest()


def _question(body: bytes, family: str) -> tuple[str, object]:
    """What is asked, and in what form: bytes that are no JSON must not look like a text that spells them."""
    try:
        parsed: object = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return "bytes", body.hex()
    if not isinstance(parsed, dict):
        return "json", parsed
    left_out = NOT_THE_QUESTION.get(family, NO_FIELDS)
    fields = cast("dict[str, Any]", parsed)
    return "json", {name: value for name, value in fields.items() if name not in left_out}
