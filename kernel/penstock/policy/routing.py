"""What calls learn from one another about targets: who cools down until when, and how texts turn into tokens there.

Not here: which stage a call tries next (`retry`), and failures that open a circuit (`breaker`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from penstock.policy.bound import Estimate

__all__ = ["CoolDown", "CoolSettings", "Learned", "Routing", "key_scope", "target_scope"]


def target_scope(target: str) -> str:
    """The name under which a target cools or breaks."""
    return f"target:{target}"


def key_scope(provider: str, key: int = 0) -> str:
    """The name under which the n-th key of a provider cools or breaks."""
    return f"key:{provider}/{key}"


@attrs.frozen
class CoolSettings:
    """Seconds. Without a hint a rate limit cools 1 s, doubling to 30 s; an empty account 5 min, doubling to 1 h."""

    rate_base: float = 1.0
    rate_cap: float = 30.0
    quota_base: float = 300.0
    quota_cap: float = 3600.0


@attrs.frozen
class CoolDown:
    """Nobody tries `scope` before `until` (the kernel's monotonic clock)."""

    scope: str
    until: float
    reason: Literal["rate_limited", "quota_exhausted"]


@attrs.frozen
class Learned:
    """What real usage taught about a target."""

    extra_allowance: int = 0
    """Tokens by which real input once exceeded its bound: added to every bound from then on."""
    tokens_per_byte: float | None = None
    """What a byte of text came to, margin included; None: nothing learned yet."""


@attrs.define
class _Cooling:
    until: float
    reason: Literal["rate_limited", "quota_exhausted"]
    in_a_row: int


class Routing:
    """Cool-downs and learned ratios of all targets.

    Laws: a cool-down is extended, never shortened; an answer that comes in meanwhile does not end it; `version` moves
    exactly when the snapshot does.
    """

    def __init__(self, settings: CoolSettings | None = None) -> None:
        self._settings = settings or CoolSettings()
        self._cooling: dict[str, _Cooling] = {}
        self._estimate = Estimate()
        self._learned: dict[str, Learned] = {}
        self.version = 0

    def cool(
        self,
        scope: str,
        reason: Literal["rate_limited", "quota_exhausted"],
        *,
        now: float,
        jitter: float,
        retry_after: float | None = None,
    ) -> CoolDown | None:
        """Cools `scope`: as long as the server asks, else doubling. Returns the cool-down if it is new or longer."""
        before = self._cooling.get(scope)
        in_a_row = before.in_a_row + 1 if before else 1
        if before and now < before.until:
            # Calls that were under way together and hit the same limit count as one.
            in_a_row = before.in_a_row
        base, cap = (
            (self._settings.quota_base, self._settings.quota_cap)
            if reason == "quota_exhausted"
            else (self._settings.rate_base, self._settings.rate_cap)
        )
        own = min(cap, base * 2.0 ** min(in_a_row - 1, 30))
        if reason == "quota_exhausted":
            # Nothing a server says about seconds fills an account; a little jitter upward spreads those who come back.
            wait = max(own * (1 + jitter / 10), retry_after or 0.0)
        else:
            wait = own * (0.5 + jitter / 2) if retry_after is None else retry_after
        until = now + wait
        if before and until <= before.until:
            return None
        self._cooling.pop(scope, None)
        self._cooling[scope] = _Cooling(until, reason, in_a_row)
        if len(self._cooling) > MOST_SCOPES:
            del self._cooling[next(iter(self._cooling))]
        self.version += 1
        return CoolDown(scope, until, reason)

    def answered(self, scope: str, now: float) -> None:
        """The scope answered after its cool-down: the next one starts small again."""
        cooling = self._cooling.get(scope)
        if cooling and cooling.until <= now:
            del self._cooling[scope]
            self.version += 1

    def used(self, target: str, *, text_bytes: int, input_tokens: int, excess: int = 0) -> None:
        """Real input usage of exchanges, beside the bytes of their text.

        `excess` is the most by which one of them exceeded its codec's own bound, whatever was learned before; 0 or less
        where none did. A ratio that moves by less than a fiftieth is not worth telling everyone.
        """
        learned = self._learned.get(target, Learned())
        extra = max(learned.extra_allowance, excess)
        ratio = learned.tokens_per_byte
        if text_bytes:
            self._estimate.learn(target, input_bytes=text_bytes, input_tokens=input_tokens)
            seen = self._estimate.tokens(target, RATIO_BYTES) / RATIO_BYTES
            ratio = seen if ratio is None or abs(seen - ratio) > ratio / 50 else ratio
        self._learn(target, Learned(extra, ratio))

    def _learn(self, target: str, learned: Learned) -> None:
        if learned == self._learned.get(target, Learned()):
            return
        self._learned.pop(target, None)
        self._learned[target] = learned
        if len(self._learned) > MOST_SCOPES:
            del self._learned[next(iter(self._learned))]
        self.version += 1

    def cooling(self) -> Mapping[str, CoolDown]:
        """Every cool-down that was not answered since, by scope; ones that are over are left for `answered`."""
        return {scope: CoolDown(scope, state.until, state.reason) for scope, state in self._cooling.items()}

    def learned(self) -> Mapping[str, Learned]:
        """What was learned, by target."""
        return dict(self._learned)


MOST_SCOPES = 4_096
"""Names of targets can come from callers: beyond so many, the oldest is forgotten."""
RATIO_BYTES = 1_000_000
"""So many bytes are asked about to learn the ratio: rounding up to a token then hides nothing."""
