"""What is kept of an answer in the cache, and what comes back of it."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec import Struct

from penstock.policy.entries import Entry
from penstock.policy.money import usd
from penstock.types import Message, Saved, Usage

__all__ = ["Cached", "StoredAnswer", "stored_answer"]


class StoredAnswer(Struct, frozen=True, array_like=True, gc=False):
    """What is kept of an answer. The body is not: a stream has none."""

    message: Message
    finish_reason: str
    usage: Usage | None
    model: str
    target: str
    id: str
    nano_usd: int | None
    """What it cost; None: nobody knows."""


_READER = msgspec.msgpack.Decoder(StoredAnswer)


class Cached(Struct, frozen=True):
    """An answer out of the cache."""

    answer: StoredAnswer
    age: float
    """Seconds."""

    @property
    def saved(self) -> Saved:
        """What it would have taken."""
        nano = self.answer.nano_usd
        spent: Decimal | None = None if nano is None else usd(nano)
        return Saved(usage=self.answer.usage or Usage(estimated=True), cost=spent, age=self.age)


def stored_answer(entry: Entry) -> StoredAnswer | None:
    """None for what is no answer: bytes of a store that are whole, and yet not ours."""
    try:
        return _READER.decode(entry.value)
    except (msgspec.DecodeError, ValueError):
        return None
