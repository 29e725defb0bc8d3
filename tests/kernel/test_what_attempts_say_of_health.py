"""From how an attempt ended to what its breakers hear: timeouts, slow answers, and whose fault a failure is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from worlds import GPT, config, good, run

import penstock
from penstock import errors
from penstock._health import Permit, admit, tell_health
from penstock.policy.breaker import Counts, ScopeState
from penstock.testing import ScriptedTransport

OWN, PROVIDER, KEY = f"target:{GPT}", "provider:openai", "key:openai/0"
NONE = Counts()


def told(
    *,
    answered: bool = False,
    error: errors.CallError | None = None,
    slow: bool = False,
    overtaken: bool = False,
    again: bool = False,
    times: int = 1,
    look: Callable[[Permit], None] = lambda _: None,
) -> dict[str, ScopeState]:
    """The breakers after so many attempts that ended so."""
    states: dict[str, ScopeState] = {}

    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            engine = kernel._engine  # pyright: ignore[reportPrivateUsage] - between a call and its breakers
            target = engine.targets.target(GPT)
            for number in range(times):
                permit = await admit(engine, target, f"p{number}", deadline=100.0, context=None)
                assert isinstance(permit, Permit)
                look(permit)
                tell_health(
                    engine,
                    target,
                    permit,
                    f"c{number}",
                    answered=answered,
                    error=error,
                    slow=slow,
                    overtaken=overtaken,
                    again=again,
                )
            states.update(await kernel.breakers.states())

    run(main)
    return states


def counts(states: dict[str, ScopeState]) -> tuple[Counts, Counts, Counts]:
    return states[OWN].counts, states[PROVIDER].counts, states[KEY].counts


@pytest.mark.parametrize(
    "error",
    [
        errors.AttemptTimeoutError(),
        errors.FirstTokenTimeoutError(),
        errors.IdleTimeoutError(),
        errors.TooSlowError(),
        errors.TotalTimeoutError(),
    ],
    ids=lambda error: error.kind,
)
def test_a_timeout_is_told_of_the_target_as_one(error: errors.CallError) -> None:
    assert counts(told(error=error)) == (Counts(failed=1, timed_out=1), NONE, NONE)


def test_where_a_fresh_connection_fails_like_the_kept_one_before_it_both_count() -> None:
    closed = errors.ConnectionLostError("closed while idle", reused=True)
    assert counts(told(error=closed)) == (NONE, NONE, NONE)
    twice = Counts(failed=2)
    assert counts(told(error=errors.ConnectionLostError(), again=True)) == (twice, twice, NONE)
    assert counts(told(error=errors.ServerError(), again=True)) == (twice, NONE, NONE)
    assert counts(told(answered=True, again=True)) == (Counts(ok=1), Counts(ok=1), NONE)


def test_a_connect_timeout_is_told_of_the_target_and_of_its_provider() -> None:
    once = Counts(failed=1, timed_out=1)
    assert counts(told(error=errors.ConnectTimeoutError())) == (once, once, NONE)


@pytest.mark.parametrize("error", [errors.ConnectError(), errors.ConnectionLostError()], ids=lambda error: error.kind)
def test_a_lost_connection_is_told_of_the_target_and_of_its_provider(error: errors.CallError) -> None:
    assert counts(told(error=error)) == (Counts(failed=1), Counts(failed=1), NONE)


@pytest.mark.parametrize("error", [errors.ServerError(), errors.OverloadedError(), errors.MalformedResponseError()])
def test_a_bad_answer_is_told_of_the_target_alone(error: errors.CallError) -> None:
    assert counts(told(error=error)) == (Counts(failed=1), NONE, NONE)


def test_an_answer_is_told_of_target_and_provider_and_a_slow_one_is_the_target_s_fault() -> None:
    assert counts(told(answered=True)) == (Counts(ok=1), Counts(ok=1), NONE)
    assert counts(told(answered=True, slow=True)) == (Counts(slow=1), Counts(ok=1), NONE)


def test_slow_says_nothing_of_an_attempt_that_failed() -> None:
    assert counts(told(error=errors.ServerError(), slow=True)) == (Counts(failed=1), NONE, NONE)


@pytest.mark.parametrize("overtaken", [False, True])
def test_an_attempt_without_an_end_of_its_own_says_nothing_of_what_nobody_doubts(*, overtaken: bool) -> None:
    assert counts(told(overtaken=overtaken)) == (NONE, NONE, NONE)


def test_half_of_eight_slow_answers_open_the_target_and_its_probe_is_to_be_hedged() -> None:
    states = told(answered=True, slow=True, times=8)
    assert (states[OWN].cause, states[OWN].silent, states[PROVIDER].cause) == ("slow_ratio", True, None)


def test_a_permit_knows_when_it_was_given() -> None:
    permits: list[Permit] = []
    told(answered=True, look=permits.append)
    assert permits == [Permit(None, frozenset(), probe=False, silent=False, began=0.0)]
