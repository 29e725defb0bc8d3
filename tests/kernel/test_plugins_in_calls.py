"""A third party's provider that raises, exits, hangs or talks nonsense: its own target fails, and nobody else."""

from __future__ import annotations

import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, NoReturn, cast

import httpx
import pytest
import trio
from worlds import ANSWER, GPT, KEY, config, good, openai_body, run

import penstock
from penstock import errors
from penstock.abc import Missing, Provider, StreamDecoder
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl
from penstock.testing import Reply, ScriptedTransport
from penstock.types import (
    Capabilities,
    ChatRequest,
    Chunk,
    Completion,
    Target,
    TextDelta,
    Usage,
    UsageUpdate,
    WireHead,
    WireRequest,
    WireResponse,
)
from penstock_providers.openai_chat import OpenAIChat

PROMPT = "the-prompt-of-the-canary"
THEIRS = "acme/m"
Fault = Callable[[], object]


class Acme(OpenAIChat):
    """Speaks Chat Completions, but for the methods that are told to do something else."""

    def __init__(self, faults: dict[str, Fault]) -> None:
        super().__init__()
        self.faults = faults

    def instead(self, method: str, usual: Callable[[], object]) -> Any:
        return self.faults.get(method, usual)()

    def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
        return cast(
            "WireRequest",
            self.instead("encode", lambda: super(Acme, self).encode(request, target, stream=stream, now=now)),
        )

    def authorize(self, wire: WireRequest, secret: str | None, *, now: float) -> WireRequest:
        return cast(
            "WireRequest", self.instead("authorize", lambda: super(Acme, self).authorize(wire, secret, now=now))
        )

    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        return cast("int | None", self.instead("input_bound", lambda: super(Acme, self).input_bound(request, target)))

    def output_bound(self, request: ChatRequest, target: Target) -> int | None:
        return cast("int | None", self.instead("output_bound", lambda: super(Acme, self).output_bound(request, target)))

    def own_thinking(self, target: Target) -> bool | None:
        return cast("bool | None", self.instead("own_thinking", lambda: super(Acme, self).own_thinking(target)))

    def decode(self, response: WireResponse) -> Completion:
        return cast("Completion", self.instead("decode", lambda: super(Acme, self).decode(response)))

    def decoder(self, head: WireHead) -> StreamDecoder:
        made = self.instead("decoder", lambda: super(Acme, self).decoder(head))
        return AcmeDecoder(made, self.faults) if isinstance(made, StreamDecoder) else cast("StreamDecoder", made)

    def classify(self, response: WireResponse, *, now: float) -> errors.ProviderError:
        return cast(
            "errors.ProviderError", self.instead("classify", lambda: super(Acme, self).classify(response, now=now))
        )

    def capabilities(self, model: str) -> Capabilities:
        return cast("Capabilities", self.instead("capabilities", lambda: super(Acme, self).capabilities(model)))


class AcmeDecoder(StreamDecoder):
    """The same for what reads a stream."""

    def __init__(self, usual: StreamDecoder, faults: dict[str, Fault]) -> None:
        self.usual = usual
        self.faults = faults

    def feed(self, data: bytes) -> list[Chunk]:
        return cast("list[Chunk]", self.faults.get("feed", lambda: self.usual.feed(data))())

    def close(self) -> None:
        self.faults.get("close", self.usual.close)()

    @property
    def completion(self) -> Completion:
        return cast("Completion", self.faults.get("completion", lambda: self.usual.completion)())

    @property
    def done(self) -> bool:
        return cast("bool", self.faults.get("done", lambda: self.usual.done)())

    @property
    def missing(self) -> Missing:
        return cast("Missing", self.faults.get("missing", lambda: self.usual.missing)())


Open = Callable[[object, PluginTools], AbstractAsyncContextManager[Provider]]


class Plugin:
    """What a program hands in as a plugin."""

    def __init__(self, opens: Open) -> None:
        self.opens = opens

    @hookimpl
    def penstock_providers(self) -> Sequence[ProviderSpec]:
        return [ProviderSpec(name="acme", open=self.opens, needs_key=False)]


def acme(**faults: Fault) -> Plugin:
    return Plugin(lambda _options, _tools: nullcontext(Acme(faults)))


def raising(error: BaseException) -> Fault:
    def fault() -> NoReturn:
        raise error

    return fault


def settings(**tables: Any) -> penstock.Config:
    stages = [{"target": THEIRS, "attempts": 3}, {"target": GPT, "attempts": 2}]
    return config(providers={"acme": {"api_key": KEY}}, routes={"default": {"cascade": stages}}, **tables)


async def ask(kernel: penstock.Kernel, *, streamed: bool, model: str | None = None) -> penstock.ChatResponse:
    if not streamed:
        return await kernel.complete(PROMPT, model=model)
    async with kernel.stream(PROMPT, model=model) as stream:
        async for _ in stream:
            pass
        return stream.response


BUG = ZeroDivisionError(f"{KEY} {PROMPT}")
BUGS: dict[str, Fault] = {
    "raises": raising(BUG),
    "exits": lambda: sys.exit(3),
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


@pytest.mark.parametrize("bug", ["raises", "exits", "nonsense", "nothing"])
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
                assert "ZeroDivisionError in fault, test_plugins_in_calls.py line" in str(caught.value)
                assert "in fault" in shown.split("CodecFailedError")[0], "the traceback shows the plugin's own line"
            assert [attempt.outcome for attempt in caught.value.attempts] == ["codec"]
            assert (await kernel.complete(PROMPT, model=GPT)).text == ANSWER

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


@pytest.mark.parametrize("method", ["close", "completion"])
def test_a_decoder_that_breaks_after_its_answer_was_shown_never_looks_complete(method: str) -> None:
    async def main() -> None:
        plugin = acme(**{method: raising(BUG)})
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


@pytest.mark.parametrize("bug", ["raises", "exits", "nonsense", "nothing"])
def test_capabilities_that_break_leave_the_cautious_defaults(bug: str) -> None:
    async def main() -> None:
        plugin = acme(capabilities=BUGS[bug])
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            assert (await kernel.complete(PROMPT)).target == THEIRS
            assert kernel.health().ready

    run(main)


@pytest.mark.parametrize("bug", ["", "raises", "exits", "nonsense", "nothing"])
def test_a_codec_that_breaks_on_what_its_params_say_of_thinking_is_taken_to_say_nothing(bug: str) -> None:
    async def main() -> None:
        plugin = acme(own_thinking=BUGS[bug]) if bug else acme()
        tables = settings(defaults={"params": {"reasoning_effort": "high"}})
        async with penstock.open_kernel(tables, transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            stage = kernel.explain(PROMPT, timeout=2_000).stages[0]
            assert (stage.target, stage.streamed) == (THEIRS, not bug)
            assert (await kernel.complete(PROMPT)).target == THEIRS

    run(main)


@pytest.mark.parametrize("bound", [raising(BUG), lambda: -5, lambda: 2.5, lambda: "many", lambda: sys.exit(1)])
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


OPENINGS: dict[str, Open] = {
    "raises while it opens": opening(ValueError("no license")).opens,
    "raises at once": lambda _options, _tools: cast("Any", raising(ValueError("no license"))()),
    "opens nothing": lambda _options, _tools: cast("Any", None),
    "opens no provider": lambda _options, _tools: cast("Any", nullcontext("codec")),
}


@pytest.mark.parametrize("opens", OPENINGS.values(), ids=OPENINGS)
def test_a_plugin_that_fails_to_open_is_one_typed_error_that_names_the_provider(opens: Open) -> None:
    async def main() -> None:
        plugin = Plugin(opens)
        with pytest.raises(errors.PluginLoadError, match="the plugin of provider 'acme' failed to open") as caught:
            async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]):
                raise AssertionError("never reached")
        assert not isinstance(caught.value, BaseExceptionGroup)

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


def test_a_plugin_that_raises_while_it_closes_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> str:
        plugin = opening(closes=raising(ValueError(KEY)))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            return (await kernel.complete(PROMPT)).text

    assert run(main) == ANSWER
    assert "the plugin of provider 'acme' broke while it closed: ValueError" in caplog.text
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


def test_a_plugins_price_hook_that_raises_leaves_the_price_unknown() -> None:
    class Prices(Plugin):
        @hookimpl
        def penstock_price(self, model: str) -> penstock.types.Price | None:
            raise ValueError(model)

    async def main() -> None:
        plugin = Prices(lambda _options, _tools: nullcontext(Acme({})))
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            response = await kernel.complete(PROMPT)
            assert (response.text, response.cost) == (ANSWER, None)
            assert "penstock_price failed" in " ".join(kernel.health().problems)

    run(main)
