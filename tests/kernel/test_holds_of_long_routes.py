"""A hold is as large as the dearest attempt of its call, though of targets that are alike only those are asked."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from listening import Listening

from penstock import Config
from penstock._budgeting import BudgetRules, Offer, Pricing, hold_terms
from penstock._events import EventHub
from penstock._fitting import CallFitting
from penstock._live_target import LiveProvider
from penstock._route_offers import offers_of
from penstock._targets import RouteTargets, TargetBook
from penstock.errors import CallError
from penstock.policy.accounts import AccountSpec, Limit, Measure, chain_terms
from penstock.policy.fitting import UnsupportedRules
from penstock.policy.holds import dearest
from penstock.policy.routing import Learned
from penstock.policy.window import Per
from penstock.types import ChatRequest, Target
from penstock_providers.openai_chat import OpenAIChat

MODELS = ("gpt-4o", "gpt-4", "gpt-4.1", "one-that-nobody-knows", "and-another")
WITH_ONE_APART = (*MODELS, "gpt-4o-search-preview")
"""It counts more than the text, so that nothing bounds it."""
PRICES = st.sampled_from((1.0, 2.0))


def stages_of(models: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, float, float]]]:
    return st.lists(st.tuples(st.sampled_from(models), PRICES, PRICES), min_size=2, max_size=4)


STAGES = stages_of(MODELS[:3]) | stages_of(MODELS) | stages_of(WITH_ONE_APART)
LEARNED = st.dictionaries(
    st.integers(0, 3),
    st.builds(Learned, st.sampled_from((0, 400)), st.none() | st.sampled_from((0.1, 0.3, 0.6))),
)
SIZES = st.sampled_from((1, 40, 800, 5_000, 9_000, 140_000))
LIMITS = st.sampled_from((10**10, 10**10, 10**10, 10**7, 3_000, 200))
"""Of tokens, or of nano-USD. Most let everything through: else there is no hold to be looked at."""


class Otherwise(OpenAIChat):
    """Counts otherwise than the class that it is made from, and says nothing of it."""

    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        return 6_000 if target.model == "gpt-4.1" else super().input_bound(request, target)


class Odd(OpenAIChat):
    """Tells what cannot be compared."""

    class NoEquals:
        __hash__ = object.__hash__

        def __eq__(self, _: object) -> bool:
            raise RuntimeError("not to be compared")

    def text_kind(self, target: Target) -> Hashable:
        del target
        return self.NoEquals()


def route_of(
    stages: list[tuple[str, float, float]], codec: OpenAIChat | None = None, **of_the_first: Any
) -> RouteTargets:
    """One stage for each model, and its price of what comes in and goes out."""
    targets = {
        f"target-{at}": {"provider": "openai", "model": model, "price": {"input": given, "output": written}}
        for at, (model, given, written) in enumerate(stages)
    }
    targets["target-0"] |= of_the_first
    config = Config.from_dict(
        {"providers": {"openai": {"api_key": "sk-test"}}, "targets": targets, "routes": {"r": {"cascade": [*targets]}}},
        environ={},
    )
    provider = LiveProvider("openai", codec or Listening(), None, httpx.MockTransport(lambda _: httpx.Response(500)))
    book = TargetBook(config, {"openai": provider}, lambda target: target.price, lambda _model, _kind: None)
    return book.along(config.routes["r"])


def chain_of(bound: Measure = "proof", **per_request: Any) -> tuple[AccountSpec, ...]:
    limits = Limit(per=Per.REQUEST, **per_request), Limit(per=Per.DAY, tokens=1)
    return (AccountSpec(path="", limits=limits, bound=bound),)


class Asked:
    """The offers of one call over a route, and which of its stages they were worked out for."""

    def __init__(
        self,
        along: RouteTargets,
        request: ChatRequest,
        learned: dict[str, Learned],
        chain: tuple[AccountSpec, ...] = chain_of(input_tokens=10**6),
    ) -> None:
        self.along, self.request = along, request
        self.pricing = Pricing(chain_terms(chain), learned, BudgetRules(), request.max_tokens)
        codec = along.targets[0].provider.codec
        assert isinstance(codec, Listening)
        codec.asked.clear()
        guesses = self.pricing.terms.guesses
        self.offers = offers_of(along, self._fitting(), self.pricing, guesses=guesses)
        self.refused = self.offers.refused()
        self.held = self.offers.held()
        self.stages = [int(name.removeprefix("target-")) for name in codec.asked]

    def every(self) -> list[Offer | CallError]:
        """Those of all stages, each for itself."""
        fitting = self._fitting()
        return [
            self.pricing.offer(fitting.foreseen(stage, target), target)
            for stage, target in enumerate(self.along.targets)
        ]

    def _fitting(self) -> CallFitting:
        return CallFitting("call", self.request, UnsupportedRules(), EventHub(), self.along.targets)


@given(
    STAGES,
    LEARNED,
    st.lists(SIZES, min_size=2, max_size=4),
    LIMITS,
    st.sampled_from(("input_tokens", "tokens", "nano_usd")),
    st.sampled_from(("proof", "proof", "estimate")),
    st.sampled_from((None, 100, 20_000)),
    st.integers(1, 30_000),
)
def test_the_hold_covers_what_any_stage_may_cost_and_no_more(  # noqa: PLR0917 - all of it drawn
    stages: list[tuple[str, float, float]],
    seen: dict[int, Learned],
    sizes: list[int],
    limit: int,
    unit: str,
    bound: Measure,
    max_tokens: int | None,
    output: int,
) -> None:
    along = route_of(stages)
    learned = {f"target-{at}": known for at, known in seen.items()}
    chain = chain_of(bound, **{unit: limit})
    for size in sizes:
        call = Asked(along, ChatRequest("a" * size, max_tokens=max_tokens), learned, chain)
        every = call.every()
        assert [stage for stage, _ in call.refused] == [
            at for at, own in enumerate(every) if isinstance(own, CallError)
        ]
        allowed = [own for own in every if not isinstance(own, CallError)]
        assert len(call.stages) == len(set(call.stages))
        if not allowed:
            assert not call.held
            continue
        held, all_of_them = hold_terms(call.held, guesses=True), hold_terms(allowed, guesses=True)
        assert (held.min_output, held.max_output) == (all_of_them.min_output, all_of_them.max_output)
        assert dearest(held.lines, output) == dearest(all_of_them.lines, output)
        if bound == "estimate":
            assert dearest(held.likely, output) == dearest(all_of_them.likely, output)
        guessed = hold_terms(call.offers.guessed(), guesses=True)
        assert dearest(guessed.lines, output) == dearest(all_of_them.lines, output)
        assert dearest(guessed.likely, output) == dearest(all_of_them.likely, output)


ALIKE = [("one-that-nobody-knows", 1.0, 1.0), ("and-another", 1.0, 1.0)]
TEXT = ChatRequest("a" * 500, max_tokens=100)


def test_of_a_thousand_targets_that_are_alike_one_is_asked_what_a_call_may_cost() -> None:
    along = route_of(ALIKE * 500)
    assert along.standing({}).of_each_kind == (0,)
    learned = {"target-7": Learned(5, None), "target-8": Learned(0, 0.5)}
    assert along.standing(learned).of_each_kind == (7, 8)


def test_where_one_of_a_kind_is_refused_the_others_are_held_for_all_the_same() -> None:
    along = route_of(ALIKE)
    call = Asked(along, TEXT, {"target-0": Learned(tokens_per_byte=0.6)}, chain_of(input_tokens=200))
    assert [stage for stage, _ in call.refused] == [0]
    assert call.held == [call.offers.of(1)]


def test_of_models_that_count_text_alike_the_dearest_is_asked_once_all_have_taken_such_a_request() -> None:
    along = route_of([("gpt-4.1", 1.0, 1.0), ("gpt-4o", 2.0, 2.0), ("gpt-4", 2.0, 1.0)])
    assert Asked(along, TEXT, {}).stages == [0, 1, 2]
    assert Asked(along, ChatRequest("b" * 2_000, max_tokens=100), {}).stages == [1]
    assert Asked(along, ChatRequest("b", max_tokens=200), {}).stages == [0, 1, 2], "another shape"


def test_of_models_that_cost_the_same_the_first_is_asked_whatever_was_learned_of_how_much_a_byte_comes_to() -> None:
    along, learned = route_of([("gpt-4o", 1.0, 1.0), ("gpt-4.1", 1.0, 1.0)]), {"target-1": Learned(tokens_per_byte=0.6)}
    Asked(along, TEXT, learned)
    assert Asked(along, TEXT, learned).stages == [0]


def test_a_text_that_a_window_cuts_off_is_priced_at_each_model() -> None:
    along = route_of([("gpt-4", 2.0, 2.0), ("gpt-4.1", 1.0, 2.0)])
    Asked(along, TEXT, {})
    call = Asked(along, ChatRequest("a" * 20_000, max_tokens=100), {})
    assert sorted(call.stages) == [0, 1]
    first, second = call.held
    assert second.line.input_nano_usd > first.line.input_nano_usd


def test_what_is_learned_later_is_not_missed() -> None:
    along = route_of([("gpt-4o", 1.0, 1.0), ("gpt-4.1", 1.0, 1.0)])
    Asked(along, TEXT, {})
    assert Asked(along, TEXT, {}).stages == [0]
    assert Asked(along, TEXT, {"target-1": Learned(extra_allowance=40)}).stages == [1]


def test_none_stands_for_others_once_a_stage_is_asked_for_something_else() -> None:
    along = route_of([("gpt-4o", 1.0, 1.0), ("gpt-4.1", 1.0, 1.0)])
    Asked(along, TEXT, {})
    call = Asked(along, TEXT, {})
    longer = call.pricing.offer(ChatRequest("a" * 5_000, max_tokens=100), along.targets[1])
    call.offers.change(1, longer)
    assert call.offers.held() == [call.offers.of(0), longer]
    assert longer in call.offers.guessed()


def test_a_target_that_counts_otherwise_is_asked_for_itself() -> None:
    along = route_of([("gpt-4o", 2.0, 2.0), ("gpt-4.1", 1.0, 1.0)], params={"user": "somebody"})
    Asked(along, TEXT, {})
    assert Asked(along, TEXT, {}).stages == [0, 1]


def test_one_that_is_refused_by_its_own_estimate_does_not_hide_behind_a_dearer_one() -> None:
    along = route_of([("gpt-4o", 2.0, 2.0), ("gpt-4.1", 1.0, 1.0)])
    learned, chain = {"target-1": Learned(tokens_per_byte=0.6)}, chain_of(input_tokens=3_000)
    Asked(along, TEXT, learned, chain)
    call = Asked(along, ChatRequest("a" * 6_000, max_tokens=100), learned, chain)
    assert [stage for stage, _ in call.refused] == [1]
    assert call.held == [call.offers.of(0)]


@pytest.mark.parametrize("codec", [Otherwise(), Odd()])
def test_what_a_codec_has_not_said_of_itself_is_not_believed(codec: OpenAIChat) -> None:
    along = route_of([("gpt-4o", 1.0, 1.0), ("gpt-4.1", 1.0, 1.0)], codec)
    assert [target.text_kind for target in along.targets] == [None, None]
    assert (along.targets[0].kind is None) == isinstance(codec, Otherwise)
