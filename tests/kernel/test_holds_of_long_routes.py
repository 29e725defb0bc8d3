"""A hold is as large as the dearest attempt of its call, though of targets that are alike only those are asked."""

from __future__ import annotations

import httpx
from hypothesis import given
from hypothesis import strategies as st

from penstock import Config
from penstock._budgeting import BudgetRules, Offer, Pricing, hold_terms
from penstock._offers import Offers
from penstock._targets import LiveProvider, RouteTargets, TargetBook
from penstock.errors import CallError
from penstock.policy.accounts import AccountSpec, Limit, chain_terms
from penstock.policy.holds import dearest
from penstock.policy.routing import Learned
from penstock.policy.window import Per
from penstock.types import ChatRequest
from penstock_providers.openai_chat import OpenAIChat

MODELS = ("gpt-4o", "one-that-nobody-knows", "and-another")
STAGES = st.lists(st.tuples(st.sampled_from(MODELS), st.sampled_from((1.0, 2.0))), min_size=2, max_size=8)
LEARNED = st.dictionaries(
    st.integers(0, 7),
    st.builds(Learned, st.sampled_from((0, 30, 400)), st.none() | st.sampled_from((0.1, 0.3, 0.6))),
)
LIMITS = st.sampled_from((10, 200, 10**6))


def route_of(stages: list[tuple[str, float]]) -> RouteTargets:
    """One stage for each model and price."""
    targets = {
        f"target-{at}": {"provider": "openai", "model": model, "price": {"input": price, "output": price}}
        for at, (model, price) in enumerate(stages)
    }
    config = Config.from_dict(
        {"providers": {"openai": {"api_key": "sk-test"}}, "targets": targets, "routes": {"r": {"cascade": [*targets]}}},
        environ={},
    )
    provider = LiveProvider("openai", OpenAIChat(), None, httpx.MockTransport(lambda _: httpx.Response(500)))
    book = TargetBook(config, {"openai": provider}, lambda target: target.price, lambda _model, _kind: None)
    return book.along(config.routes["r"])


@given(STAGES, LEARNED, st.sampled_from((1, 40, 800, 5_000)), LIMITS, st.integers(1, 3_000))
def test_the_hold_covers_what_any_stage_may_cost_and_no_more(
    stages: list[tuple[str, float]], seen: dict[int, Learned], size: int, limit: int, output: int
) -> None:
    along, request = route_of(stages), ChatRequest("a" * size, temperature=0)
    learned = {f"target-{at}": known for at, known in seen.items()}
    chain = (AccountSpec(path="", limits=(Limit(per=Per.REQUEST, input_tokens=limit),)),)
    pricing = Pricing(chain_terms(chain), learned, BudgetRules(), None)

    asked: list[int] = []

    def price(stage: int) -> Offer | CallError:
        asked.append(stage)
        return pricing.offer(request, along.targets[stage])

    offers = Offers(price, len(stages), along.standing(learned))
    every = [pricing.offer(request, target) for target in along.targets]
    assert [stage for stage, _ in offers.refused()] == [
        at for at, own in enumerate(every) if isinstance(own, CallError)
    ]
    allowed = [own for own in every if not isinstance(own, CallError)]
    if not allowed:
        assert not offers.held()
        return
    held, all_of_them = hold_terms(offers.held()), hold_terms(allowed)
    assert (held.min_output, held.max_output) == (all_of_them.min_output, all_of_them.max_output)
    assert dearest(held.lines, output) == dearest(all_of_them.lines, output)
    assert dearest(held.likely, output) == dearest(all_of_them.likely, output)
    assert len(asked) == len(set(asked))


def test_of_a_thousand_targets_that_are_alike_one_is_asked_what_a_call_may_cost() -> None:
    along = route_of([("one-that-nobody-knows", 1.0), ("and-another", 1.0)] * 500)
    assert along.standing({}) == (0,)
    assert along.standing({"target-7": Learned(5, None), "target-8": Learned(0, 0.5)}) == (7, 8)


def test_where_one_of_a_kind_is_refused_the_others_are_held_for_all_the_same() -> None:
    along, request = route_of([("one-that-nobody-knows", 1.0), ("and-another", 1.0)]), ChatRequest("a" * 500)
    learned = {"target-0": Learned(tokens_per_byte=0.6)}
    chain = (AccountSpec(path="", limits=(Limit(per=Per.REQUEST, input_tokens=200),)),)
    pricing = Pricing(chain_terms(chain), learned, BudgetRules(), None)
    offers = Offers(lambda stage: pricing.offer(request, along.targets[stage]), 2, along.standing(learned))
    assert [stage for stage, _ in offers.refused()] == [0]
    assert offers.held() == [offers.of(1)]
