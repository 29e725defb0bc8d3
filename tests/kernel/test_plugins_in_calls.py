"""A third party's provider that raises, exits, hangs or talks nonsense: its own target fails, and nobody else."""

from __future__ import annotations

import sys
import traceback
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, cast

import httpx
import pytest
import trio
from acme import PROMPT, THEIRS, Acme, Fault, Open, PanicException, Plugin, acme, ask, raising, settings
from worlds import ANSWER, GPT, KEY, config, good, openai_body, run

import penstock
from penstock import errors
from penstock.abc import Provider
from penstock.hookspecs import PluginTools, hookimpl
from penstock.testing import Reply, ScriptedTransport
from penstock.types import (
    Chunk,
    Completion,
    TextDelta,
    Usage,
    UsageUpdate,
)

BUG = ZeroDivisionError(f"{KEY} {PROMPT}")
BUGS: dict[str, Fault] = {
    "raises": raising(BUG),
    "exits": lambda: sys.exit(3),
    "panics": raising(PanicException(f"{KEY} {PROMPT}")),
    "nonsense": lambda: b"nonsense",
    "nothing": lambda: None,
    "raises what is not its to say": raising(errors.DeadlineExceededError("no")),
    "raises the base of all": raising(errors.CallError("no")),
}
LIMITED = {"budget": {"limits": [{"per": "day", "tokens": 1_000_000}]}, "cache": {"store": "memory", "when": "always"}}
ALWAYS_ASKED = ("encode", "authorize")
ASKED = {False: (*ALWAYS_ASKED, "decode"), True: (*ALWAYS_ASKED, "decoder", "feed")}
CASES = [(streamed, method, bug) for streamed, methods in ASKED.items() for method in methods for bug in BUGS]


@pytest.mark.parametrize(("streamed", "method", "bug"), CASES)
def test_a_codec_that_breaks_fails_its_own_attempt_and_the_next_target_answers(
    streamed: bool,  # noqa: FBT001 - a parameter of the test
    method: str,
    bug: str,
) -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        plugin = acme(**{method: BUGS[bug]})
        async with penstock.open_kernel(settings(**LIMITED), transport=upstream, plugins=[plugin]) as kernel:
            response = await ask(kernel, streamed=streamed)
            assert (response.text, response.target) == (ANSWER, GPT)
            assert [attempt.target for attempt in response.attempts] == [THEIRS, GPT]
            assert isinstance(response.attempts[0].error, errors.CallError)
            snapshot = await kernel.snapshot()
            assert snapshot.in_flight == 0 == upstream.open
            for actor in snapshot.actors.values():
                assert (actor.slots_in_use, actor.restarts) == (0, 0)
            assert snapshot.accounts[""].windows[0].held.tokens == 0

    run(main)


@pytest.mark.parametrize("bug", ["raises", "exits", "panics", "nonsense", "nothing"])
@pytest.mark.parametrize("method", ["encode", "authorize", "decode"])
def test_alone_on_its_route_it_ends_in_one_typed_error_that_names_the_place_and_quotes_nothing(
    method: str, bug: str
) -> None:
    async def main() -> None:
        plugin = acme(**{method: BUGS[bug]})
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            with pytest.raises(errors.CodecFailedError, match=f"the codec of {THEIRS} broke") as caught:
                await kernel.complete(PROMPT, model=THEIRS)
            shown = "".join(traceback.format_exception(caught.value))
            assert PROMPT not in shown
            assert KEY not in shown
            if bug == "raises":
                assert "ZeroDivisionError in fault, acme.py line" in str(caught.value)
                assert "in fault" in shown.split("CodecFailedError")[0], "the traceback shows the plugin's own line"
            assert [attempt.outcome for attempt in caught.value.attempts] == ["codec"]
            assert (await kernel.complete(PROMPT, model=GPT)).text == ANSWER

    run(main)


@pytest.mark.parametrize("method", ["classify", "decode"])
def test_what_a_codec_adds_to_its_own_error_shows_no_key(method: str) -> None:
    def fault() -> errors.CallError:
        cause = ZeroDivisionError("no")
        error = errors.ServerError("no")
        for each in (cause, error):
            each.add_note(f"sent with {KEY}")
        error.__cause__ = cause
        if method == "decode":
            raise error
        return error

    answered = Reply(500 if method == "classify" else 200, json=openai_body())

    async def main() -> None:
        upstream = ScriptedTransport(lambda _: answered)
        async with penstock.open_kernel(settings(), transport=upstream, plugins=[acme(**{method: fault})]) as kernel:
            with pytest.raises(errors.ServerError) as caught:
                await kernel.complete(PROMPT, model=THEIRS)
        shown = "".join(traceback.format_exception(caught.value))
        assert "sent with" in shown
        assert KEY not in shown

    run(main)


@pytest.mark.parametrize("bug", BUGS)
def test_a_classify_that_breaks_is_a_failed_attempt_too(bug: str) -> None:
    def answer(request: httpx.Request) -> Reply:
        return Reply(500, json={"error": {"message": "boom"}}) if b'"model":"m"' in request.content else good(request)

    async def main() -> None:
        plugin = acme(classify=BUGS[bug])
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(answer), plugins=[plugin]) as kernel:
            response = await kernel.complete(PROMPT)
            assert [attempt.target for attempt in response.attempts] == [THEIRS, GPT]

    run(main)


@pytest.mark.parametrize("bug", [BUG, SystemExit(3), PanicException()], ids=lambda bug: type(bug).__name__)
@pytest.mark.parametrize("method", ["close", "completion"])
def test_a_decoder_that_breaks_after_its_answer_was_shown_never_looks_complete(method: str, bug: BaseException) -> None:
    async def main() -> None:
        plugin = acme(**{method: raising(bug)})
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            chunks: list[Chunk] = []
            with pytest.raises(errors.StreamBrokenError, match=f"the codec of {THEIRS} broke"):
                async with kernel.stream(PROMPT) as stream:
                    chunks.extend([chunk async for chunk in stream])
            assert not any(isinstance(chunk, penstock.Finished) for chunk in chunks)

    run(main)


def test_a_decoder_that_cannot_say_whether_it_is_done_fails_its_attempt_alone() -> None:
    async def main() -> None:
        plugin = acme(done=raising(BUG))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            assert (await ask(kernel, streamed=True)).target == GPT

    run(main)


def test_a_decoder_that_cannot_say_what_is_missing_fails_its_attempt_alone() -> None:
    async def main() -> None:
        plugin = acme(missing=raising(BUG))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            assert (await ask(kernel, streamed=True)).target == GPT

    run(main)


@pytest.mark.parametrize("says", ["end", "usage", "everything", None, []])
def test_a_decoder_that_says_nonsense_of_what_is_missing_harms_no_answer(says: object) -> None:
    async def main() -> None:
        plugin = acme(missing=lambda: says)
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            response = await ask(kernel, streamed=True)
            assert (response.target, response.text) == (THEIRS, ANSWER)

    run(main)


def test_a_decoder_that_says_too_early_that_it_is_done_never_looks_complete() -> None:
    async def main() -> None:
        plugin = acme(done=lambda: True)
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            response = await ask(kernel, streamed=True)
            assert (response.target, response.text) == (GPT, ANSWER)

    run(main)


def test_a_decoder_that_forgets_what_it_read_breaks_the_stream_and_nothing_else() -> None:
    async def main() -> None:
        fed = iter([[TextDelta("shown")]])
        plugin = acme(feed=lambda: next(fed), completion=raising(BUG))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            with pytest.raises(errors.StreamBrokenError) as caught:
                await ask(kernel, streamed=True)
            assert caught.value.partial == ""
            assert KEY not in "".join(traceback.format_exception(caught.value))

    run(main)


@pytest.mark.parametrize("bug", ["raises", "exits", "panics", "nonsense", "nothing"])
def test_capabilities_that_break_leave_the_cautious_defaults(bug: str) -> None:
    async def main() -> None:
        plugin = acme(capabilities=BUGS[bug])
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            assert (await kernel.complete(PROMPT)).target == THEIRS
            assert kernel.health().ready

    run(main)


@pytest.mark.parametrize("bug", ["", "raises", "exits", "panics", "nonsense", "nothing"])
def test_a_codec_that_breaks_on_what_its_params_say_of_thinking_is_taken_to_say_nothing(bug: str) -> None:
    async def main() -> None:
        plugin = acme(own_thinking=BUGS[bug]) if bug else acme()
        tables = settings(defaults={"params": {"reasoning_effort": "high"}})
        async with penstock.open_kernel(tables, transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            stage = kernel.explain(PROMPT, timeout=2_000).stages[0]
            assert (stage.target, stage.streamed) == (THEIRS, not bug)
            assert (await kernel.complete(PROMPT)).target == THEIRS

    run(main)


NO_BOUNDS: list[Fault] = [
    *(raising(error) for error in (BUG, SystemExit(1), PanicException())),
    lambda: -5,
    lambda: 2.5,
    lambda: "many",
]


@pytest.mark.parametrize("bound", NO_BOUNDS)
@pytest.mark.parametrize("method", ["input_bound", "output_bound"])
def test_a_bound_that_is_none_passes_the_target_over_and_never_reaches_the_ledger(method: str, bound: Fault) -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        plugin = acme(**{method: bound})
        async with penstock.open_kernel(settings(**LIMITED), transport=upstream, plugins=[plugin]) as kernel:
            assert (await kernel.complete(PROMPT)).target == GPT
            with pytest.raises(errors.CodecFailedError, match=THEIRS):
                await kernel.complete(PROMPT, model=THEIRS)
            assert kernel.health().ready
            assert len(upstream.requests) == 1

    run(main)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=-5, output_tokens=3),
        Usage(input_tokens=5, output_tokens=-1_000_000),
        Usage(input_tokens=5, output_tokens=3, reasoning_tokens=-1),
        Usage(input_tokens=cast("int", 2.5)),
        Usage(input_tokens=cast("int", float("nan"))),
        Usage(input_tokens=5, kinds={"web_searches": -1}),
        Usage(input_tokens=5, kinds=cast("dict[str, int]", {"web_searches": "many"})),
        Usage(input_tokens=5, kinds=cast("dict[str, int]", None)),
        cast("Usage", "lots"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
def test_counts_that_cannot_be_right_are_charged_at_the_bound_and_never_break_the_ledger(
    streamed: bool,  # noqa: FBT001 - a parameter of the test
    usage: Usage,
) -> None:
    completion = Completion(message=penstock.Message.assistant(ANSWER), finish_reason="stop", usage=usage)

    async def main() -> None:
        fed = iter([[TextDelta(ANSWER), UsageUpdate(usage)], *[list[Chunk]()] * 20])
        plugin = acme(
            decode=lambda: completion, feed=lambda: next(fed), close=lambda: None, completion=lambda: completion
        )
        upstream = ScriptedTransport(good)
        budget = {"limits": [{"per": "day", "tokens": 1_000_000}]}
        async with penstock.open_kernel(settings(budget=budget), transport=upstream, plugins=[plugin]) as kernel:
            response = await ask(kernel, streamed=streamed)
            assert (response.text, response.target) == (ANSWER, THEIRS)
            assert response.usage.estimated
            window = (await kernel.snapshot()).accounts[""].windows[0]
            assert window.spent.tokens > 1_000
            assert window.held.tokens == 0
            assert kernel.health().ready

    run(main)


@pytest.mark.parametrize("hint", [-3.0, float("nan"), float("inf"), cast("float", "7")])
def test_a_hint_that_is_no_time_is_no_hint(hint: float) -> None:
    async def main() -> None:
        plugin = acme(decode=raising(errors.RateLimitedError("slow down", retry_after=hint)))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            with pytest.raises(errors.RateLimitedError) as caught:
                await kernel.complete(PROMPT, model=THEIRS)
            assert caught.value.retry_after is None
            assert len(caught.value.attempts) == 3

    run(main)


class AcmeError(errors.ProviderError):
    """A plugin's own word for an error."""

    kind = "acme_error"


def test_an_error_of_a_plugins_own_class_is_treated_as_its_parent() -> None:
    async def main() -> None:
        plugin = acme(decode=raising(AcmeError("no")))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            response = await kernel.complete(PROMPT)
            assert [attempt.outcome for attempt in response.attempts] == ["acme_error"] * 3 + ["ok"]

    run(main)


# Opening and closing


def opening(error: BaseException | None = None, *, hangs: bool = False, closes: Fault | None = None) -> Plugin:
    @asynccontextmanager
    async def opens(options: object, tools: PluginTools) -> AsyncGenerator[Provider]:
        del options, tools
        if hangs:
            await trio.sleep_forever()
        if error is not None:
            raise error
        yield Acme({})
        if closes is not None:
            closes()

    return Plugin(opens)


NO_LICENSE = ValueError(f"no license: {KEY}")
HERE = r"test_plugins_in_calls.py line \d+ "
OPENINGS: dict[str, tuple[Open, str]] = {
    "raises while it opens": (opening(NO_LICENSE).opens, f"ValueError in opens, {HERE}"),
    "exits": (opening(SystemExit(3)).opens, f"SystemExit in opens, {HERE}"),
    "panics": (opening(PanicException()).opens, f"PanicException in opens, {HERE}"),
    "raises at once": (
        lambda _options, _tools: cast("Any", raising(ValueError(KEY))()),
        r"ValueError in fault, acme.py line \d+ ",
    ),
    "exits at once": (lambda _options, _tools: cast("Any", sys.exit(3)), f"SystemExit in <lambda>, {HERE}"),
    "cannot be called": (cast("Open", lambda: None), "its open cannot be called with .options, tools.: TypeError"),
    "opens nothing": (lambda _options, _tools: cast("Any", None), "its open gave NoneType, and is to give an async"),
    "opens no provider": (
        lambda _options, _tools: cast("Any", nullcontext("codec")),
        "it opened str, which is no Provider",
    ),
}


@pytest.mark.parametrize(("opens", "says"), OPENINGS.values(), ids=OPENINGS)
def test_a_plugin_that_fails_to_open_is_one_typed_error_that_says_what_and_where_and_what_to_do(
    opens: Open, says: str
) -> None:
    async def main() -> None:
        plugin = Plugin(opens)
        failed = f"the plugin of provider 'acme' failed to open: {says}"
        with pytest.raises(errors.PluginLoadError, match=failed) as caught:
            async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]):
                raise AssertionError("never reached")
        assert not isinstance(caught.value, BaseExceptionGroup)
        assert "mend the plugin or its options, or take it out of the configuration" in str(caught.value)
        assert KEY not in str(caught.value)

    run(main)


def test_a_plugin_that_hangs_while_it_opens_is_given_up_after_half_a_minute() -> None:
    async def main() -> None:
        with pytest.raises(errors.PluginLoadError, match="'acme' did not open within 30 s"):
            async with penstock.open_kernel(
                settings(), transport=ScriptedTransport(good), plugins=[opening(hangs=True)]
            ):
                raise AssertionError("never reached")
        assert trio.current_time() == pytest.approx(30)

    run(main)


def test_what_was_opened_before_a_plugin_that_fails_is_closed() -> None:
    closed: list[str] = []

    @asynccontextmanager
    async def opens(options: object, tools: PluginTools) -> AsyncGenerator[Provider]:
        del options
        if tools.name == "second":
            raise ValueError("no")
        try:
            yield Acme({})
        finally:
            closed.append(tools.name)

    async def main() -> None:
        mapping = config(providers={"first": {"kind": "acme"}, "second": {"kind": "acme"}})
        with pytest.raises(errors.PluginLoadError, match="'second'"):
            async with penstock.open_kernel(mapping, transport=ScriptedTransport(good), plugins=[Plugin(opens)]):
                raise AssertionError("never reached")

    run(main)
    assert closed == ["first"]


@pytest.mark.parametrize(
    "bug", [ValueError(KEY), SystemExit(KEY), PanicException(KEY)], ids=lambda bug: type(bug).__name__
)
def test_a_plugin_that_raises_while_it_closes_is_logged_and_harms_nobody(
    bug: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> str:
        plugin = opening(closes=raising(bug))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            return (await kernel.complete(PROMPT)).text

    assert run(main) == ANSWER
    assert f"the plugin of provider 'acme' broke while it closed: {type(bug).__name__}" in caplog.text
    assert KEY not in caplog.text


def test_a_plugin_that_hangs_while_it_closes_delays_the_end_by_its_seconds_alone() -> None:
    @asynccontextmanager
    async def opens(options: object, tools: PluginTools) -> AsyncGenerator[Provider]:
        del options, tools
        yield Acme({})
        await trio.sleep_forever()

    async def main() -> float:
        async with penstock.open_kernel(
            settings(), transport=ScriptedTransport(good), plugins=[Plugin(opens)]
        ) as kernel:
            await kernel.complete(PROMPT)
        return trio.current_time()

    assert run(main) == pytest.approx(5)


def test_a_plugin_whose_own_task_dies_while_calls_run_takes_nobody_along(caplog: pytest.LogCaptureFixture) -> None:
    async def die() -> None:
        await trio.sleep(1)
        raise ValueError("the plugin's own task")

    @asynccontextmanager
    async def opens(options: object, tools: PluginTools) -> AsyncGenerator[Provider]:
        del options, tools
        async with trio.open_nursery() as nursery:
            nursery.start_soon(die)
            yield Acme({})

    async def main() -> None:
        upstream = ScriptedTransport(lambda _: Reply(json=openai_body(), delay=3.0))
        async with penstock.open_kernel(settings(), transport=upstream, plugins=[Plugin(opens)]) as kernel:
            assert (await kernel.complete(PROMPT)).text == ANSWER
            assert (await kernel.complete(PROMPT, model=GPT)).text == ANSWER

    run(main)
    assert "the plugin of provider 'acme' broke" in caplog.text


@pytest.mark.parametrize("bug", [ValueError, SystemExit, PanicException])
def test_a_plugins_price_hook_that_raises_leaves_the_price_unknown(bug: type[BaseException]) -> None:
    class Prices(Plugin):
        @hookimpl
        def penstock_price(self, model: str) -> penstock.types.Price | None:
            raise bug(model)

    async def main() -> None:
        plugin = Prices(lambda _options, _tools: nullcontext(Acme({})))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            response = await kernel.complete(PROMPT)
            assert (response.text, response.cost) == (ANSWER, None)
            assert "penstock_price failed" in " ".join(kernel.health().problems)

    run(main)
