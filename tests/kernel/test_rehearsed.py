"""Every fault the rehearsal upstream knows, over real sockets and in memory: what the call does, and both ledgers."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import trio
from trio.testing import MockClock

import penstock
from penstock import errors
from penstock_plugins.rehearsal import Fault, RehearsalTransport, Rule, Script, Upstream, faults, serve

PRIMARY, SECOND, THIRD = "claude-sonnet-4-20250514", "gpt-4o", "claude-3-haiku-20240307"
TIMEOUTS = {"connect": 1.0, "first_token": 0.4, "idle": 0.4, "total": 1.5}


@attrs.frozen
class Expected:
    """How an attempt at the primary ends, for complete and for stream; `ok`: it needs no fallback.

    `broken`: the stream is cut after it was shown, so that the call ends there.
    """

    fault: Fault
    complete: str
    stream: str
    broken: bool = False


CASES = {
    "rate limit": Expected(faults.RateLimit(after_s=0.2), "rate_limited", "rate_limited"),
    "rate limit without a hint": Expected(faults.RateLimit(hint="none"), "rate_limited", "rate_limited"),
    "quota": Expected(faults.Quota(), "quota_exhausted", "quota_exhausted"),
    "500": Expected(faults.ServerFailure(), "server_error", "server_error"),
    "503": Expected(faults.ServerFailure(status=503), "overloaded", "overloaded"),
    "529": Expected(faults.Overloaded(), "overloaded", "overloaded"),
    "wrong key": Expected(faults.WrongKey(), "authentication", "authentication"),
    "permission": Expected(faults.PermissionDenied(), "permission_denied", "permission_denied"),
    "no such model": Expected(faults.ModelNotFound(), "model_not_found", "model_not_found"),
    "reset before the head": Expected(faults.ResetConnection(), "connection_lost", "connection_lost"),
    "reset after the head": Expected(faults.ResetConnection(at="after_head"), "malformed", "truncated"),
    "reset in the body": Expected(faults.ResetConnection(at="mid_body"), "malformed", "truncated", broken=True),
    "silence before the head": Expected(faults.SilentBeforeHead(), "total_timeout", "first_token_timeout"),
    "silence after the head": Expected(faults.SilentAfterHead(), "total_timeout", "first_token_timeout"),
    "late first token": Expected(faults.LateFirstToken(by_s=9), "total_timeout", "first_token_timeout"),
    "stall": Expected(faults.Stall(), "total_timeout", "idle_timeout", broken=True),
    "trickle": Expected(faults.Trickle(bytes_per_s=2), "total_timeout", "first_token_timeout"),
    "cut stream": Expected(faults.CutStream(), "malformed", "truncated", broken=True),
    "cut stream that ends cleanly": Expected(faults.CutStream(clean=True), "malformed", "truncated", broken=True),
    "no terminator": Expected(faults.MissingTerminator(), "malformed", "ok"),
    "no terminator and no reason": Expected(
        faults.MissingTerminator(finish_reason=False), "malformed", "truncated", broken=True
    ),
    "malformed chunk": Expected(faults.MalformedChunk(), "malformed", "malformed", broken=True),
    "error event": Expected(faults.ErrorEvent(), "overloaded", "overloaded"),
    "error event after content": Expected(faults.ErrorEvent(after_chunks=2), "overloaded", "overloaded", broken=True),
    "UTF-8 split": Expected(faults.SplitUtf8(), "ok", "ok"),
    "gzip bomb": Expected(faults.GzipBomb(), "malformed", "malformed"),
    "header bomb": Expected(faults.HeaderBomb(), "malformed", "malformed"),
    "HTML 502": Expected(faults.Html(), "server_error", "server_error"),
    "HTML 200": Expected(faults.Html(status=200), "malformed", "malformed"),
    "wrong JSON": Expected(faults.WrongJson(), "malformed", "malformed"),
    "empty 200": Expected(faults.EmptyBody(), "malformed", "truncated"),
    "no usage": Expected(faults.NoUsage(), "ok", "ok"),
}


def settings(url: str) -> penstock.Config:
    return penstock.Config.from_dict(
        {
            "providers": {
                "anthropic": {"api_key": "any", "base_url": url},
                "openai": {"api_key": "any", "base_url": f"{url}/v1"},
            },
            "routes": {
                "default": {
                    "cascade": [
                        {"target": f"anthropic/{PRIMARY}", "attempts": 2},
                        {"target": f"openai/{SECOND}", "attempts": 2},
                        {"target": f"anthropic/{THIRD}", "attempts": 2},
                    ]
                }
            },
            "defaults": {"timeouts": TIMEOUTS},
            "budget": {"limits": [{"per": "day", "tokens": 10**12}]},
        },
        environ={},
    )


async def check(kernel: penstock.Kernel, upstream: Upstream, case: Expected, *, streamed: bool) -> None:
    began = trio.current_time()
    broken = streamed and case.broken
    outcome = case.stream if streamed else case.complete
    try:
        response = await ask(kernel, streamed=streamed)
    except errors.StreamBrokenError as error:
        attempts, partial = error.attempts, error.partial
    else:
        attempts, partial = response.attempts, ""
        assert response.text
        assert attempts[-1].outcome == "ok"
        if outcome == "ok":
            assert len(attempts) == 1
    # Shown and then broken: told so, with what had come. Otherwise met unseen, and answered whole.
    assert bool(partial) == broken
    assert {attempt.outcome for attempt in attempts if attempt.target.endswith(PRIMARY)} == {outcome}
    assert len(attempts) <= 3
    assert trio.current_time() - began < 2 * TIMEOUTS["total"] + 2
    snapshot = await kernel.snapshot()
    window = snapshot.accounts[""].windows[0]
    served = upstream.statistics().served()
    assert window.held.tokens == 0
    assert window.spent.tokens >= served.input_tokens + served.output_tokens, "never booked below what was served"
    assert snapshot.in_flight == 0
    assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())


async def ask(kernel: penstock.Kernel, *, streamed: bool) -> penstock.ChatResponse:
    if not streamed:
        return await kernel.complete("Why is the sky blue? Wie schön!", max_tokens=60, timeout=20)
    async with kernel.stream("Why is the sky blue? Wie schön!", max_tokens=60, timeout=20) as stream:
        shown = "".join([text async for text in stream.text()])
        assert shown == stream.response.text
        return stream.response


def striking_primary(fault: Fault) -> Upstream:
    return Upstream(Script((Rule(fault=fault, model=PRIMARY),), seed=1))


def over_sockets(case: Expected, streamed: bool) -> None:  # noqa: FBT001
    async def main() -> None:
        upstream = striking_primary(case.fault)
        with trio.fail_after(30):
            async with serve(upstream) as server, penstock.open_kernel(settings(server.url)) as kernel:
                await check(kernel, upstream, case, streamed=streamed)

    trio.run(main)


def in_memory(case: Expected, streamed: bool) -> None:  # noqa: FBT001
    async def main() -> None:
        upstream = striking_primary(case.fault)
        transport = RehearsalTransport(upstream)
        async with penstock.open_kernel(settings("http://rehearsal"), transport=transport) as kernel:
            await check(kernel, upstream, case, streamed=streamed)

    trio.run(main, clock=MockClock(autojump_threshold=0))


FRONTS: dict[str, Callable[[Expected, bool], None]] = {"sockets": over_sockets, "memory": in_memory}


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("name", CASES)
def test_a_fault_of_the_primary_has_its_outcome(name: str, front: str, streamed: bool) -> None:  # noqa: FBT001
    case = CASES[name]
    FRONTS[front](case, streamed)


def test_a_closed_port_is_a_failure_to_connect() -> None:
    async def main() -> None:
        upstream = Upstream(Script())
        async with serve(upstream) as server, penstock.open_kernel(settings(server.url)) as kernel:
            server.refuse()
            with pytest.raises(errors.CascadeExhaustedError) as caught:
                await kernel.complete("hello", timeout=10)
            assert {attempt.outcome for attempt in caught.value.attempts} == {"connect"}

    trio.run(main)


def test_an_outage_of_the_primary_ends_and_it_carries_the_traffic_again() -> None:
    """One call a second; from 10 s to 40 s the primary fails at once."""
    outage = Rule(fault=faults.ServerFailure(), model=PRIMARY, from_s=10, until_s=40)

    async def main() -> None:
        upstream = Upstream(Script((outage,), seed=3))
        transport = RehearsalTransport(upstream)
        async with penstock.open_kernel(settings("http://rehearsal"), transport=transport) as kernel:
            targets: list[str] = []
            for _ in range(70):
                targets.append((await kernel.complete("hello", timeout=30)).target)
                await trio.sleep(1)
            assert set(targets[:9]) == {f"anthropic/{PRIMARY}"}
            assert targets.count(f"openai/{SECOND}") >= 20
            assert targets[-1] == f"anthropic/{PRIMARY}"
            failed = upstream.statistics().fault("server-failure")
            assert failed <= 15, "the breaker keeps calls away from a target that is down"

    trio.run(main, clock=MockClock(autojump_threshold=0))
