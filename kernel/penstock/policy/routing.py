"""What calls learn from one another about targets: who cools down, how texts turn into tokens, how soon answers begin.

Not here: the rules of cool-downs (`cooling`), which stage a call tries next (`retry`), and failures that open a circuit
(`breaker`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from penstock.policy.bound import Estimate
from penstock.policy.cooling import (
    Admitted,
    CoolDown,
    CoolDowns,
    CoolReason,
    CoolSettings,
    Denied,
    PermitVerdict,
    eased,
)
from penstock.policy.latency import FirstTokens

__all__ = [
    "NOTHING_LEARNED",
    "TOKENS_PER_BYTE",
    "Admitted",
    "CoolDown",
    "CoolReason",
    "CoolSettings",
    "Denied",
    "Learned",
    "PermitVerdict",
    "Routing",
    "eased",
    "key_scope",
    "target_scope",
]


def target_scope(target: str) -> str:
    """The name under which a target cools or breaks."""
    return f"target:{target}"


def key_scope(provider: str, key: int = 0) -> str:
    """The name under which the n-th key of a provider cools or breaks."""
    return f"key:{provider}/{key}"


@attrs.frozen
class Learned:
    """What real answers taught about a target."""

    extra_allowance: int = 0
    """Tokens by which real input once exceeded its bound: added to every bound from then on."""
    tokens_per_byte: float | None = None
    """What a byte of text came to, margin included; None: nothing learned yet."""
    first_token_p95: float | None = None
    """Seconds within which 95 of 100 healthy answers began; None until five were seen."""


NOTHING_LEARNED = Learned()
TOKENS_PER_BYTE = 0.25 * 1.1
"""Before anything was learned of a target: 4 bytes a token, and a margin of a tenth."""


class Routing:
    """Cool-downs and what was learned, of all targets. `version` moves exactly when what is shown does."""

    def __init__(self, settings: CoolSettings | None = None) -> None:
        self._cool_downs = CoolDowns(settings)
        self._estimate = Estimate()
        self._first_tokens = FirstTokens()
        self._learned: dict[str, Learned] = {}
        self._learned_version = 0

    @property
    def version(self) -> int:
        """Counts the changes of `cooling` and `learned`."""
        return self._cool_downs.version + self._learned_version

    def cool(
        self, scope: str, reason: CoolReason, *, now: float, jitter: float, retry_after: float | None = None
    ) -> CoolDown | None:
        """A scope is used up: see `CoolDowns.cool`."""
        return self._cool_downs.cool(scope, reason, now=now, jitter=jitter, retry_after=retry_after)

    def admit(self, permit_id: str, scopes: Sequence[str], now: float, *, lease: float) -> Admitted | Denied:
        """May an attempt go to all of `scopes`, some of which cooled? See `CoolDowns.admit`."""
        return self._cool_downs.admit(permit_id, scopes, now, lease=lease)

    def give_back(self, permit_id: str, verdict: PermitVerdict, now: float) -> None:
        """An attempt with this permit ended: see `CoolDowns.give_back`."""
        self._cool_downs.give_back(permit_id, verdict, now)

    def expire(self, now: float) -> None:
        """Takes back the permits whose lease has ended."""
        self._cool_downs.expire(now)

    @property
    def next_expiry(self) -> float | None:
        """When the next lease ends."""
        return self._cool_downs.next_expiry

    def used(self, target: str, *, text_bytes: int, input_tokens: int, excess: int = 0) -> None:
        """Real input usage of exchanges, beside the bytes of their text.

        `excess` is the most by which one of them exceeded its codec's own bound, whatever was learned before; 0 or less
        where none did. A ratio that moves by less than a fiftieth is not worth telling everyone.
        """
        learned = self._learned.get(target, Learned())
        extra = max(learned.extra_allowance, min(excess, MOST_ALLOWANCE))
        ratio = learned.tokens_per_byte
        if text_bytes:
            self._estimate.learn(target, input_bytes=text_bytes, input_tokens=input_tokens)
            seen = self._estimate.tokens(target, RATIO_BYTES) / RATIO_BYTES
            ratio = seen if ratio is None or abs(seen - ratio) > ratio / 50 else ratio
        self._learn(target, attrs.evolve(learned, extra_allowance=extra, tokens_per_byte=ratio))

    def first_tokens(self, target: str, times: Iterable[float]) -> None:
        """Healthy answers began so many seconds after their requests.

        A percentile that moves by a fifth or less is not worth telling everyone.
        """
        for seconds in times:
            self._first_tokens.add(target, seconds)
        learned = self._learned.get(target, Learned())
        seen, told = self._first_tokens.p95(target), learned.first_token_p95
        if seen is not None and (told is None or abs(seen - told) > told / 5):
            self._learn(target, attrs.evolve(learned, first_token_p95=seen))

    def _learn(self, target: str, learned: Learned) -> None:
        if learned == self._learned.get(target, Learned()):
            return
        self._learned.pop(target, None)
        self._learned[target] = learned
        if len(self._learned) > MOST_TARGETS:
            del self._learned[next(iter(self._learned))]
        self._learned_version += 1

    def cooling(self) -> Mapping[str, CoolDown]:
        """Every cool-down by scope. One whose time is over thaws: whoever goes there asks for leave."""
        return self._cool_downs.shown()

    def learned(self) -> Mapping[str, Learned]:
        """What was learned, by target."""
        return dict(self._learned)


MOST_TARGETS = 4_096
"""Names of targets can come from callers: beyond so many, the oldest is forgotten."""
MOST_ALLOWANCE = 100_000
"""Tokens that are added to a bound at most: seventy times what any provider was seen to add (1,290, see the design's
recordings). One wrong count must not make every later call of a target look dear for good."""
RATIO_BYTES = 1_000_000
"""So many bytes are asked about to learn the ratio: rounding up to a token then hides nothing."""
