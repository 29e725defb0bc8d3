"""The key of a cached answer: everything that can change it, and nothing that cannot.

Taken from the unstreamed wire request, so that a field that is new to penstock is in by itself, and one that a target
is never sent does not split the cache.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import msgspec

from penstock.types import WireRequest

__all__ = ["SCHEMA_VERSION", "cache_key"]

SCHEMA_VERSION = 1
"""Counted up when keys or stored entries change their meaning."""
NOT_THE_QUESTION = ("metadata", "safety_identifier", "user")
"""Body fields that say who asks, not what: they do not change the answer and would split the cache by user."""


def cache_key(wire: WireRequest, *, significant_headers: frozenset[str], tenant: str) -> str:
    """A key over method, URL, canonical body, significant headers and tenant, encoded without ambiguity."""
    body = _question(wire.body)
    headers = sorted((name, value) for name, value in wire.headers if name in significant_headers)
    parts = (SCHEMA_VERSION, wire.method, wire.url, body, headers, tenant)
    return hashlib.blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=32).hexdigest()


def _question(body: bytes) -> object:
    """What is asked: the body without the fields that only say who asks."""
    try:
        parsed: object = msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return body  # a wire that is not JSON: its bytes are canonical enough
    if not isinstance(parsed, dict):
        return parsed
    fields = cast("dict[str, Any]", parsed)
    return {name: value for name, value in fields.items() if name not in NOT_THE_QUESTION}
