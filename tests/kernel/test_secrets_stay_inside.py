"""Canaries for key, prompt and answer, pushed through every way a call can go: none comes out where it must not.

The key comes out nowhere. Prompt and answer come out in the content of a response and as the partial text of an error,
and there alone. A provider that itself quotes the prompt in its own sentence is quoted; one that quotes the key is not.
"""

from __future__ import annotations

import copy
import logging
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import httpx
import msgspec
import pytest
import trio
from tracing import Tracing
from trio.testing import wait_all_tasks_blocked
from worlds import GPT, HAIKU, KEY, SONNET, config, good, is_stream, openai_chunks, run

import penstock
from penstock import errors, types
from penstock.telemetry import JsonFormatter
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence
from penstock_providers.openai_chat import OpenAIChat

PROMPT = "canary-of-the-prompt-7d1e"
ANSWER = "canary-of-the-answer-93ab"
MISPLACED = "sk-proj-Ab3dEf6hIj9lMn2pQr5t"
"""As a vendor makes them: what knows no key finds it by its looks alone."""


def quoting(message: str) -> dict[str, Any]:
    """An error body that both wires understand."""
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message, "code": message[:200]}}


def told_early(message: bytes, request: httpx.Request) -> Reply:
    """The same inside a 200, as an event where a stream was asked for."""
    if not is_stream(request):
        return Reply(body=message)
    return Reply(chunks=[b"event: error\ndata: " + message + b"\n\n"])


def cut(request: httpx.Request) -> Reply:
    """The answer begins, and breaks off."""
    if is_stream(request):
        return Reply(
            chunks=[*good(request, ANSWER).chunks[:4], httpx.RemoteProtocolError(f"illegal chunk: b'{ANSWER}'")]
        )
    return Reply(chunks=[msgspec.json.encode(good(request, ANSWER).json)[:-30]])


STATUSES = (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 529)
KEY_AT_THE_CUT = [f"{'word ' * at}{KEY}" for at in range(88, 104)]
UPSTREAMS: dict[str, Answer | Callable[[httpx.Request], Answer]] = {
    **{f"{status} quotes the key": Reply(status, json=quoting(f"Incorrect API key: {KEY}.")) for status in STATUSES},
    "the key in plain text": Reply(401, body=f"bad key {KEY}".encode()),
    "the key in HTML": Reply(502, body=f"<html><title>{KEY}</title>{KEY}</html>".encode()),
    "the key in the id of the request": Reply(
        500, json=quoting("boom"), headers=[("x-request-id", KEY), ("request-id", KEY)]
    ),
    "an error in a 200 quotes the key": lambda request: told_early(msgspec.json.encode(quoting(f"bad {KEY}")), request),
    "a broken error in a 200 quotes the key": lambda request: told_early(f'{{"error": {KEY}'.encode(), request),
    "HTML that holds the answer": Reply(200, body=f"<html>{ANSWER}</html>".encode()),
    "JSON of another shape": Reply(200, json={"text": ANSWER, "choices": ANSWER, "content": ANSWER, "usage": ANSWER}),
    "broken JSON": Reply(200, body=b'{"choices": [{"message": {"content": "' + ANSWER.encode() + b'"'),
    "a cut answer": cut,
    "refused": Broken(httpx.ConnectError(f"refused, with {KEY}")),
    "reset": Broken(httpx.ReadError(f"reset, with {KEY}")),
    "a protocol error that quotes bytes": Broken(
        httpx.RemoteProtocolError(f"illegal chunk header: bytearray(b'{ANSWER} {KEY}')")
    ),
    "a header that cannot be sent": Broken(httpx.LocalProtocolError(f"Illegal header value b'Bearer {KEY}'")),
    "a transport with a bug": Broken(RuntimeError(f"{KEY} {PROMPT} {ANSWER}")),
    "silence": Silence(),
    "a deadline": Reply(200, body=ANSWER.encode(), delay=1_000.0),
}


@attrs.define
class Seen:
    """Everything that came out, by where."""

    texts: dict[str, str] = attrs.Factory(dict[str, str])

    def add(self, where: str, value: object) -> None:
        self.texts[f"{where} {len(self.texts)}"] = f"{value!r}\n{value}"

    def add_error(self, error: BaseException) -> None:
        self.texts[f"traceback {len(self.texts)}"] = "".join(traceback.format_exception(error))
        for each in chain(error):
            self.add("error", each)
            self.add("args", each.args)
            fields = {name: value for name, value in vars(each).items() if name not in ("partial", "last_output")}
            self.add("fields", fields)
            self.add("attempts", [attempt.error for attempt in getattr(each, "attempts", ())])

    def add_log(self, caplog: pytest.LogCaptureFixture) -> None:
        self.texts["log"] = caplog.text
        lines = map(JsonFormatter().format, caplog.records)
        self.texts["log as JSON"] = "\n".join(lines)

    def check(self, *markers: str) -> None:
        for where, text in self.texts.items():
            for marker in markers:
                assert marker not in text, f"{where} shows {marker}: {text[:2_000]}"


def chain(error: BaseException | None) -> Iterable[BaseException]:
    """The error, what it was raised from, and what each of its attempts ended in."""
    while error is not None:
        yield error
        for attempt in getattr(error, "attempts", ()):
            if attempt.error is not None and attempt.error is not error:
                yield attempt.error
                if attempt.error.__cause__ is not None:
                    yield attempt.error.__cause__
        error = error.__cause__


async def drive(upstream: httpx.AsyncBaseTransport, seen: Seen, settings: penstock.Config, **options: Any) -> None:
    """One call and one stream, and everything that shows of them."""
    tracing = Tracing()
    async with penstock.open_kernel(settings, transport=upstream) as kernel:
        tracing.trace(kernel)
        events = kernel.events()
        request = penstock.ChatRequest(PROMPT)
        seen.add("kernel", kernel)
        seen.add("request", request)
        try:
            seen.add("response", repr(await kernel.complete(request, timeout=900, **options)))
        except errors.PenstockError as error:
            seen.add_error(error)
        try:
            async with kernel.stream(request, timeout=900, **options) as stream:
                async for chunk in stream:
                    seen.add("chunk", chunk)
                seen.add("response", stream.response)
                seen.add("message", stream.response.message)
                seen.add("attempts", stream.response.attempts)
        except errors.PenstockError as error:
            seen.add_error(error)
        seen.add("snapshot", await kernel.snapshot())
        seen.add("health", kernel.health())
        seen.add("events", events.take())
        seen.add("statistics", kernel.snapshot().actors)
        assert len(tracing.spans) >= 2
        seen.add("spans", tracing.spans)
        seen.add("metrics", [*tracing.figures])
        engine: Any = kernel._engine  # pyright: ignore[reportPrivateUsage] - what a debugger would print of it
        seen.add("engine", engine)


@pytest.mark.parametrize("route", ["default", "alone"])
@pytest.mark.parametrize("name", UPSTREAMS)
def test_no_way_to_fail_shows_the_key_the_prompt_or_the_answer(
    name: str, route: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = UPSTREAMS[name]
    seen = Seen()
    settings = config(
        routes={"alone": {"cascade": [GPT]}},
        budget={"limits": [{"per": "day", "usd": 1_000}]},
        cache={"store": "memory", "when": "always"},
    )
    run(lambda: drive(ScriptedTransport(answer if callable(answer) else [answer]), seen, settings, route=route))
    seen.add_log(caplog)
    seen.check(KEY, PROMPT, ANSWER)


@pytest.mark.parametrize("message", KEY_AT_THE_CUT, ids=lambda message: str(len(message)))
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_a_sentence_that_was_shortened_inside_the_key_shows_no_piece_of_it(target: str, message: str) -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Reply(400, json=quoting(message))])
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises(errors.InvalidRequestError) as caught:
                await kernel.complete("hello", model=target)
            assert KEY[:12] not in f"{caught.value} {caught.value.code}"

    run(main)


def test_a_provider_that_echoes_the_key_is_quoted_with_a_mark_in_its_place() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Reply(401, json=quoting(f"Incorrect API key provided: {KEY}. See the docs."))])
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises(errors.AuthenticationError, match=r"provided: \[key\]\. See the docs"):
                await kernel.complete("hello", model=GPT)

    run(main)


def test_good_answers_show_in_their_content_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen = Seen()
    settings = config(cache={"store": "memory", "when": "always"}, budget={"limits": [{"per": "day", "usd": 1_000}]})

    async def main() -> None:
        upstream = ScriptedTransport(lambda request: good(request, ANSWER))
        for _ in range(2):
            await drive(upstream, seen, settings)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            assert (await kernel.complete(PROMPT)).text == ANSWER

    run(main)
    seen.add_log(caplog)
    seen.check(KEY, PROMPT, ANSWER)


def test_a_stream_that_breaks_after_it_was_shown_tells_its_text_as_partial_and_nowhere_else() -> None:
    seen = Seen()

    async def main() -> None:
        broken = Reply(chunks=[*openai_chunks(ANSWER)[:-3], httpx.RemoteProtocolError(f"illegal chunk: b'{ANSWER}'")])
        async with penstock.open_kernel(config(), transport=ScriptedTransport([broken])) as kernel:
            with pytest.raises(errors.StreamBrokenError) as caught:
                async with kernel.stream(PROMPT, model=GPT) as stream:
                    async for _ in stream:
                        pass
            assert caught.value.partial == ANSWER
            seen.texts["error"] = f"{caught.value!r} {caught.value} {caught.value.args}"

    run(main)
    seen.check(KEY, PROMPT, ANSWER)


def test_refusals_of_ours_show_nothing_either(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen = Seen()
    asks: Sequence[Mapping[str, Any]] = [
        {"model": "nowhere"},
        {"route": "nowhere"},
        {"max_tokens": 0},
        {"thinking": 0},
        {"timeout": -1},
        {"account": "/"},
        {"cache": "sometimes"},
        {"tools": [penstock.Tool("f", PROMPT, {"a": object()})]},
        {"max_tokens": 10_000_000},
    ]

    async def main() -> None:
        settings = config(budget={"limits": [{"per": "day", "tokens": 100_000}]}, kernel={"max_in_flight": 1})
        async with penstock.open_kernel(settings, transport=ScriptedTransport([Silence()])) as kernel:
            for options in asks:
                with pytest.raises(errors.PenstockError) as caught:
                    await kernel.complete(PROMPT, **options)
                seen.add_error(caught.value)
            with pytest.raises(errors.PenstockError) as caught:
                await kernel.complete([{"role": "user", "content": [{"type": "text", "text": f"{PROMPT}\ud800"}]}])
            seen.add_error(caught.value)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail, kernel, seen, 5.0)
                await wait_all_tasks_blocked()
                nursery.start_soon(fail, kernel, seen, 2.0)
        with pytest.raises(errors.KernelClosedError) as caught:
            await kernel.complete(PROMPT)
        seen.add_error(caught.value)

    run(main)
    seen.add_log(caplog)
    seen.check(KEY, PROMPT)


async def fail(kernel: penstock.Kernel, seen: Seen, seconds: float) -> None:
    with pytest.raises(errors.CallError) as caught:
        await kernel.complete(PROMPT, timeout=seconds)
    seen.add_error(caught.value)


def test_every_public_value_that_holds_one_tells_its_shape_and_not_its_content() -> None:
    codec = OpenAIChat()
    settings = config(
        targets={
            "mine": {"provider": "openai", "model": "gpt-4o", "headers": {"x-mine": KEY}, "params": {"user": PROMPT}}
        }
    )
    declared = settings.resolve_target("mine")
    target = types.Target(
        name="t", provider="openai", model="gpt-4o", headers=(("x-mine", KEY),), params={"user": PROMPT}
    )
    request = penstock.ChatRequest(
        [
            penstock.Message.user(
                [penstock.Text(PROMPT), penstock.Image(data=PROMPT.encode(), media_type="image/png")]
            ),
            penstock.Message.assistant(
                [penstock.ToolCall.parse("c", "f", f'{{"a": "{PROMPT}"}}'), penstock.Thinking(PROMPT)]
            ),
            penstock.ToolResult("c", PROMPT),
        ],
        system=PROMPT,
        stop=PROMPT,
        tools=[penstock.Tool("f", PROMPT, {"type": "object", "description": PROMPT})],
        output={"type": "json_schema", "json_schema": {"name": "n", "schema": {"description": PROMPT}}},
        extra={"openai": {"user": PROMPT}},
    )
    wire = codec.authorize(codec.encode(request, target, stream=False, now=0.0), KEY, now=0.0)
    message = penstock.Message.assistant(ANSWER)
    completion = types.Completion(message=message, finish_reason="stop", raw={"text": ANSWER})
    response = penstock.ChatResponse(
        message=message,
        finish_reason="stop",
        usage=penstock.Usage(),
        cost=None,
        model="m",
        target="t",
        route="r",
        raw={"text": ANSWER},
        metadata={"about": PROMPT},
    )
    values: list[object] = [
        *(settings, settings.providers, declared, target, request, *request.messages, *request.messages[0].content),
        *(*request.messages[1].content, *request.tools, request.output, wire, message, completion, response),
        *(penstock.TextDelta(ANSWER), penstock.ThinkingDelta(ANSWER), penstock.ToolCallDelta(0, "c", "f", ANSWER)),
        *(types.WireResponse(200, (("authorization", KEY),), ANSWER.encode()), types.WireHead(200, (("a", KEY),))),
        penstock.ProviderPart("openai", {"text": ANSWER}),
    ]
    seen = Seen()
    for value in values:
        seen.add(type(value).__name__, value)
        seen.add(type(value).__name__, [value])
    seen.check(KEY, PROMPT, ANSWER)


def test_a_key_that_was_rotated_while_a_call_ran_stays_inside_as_well() -> None:
    async def main() -> None:
        seen = Seen()
        upstream = ScriptedTransport(lambda request: Reply(401, json=quoting(request.headers["authorization"])))
        keys = iter(["sk-first-canary-0001", "sk-second-canary-0002", "sk-third-canary-0003"])
        settings = penstock.Config.from_dict(
            {"providers": {"openai": {"api_key": lambda: next(keys)}}, "routes": {"default": {"cascade": [GPT]}}},
            environ={},
        )
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with pytest.raises(errors.AuthenticationError) as caught:
                await kernel.complete(PROMPT)
            seen.add_error(caught.value)
        seen.check("sk-first", "sk-second", "sk-third")

    run(main)


def test_errors_stay_discreet_when_they_are_copied() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Reply(400, json=quoting(KEY))])
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises(errors.InvalidRequestError) as caught:
                await kernel.complete(PROMPT, model=HAIKU)
            seen = Seen()
            seen.add_error(copy.copy(caught.value))
            seen.check(KEY, PROMPT)

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_a_header_of_a_target_that_a_provider_echoes_is_not_in_the_error(stream: bool) -> None:  # noqa: FBT001 - a case
    headers = {"helicone-auth": "Bearer canary-of-a-header", "x-team": "canary-of-the-team", "x-on": "1"}
    targets = {"first": {"provider": "openai", "model": "gpt-4o", "headers": headers}}

    def answer(request: httpx.Request) -> Answer:
        said = f"error 1: bad {request.headers['helicone-auth']} (canary-of-a-h...) of {request.headers['x-team']}"
        return Reply(401, json=quoting(said), headers=[("x-request-id", "canary-of-a-header")])

    async def main() -> None:
        settings = config(targets=targets, routes={"default": {"cascade": ["first"]}})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            with pytest.raises(errors.AuthenticationError) as caught:
                if stream:
                    async with kernel.stream("hello") as chunks:
                        await anext(aiter(chunks))
                await kernel.complete("hello")
        told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.request_id)
        assert "canary" not in told + str(caught.value.code)
        assert "error 1" in told  # what is as short as that says nothing, and is no secret

    run(main)


@pytest.mark.parametrize(
    ("where", "table"),
    [
        ("telemetry.headers", {"telemetry": {"otlp": "http://h:1", "headers": {f"Bearer {MISPLACED}": "x"}}}),
        ("telemetry.otlp", {"telemetry": {"otlp": f"user:{MISPLACED}@h:4317"}}),
        ("telemetry.otlp", {"telemetry": {"otlp": f"http://user:{MISPLACED}@h:4317"}}),
        ("telemetry.otlp", {"telemetry": {"otlp": f"http://h:1/#{MISPLACED}"}}),
        ("telemetry.otlp", {"telemetry": {"otlp": f"http://h:1/?token={MISPLACED}"}}),
        ("providers.openai.base_url", {"providers": {"openai": {"api_key": "k", "base_url": f"u:{MISPLACED}@h/v1"}}}),
        (
            "providers.openai.base_url",
            {"providers": {"openai": {"api_key": "k", "base_url": f"https://h/v1#{MISPLACED}"}}},
        ),
        ("targets.x.headers", {"targets": {"x": {"provider": "openai", "headers": {f"Bearer {MISPLACED}": "x"}}}}),
        ("targets.x.params", {"targets": {"x": {"provider": "openai", "model": "m", "params": f"user={MISPLACED}"}}}),
        ("providers", {"providers": MISPLACED}),
        ("providers.openai", {"providers": {"openai": MISPLACED}}),
        ("providers.openai.kind", {"providers": {"openai": {"api_key": "k", "kind": MISPLACED}}}),
        ("providers.openai.api_key", {"providers": {"openai": {"api_key": f"env:{MISPLACED}"}}}),
        ("providers.openai.api_key", {"providers": {"openai": {"api_key": f"file:{MISPLACED}"}}}),
        ("providers.openai.ca_file", {"providers": {"openai": {"api_key": "k", "ca_file": f"/nowhere/{MISPLACED}"}}}),
        ('providers.openai."[key]"', {"providers": {"openai": {"api_key": "k", MISPLACED: "x"}}}),
        ('providers."[key]"', {"providers": {MISPLACED: {"kind": "openai", "api_key": "k"}}}),
        ("plugins.openai", {"plugins": {"openai": MISPLACED}}),
        ("telemetry.protocol", {"telemetry": {"protocol": MISPLACED}}),
        ("telemetry.otlp", {"telemetry": {"otlp": f"localhost:4318 {MISPLACED}"}}),
        ("ledger.store", {"ledger": {"store": f"redis://:{MISPLACED}@h"}}),
        ("ledger.store", {"ledger": {"store": f"redis://h/{MISPLACED}"}}),
        ("ledger.url", {"ledger": {"store": "redis", "url": f"redis://h/{MISPLACED}"}}),
        ("ledger.url", {"ledger": {"store": "redis", "url": f"env:redis://:{MISPLACED}@h"}}),
        ("ledger.url", {"ledger": {"store": "redis", "url": MISPLACED}}),
        ("cache.store", {"cache": {"store": f"redis://:{MISPLACED}@h:6379"}}),
        ("cache.url", {"cache": {"store": "redis", "url": f"env:redis://:{MISPLACED}@h"}}),
    ],
)
def test_a_key_in_the_wrong_place_of_the_configuration_is_refused_and_not_shown(
    where: str, table: dict[str, Any]
) -> None:
    base = {"providers": {"openai": {"api_key": "k"}}, "routes": {"default": {"cascade": [GPT]}}}
    with pytest.raises(errors.ConfigError) as raised:
        penstock.Config.from_dict({**base, **table}, environ={})
    assert where in str(raised.value)
    assert MISPLACED not in str(raised.value)
    assert MISPLACED not in repr(raised.value)


@pytest.mark.parametrize("password", ["hunter2", "correct-horse"])
@pytest.mark.parametrize(
    "table",
    [
        {"providers": {"openai": "{}"}},
        {"plugins": {"openai": "{}"}},
        {"ledger": {"store": "redis://h/{}"}},
        {"ledger": {"store": "redis://:{}@h"}},
        {"ledger": {"store": "redis", "url": "redis://h/{}"}},
        {"cache": {"store": "valkey://h:6379/{}"}},
        {"targets": {"x": {"provider": "openai", "model": "m", "params": "password={}"}}},
        {"targets": {"x": {"provider": "openai", "model": "m", "params": "Authorization: Bearer {}"}}},
    ],
    ids=str,
)
def test_a_password_that_looks_like_a_word_is_not_shown_where_one_is_likely(
    table: dict[str, Any], password: str
) -> None:
    filled = msgspec.json.decode(msgspec.json.encode(table).replace(b"{}", password.encode()))
    with pytest.raises(errors.ConfigError) as raised:
        penstock.Config.from_dict({"routes": {"default": {"cascade": [GPT]}}, **filled}, environ={})
    assert password not in str(raised.value) + repr(raised.value)


def test_a_store_that_is_an_address_is_refused_in_a_program_too() -> None:
    with pytest.raises(ValueError, match="an address goes into url") as raised:
        attrs.evolve(config().ledger, store=f"redis://:{KEY}@h")
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("where", "table"),
    [
        ("OPENAI_KEY_2", {"providers": {"openai": {"api_key": "env:OPENAI_KEY_2"}}}),
        ("/nowhere/openai.key", {"providers": {"openai": {"api_key": "file:/nowhere/openai.key"}}}),
        ("claude-sonnet-4-5-20250929", {"routes": {"default": {"cascade": ["claude-sonnet-4-5-20250929"]}}}),
        ("redis-of-eu-west-1", {"ledger": {"store": "redis", "url": "redis-of-eu-west-1"}}),
        ("retries_of_disk-usage", {"providers": {"openai": {"api_key": "k", "retries_of_disk-usage": 1}}}),
        (
            "https://127.0.0.1:99999/v1/europe",
            {"providers": {"openai": {"base_url": "https://127.0.0.1:99999/v1/europe"}}},
        ),
    ],
)
def test_what_is_no_key_is_shown_as_it_is(where: str, table: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigError) as raised:
        penstock.Config.from_dict({"routes": {"default": {"cascade": [GPT]}}, **table}, environ={})
    assert where in str(raised.value)


@pytest.mark.parametrize("table", ["ledger", "cache"])
def test_a_password_where_the_name_of_a_variable_should_be_is_not_shown_when_the_store_opens(table: str) -> None:
    settings = config(**{table: {"store": "redis", "url": f"env:{KEY}"}})

    async def main() -> None:
        with pytest.raises(errors.PenstockError, match="no such variable in the environment") as raised:
            async with penstock.open_kernel(settings, transport=ScriptedTransport([])):
                pass
        assert KEY not in f"{raised.value} {raised.value!r}"

    trio.run(main)


@pytest.mark.parametrize(
    ("key", "said", "told"),
    [
        ("test", "the latest test, 'test': contest", "the latest [key], '[key]': contest"),
        ("any", "too many messages of any company", "too many messages of [key] company"),
        ("x", "extra text; key=x.", "extra text; key=[key]."),
        ("gpt-4o", "no gpt-4o-mini, no gpt-4o", "no gpt-4o-mini, no [key]"),
        ("k+k", "bad k+k, (k+k)", "bad [key], ([key])"),
    ],
)
def test_a_short_key_is_taken_out_as_a_word_and_left_inside_others(key: str, said: str, told: str) -> None:
    settings = penstock.Config.from_dict(
        {"providers": {"openai": {"api_key": key}}, "routes": {"default": {"cascade": ["openai/gpt-4o"]}}}, environ={}
    )

    async def main() -> None:
        upstream = ScriptedTransport([Reply(400, json=quoting(said))])
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with pytest.raises(errors.InvalidRequestError) as caught:
                await kernel.complete("hello")
        assert str(caught.value) == f"openai/gpt-4o: {told}"
        assert caught.value.code == told

    run(main)
