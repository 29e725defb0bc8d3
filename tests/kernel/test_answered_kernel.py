"""Kernels that answer from a list, as tests of apps use them: no key, no network, no time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

import penstock
from penstock import ChatRequest, Message, Text, Thinking, ToolCall, errors
from penstock.testing import AnsweredKernel, OutOfAnswersError, PenstockKernel, Silence
from penstock.types import Completion, Usage

CASCADE = ["anthropic/claude-sonnet-4-20250514", "openai/gpt-4o"]
OWN: dict[str, Any] = {
    "providers": {"anthropic": {"api_key": "env:A_KEY_THAT_IS_NOT_SET"}},
    "routes": {"default": {"cascade": [{"target": target, "attempts": 2} for target in CASCADE]}},
    "budget": {"limits": [{"per": "day", "usd": 20}]},
}


async def ask(kernel: penstock.Kernel, question: str = "hello") -> penstock.ChatResponse:
    return await kernel.complete(question)


async def listen(kernel: penstock.Kernel, question: str = "hello") -> penstock.ChatResponse:
    async with kernel.stream(question) as stream:
        shown = "".join([text async for text in stream.text()])
        assert shown == stream.response.text
        return stream.response


ASKING: dict[str, Callable[[penstock.Kernel], Awaitable[penstock.ChatResponse]]] = {"complete": ask, "stream": listen}
both_ways = pytest.mark.parametrize("asking", ASKING.values(), ids=list(ASKING))
App = Callable[[penstock.Kernel], Awaitable[penstock.ChatResponse]]


@both_ways
def test_each_attempt_gets_the_next_answer_and_waits_take_no_time(asking: App) -> None:
    staged = AnsweredKernel([errors.RateLimitedError(retry_after=2), "yes"])
    response = staged.run(asking)
    assert response.text == "yes"
    assert [attempt.outcome for attempt in response.attempts] == ["rate_limited", "ok"]
    assert staged.seconds == 2
    assert staged.answers_left == 0


@both_ways
def test_a_cascade_of_the_apps_own_is_walked_without_its_keys(asking: App) -> None:
    down = errors.OverloadedError()
    staged = AnsweredKernel([down, down, "from the second"], config=OWN)
    response = staged.run(asking)
    assert (response.text, response.target) == ("from the second", CASCADE[1])
    assert [asked.target for asked in staged.asked] == [CASCADE[0], CASCADE[0], CASCADE[1]]
    # Where another target is left, a whole answer is asked for as a stream, which tells soon that nothing comes.
    assert [asked.streamed for asked in staged.asked] == [True, True, asking is listen]
    assert response.cost is not None
    assert response.cost > 0, "prices are those of the configured models"


def test_a_test_sees_what_was_asked() -> None:
    staged = AnsweredKernel(["one", "two"])

    async def app(kernel: penstock.Kernel) -> None:
        await kernel.complete("first", max_tokens=7)
        image = penstock.Image(data=b"\x89PNG", media_type="image/png")
        await kernel.complete([Message.user([Text("see"), image])], tools=[penstock.Tool("look")], system="be brief")

    staged.run(app)
    first, second = staged.requests
    assert first == ChatRequest("first", max_tokens=7)
    assert second.messages[0].content[1] == penstock.Image(data=b"\x89PNG", media_type="image/png")
    assert (second.tools[0].name, second.system) == ("look", "be brief")


@both_ways
def test_answers_may_be_messages_calls_and_completions(asking: App) -> None:
    call = ToolCall("call-1", "weather", {"city": "Oslo"})
    whole = Completion(message=Message.assistant("half"), finish_reason="length", usage=Usage(output_tokens=9))
    staged = AnsweredKernel([call, [Thinking("hm", family="x"), Text("a"), call], Message.assistant("b"), whole])

    async def app(kernel: penstock.Kernel) -> list[penstock.ChatResponse]:
        return [await asking(kernel) for _ in range(4)]

    called, parts, message, cut = staged.run(app)
    assert called.tool_calls == (call,)
    assert called.finish_reason == "tool_calls"
    assert [type(part) for part in parts.message.content] == [Thinking, Text, ToolCall]
    assert message.text == "b"
    assert (cut.finish_reason, cut.usage.output_tokens) == ("length", 9)


def test_a_response_of_one_kernel_can_be_the_answer_of_another() -> None:
    first = AnsweredKernel(["yes"]).run(ask)
    second = AnsweredKernel([first]).run(ask)
    assert (second.text, second.usage) == (first.text, first.usage)


PROVIDER_ERRORS = [
    (errors.RateLimitedError(retry_after=1), 429),
    (errors.QuotaExhaustedError(), 402),
    (errors.OverloadedError(), 503),
    (errors.ServerError(), 500),
    (errors.ServerError(status=504), 504),
    (errors.AuthenticationError(), 401),
    (errors.PermissionDeniedError(), 403),
    (errors.ModelNotFoundError(), 404),
    (errors.InvalidRequestError(), 400),
    (errors.ContextLengthError(), 400),
    (errors.ContentFilteredError(code="jailbreak"), 400),
    (errors.RefusedError(), 400),
]


@both_ways
@pytest.mark.parametrize(("error", "status"), PROVIDER_ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_is_met_as_if_the_provider_had_answered_it(
    asking: App, error: errors.ProviderError, status: int
) -> None:
    config: dict[str, Any] = {
        "providers": {"openai": {}},
        "routes": {"default": {"cascade": [{"target": "openai/gpt-4o", "attempts": 1}]}},
    }
    staged = AnsweredKernel([error], config=config)
    with pytest.raises(type(error)) as caught:
        staged.run(asking)
    told = caught.value
    assert isinstance(told, errors.ProviderError)
    assert (told.status, told.code) == (status, error.code)
    assert [attempt.outcome for attempt in told.attempts] == [error.kind]
    assert told is not error
    assert error.attempts == (), "what a test gives can be given again"


TRANSPORT_ERRORS: list[tuple[Any, str]] = [
    (errors.ConnectError("refused"), "connect"),
    (errors.ConnectionLostError(), "connection_lost"),
    (errors.MalformedResponseError(), "malformed"),
    (errors.FirstTokenTimeoutError(), "first_token_timeout"),
    (httpx.ConnectError("refused"), "connect"),
    (httpx.ReadError("reset"), "connection_lost"),
    (errors.OverloadedError, "overloaded"),
]


@both_ways
@pytest.mark.parametrize(("error", "outcome"), TRANSPORT_ERRORS)
def test_what_a_connection_can_do_is_an_answer_too(asking: App, error: Any, outcome: str) -> None:
    response = AnsweredKernel([error, "after all"], config=OWN).run(asking)
    assert [attempt.outcome for attempt in response.attempts] == [outcome, "ok"]


def test_a_stream_breaks_where_the_answer_says() -> None:
    staged = AnsweredKernel([errors.StreamBrokenError(partial="half an ans")])
    with pytest.raises(errors.StreamBrokenError) as caught:
        staged.run(listen)
    assert caught.value.partial == "half an ans"


@both_ways
def test_silence_is_waited_for_as_long_as_the_configuration_says(asking: App) -> None:
    timeouts = {"first_token": 7, "total": 7}
    staged = AnsweredKernel([Silence(), "at last"], config=OWN | {"defaults": {"timeouts": timeouts}})
    assert staged.run(asking).target == CASCADE[1]
    assert staged.seconds == 7


def test_a_function_answers_by_what_is_asked() -> None:
    async def slowly(request: ChatRequest) -> str:
        await trio.sleep(3)
        return request.messages[0].text.upper()

    def always(request: ChatRequest) -> str:
        return f"you said {request.messages[0].text}"

    staged = AnsweredKernel([slowly])
    assert staged.run(ask, "loud").text == "LOUD"
    assert staged.seconds == 3
    every = AnsweredKernel(always)

    async def twice(kernel: penstock.Kernel) -> list[str]:
        return [(await kernel.complete(question)).text for question in ("a", "b")]

    assert every.run(twice) == ["you said a", "you said b"]


@both_ways
def test_running_out_of_answers_lists_every_attempt(asking: App) -> None:
    staged = AnsweredKernel([errors.OverloadedError(), "SECRET ANSWER"], config=OWN)

    async def app(kernel: penstock.Kernel) -> None:
        await asking(kernel)
        await kernel.complete("SECRET PROMPT")

    with pytest.raises(OutOfAnswersError) as caught:
        staged.run(app)
    assert str(caught.value).splitlines() == [
        "2 answers were given, and 3 attempts were made:",
        f"  1. {CASCADE[0]} (streamed): OverloadedError",
        f"  2. {CASCADE[0]} (streamed): an answer",
        f"  3. {CASCADE[0]} (streamed): no answer left",
    ]
    assert isinstance(caught.value, AssertionError)
    assert len(staged.asked) == 3, "the call is not tried again, at any target"


def test_attempts_at_once_are_told_apart_in_the_list() -> None:
    async def slowly(_: ChatRequest) -> str:
        await trio.sleep(1)
        return "slow"

    async def app(kernel: penstock.Kernel) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, kernel)
            await trio.sleep(0.5)
            with pytest.raises(errors.ServerError):
                await kernel.complete("quick")
        await kernel.complete("one too many")

    config: dict[str, Any] = {
        "providers": {"openai": {}},
        "routes": {"default": {"cascade": [{"target": "openai/gpt-4o", "attempts": 1}]}},
    }
    with pytest.raises(OutOfAnswersError) as caught:
        AnsweredKernel([slowly, errors.ServerError()], config=config).run(app)
    assert [line.partition(": ")[2] for line in str(caught.value).splitlines()[1:]] == [
        "an answer",
        "ServerError",
        "no answer left",
    ]


def test_an_app_that_swallows_errors_does_not_hide_that_answers_ran_out() -> None:
    async def app(kernel: penstock.Kernel) -> str:
        try:
            return (await kernel.complete("hello")).text
        except penstock.PenstockError:
            return "sorry"

    with pytest.raises(OutOfAnswersError):
        AnsweredKernel([]).run(app)


def test_a_broken_function_among_the_answers_reaches_the_test() -> None:
    def looks(request: ChatRequest) -> str:
        assert request.system == "be brief"
        return "yes"

    with pytest.raises(AssertionError, match="be brief"):
        AnsweredKernel([looks, "never asked"]).run(ask)

    def number(request: ChatRequest) -> int:
        return len(request.messages)

    numbers: Any = [number]
    with pytest.raises(TypeError, match="of type int"):
        AnsweredKernel(numbers).run(ask)


def test_a_fixture_tells_where_the_app_opened_the_kernel_by_itself() -> None:
    made = PenstockKernel()
    staged = made(answers=[])

    async def app() -> None:
        async with penstock.open_kernel(staged.config, transport=staged.transport, plugins=staged.plugins) as kernel:
            with pytest.raises(errors.InvalidRequestError):
                await kernel.complete("hello")

    trio.run(app)
    assert len(made.requests) == 1
    with pytest.raises(OutOfAnswersError):
        made.check()
    made.check()


NO_ANSWERS: list[tuple[Any, str]] = [
    (errors.CascadeExhaustedError(), "CascadeExhaustedError: that is what a call ends in, not what a provider answers"),
    (errors.BudgetExceededError(), "BudgetExceededError: that is what a call ends in"),
    (errors.UnsendableRequestError(), "UnsendableRequestError: that is what a call ends in"),
    (errors.DeadlineExceededError, "DeadlineExceededError: that is what a call ends in"),
    (errors.ConfigError("x"), "ConfigError: that is what a call ends in"),
    (42, "is of type int"),
    ([], "is of type list"),
    (int, "is of type type"),
]


@pytest.mark.parametrize(("answer", "says"), NO_ANSWERS)
def test_what_no_provider_answers_is_refused_at_once(answer: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says) as caught:
        AnsweredKernel(["yes", answer])
    assert "answers[1]" in str(caught.value)


def test_one_text_in_place_of_the_list_is_refused() -> None:
    with pytest.raises(TypeError, match="in brackets"):
        AnsweredKernel("yes")


def test_it_is_a_block_in_tests_that_are_async() -> None:
    staged = AnsweredKernel(["yes"])

    async def main() -> None:
        async with staged as kernel:
            await trio.sleep(5)
            assert (await kernel.complete("hello")).text == "yes"
        with pytest.raises(errors.KernelError, match="opened once"):
            await staged.__aenter__()
        with pytest.raises(errors.KernelError, match="async with"):
            AnsweredKernel([]).run(ask)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert staged.seconds == 5


def test_what_the_body_raises_comes_out_as_it_is() -> None:
    async def app(kernel: penstock.Kernel) -> None:
        await kernel.complete("hello")
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        AnsweredKernel(["yes"]).run(app)


def test_back_offs_are_the_same_in_every_run_and_chance_is_left_as_it_was() -> None:
    import random

    random.seed(5)
    expected = random.random()
    random.seed(5)

    def seconds(seed: int) -> float:
        staged = AnsweredKernel([errors.ServerError(), errors.ServerError(), "yes"], seed=seed)
        staged.run(ask)
        return staged.seconds

    assert seconds(1) == seconds(1)
    assert seconds(1) != seconds(2)
    assert random.random() == expected


def test_budgets_and_caches_of_the_configuration_hold() -> None:
    tables = OWN | {"cache": {"store": "memory", "when": "always"}}
    staged = AnsweredKernel(["yes"], config=tables)

    async def app(kernel: penstock.Kernel) -> str:
        await kernel.complete("hello")
        with pytest.raises(errors.BudgetExceededError):
            await kernel.complete("hello", max_tokens=10**9)
        again = await kernel.complete("hello")
        assert (await kernel.snapshot()).accounts[""].windows[0].held.nano_usd == 0
        return again.cache

    assert staged.run(app) == "hit"
    assert len(staged.asked) == 1


def test_the_apps_own_ledger_is_neither_written_to_nor_asked(tmp_path: Path) -> None:
    path = tmp_path / "penstock.db"
    staged = AnsweredKernel(["yes"], config=OWN | {"ledger": {"store": "sqlite", "path": str(path)}})
    assert staged.run(ask).text == "yes"
    assert list(tmp_path.iterdir()) == []


def test_a_request_that_the_real_wire_cannot_carry_is_refused_here_too() -> None:
    staged = AnsweredKernel(["never asked"], config=OWN)

    async def app(kernel: penstock.Kernel) -> None:
        await kernel.complete("\ud800")

    with pytest.raises(errors.CallError):
        staged.run(app)
    assert staged.asked == ()


def test_who_stands_in_for_a_codec_stands_in_for_all_of_it() -> None:
    """A method that a provider may override must not fall back to its default here."""
    from penstock.abc import Provider
    from penstock.testing._understudy import Understudy

    asked = {name for name, member in vars(Provider).items() if callable(member) and not name.startswith("_")}
    assert asked <= set(vars(Understudy)), "pass the new ones on to the real codec, or to the voice"
