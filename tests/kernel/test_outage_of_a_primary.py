"""A primary that fails at once, alone or with others beside it, well or ill: what reaches it, and how soon it carries
the traffic again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, cycle

import attrs
import httpx
import pytest
import trio
from soak import SOAK
from worlds import GPT, HAIKU, KEY, SONNET, config, good, is_stream, model_of, run

import penstock
from penstock import Config, errors
from penstock._events import BreakerChanged
from penstock._transport import ReusedConnectionClosed
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence

REFUSED = Broken()
RESET = Broken(httpx.ReadError("connection reset by peer"))
BOOM = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})
BUSY = Reply(503, json={"type": "error", "error": {"type": "api_error", "message": "no server is available"}})
KEPT = Broken(ReusedConnectionClosed("server closed connection while it was idle"))
OUTAGES: Mapping[str, Callable[[], Iterator[Answer]]] = {
    "refused": lambda: cycle([REFUSED]),
    "reset": lambda: cycle([RESET]),
    "reset, the one that was kept first": lambda: chain([KEPT], cycle([RESET])),
    "500": lambda: cycle([BOOM]),
    "503": lambda: cycle([BUSY]),
    "a bit of each": lambda: cycle([REFUSED, BOOM, RESET, BUSY]),
}
LIMITED = Reply(429, json={"error": {"message": "slow down"}}, headers=[("retry-after", "7")])
WRONG = Reply(400, json={"error": {"type": "invalid_request_error", "message": "no such field"}})
BESIDE: Mapping[str, Answer | None] = {
    "well": None,
    "down as well": BUSY,
    "out of reach": REFUSED,
    "rate limited": LIMITED,
    "of no use": WRONG,
    "nobody": None,
}
"""The fallback of the primary: how it is, or that there is none."""
ATTEMPTS = range(1, 11) if SOAK else (1, 3, 5, 10)
"""Whatever a user allows a stage: none of what is promised depends on it."""
WORLDS = [(kind, attempts) for kind in OUTAGES for attempts in ATTEMPTS]
SOME = WORLDS if SOAK else WORLDS[::3]
TIMEOUTS = (None, 5, 8, 10, 15, 20, 30)
"""Seconds that a route gives a call. In few of them nobody waits for the first probe, and whoever comes may be it."""


@attrs.define
class Primary:
    """An upstream whose primary fails at once until `recovers_at`; it counts what reaches it till then."""

    faults: Iterator[Answer]
    recovers_at: float
    fallback: Answer | None = None
    """What the other target says meanwhile; None: it is well."""
    kernel: penstock.Kernel | None = None
    reached: int = 0
    before: int = 0
    """Of those, before its breaker opened for the first time."""

    def answer(self, request: httpx.Request) -> Answer:
        if trio.current_time() >= self.recovers_at:
            return good(request)
        if f"anthropic/{model_of(request)}" != SONNET:
            return self.fallback or good(request)
        if self.before == self.reached and self.is_closed:
            self.before += 1
        self.reached += 1
        return next(self.faults)

    @property
    def is_closed(self) -> bool:
        return self.kernel is None or self.kernel.health().targets[SONNET] == "closed"


def two_stages(attempts: int, *, timeout: float | None = None, **tables: object) -> Config:
    return config(routes=route([{"target": SONNET, "attempts": attempts}, GPT], timeout), **tables)


def one_stage(attempts: int, *, timeout: float | None = None) -> Config:
    return config(routes=route([{"target": SONNET, "attempts": attempts}], timeout))


def route(cascade: Sequence[object], timeout: float | None) -> Mapping[str, object]:
    return {"default": {"cascade": cascade} if timeout is None else {"cascade": cascade, "timeout": timeout}}


@attrs.frozen
class Told:
    """A call: when it began, how long it took, and which target answered it, or the kind of its error."""

    began: float
    seconds: float
    by: str


@attrs.define
class Traffic:
    """Calls that begin at equal distances, whatever becomes of those before."""

    kernel: penstock.Kernel
    every: float
    streamed: bool
    told: list[Told] = attrs.Factory(list[Told])

    async def one(self) -> None:
        began = trio.current_time()
        try:
            by = await one_call(self.kernel, streamed=self.streamed)
        except errors.CallError as error:
            by = error.kind
        self.told.append(Told(began, trio.current_time() - began, by))

    async def until(self, end: float) -> None:
        """Calls come until then; those still under way are cut off."""
        async with trio.open_nursery() as nursery:
            while (came := trio.current_time()) < end:
                nursery.start_soon(self.one)
                await trio.sleep_until(min(came + self.every, end))
            nursery.cancel_scope.cancel()


async def one_call(kernel: penstock.Kernel, *, streamed: bool) -> str:
    """Which target answered it."""
    if not streamed:
        return (await kernel.complete("hello")).target
    async with kernel.stream("hello") as stream:
        async for _ in stream:
            pass
    return stream.response.target


@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
@pytest.mark.parametrize("every", [5, 60])
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize(("kind", "attempts"), SOME)
def test_at_most_six_attempts_reach_a_primary_that_is_down_before_its_breaker_opens(
    kind: str, attempts: int, beside: str, every: float, *, streamed: bool
) -> None:
    async def main() -> None:
        primary = Primary(OUTAGES[kind](), 1e9, BESIDE[beside])
        upstream = ScriptedTransport(primary.answer)
        settings = one_stage(attempts) if beside == "nobody" else two_stages(attempts)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            primary.kernel = kernel
            await Traffic(kernel, every, streamed).until(4.0 * every + 1.0)
            assert 5 <= primary.before <= 6
            assert not primary.is_closed

    random.seed(attempts)
    run(main)


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize(("kind", "attempts"), SOME)
def test_in_an_outage_of_a_minute_less_than_ten_reach_it_and_20_seconds_later_it_carries_the_traffic_again(
    kind: str, attempts: int, beside: str, *, streamed: bool
) -> None:
    for number, timeout in enumerate(TIMEOUTS if SOAK else (None, random.Random(kind + beside).choice(TIMEOUTS[1:]))):
        for seed in range(2):
            random.seed(2 * number + seed)
            outage_of_a_minute(kind, attempts, beside, timeout, streamed=streamed)


@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_so_it_is_where_it_is_alone_and_however_little_time_a_call_has(timeout: float | None) -> None:
    for seed in range(60 if SOAK else 5):
        random.seed(seed)
        outage_of_a_minute("refused", 3, "nobody", timeout, streamed=False)


def outage_of_a_minute(kind: str, attempts: int, beside: str, timeout: float | None, *, streamed: bool) -> None:
    async def main() -> None:
        primary = Primary(OUTAGES[kind](), trio.current_time() + 60.0, BESIDE[beside])
        upstream = ScriptedTransport(primary.answer)
        stages = one_stage if beside == "nobody" else two_stages
        async with penstock.open_kernel(stages(attempts, timeout=timeout), transport=upstream) as kernel:
            traffic = Traffic(kernel, 5.0, streamed)
            await traffic.until(120.0)
            assert kernel.health().targets[SONNET] == "closed"
        assert primary.reached < 10
        late = [call for call in traffic.told if call.began >= 80.0]
        assert {call.by for call in late} == {SONNET}
        assert max(call.seconds for call in late) < 0.1

    run(main)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1.0, 22.0, 60.0, 600.0])
@pytest.mark.parametrize("attempts", [1, 3, 5, 10])
@pytest.mark.parametrize("kind", ["refused", "500"])
def test_within_20_seconds_of_its_recovery_the_primary_carries_the_traffic_again(
    kind: str, attempts: int, length: float
) -> None:
    async def main() -> None:
        primary = Primary(OUTAGES[kind](), length + random.random() * 20)
        upstream = ScriptedTransport(primary.answer)
        async with penstock.open_kernel(two_stages(attempts), transport=upstream) as kernel:
            answered: list[tuple[float, str]] = []
            while trio.current_time() < primary.recovers_at + 60.0:
                began = trio.current_time()
                answered.append((began, await one_call(kernel, streamed=False)))
                await trio.sleep_until(began + 5.0)
            late = [target for began, target in answered if began >= primary.recovers_at + 20.0]
            assert set(late) == {SONNET}
            since = [target for began, target in answered if began >= primary.recovers_at]
            assert since == sorted(since, key=lambda target: target == SONNET), "once it is back, it stays"
            assert not (await kernel.snapshot()).breakers, "seven calls have closed it"

    for seed in range(1 if length > 100 else 3):
        random.seed(seed)
        run(main)


@pytest.mark.parametrize("attempts", ATTEMPTS)
@pytest.mark.parametrize("kind", ["refused", "reset"])
def test_a_provider_that_is_down_is_spared_as_well_where_two_stages_of_a_route_are_its(
    kind: str, attempts: int
) -> None:
    stages = [{"target": SONNET, "attempts": attempts}, {"target": HAIKU, "attempts": attempts}, GPT]
    reached = 0

    def answer(request: httpx.Request) -> Answer:
        nonlocal reached
        if f"openai/{model_of(request)}" == GPT:
            return good(request)
        reached += 1
        return next(OUTAGES[kind]())

    async def main() -> None:
        settings = config(routes={"default": {"cascade": stages}})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            while "provider:anthropic" not in (await kernel.snapshot()).breakers:
                began = trio.current_time()
                assert await one_call(kernel, streamed=False) == GPT
                assert reached <= 6
                await trio.sleep_until(began + 5.0)
            while (began := trio.current_time()) < 60.0:
                assert await one_call(kernel, streamed=False) == GPT
                await trio.sleep_until(began + 5.0)
        assert reached < 10

    run(main)


def test_a_target_that_has_no_other_beside_it_gets_every_attempt_that_it_is_allowed_while_there_is_time() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([BOOM])
        settings = one_stage(10)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            plan = kernel.explain("hello")
            with pytest.raises(errors.ServerError) as caught:
                await kernel.complete("hello")
            assert len(upstream.requests) == 10
            rests = [attempt.waited for attempt in caught.value.attempts][4:]
            assert rests == pytest.approx([15.0, 60.0, 60.0, 60.0, 60.0, 60.0])
            assert trio.current_time() <= plan.trying
            await trio.sleep(400)
            began = trio.current_time()
            with pytest.raises(errors.ServerError):
                await kernel.complete("hello", timeout=10)
            assert len(upstream.requests) == 14
            assert trio.current_time() <= began + 3.5, "what cannot be waited for is told at once"

    run(main)


def test_a_call_that_rests_goes_on_as_soon_as_others_have_found_the_target_well() -> None:
    async def main() -> None:
        primary = Primary(cycle([BOOM]), 8.0)
        async with penstock.open_kernel(one_stage(10), transport=ScriptedTransport(primary.answer)) as kernel:
            traffic = Traffic(kernel, 5.0, streamed=False)
            await traffic.until(12.0)
            assert len(traffic.told) == 3
            assert {call.by for call in traffic.told} == {SONNET}
            assert primary.reached == 5

    run(main)


def test_one_call_alone_opens_no_breaker_and_comes_back_to_the_first_where_nobody_else_answers() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([BOOM])
        async with penstock.open_kernel(two_stages(10), transport=upstream) as kernel:
            with pytest.raises(errors.CascadeExhaustedError) as caught:
                await kernel.complete("poisoned")
            tried = [attempt.target for attempt in caught.value.attempts]
            assert tried == [*[SONNET] * 4, *[GPT] * 3, *[SONNET] * 6]
            assert not (await kernel.snapshot()).breakers

    run(main)


TOO_LONG = Reply(
    400, json={"error": {"type": "invalid_request_error", "message": "too long", "code": "context_length_exceeded"}}
)
FILTERED = Reply(400, json={"error": {"type": "invalid_request_error", "message": "no", "code": "content_filter"}})


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (WRONG, errors.InvalidRequestError),
        (TOO_LONG, errors.ContextLengthError),
        (FILTERED, errors.ContentFilteredError),
    ],
)
@pytest.mark.parametrize("good_after", [4, 6, 100])
def test_what_the_fallback_says_out_of_its_turn_takes_no_attempt_from_the_primary(
    answer: Answer, kind: type[errors.CallError], good_after: int
) -> None:
    asked: list[str] = []

    def upstream(request: httpx.Request) -> Answer:
        asked.append(f"{'anthropic' if request.url.path.endswith('/messages') else 'openai'}/{model_of(request)}")
        if asked[-1] == GPT:
            return answer
        return BUSY if asked.count(SONNET) <= good_after else good(request)

    async def main() -> None:
        async with penstock.open_kernel(two_stages(10), transport=ScriptedTransport(upstream)) as kernel:
            if good_after < 10:
                assert (await kernel.complete("hello")).target == SONNET
                assert asked == [*[SONNET] * 4, GPT, *[SONNET] * (good_after - 3)]
                return
            with pytest.raises(errors.CascadeExhaustedError, match="what can be done about it") as caught:
                await kernel.complete("hello")
            assert asked == [*[SONNET] * 4, GPT, *[SONNET] * 6]
            assert isinstance(caught.value.__cause__, kind), "it says more than that a server is busy"

    run(main)


def test_two_providers_at_one_address_do_not_share_their_fate() -> None:
    def answer(request: httpx.Request) -> Answer:
        return REFUSED if request.headers["authorization"].endswith("-a") else good(request)

    settings = Config.from_dict(
        {
            "providers": {
                name: {"kind": "openai", "api_key": f"{KEY}-{name}", "base_url": "http://127.0.0.1:8080/v1"}
                for name in ("a", "b")
            },
            "routes": {"default": {"cascade": ["a/gpt-4o", "b/gpt-4o"]}},
        },
        environ={},
    )

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            for _ in range(5):
                assert (await kernel.complete("hello")).target == "b/gpt-4o"
            assert (await kernel.snapshot()).breakers.keys() == {"provider:a", "target:a/gpt-4o"}
            assert kernel.health().targets["b/gpt-4o"] == "closed"

    run(main)


def wrong(kind: str, message: str, *, code: str | None = None) -> Reply:
    return Reply(400, json={"error": {"type": kind, "message": message, "code": code}})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (wrong("invalid_request_error", "what?"), errors.InvalidRequestError),
        (
            wrong("invalid_request_error", "too long", code="context_length_exceeded"),
            errors.ContextLengthError,
        ),
        (wrong("invalid_request_error", "no", code="content_filter"), errors.ContentFilteredError),
        (Reply(404, json={"error": {"message": "no", "code": "model_not_found"}}), errors.ModelNotFoundError),
        (Reply(429, json={"error": {"message": "slow"}}, headers=[("retry-after", "1")]), errors.RateLimitedError),
    ],
)
def test_what_says_nothing_about_health_never_trips_a_breaker(answer: Reply, expected: type[Exception]) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport([answer])) as kernel:
            for _ in range(20):
                with pytest.raises(expected):
                    await kernel.complete("hello", model=GPT, timeout=50)
                await trio.sleep(2)
            states = await kernel.breakers.states()
            assert {told.state.value for told in states.values()} == {"closed"}
            assert {told.counts.failed for told in states.values()} == {0}

    run(main)


@pytest.mark.parametrize("answer", [Silence(), Reply(json={}, delay=50.0)], ids=["silent", "late"])
def test_a_caller_that_leaves_says_nothing_about_health(answer: Answer) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport([answer])) as kernel:
            for number in range(20):
                with trio.move_on_after(1):
                    await kernel.complete("hello", model=GPT)
                with pytest.raises(errors.DeadlineExceededError):
                    await kernel.complete("hello", model=GPT, timeout=1 + number / 10)
            states = await kernel.breakers.states()
            assert all(told.counts.total == 0 for told in states.values())

    run(main)


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope just before the n-th time that any task is scheduled: the caller, an actor, a pump."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.scope = trio.CancelScope()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
def test_a_half_open_probe_cancelled_at_any_await_gives_its_permit_back(*, streamed: bool) -> None:
    probes = 0

    async def once(nth: int) -> bool:
        nonlocal probes
        primary = Primary(cycle([BOOM]), 5.0)
        upstream = ScriptedTransport(primary.answer)
        settings = two_stages(1, breaker={"failures_in_a_row": 1, "min_calls_in_a_row": 1})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await kernel.complete("opens it")
            await trio.sleep(6)
            cancel = CancelAtStep(nth)
            asked = len(upstream.requests)
            with cancel.scope:
                trio.lowlevel.add_instrument(cancel)
                await one_call(kernel, streamed=streamed)
            trio.lowlevel.remove_instrument(cancel)
            probes += len(upstream.requests) > asked
            snapshot = await kernel.snapshot()
            health = snapshot.breakers[f"target:{SONNET}"]
            assert health.state.value == "open" or health.permits_left in (1, 2)
            assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())
            left = 7 if health.permits_left < 2 else 6
            for _ in range(left):
                response = await kernel.complete("the next probe")
                assert (response.target, response.attempts[0].probe) == (SONNET, True)
            assert (await kernel.snapshot()).breakers == {}
        return not cancel.scope.cancelled_caught

    nth = 1
    while not run(partial(once, nth)):
        nth += 1
        assert nth < 500
    assert nth > 5
    assert probes > 1, "some were cancelled while the probe was under way"


@pytest.mark.parametrize(
    "answer",
    [
        wrong("invalid_request_error", "what?"),
        wrong("invalid_request_error", "too long", code="context_length_exceeded"),
        Reply(429, json={"error": {"message": "slow"}}, headers=[("retry-after", "1")]),
        Reply(404, json={"error": {"message": "no", "code": "model_not_found"}}),
    ],
)
def test_a_probe_that_fails_for_no_fault_of_the_target_gives_its_permit_back(answer: Reply) -> None:
    script: list[Answer] = [BOOM, answer]

    async def main() -> None:
        settings = config(
            routes={"default": {"cascade": [{"target": GPT, "attempts": 1}]}},
            breaker={"failures_in_a_row": 1, "min_calls_in_a_row": 1},
        )
        upstream = ScriptedTransport(lambda request: script.pop(0) if script else good(request))
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            for _ in range(2):
                with pytest.raises(errors.CallError):
                    await kernel.complete("opens it, and then probes it")
                await kernel.snapshot()
                await trio.sleep(6)
            assert not script
            assert (await kernel.snapshot()).breakers[f"target:{GPT}"].permits_left == 1
            assert (await kernel.complete("the next probe")).attempts[0].probe

    run(main)


def test_calls_that_began_before_a_breaker_closed_do_not_trip_it_when_they_fail_at_last() -> None:
    down = [True]

    def answer(request: httpx.Request) -> Answer:
        if not down:
            return good(request)
        return Silence() if is_stream(request) else BOOM

    async def main() -> None:
        settings = config(
            routes={"default": {"cascade": [{"target": GPT, "attempts": 1}]}},
            defaults={"timeouts": {"first_token": 30}},
        )
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            events = kernel.events()

            async def hangs() -> None:
                with pytest.raises(errors.FirstTokenTimeoutError):
                    await one_call(kernel, streamed=True)

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(hangs)
                await trio.sleep(1)
                for _ in range(5):
                    with pytest.raises(errors.ServerError):
                        await kernel.complete("hello")
                await trio.sleep(5)
                down.clear()
                for _ in range(7):
                    await kernel.complete("a probe")
                assert not (await kernel.snapshot()).breakers
            assert trio.current_time() == 30, "by now they have all timed out"
            assert not (await kernel.snapshot()).breakers
            moves = [event.after for event in events.take() if isinstance(event, BreakerChanged)]
            assert moves == ["open", "half_open", "closed"]

    run(main)
