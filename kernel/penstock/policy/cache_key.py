"""The key of a cached answer: everything that can change it, and nothing that cannot.

Taken from the unstreamed wire request, so that a field that is new to penstock is in by itself, and one that a target
is never sent does not split the cache.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, cast

import msgspec

from penstock.types import Headers, WireRequest

__all__ = ["SCHEMA_VERSION", "WITHOUT_INFLUENCE", "Parts", "Question", "differing", "tenant_prefix"]

SCHEMA_VERSION = 3
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


WITHOUT_INFLUENCE = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"),
        *("api-key", "authorization", "cookie", "ocp-apim-subscription-key", "proxy-authorization", "x-api-key"),
        *("x-auth-token", "x-goog-api-key", "cf-aig-authorization", "helicone-auth", "x-portkey-api-key"),
        *("openai-organization", "openai-project", "x-goog-user-project"),
        *("b3", "baggage", "traceparent", "tracestate", "uber-trace-id", "x-amzn-trace-id", "x-cloud-trace-context"),
        *("idempotency-key", "x-client-request-id", "x-correlation-id", "x-idempotency-key", "x-request-id"),
        *("http-referer", "referer", "x-title"),
    }
)
"""Headers that say how a request travels, who pays, who traces it and whose app it is, and not what is asked. All
others that are sent count: what a gateway makes of them only its users know."""
MOST_DIGITS = 40
"""Whole numbers of so many digits are written out, however they were spelled."""


_EXACTLY = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def _number(text: str) -> int | Decimal:
    """1.0 and 1 are the same number, and every wire takes them for it.

    Exactly that number: others read more digits of it than a float has.
    """
    number = _EXACTLY.normalize(Decimal(text))
    if number.adjusted() < MOST_DIGITS and number == number.to_integral_value():
        return int(number)
    return number


_READER = msgspec.json.Decoder(float_hook=_number)
_canonical = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode


@lru_cache(maxsize=1_024)
def tenant_prefix(tenant: str) -> str:
    """How every key of that tenant begins, and none of another."""
    return hashlib.blake2b(msgspec.json.encode(tenant), digest_size=8, person=b"tenant").hexdigest() + "/"


class Question(NamedTuple):
    """A wire request as its key sees it. Holds the text of the request: not to be kept beyond the moment."""

    method: str
    url: str
    form: str
    asked: object
    headers: Headers
    """Those that count, in order."""

    @classmethod
    def of(cls, wire: WireRequest, *, family: str, significant_headers: frozenset[str]) -> Question:
        """Reads the request, once for key and parts.

        Headers count but for those `WITHOUT_INFLUENCE`, and these too where they are among `significant_headers`.
        """
        try:
            headers = _telling(wire.headers, significant_headers)
        except TypeError:  # headers in lists do as well: they are looked through each time
            headers = _telling.__wrapped__(wire.headers, significant_headers)
        return cls(wire.method, wire.url, *_question(wire.body, family), headers)

    def key(self, tenant: str) -> str:
        """A key over method, URL, canonical body, headers and tenant, encoded without ambiguity."""
        parts = (SCHEMA_VERSION, *self, tenant)
        digest = hashlib.blake2b(_canonical(parts), digest_size=32).hexdigest()
        return tenant_prefix(tenant) + digest

    def parts(self) -> Parts:
        """What the same key is made of, part by part."""
        parts = {"method": _sum_of_text(self.method), "url": _sum_of_text(self.url)}
        for name, _ in self.headers:
            parts[f"header {name}"] = _sum_of_secrets([value for key, value in self.headers if key == name])
        asked = self.asked
        if not isinstance(asked, dict):
            parts[f"body ({self.form})"] = _sum(asked)
            return parts
        for name, field in cast("dict[str, object]", asked).items():
            if isinstance(field, list):
                items = cast("list[object]", field)
                for place, item in enumerate(items[:MOST_ITEMS]):
                    parts[f"{name}[{place}]"] = _sum(item)
                if len(items) > MOST_ITEMS or not items:
                    parts[f"{name}[{len(items[:MOST_ITEMS])}...]"] = _sum(items[MOST_ITEMS:])
            else:
                parts[name] = _sum(field)
        return parts


def differing(one: Parts, other: Parts) -> tuple[str, ...]:
    """The names of the parts in which two requests differ, in order."""
    return tuple(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))


def _sum(value: object) -> int:
    return zlib.crc32(_canonical(value))


_sum_of_text = lru_cache(maxsize=1_024)(_sum)
"""Of texts that are the same for all requests to a target."""


def _sum_of_secrets(value: object) -> int:
    """The same of what may be a credential: a checksum tells more of it than its length in bits."""
    return int.from_bytes(hashlib.blake2b(_canonical(value), digest_size=4, person=b"header").digest(), "big")


@lru_cache(maxsize=256)
def _telling(headers: Headers, significant: frozenset[str]) -> Headers:
    """The headers that count, in order: nearly always the same for every request to a target."""
    telling = [
        (lowered, value)
        for name, value in headers
        if (lowered := name.lower()) in significant or lowered not in WITHOUT_INFLUENCE
    ]
    return tuple(sorted(telling))


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
    if family == "openai-chat" and b'"tool_calls"' in body:
        _read_arguments(fields.get("messages"))
    if left_out.isdisjoint(fields):
        return "json", fields
    return "json", {name: value for name, value in fields.items() if name not in left_out}


def _read_arguments(messages: object) -> None:
    """Arguments of tool calls are JSON in a string there: the order of their fields means nothing either, nor do blanks
    between them. All else of it is what the model reads.
    """
    for message in _tables_in(messages):
        for call in _tables_in(message["tool_calls"]) if "tool_calls" in message else ():
            for function in _tables_in([call.get("function")]):
                if "arguments" in function:
                    function["arguments"] = _read_text(function["arguments"])


def _tables_in(items: object) -> list[dict[str, Any]]:
    """Those of a list; none where it is no list."""
    if not isinstance(items, list):
        return []
    return [item for item in cast("list[dict[str, Any] | None]", items) if isinstance(item, dict)]


def _read_text(value: Any) -> tuple[str, object]:
    """What is in a text, and what it is: no other value in its place may look like it."""
    if not isinstance(value, str):
        return "value", value
    if "\\ud" in value.lower():
        return "text", value  # perhaps half a character, which cannot be written down again
    try:
        return "json", _TEXT_READER.decode(value)
    except (ValueError, ArithmeticError, RecursionError):
        return "text", value


def _table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Raises ValueError where a name stands twice: the model reads both."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands twice")
    return table


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


_TEXT_READER = json.JSONDecoder(object_pairs_hook=_table, parse_float=_number, parse_constant=_no_number)
