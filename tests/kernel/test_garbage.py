"""What a call leaves behind is freed when it ends: the garbage collector, which stops every call, has nothing to do."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock
from worlds import GPT, HAIKU, SONNET, config, good, run

import penstock
from penstock import errors
from penstock.testing import ScriptedTransport
from penstock_plugins.rehearsal import Latency, RehearsalTransport, Rule, Script, Upstream, faults
from penstock_plugins.rehearsal.faults import Fault

CALLS = 10
LATENCY = Latency(first_s=0.1, chunk_s=0.02, jitter=0.5)


def settings() -> penstock.Config:
    """A cascade of three under a budget, whose circuits stay closed."""
    return config(
        routes={"default": {"cascade": [SONNET, GPT, HAIKU]}},
        budget={"limits": [{"per": "day", "tokens": 10**12}]},
        breaker={"failures_in_a_row": 32, "failure_ratio": 1.0},
        retry_budget={"floor": 1_000, "ratio": 1.0},
        defaults={"timeouts": {"connect": 0.5, "write": 1.0, "first_token": 0.6, "idle": 0.6, "total": 2.0}},
    )


async def complete(kernel: penstock.Kernel, timeout: float) -> str:  # noqa: ASYNC109 - the call's own
    try:
        await kernel.complete("hello", timeout=timeout)
    except errors.CallError as error:
        return type(error).__name__
    return "answer"


async def stream(kernel: penstock.Kernel, timeout: float) -> str:  # noqa: ASYNC109 - the call's own
    try:
        async with kernel.stream("hello", timeout=timeout) as chunks:
            async for _ in chunks:
                pass
    except errors.CallError as error:
        return type(error).__name__
    return "answer"


async def leave(kernel: penstock.Kernel, timeout: float) -> str:  # noqa: ASYNC109 - the call's own
    with trio.move_on_after(0.15):
        await complete(kernel, timeout)
    return "left"


Do = Callable[[penstock.Kernel, float], Awaitable[str]]


def left_behind(do: Do, timeout: float, upstream: Upstream) -> tuple[Counter[str], list[object]]:
    """How calls ended, and what of them only the collector could free."""
    ends: Counter[str] = Counter()

    async def main() -> list[object]:
        async with penstock.open_kernel(settings(), transport=RehearsalTransport(upstream)) as kernel:
            for _ in range(3):
                await do(kernel, timeout)  # what is made once is not a call's
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            for _ in range(CALLS):
                ends[await do(kernel, timeout)] += 1
            gc.collect()
            return gc.garbage[:]

    gc.collect()
    gc.freeze()  # what a whole suite has imported need not be looked through each time
    gc.disable()
    try:
        return ends, trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.unfreeze()


def failing(*broken: Fault, model: str = "claude-sonnet*") -> Upstream:
    return Upstream(Script(tuple(Rule(fault=fault, model=model) for fault in broken), 1), latency=LATENCY)


@pytest.mark.slow
@pytest.mark.parametrize("do", [complete, stream])
@pytest.mark.parametrize(
    ("upstream", "timeout", "end"),
    [
        (Upstream(latency=LATENCY), 5.0, "answer"),
        (Upstream(latency=LATENCY), 0.05, "DeadlineExceededError"),
        (failing(faults.ServerFailure()), 20.0, "answer"),
        (failing(faults.SilentBeforeHead()), 20.0, "answer"),
        (failing(faults.SilentAfterHead()), 0.3, "DeadlineExceededError"),
        (failing(faults.ResetConnection()), 20.0, "answer"),
    ],
    ids=["answered", "out of time", "a 5xx, then a fallback", "silence, then a fallback", "cut short", "a reset"],
)
def test_a_call_leaves_nothing_to_the_garbage_collector(do: Do, upstream: Upstream, timeout: float, end: str) -> None:
    ends, garbage = left_behind(do, timeout, upstream)
    assert ends[end] == CALLS
    assert Counter(type(each).__name__ for each in garbage) == {}


@pytest.mark.slow
def test_nor_does_one_that_is_cancelled() -> None:
    ends, garbage = left_behind(leave, 5.0, failing(faults.SilentBeforeHead(), model="*"))
    assert ends == {"left": CALLS}
    assert Counter(type(each).__name__ for each in garbage) == {}


@pytest.mark.slow
@pytest.mark.parametrize("do", [complete, stream])
def test_an_error_that_names_its_attempts_leaves_itself_and_little_more(do: Do) -> None:
    """It holds its attempts, and the last of them holds it: that much is for the collector, and not the whole call."""
    ends, garbage = left_behind(do, 20.0, failing(faults.InvalidRequest()))
    assert ends == {"InvalidRequestError": CALLS}
    assert len(garbage) <= 65 * CALLS
    assert "Trials" not in {type(each).__name__ for each in garbage}


def test_a_call_for_a_value_in_an_account_with_a_limit_leaves_nothing_of_itself() -> None:
    """What is in a ring with something that the collector does not look through is never freed, and never seen."""

    async def main() -> None:
        text = '{"city": "Rome"}'
        transport = ScriptedTransport(lambda request: good(request, text))
        async with penstock.open_kernel(settings(), transport=transport) as kernel:
            for _ in range(CALLS):
                await kernel.extract({"type": "object", "properties": {"city": {"type": "string"}}}, "Plan a trip.")

    def alive() -> Counter[str]:
        names = (type(each).__name__ for each in gc.get_objects())
        return Counter(name for name in names if name in ("Extraction", "CallHold", "Trials"))

    gc.collect()
    gc.disable()
    try:
        before = alive()  # what others have left: an error that is kept holds its call
        run(main)
        assert alive() == before
    finally:
        gc.enable()
