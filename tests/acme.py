"""A third party's provider in its own plugin: it speaks Chat Completions, but where it is told to do something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, NoReturn, cast

from worlds import GPT, KEY, config

import penstock
from penstock import errors
from penstock.abc import Missing, Provider, StreamDecoder
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl
from penstock.types import Capabilities, ChatRequest, Chunk, Completion, Target, WireHead, WireRequest, WireResponse
from penstock_providers.openai_chat import OpenAIChat

PROMPT = "the-prompt-of-the-canary"
THEIRS = "acme/m"
Fault = Callable[[], object]


class PanicException(BaseException):
    """What the panic of a Rust extension is in Python: pyo3's class of that name has this base."""


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

    def close(self) -> list[Chunk] | None:
        return cast("list[Chunk] | None", self.faults.get("close", self.usual.close)())

    @property
    def completion(self) -> Completion:
        return cast("Completion", self.faults.get("completion", lambda: self.usual.completion)())

    @property
    def done(self) -> bool:
        return cast("bool", self.faults.get("done", lambda: self.usual.done)())

    @property
    def missing(self) -> Missing:
        return cast("Missing", self.faults.get("missing", lambda: self.usual.missing)())

    @property
    def aside(self) -> Sequence[tuple[int, str]]:
        return cast("Sequence[tuple[int, str]]", self.faults.get("aside", lambda: self.usual.aside)())

    @property
    def unread(self) -> errors.CallError | None:
        return cast("errors.CallError | None", self.faults.get("unread", lambda: self.usual.unread)())


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
