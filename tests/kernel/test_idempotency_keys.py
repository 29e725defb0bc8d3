"""The idempotency key on the wire: one for each body at each target of each call, whatever becomes of the attempts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar, cast

import httpx
import pytest
from worlds import ANSWER, GPT, HAIKU, KEY, config, failing, good, run

import penstock
from penstock._idempotency import IdempotencyKeys
from penstock.abc import Provider
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl
from penstock.testing import Answer, Reply, ScriptedTransport, check_provider
from penstock.types import ChatRequest, Target, WireRequest
from penstock_providers.openai_chat import OpenAIChat

HEADER = "idempotency-key"
MINI = "openai/gpt-4o-mini"
OVERLOADED = Reply(status=503, json={"error": {"message": "busy"}})


def keys_of(requests: Sequence[httpx.Request]) -> list[str | None]:
    return [request.headers.get(HEADER) for request in requests]


def cascade(*targets: str, attempts: int = 3, **tables: Any) -> penstock.Config:
    stages = [{"target": target, "attempts": attempts} for target in targets]
    return config(routes={"default": {"cascade": stages}}, **tables)


def failing_first(count: int, answer: Answer = OVERLOADED) -> ScriptedTransport:
    """An upstream that fails so often, and then is healthy."""
    asked = 0

    def answer_for(request: httpx.Request) -> Answer:
        nonlocal asked
        asked += 1
        return answer if asked <= count else good(request)

    return ScriptedTransport(answer_for)


def sent(
    settings: penstock.Config,
    upstream: ScriptedTransport,
    *,
    streamed: bool = False,
    calls: int = 1,
    plugins: Sequence[object] = (),
    prompt: str = "hello",
) -> list[httpx.Request]:
    async def main() -> list[httpx.Request]:
        async with penstock.open_kernel(settings, transport=upstream, plugins=plugins) as kernel:
            for _ in range(calls):
                if streamed:
                    async with kernel.stream(prompt) as stream:
                        assert "".join([text async for text in stream.text()]) == ANSWER
                else:
                    assert (await kernel.complete(prompt)).text == ANSWER
        return upstream.requests

    return run(main)


@pytest.mark.parametrize("streamed", [False, True])
def test_attempts_at_the_same_target_carry_the_same_key(*, streamed: bool) -> None:
    first, *others = keys_of(sent(cascade(GPT), failing_first(2), streamed=streamed))
    assert first is not None
    assert len(first) == 32
    assert others == [first, first]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_fallback_carries_another_key(*, streamed: bool) -> None:
    keys = keys_of(sent(cascade(GPT, MINI), failing(GPT, answer=OVERLOADED), streamed=streamed))
    assert len(keys) == 4
    assert len(set(keys)) == 2
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert None not in keys


def test_targets_of_one_model_do_not_share_a_key() -> None:
    settings = cascade(
        "one", "other", targets={name: {"provider": "openai", "model": "gpt-4o"} for name in ("one", "other")}
    )
    requests = sent(settings, failing_first(3))
    assert len({request.content for request in requests}) == 1
    keys = keys_of(requests)
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_calls_that_ask_the_same_carry_keys_of_their_own() -> None:
    keys = keys_of(sent(cascade(GPT), ScriptedTransport(good), calls=20))
    assert len(set(keys)) == 20
    assert None not in keys


def test_another_kernel_has_other_keys() -> None:
    one, other = (keys_of(sent(cascade(GPT), ScriptedTransport(good), calls=3)) for _ in range(2))
    assert not set(one) & set(other)


def test_a_provider_that_takes_none_is_sent_none() -> None:
    assert keys_of(sent(cascade(HAIKU), failing_first(1))) == [None, None]


def test_a_key_of_the_targets_own_headers_wins() -> None:
    own = {"provider": "openai", "model": "gpt-4o", "headers": {"Idempotency-Key": "mine"}}
    requests = sent(cascade("own", targets={"own": own}), failing_first(1))
    assert [request.headers.get_list(HEADER) for request in requests] == [["mine"], ["mine"]]


def test_the_key_is_no_part_of_what_is_cached() -> None:
    settings = cascade(GPT, cache={"store": "memory", "when": "always"})
    assert len(sent(settings, ScriptedTransport(good), calls=3)) == 1


def test_neither_logs_nor_events_tell_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    upstream = failing_first(2)
    told: list[str] = []

    class Listener:
        @hookimpl
        def penstock_event(self, event: object) -> None:
            told.append(repr(event))

    (key,) = set(keys_of(sent(cascade(GPT), upstream, plugins=[Listener()])))
    assert key is not None
    assert told
    assert key not in caplog.text
    assert not any(key in each for each in told)


# The codec of a third party


class Theirs(OpenAIChat):
    """Says nothing of keys; speaks Chat Completions."""

    idempotency_header: ClassVar[str | None] = None


class Odd(Theirs):
    """Names what is no header's name."""

    idempotency_header: ClassVar[str | None] = cast("str", 5)


class Framing(Theirs):
    idempotency_header: ClassVar[str | None] = "content-length"


class Broken(Theirs):
    @property
    def idempotency_header(self) -> str | None:  # type: ignore[override]
        raise ZeroDivisionError(KEY)


class Named(Theirs):
    idempotency_header: ClassVar[str | None] = "x-request-key"


class Changing(Named):
    """Sends another body each time: no server may take the second for the first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0

    def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
        self.encoded += 1
        wire = super().encode(request, target, stream=stream, now=now)
        return WireRequest(wire.method, wire.url, wire.headers, wire.body + b" " * (self.encoded % 2))


class Plugin:
    def __init__(self, codec: Provider) -> None:
        self.codec = codec

    def open(self, _options: object, _tools: PluginTools) -> AbstractAsyncContextManager[Provider]:
        return nullcontext(self.codec)

    @hookimpl
    def penstock_providers(self) -> Sequence[ProviderSpec]:
        return [ProviderSpec(name="acme", open=self.open, needs_key=False)]


def sent_by(codec: Provider, *, failures: int = 1) -> list[httpx.Request]:
    settings = cascade("acme/gpt-4o", attempts=failures + 1, providers={"acme": {"api_key": KEY}})
    return sent(settings, failing_first(failures), plugins=[Plugin(codec)])


def test_a_third_partys_codec_that_names_no_header_sends_no_key() -> None:
    assert keys_of(sent_by(Theirs())) == [None, None]


def test_a_third_partys_header_carries_the_key() -> None:
    requests = sent_by(Named())
    (key,) = {request.headers.get("x-request-key") for request in requests}
    assert key
    assert keys_of(requests) == [None, None]


@pytest.mark.parametrize("codec", [Odd(), Framing(), Broken()], ids=["no text", "framing", "raises"])
def test_a_header_that_is_no_name_is_told_and_costs_nothing_else(
    codec: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    requests = sent_by(codec)
    assert keys_of(requests) == [None, None]
    assert all(request.headers["content-length"] == str(len(request.content)) for request in requests)
    assert "the codec of provider acme has an idempotency_header that is no name" in caplog.text
    assert KEY not in caplog.text


def test_another_body_carries_another_key_and_the_first_one_again_its_own() -> None:
    one, other, again = (request.headers["x-request-key"] for request in sent_by(Changing(), failures=2))
    assert one == again != other


def test_the_laws_of_providers_tell_a_header_that_is_no_name() -> None:
    target = Target(name="t", provider="acme", model="gpt-4o")
    check_provider(Named, target=target)
    with pytest.raises(AssertionError, match="idempotency_header"):
        check_provider(Framing, target=target)


def test_the_laws_of_providers_leave_the_key_to_the_kernel() -> None:
    class Hasty(Named):
        def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
            wire = super().encode(request, target, stream=stream, now=now)
            return WireRequest(wire.method, wire.url, (*wire.headers, ("x-request-key", "1")), wire.body)

    with pytest.raises(AssertionError, match="the kernel's to add"):
        check_provider(Hasty, target=Target(name="t", provider="acme", model="gpt-4o"))


def test_keys_are_drawn_and_not_made_from_what_is_asked() -> None:
    drawn = {IdempotencyKeys().key("target", b"the same body") for _ in range(1_000)}
    assert len(drawn) == 1_000
