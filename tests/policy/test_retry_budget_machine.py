"""Retry budgets under every order of events, beside a model that keeps every moment and counts from scratch."""

from __future__ import annotations

import copy
import math

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penstock.policy.retry_budget import RetryBudget, RetryBudgetSettings, Suppressed, Traffic, Withdrawn

PROVIDERS = ("a", "b")
SETTINGS = {
    "a": RetryBudgetSettings(floor=3, ratio=0.5, window=10.0, money_ratio=None),
    "b": RetryBudgetSettings(floor=4, ratio=0.25, window=6.0, money_ratio=0.1),
}
providers = st.sampled_from(PROVIDERS)
money = st.sampled_from([0, 1, 10, 1_000])
costs = st.sampled_from([None, 0, 1, 10, 100])
holds = st.sampled_from([None, 0, 1, 10])


@attrs.define
class Extra:
    """An attempt beyond the first, and what it is known to cost."""

    at: float
    cost: int
    call: bool


@attrs.define
class Story:
    """What happened at one provider, moment by moment."""

    firsts: list[float] = attrs.Factory(list[float])
    extras: list[Extra] = attrs.Factory(list[Extra])
    settled: list[tuple[float, int]] = attrs.Factory(list[tuple[float, int]])


def lately(at: float, now: float, span: float) -> bool:
    return at > now - span


class Retries(RuleBasedStateMachine):
    """The model counts in true moments, the core in slices: it may be stricter by one slice, and never laxer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.budget = RetryBudget(SETTINGS.__getitem__)
        self.story = {provider: Story() for provider in PROVIDERS}
        self.receipts: list[tuple[Withdrawn, Extra]] = []
        self.gathered = {provider: Traffic() for provider in PROVIDERS}

    @initialize(start=st.floats(0.0, 1e6))
    def begin_anywhere(self, start: float) -> None:
        self.now = start

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0, 7.0, 10.0, 60.0, 1_800.0, 3_600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(provider=providers, count=st.integers(1, 20))
    def calls_begin(self, provider: str, count: int) -> None:
        self.budget.first_attempt(provider, self.now, count)
        self.story[provider].firsts += [self.now] * count

    @rule(provider=providers, count=st.integers(1, 20), nano_usd=money)
    def calls_begin_that_are_told_later(self, provider: str, count: int, nano_usd: int) -> None:
        self.gathered[provider].first_attempt(self.now, count)
        self.gathered[provider].settled(nano_usd, self.now)
        self.story[provider].firsts += [self.now] * count
        self.story[provider].settled.append((self.now, nano_usd))

    def tell(self, provider: str) -> None:
        self.budget.merge(provider, self.gathered[provider])
        self.gathered[provider] = Traffic()

    @rule(provider=providers, nano_usd=money)
    def a_first_attempt_is_charged(self, provider: str, nano_usd: int) -> None:
        self.budget.settled(provider, nano_usd, self.now)
        self.story[provider].settled.append((self.now, nano_usd))

    @rule(provider=providers, cost=costs, hold=holds, call=st.booleans(), times=st.integers(1, 12))
    def some_more_attempts(self, provider: str, cost: int | None, hold: int | None, call: bool, times: int) -> None:  # noqa: FBT001 - drawn
        for _ in range(times):
            self.one_more_attempt(provider, cost, hold, call=call)

    def one_more_attempt(self, provider: str, cost: int | None, hold: int | None, *, call: bool) -> None:
        self.tell(provider)
        used_up = self.budget.used_up(provider, self.now)
        ask = self.budget.withdraw if call else self.budget.spend
        answer = ask(provider, self.now, nano_usd=cost, hold_nano_usd=hold)
        if call and (used_up is not None or (isinstance(answer, Suppressed) and answer.reason == "calls")):
            assert answer == used_up, "what was told beforehand"
        spare = cost or 0
        if isinstance(answer, Withdrawn):
            assert not call or self.calls_fit(provider, strict=False), "more than the rule says"
            assert self.money_fits(provider, spare, hold, strict=False), "dearer than the rule says"
            extra = Extra(self.now, spare, call)
            self.story[provider].extras.append(extra)
            self.receipts.append((answer, extra))
            return
        assert not (
            (not call or self.calls_fit(provider, strict=True)) and self.money_fits(provider, spare, hold, strict=True)
        )
        self.a_refusal_keeps_its_word(provider, cost, hold, answer, call=call)

    def a_refusal_keeps_its_word(
        self, provider: str, cost: int | None, hold: int | None, answer: Suppressed, *, call: bool
    ) -> None:
        assert answer.retry_at > self.now
        assert call or answer.reason == "money"
        if math.isinf(answer.retry_at):
            assert answer.reason == "money"
            assert (cost or 0) > 10 * (hold if hold is not None else cost or 0)
            return
        # Asked sooner, where nothing else happens, it says no again; asked then, not for this reason.
        sooner = self.now + (answer.retry_at - self.now) * 0.9
        for moment, still in ((sooner, True), (answer.retry_at, False)):
            later = copy.deepcopy(self.budget)
            ask = later.withdraw if call else later.spend
            again = ask(provider, moment, nano_usd=cost, hold_nano_usd=hold)
            assert isinstance(again, Suppressed) or not still
            assert still or isinstance(again, Withdrawn) or again.reason != answer.reason

    @rule(nano_usd=money, count=st.integers(1, 12))
    def extra_attempts_are_charged(self, nano_usd: int, count: int) -> None:
        for receipt, extra in self.receipts[-count:]:
            self.budget.settled(receipt.provider, nano_usd, self.now, receipt)
            self.story[receipt.provider].settled.append((self.now, nano_usd))
            extra.cost = nano_usd
        del self.receipts[-count:]

    def calls_fit(self, provider: str, *, strict: bool) -> bool:
        """One more within the window; `strict`: even where the slice at its edge counts against it."""
        settings, story = SETTINGS[provider], self.story[provider]
        edge = 1.0 if strict else 0.0
        firsts = sum(lately(at, self.now, settings.window - edge) for at in story.firsts)
        calls = sum(extra.call and lately(extra.at, self.now, settings.window + edge) for extra in story.extras)
        return calls + 1 <= settings.floor + settings.ratio * firsts + 1e-6

    def money_fits(self, provider: str, cost: int, hold: int | None, *, strict: bool) -> bool:
        settings, story = SETTINGS[provider], self.story[provider]
        if settings.money_ratio is None or not cost:
            return True
        edge = 60.0 if strict else 0.0
        settled = sum(amount for at, amount in story.settled if lately(at, self.now, 3_600.0 - edge))
        spent = sum(extra.cost for extra in story.extras if lately(extra.at, self.now, 3_600.0 + edge))
        share = math.floor(settings.money_ratio * settled)
        return spent + cost <= max(share, 10 * (cost if hold is None else hold))

    @invariant()
    def no_window_of_the_past_holds_more_withdrawals_than_the_rule_says(self) -> None:
        for provider, story in self.story.items():
            settings = SETTINGS[provider]
            made = [extra.at for extra in story.extras if extra.call]
            # At the last withdrawal, for every earlier one the same was checked before.
            end = made[-1] if made else 0.0
            within = sum(end - settings.window < at <= end for at in made)
            firsts = sum(end - settings.window < at <= end for at in story.firsts)
            assert within <= settings.floor + settings.ratio * firsts + 1e-6


TestRetries = Retries.TestCase
