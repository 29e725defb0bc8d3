"""Values out of the cache: fresh, past their time or in an outage, only what fits the type that is asked for now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio

import penstock
from penstock import ChatRequest
from penstock.errors import ServerError
from penstock.testing import AnsweredKernel

STRICT: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
ROME, OSLO = '{"city":"Rome","days":3}', '{"city":"Oslo","days":5}'
WRONG = '{"city":"Rome","days":"three"}'
TTL = 100.0


def kernel_of(answers: list[Any], *cascade: str, **cache: Any) -> AnsweredKernel:
    return AnsweredKernel(
        answers,
        config={
            "providers": {"openai": {}, "anthropic": {}},
            "defaults": {"upstream_stream": "never"},
            "routes": {
                "default": {"cascade": [{"target": each, "attempts": 1} for each in cascade or ("openai/gpt-4o",)]}
            },
            "cache": {"store": "memory", "when": "always", "ttl": TTL, **cache},
        },
    )


async def unchecked(kernel: penstock.Kernel) -> None:
    """Stores what the model says to the same request, whatever that is."""
    await kernel.complete(ChatRequest("Plan a trip.", output=STRICT))


async def extracted(kernel: penstock.Kernel, **words: Any) -> tuple[str, str, int]:
    """The city, where it came from, and the attempts."""
    found = await kernel.extract(STRICT, "Plan a trip.", max_repairs=0, **words)
    return found.value["city"], found.response.cache, len(found.response.attempts)


def not_to(city: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if value["city"] == city:
            raise ValueError(f"not to {city}")

    return check


class Trip(msgspec.Struct):
    city: str
    days: int


WAYS = {
    "native": ("openai/gpt-4o",),
    "in another shape": ("anthropic/claude-sonnet-4-5",),
    "as a tool": ("anthropic/claude-3-haiku-20240307",),
    "with a fallback": ("openai/gpt-4", "openai/gpt-4o"),
}


@pytest.mark.parametrize("route", WAYS.values(), ids=WAYS)
def test_a_miss_is_explained_for_the_value_that_a_call_asks_for(route: tuple[str, ...]) -> None:
    async def main(kernel: penstock.Kernel) -> None:
        request = ChatRequest("Plan a trip.", output=Trip)
        before = (await kernel.cache.explain_miss(request)).stages[0]
        assert (before.outcome, before.near) == ("miss", ())
        assert (await kernel.complete(request)).cache == "miss"
        after = (await kernel.cache.explain_miss(request)).stages[0]
        assert (after.outcome, after.key) == ("hit", before.key)
        assert (await kernel.complete(request)).cache == "hit"
        other = await kernel.cache.explain_miss(ChatRequest("Plan a trip.", output=Trip, max_tokens=99))
        assert len(other.stages[0].near[0].differs) == 1

    kernel_of([ROME], *route).run(main)


@pytest.mark.parametrize("age", [1, TTL * 1.5, TTL * 5], ids=["fresh", "to be fetched anew", "for an outage"])
def test_a_stored_answer_that_is_no_such_value_any_more_is_explained_as_a_miss(age: float) -> None:
    closed = set[str]()

    class Choosy(Trip):
        def __post_init__(self) -> None:
            if self.city in closed:
                raise ValueError("closed")

    async def main(kernel: penstock.Kernel) -> None:
        request = ChatRequest("Plan a trip.", output=Choosy)
        assert (await kernel.complete(request)).cache == "miss"
        assert (await kernel.cache.explain_miss(request)).hit
        closed.add("Rome")
        await trio.sleep(age)
        stage = (await kernel.cache.explain_miss(request)).stages[0]
        assert (stage.outcome, "will not do" in stage.says) == ("miss", True)
        assert stage.age == pytest.approx(age)
        assert (await kernel.complete(request)).cache == "miss"

    kernel_of([ROME, OSLO], stale_while_revalidate=TTL, stale_if_error=TTL * 10).run(main)


def test_what_takes_the_place_of_an_answer_that_does_not_fit_is_stored() -> None:
    async def main(kernel: penstock.Kernel) -> list[tuple[str, str, int]]:
        await unchecked(kernel)
        return [await extracted(kernel), await extracted(kernel)]

    assert kernel_of([WRONG, ROME]).run(main) == [("Rome", "miss", 1), ("Rome", "hit", 0)]


def test_a_stored_answer_is_held_against_the_validators_of_now() -> None:
    async def main(kernel: penstock.Kernel) -> list[tuple[str, str, int]]:
        return [await extracted(kernel), await extracted(kernel, validators=[not_to("Rome")])]

    assert kernel_of([ROME, OSLO]).run(main) == [("Rome", "miss", 1), ("Oslo", "miss", 1)]


def test_one_past_its_time_that_does_not_fit_is_asked_for_and_not_fetched_beside() -> None:
    async def main(kernel: penstock.Kernel) -> list[tuple[str, str, int]]:
        await unchecked(kernel)
        await trio.sleep(TTL * 1.5)
        first = await extracted(kernel)
        await trio.sleep(1)
        return [first, await extracted(kernel)]

    kernel = kernel_of([WRONG, ROME], stale_while_revalidate=1_000)
    assert kernel.run(main) == [("Rome", "miss", 1), ("Rome", "hit", 0)]
    assert len(kernel.asked) == 2


def test_one_past_its_time_that_fits_is_served_and_fetched_anew_as_a_value() -> None:
    async def main(kernel: penstock.Kernel) -> list[tuple[str, str, int]]:
        found = [await extracted(kernel)]
        await trio.sleep(TTL * 1.5)
        found.append(await extracted(kernel))
        await trio.sleep(1)
        return [*found, await extracted(kernel)]

    kernel = kernel_of([ROME, OSLO], stale_while_revalidate=1_000)
    assert kernel.run(main) == [("Rome", "miss", 1), ("Rome", "stale", 0), ("Oslo", "hit", 0)]


def test_in_an_outage_the_value_of_before_is_given() -> None:
    async def main(kernel: penstock.Kernel) -> list[tuple[str, str, int]]:
        first = await extracted(kernel)
        await trio.sleep(TTL * 1.5)
        return [first, await extracted(kernel)]

    kernel = kernel_of([ROME, ServerError("down")], stale_if_error=1_000)
    assert kernel.run(main) == [("Rome", "miss", 1), ("Rome", "stale", 1)]


def test_in_an_outage_what_does_not_fit_is_not_given_and_the_outage_is_told() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await unchecked(kernel)
        await trio.sleep(TTL * 1.5)
        await extracted(kernel)

    with pytest.raises(ServerError):
        kernel_of([WRONG, ServerError("down")], stale_if_error=1_000).run(main)


def test_in_an_outage_nothing_is_given_that_was_never_asked_for_as_a_value() -> None:
    async def main(kernel: penstock.Kernel) -> None:
        await kernel.complete("Plan a trip.")
        await trio.sleep(TTL * 1.5)
        await extracted(kernel)

    with pytest.raises(ServerError):
        kernel_of([ROME, ServerError("down")], stale_if_error=1_000).run(main)


@pytest.mark.parametrize(("stored", "found"), [(ROME, ("Rome", "hit", 0)), (WRONG, ("Oslo", "miss", 1))])
def test_of_a_target_that_is_down_a_stored_value_is_given_where_it_fits_else_the_next_is_asked(
    stored: str, found: tuple[str, str, int]
) -> None:
    async def main(kernel: penstock.Kernel) -> tuple[str, str, int]:
        await unchecked(kernel)
        await kernel.breakers.isolate("target:openai/gpt-4o")
        return await extracted(kernel)

    assert kernel_of([stored, OSLO], "openai/gpt-4o", "anthropic/claude-haiku-4-5").run(main) == found


def test_a_value_that_streams_is_not_taken_from_an_answer_that_does_not_fit() -> None:
    async def main(kernel: penstock.Kernel) -> tuple[Any, list[Any]]:
        await unchecked(kernel)
        async with kernel.stream_extract(STRICT, "Plan a trip.") as stream:
            seen = [dict(part) async for part in stream]
        return stream.value, seen

    value, seen = kernel_of([WRONG, OSLO]).run(main)
    assert value == {"city": "Oslo", "days": 5}
    assert all(part.get("city", "") in "Oslo" for part in seen)
