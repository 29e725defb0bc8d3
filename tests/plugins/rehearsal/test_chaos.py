"""Chaos against a user's own configuration: deterministic by its seed, on a virtual clock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

import penstock
from penstock import errors
from penstock.testing.chaos import Chaos, ChaosKernel, Exchanged
from penstock_plugins.rehearsal import Fault, Latency, faults
from penstock_plugins.rehearsal.words import WORDS

THIRD_PARTY = Path(__file__).parents[2] / "third_party_provider"
SONNET, MINI, GPT = "sonnet", "mini", "openai/gpt-4o"
OWN: dict[str, Any] = {
    "providers": {
        "anthropic": {"api_key": "env:A_KEY_THAT_IS_NOT_SET"},
        "mirror": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"},
    },
    "targets": {
        SONNET: {"provider": "anthropic", "model": "claude-sonnet-4-20250514"},
        MINI: {"provider": "mirror", "model": "gpt-4o"},
    },
    "routes": {"default": {"cascade": [{"target": name, "attempts": 2} for name in (SONNET, MINI, GPT)]}},
    "defaults": {"timeouts": {"connect": 2, "first_token": 2, "idle": 2, "total": 9}},
    "budget": {"limits": [{"per": "day", "tokens": 10**9}]},
}
QUESTION = "Why is the sky blue? Wie schön!"


async def ask(kernel: penstock.Kernel) -> penstock.ChatResponse:
    return await kernel.complete(QUESTION, max_tokens=60, timeout=30)


async def listen(kernel: penstock.Kernel) -> penstock.ChatResponse:
    async with kernel.stream(QUESTION, max_tokens=60, timeout=30) as stream:
        assert "".join([text async for text in stream.text()]) == stream.response.text
        return stream.response


ASKING: dict[str, Callable[[penstock.Kernel], Awaitable[penstock.ChatResponse]]] = {"complete": ask, "stream": listen}
both_ways = pytest.mark.parametrize("asking", ASKING.values(), ids=list(ASKING))
App = Callable[[penstock.Kernel], Awaitable[penstock.ChatResponse]]


def struck(run: ChaosKernel) -> list[tuple[str, str | None]]:
    return [(exchanged.target, exchanged.fault) for exchanged in run.exchanges]


@both_ways
def test_the_first_requests_to_a_target_are_struck(asking: App) -> None:
    run = Chaos().at(SONNET, faults.RateLimit(after_s=1), first=1).against(OWN)
    response = run.run(asking)
    assert [attempt.outcome for attempt in response.attempts] == ["rate_limited", "ok"]
    assert struck(run) == [(SONNET, "rate_limit"), (SONNET, None)]
    assert [exchanged.fault for exchanged in run.log] == ["rate_limit"]
    assert run.seconds >= 1
    served = run.ledger.served()
    assert (served.requests, served.refused, served.completed) == (2, 1, 1)
    assert served.output_tokens == response.usage.output_tokens


def test_two_providers_of_one_model_do_not_share_their_faults() -> None:
    run = Chaos().at(SONNET, "wrong_key").at(MINI, "server_error", first=2).against(OWN)
    response = run.run(ask)
    assert struck(run) == [
        (SONNET, "wrong_key"),
        (MINI, "server_failure"),
        (MINI, "server_failure"),
        (GPT, None),
    ]
    assert response.target == GPT
    other = Chaos().at(GPT, "overloaded").against(OWN)
    assert other.run(ask).target == SONNET


def test_the_first_requests_are_counted_for_each_provider_of_a_model() -> None:
    plan = Chaos().at(SONNET, "wrong_key").at(MINI, "server_error").at(GPT, "server_error", first=1)
    run = plan.against(OWN)
    assert run.run(ask).target == GPT
    assert [exchanged.fault for exchanged in run.exchanges if exchanged.target == GPT] == ["server_failure", None]


def test_a_provider_is_struck_with_all_its_targets() -> None:
    run = Chaos().at("anthropic", "permission_denied").at("mirror", "refused").against(OWN)
    assert run.run(ask).target == GPT
    assert struck(run) == [(SONNET, "permission_denied"), (MINI, "refused"), (MINI, "refused"), (GPT, None)]


def test_a_time_of_the_run_is_struck() -> None:
    async def app(kernel: penstock.Kernel) -> list[str]:
        await trio.sleep(10)
        targets: list[str] = []
        for _ in range(6):
            targets.append((await ask(kernel)).target)
            await trio.sleep_until(trio.current_time() // 10 * 10 + 10)
        return targets

    run = Chaos().between(20, 40, "silence", target=SONNET).against(OWN)
    assert run.run(app) == [SONNET, MINI, MINI, SONNET, SONNET, SONNET]
    assert [(exchanged.at_s, exchanged.target) for exchanged in run.log] == [(20.0, SONNET), (30.0, SONNET)]
    assert run.seconds == 70


def test_every_connection_is_refused_and_the_books_say_so() -> None:
    run = Chaos().between(0, None, "refused").against(OWN)
    with pytest.raises(errors.CascadeExhaustedError):
        run.run(ask)
    assert {exchanged.fault for exchanged in run.exchanges} == {"refused"}
    assert run.ledger.fault("refused") == len(run.exchanges) >= 3


CALLS = 150


async def in_a_crowd(kernel: penstock.Kernel) -> list[tuple[int, str]]:
    """Many calls at once, and how each ended, in the order in which they did."""
    ends: list[tuple[int, str]] = []

    async def one(number: int) -> None:
        await trio.sleep(number / 50)
        try:
            response = await kernel.complete(f"question {number % 9}", timeout=20)
            ends.append((number, repr(response.attempts)))
        except penstock.CallError as error:
            ends.append((number, repr((error, error.attempts))))

    async with trio.open_nursery() as nursery:
        for number in range(CALLS):
            nursery.start_soon(one, number)
    return ends


def mixed(seed: int) -> Chaos:
    some: list[str | Fault] = [
        "server_error",
        "cut_stream",
        "reset_connection",
        faults.RateLimit(hint="date"),
        "silence",
    ]
    return Chaos(seed, latency=Latency(first_s=0.2, jitter=0.5)).share(0.3, some).at(SONNET, "quota", first=3)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_byte_for_byte() -> None:
    runs = [mixed(seed).against(OWN) for seed in (7, 7, 8)]
    first, again, other = [run.run(in_a_crowd) for run in runs]
    assert first == again
    assert runs[0].transcript == runs[1].transcript
    assert runs[0].seconds == runs[1].seconds
    assert len(first) == len(other) == CALLS
    assert runs[0].transcript != runs[2].transcript


PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:]
from test_chaos import OWN, in_a_crowd, mixed
run = mixed(7).against(OWN)
ends = run.run(in_a_crowd)
print(len(ends), hash(run.transcript) and run.transcript.hex(), repr(ends).encode().hex())
"""


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_in_another_process() -> None:
    told: set[str] = set()
    for hashing in ("1", "2"):
        program = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)]
        ran = subprocess.run(program, env={"PYTHONHASHSEED": hashing}, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        told.add(ran.stdout)
    assert len(told) == 1


@pytest.mark.slow
@pytest.mark.parametrize("words", [["server_error"], ["server_error", "html", "overloaded"]], ids=["one", "three"])
def test_a_share_of_all_requests_is_struck_by_each_fault_alike(words: list[str]) -> None:
    async def app(kernel: penstock.Kernel) -> None:
        for number in range(1_000):
            with suppress(penstock.CallError):
                await kernel.complete(f"question {number}", model=GPT, timeout=60)
            await trio.sleep(1)

    run = Chaos(seed=1).share(0.3, words).against(OWN)
    run.run(app)
    total = len(run.exchanges)
    assert total > 900
    assert abs(len(run.log) / total - 0.3) < 0.05
    counts = dict(run.ledger.faults).values()
    assert len(counts) == len(words)
    assert all(abs(count / total - 0.3 / len(words)) < 0.04 for count in counts)


@pytest.mark.slow
@given(share=st.floats(0, 1), words=st.lists(st.sampled_from(sorted(WORDS)), min_size=1, max_size=9))
def test_each_of_several_faults_takes_its_part_of_the_share(share: float, words: list[str]) -> None:
    run = Chaos().share(share, words).against(OWN)
    spared = 1.0
    for rule in run.upstream.script.rules:
        assert spared * rule.probability == pytest.approx(share / len(words))
        spared *= 1 - rule.probability
    assert spared == pytest.approx(1 - share)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_may_be_nothing_or_everything(share: float) -> None:
    run = Chaos().share(share, ["html", "overloaded", "server_error"]).against(OWN)
    if share:
        with pytest.raises(errors.CascadeExhaustedError):
            run.run(ask)
        assert len(run.log) == len(run.exchanges)
    else:
        run.run(ask)
        assert run.log == ()


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("word", WORDS)
def test_every_word_strikes_and_the_call_ends_in_time(word: str, asking: App) -> None:
    run = Chaos().at(SONNET, word).against(OWN)
    ends = run.run(ended, asking)
    assert run.log[0].target == SONNET
    assert WORDS[run.log[0].fault or ""] == WORDS[word]
    assert run.seconds <= 30
    first = ends[0].outcome
    if first in {"invalid_request", "context_length", "content_filtered"}:
        assert len(ends) == 1, "no target would take it"
    elif ends[-1].outcome != "ok":
        assert asking is listen, "only what was shown is not taken back"
    else:
        assert ends[-1].target == SONNET or first != "ok"


async def ended(kernel: penstock.Kernel, asking: App) -> Sequence[penstock.Attempt]:
    """The attempts, however the call ended."""
    try:
        return (await asking(kernel)).attempts
    except errors.CallError as error:
        return error.attempts


def test_words_may_be_written_as_scripts_write_them() -> None:
    assert Chaos().at(GPT, "rate-limit") == Chaos().at(GPT, "Rate Limit") == Chaos().at(GPT, [faults.RateLimit()])


def test_what_cannot_be_is_refused_where_it_is_said() -> None:
    with pytest.raises(ValueError, match="did you mean 'silence'"):
        Chaos().share(0.5, "silense")
    with pytest.raises(ValueError, match="from 0 to 1"):
        Chaos().share(30, "silence")
    with pytest.raises(ValueError, match="from_s must come first"):
        Chaos().between(40, 10, "silence")
    with pytest.raises(ValueError, match="at least one fault"):
        Chaos().at(GPT, [])
    with pytest.raises(errors.NoRouteError, match="did you mean"):
        Chaos().at("sonet", "silence").against(OWN)


def test_plans_grow_and_are_not_changed() -> None:
    calm = Chaos(seed=3)
    storm = calm.share(1.0, "overloaded")
    assert calm.strikes == ()
    assert calm.against(OWN).run(ask).target == SONNET
    with pytest.raises(errors.CascadeExhaustedError):
        storm.against(OWN).run(ask)


def test_it_is_a_block_in_tests_that_are_async() -> None:
    run = Chaos().between(0, 5, "overloaded", target=SONNET).against(OWN)

    async def main() -> None:
        await trio.sleep(100)
        async with run as kernel:
            assert (await ask(kernel)).target == MINI
            await trio.sleep(30)
            assert (await ask(kernel)).target == SONNET

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert run.log[0].at_s == 0


def test_an_app_may_open_the_kernel_by_itself() -> None:
    run = Chaos().at(SONNET, "overloaded").against(OWN)

    async def app() -> str:
        async with penstock.open_kernel(run.config, transport=run.transport, plugins=run.plugins) as kernel:
            return (await ask(kernel)).target

    assert trio.run(app, clock=MockClock(autojump_threshold=0)) == MINI
    assert run.ledger.fault("overloaded") == 2


@both_ways
def test_a_provider_of_a_wire_unknown_to_the_upstream_is_struck_too(
    asking: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(THIRD_PARTY), *sys.path])
    import acme_penstock

    tables = {
        "providers": {"acme": {"region": "eu"}},
        "defaults": {"params": {"pitch": "low"}, "timeouts": {"first_token": 3, "total": 5}},
        "routes": {"default": {"cascade": ["acme/baritone", {"target": GPT, "attempts": 1}]}},
    }
    run = Chaos().at("acme/baritone", "silence", first=1).against(tables, plugins=[acme_penstock])
    assert run.run(asking).target == GPT
    calm = Chaos().against(tables, plugins=[acme_penstock])
    assert calm.run(asking).target == "acme/baritone"
    assert calm.exchanges[0].target == "acme/baritone"


def test_neither_prompts_nor_answers_are_in_what_a_run_tells() -> None:
    run = Chaos().at(SONNET, "error_event").against(OWN)
    run.run(listen)
    told = repr((run.exchanges, run.ledger)) + run.transcript.decode()
    assert "sky" not in told
    assert isinstance(run.exchanges[0], Exchanged)
    assert "invented-" not in told
