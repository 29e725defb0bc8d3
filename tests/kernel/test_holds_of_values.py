"""Where an answer is to become a value, a hold covers each target as that is asked for it.

Of a long route whose targets are alike only those are priced that differ, and all are explained as if each were.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from listening import Listening
from worlds import config, good, run

import penstock
from penstock import ChatRequest
from penstock._asked import Call
from penstock._budgeting import BudgetRules, Offer, Pricing, hold_terms
from penstock._events import EventHub
from penstock._extraction import Extraction
from penstock._fitting import CallFitting
from penstock._live_target import LiveProvider
from penstock._outputs import ReadyType, Wanted
from penstock._route_offers import offers_of
from penstock._targets import RouteTargets, TargetBook
from penstock._validator import Validator
from penstock.errors import CallError, InvalidRequestError
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl
from penstock.policy.accounts import AccountSpec, Limit, chain_terms
from penstock.policy.fitting import UnsupportedRules
from penstock.policy.holds import dearest
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.refused_ways import Way
from penstock.policy.routing import Learned
from penstock.policy.window import Per
from penstock.testing import AnsweredKernel, ScriptedTransport

MODELS = ("gpt-4o", "gpt-4", "gpt-3.5-turbo", "one-that-nobody-knows", "and-another")
"""Some take a schema, some but tools."""
SCHEMA = {
    "type": "object",
    "title": "Trip",
    "properties": {"city": {"type": "string", "description": "d" * 3_000}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
TEXT = ChatRequest("a" * 500, max_tokens=100)
WAYS: tuple[Way, ...] = ("native", "tool", "tool alone", "object")


class Anything(Validator):
    """Takes every value."""

    def check(self, value: Any) -> Any:
        return value


def route_of(stages: Sequence[tuple[str, float]]) -> RouteTargets:
    """One stage for each model, and its price."""
    targets = {
        f"target-{at}": {"provider": "openai", "model": model, "price": {"input": price, "output": price}}
        for at, (model, price) in enumerate(stages)
    }
    settings = config(targets=targets, routes={"r": {"cascade": [*targets]}})
    provider = LiveProvider("openai", Listening(), None, httpx.MockTransport(lambda _: httpx.Response(500)))
    book = TargetBook(settings, {"openai": provider}, lambda target: target.price, lambda _model, _kind: None)
    return book.along(settings.routes["r"])


class AskedForValue:
    """The offers of one call for a value over a route, and which of its stages were asked for a bound."""

    def __init__(
        self, along: RouteTargets, ready: ReadyType, learned: dict[str, Learned], request: ChatRequest = TEXT
    ) -> None:
        self.along, self.ready, self.request = along, ready, request
        limits = Limit(per=Per.REQUEST, input_tokens=10**6), Limit(per=Per.DAY, tokens=1)
        terms = chain_terms((AccountSpec(path="", limits=limits),))
        self.pricing = Pricing(terms, learned, BudgetRules(), request.max_tokens)
        codec = along.targets[0].provider.codec
        assert isinstance(codec, Listening)
        codec.asked.clear()
        offers = offers_of(along, self._fitting(), self.pricing, guesses=True, value=self._extraction())
        self.refused = offers.refused()
        self.held = offers.held()
        self.stages = [int(name.removeprefix("target-")) for name in codec.asked]

    def every(self) -> list[Offer | CallError]:
        """Those of all stages, each for itself, and as a call of its own would ask it."""
        fitting, found = self._fitting(), list[Offer | CallError]()
        for stage, target in enumerate(self.along.targets):
            request = fitting.foreseen(stage, target)
            if not isinstance(request, CallError):
                request = self._extraction().first_asked(stage, target, request)
            found.append(self.pricing.offer(request, target))
        return found

    def _extraction(self) -> Extraction:
        return Extraction(cast("Call", None), Wanted(self.ready), lambda _: False)

    def _fitting(self) -> CallFitting:
        return CallFitting("call", self.request, UnsupportedRules(), EventHub(), self.along.targets)


def ready() -> ReadyType:
    return ReadyType(Anything(), SCHEMA, SchemaCheck(SCHEMA), "Trip")


@given(
    st.lists(st.tuples(st.sampled_from(MODELS), st.sampled_from((1.0, 2.0))), min_size=2, max_size=6),
    st.dictionaries(
        st.integers(0, 5), st.builds(Learned, st.sampled_from((0, 400)), st.none() | st.sampled_from((0.1, 0.6)))
    ),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(WAYS)), max_size=6),
    st.integers(1, 30_000),
)
def test_the_hold_covers_what_any_stage_may_cost_in_the_way_it_is_asked_and_no_more(
    stages: list[tuple[str, float]], seen: dict[int, Learned], refusals: list[tuple[int, Way]], output: int
) -> None:
    along, kind = route_of(stages), ready()
    learned = {f"target-{at}": known for at, known in seen.items()}
    for refused in [None, *refusals]:
        if refused is not None and refused[0] < len(stages):
            kind.refuse(along.targets[refused[0]], refused[1])
        call = AskedForValue(along, kind, learned)
        allowed = [own for own in call.every() if isinstance(own, Offer)]
        assert len(allowed) == len(stages)
        assert not call.refused
        held, all_of_them = hold_terms(call.held, guesses=True), hold_terms(allowed, guesses=True)
        assert (held.min_output, held.max_output) == (all_of_them.min_output, all_of_them.max_output)
        assert dearest(held.lines, output) == dearest(all_of_them.lines, output)
        assert dearest(held.likely, output) == dearest(all_of_them.likely, output)


def test_of_a_thousand_targets_that_are_alike_those_are_priced_that_are_asked_in_different_ways() -> None:
    known: dict[str, Learned] = {}  # the very same, as long as nothing is learned
    along, kind = route_of([("gpt-4o", 1.0), ("gpt-4", 1.0)] * 500), ready()
    assert AskedForValue(along, kind, known).stages == [0, 1]
    kind.refuse(along.targets[0], "native")
    assert AskedForValue(along, kind, known).stages == [0, 1, 2]
    kind.refuse(along.targets[4], "native")
    assert AskedForValue(along, kind, known).stages == [0, 1, 2], "alike again"
    kind.refuse(along.targets[1], "tool alone")
    assert AskedForValue(along, kind, known).stages == [0, 1, 2, 3]
    assert AskedForValue(along, ready(), known).stages == [0, 1], "another call that knows of no refusal"


def test_what_is_asked_of_targets_in_the_same_way_is_the_very_same() -> None:
    along, kind = route_of([("gpt-4o", 1.0), ("gpt-4o", 2.0)]), ready()
    asked = Extraction(cast("Call", None), Wanted(kind), lambda _: False)
    first, second = (asked.first_asked(at, target, TEXT) for at, target in enumerate(along.targets))
    assert first is second


class Trip(msgspec.Struct):
    city: str
    days: int


def explained(cascade: Sequence[str]) -> dict[str, Any]:
    """Each target of a route, as it is explained for a value once one of them has refused a schema."""
    targets = {f"t{at}": {"provider": "openai", "model": "gpt-4o"} for at in range(6)}
    targets["t5"] = {"provider": "openai", "model": "gpt-4"}
    settings: dict[str, Any] = {
        "providers": {"openai": {}},
        "targets": targets,
        "routes": {"warm": {"cascade": ["t1"]}, "default": {"cascade": [*cascade]}},
        "budget": {"limits": [{"per": "day", "usd": 1_000}]},
    }
    refused = InvalidRequestError("Invalid schema for response_format 'Trip'", code="invalid_json_schema")
    kernel = AnsweredKernel([refused, InvalidRequestError("nor anything else")], config=settings)

    async def main(kernel: penstock.Kernel) -> dict[str, Any]:
        with pytest.raises(InvalidRequestError, match="nor anything else"):
            await kernel.extract(Trip, "Plan a trip.", route="warm", max_tokens=100)
        told = kernel.explain(ChatRequest("Plan a trip.", output=Trip, max_tokens=100))
        return {
            stage.target: (stage.input_tokens, stage.likely_input_tokens, stage.output_tokens, stage.nano_usd)
            for stage in told.stages
        }

    return kernel.run(main)


def test_of_a_route_whose_targets_are_alike_each_is_explained_as_it_would_be_alone() -> None:
    names = [f"t{at}" for at in range(6)]
    along = explained(names)
    assert along == {name: explained([name])[name] for name in names}
    assert len(set(along.values())) == 3, "what refused the schema is asked by a tool, and one model costs otherwise"


class Acme:
    """A provider whose codec knows what it was asked."""

    def __init__(self) -> None:
        self.codec = Listening()

    @asynccontextmanager
    async def open(self, _options: Any, _tools: PluginTools) -> AsyncGenerator[Listening]:
        yield self.codec

    @hookimpl
    def penstock_providers(self) -> list[ProviderSpec]:
        return [ProviderSpec(name="acme", open=self.open, needs_key=False)]


def test_of_a_long_route_whose_targets_are_alike_one_is_asked_what_a_value_may_come_to() -> None:
    def asked(stages: int) -> int:
        acme = Acme()
        targets = {f"t{at}": {"provider": "acme", "model": "gpt-4o"} for at in range(stages)}
        settings = config(
            providers={"acme": {"kind": "acme"}},
            targets=targets,
            routes={"default": {"cascade": [*targets]}},
            budget={"limits": [{"per": "day", "tokens": 10**9}]},
        )

        async def main() -> None:
            async with penstock.open_kernel(settings, transport=ScriptedTransport(good), plugins=[acme]) as kernel:
                kernel.explain(ChatRequest("Plan a trip.", output=Trip, max_tokens=100))

        run(main)
        return len(acme.codec.asked)

    assert asked(100) == asked(1)
