"""Codecs that speak in place of others: the kernel sees the provider that is configured, the wire is another.

Not here: what answers on that wire (`_answering`, and the rehearsal).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Hashable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import msgspec

from penstock._config import Config
from penstock._discovery import PluginHost
from penstock.abc import Provider, StreamDecoder
from penstock.errors import PluginError, ProviderError
from penstock.hookspecs import PluginTools, ProviderSpec
from penstock.types import Capabilities, ChatRequest, Completion, Target, WireHead, WireRequest, WireResponse

__all__ = ["borrowed_voices", "one_voice"]

VOICE = "openai"
"""The kind that speaks for those whose wire nobody in a test understands."""
_Open: TypeAlias = Callable[[Any, PluginTools], AbstractAsyncContextManager[Provider]]


def one_voice(voice: Provider, config: Config, plugins: Sequence[object] = ()) -> list[ProviderSpec]:
    """Plugins by which every kind of the configuration speaks with that one codec."""
    host = PluginHost(config.plugins, plugins)

    def speaking(spec: ProviderSpec) -> _Open:
        @asynccontextmanager
        async def opened(options: Any, tools: PluginTools) -> AsyncGenerator[Provider]:
            async with spec.open(options, tools) as real:
                yield _understudy(real, voice)

        return opened

    return [_offer(spec, speaking(spec)) for spec in _specs(config, host)]


def borrowed_voices(families: Collection[str], config: Config, plugins: Sequence[object] = ()) -> list[ProviderSpec]:
    """Plugins by which those kinds speak Chat Completions whose own family is none of `families`."""
    host = PluginHost(config.plugins, plugins)

    def speaking(spec: ProviderSpec, lent: ProviderSpec) -> _Open:
        @asynccontextmanager
        async def opened(options: Any, tools: PluginTools) -> AsyncGenerator[Provider]:
            async with spec.open(options, tools) as real, lent.open(lent.options(), tools) as voice:
                yield real if real.family in families else _understudy(real, voice)

        return opened

    lent = host.provider_spec(VOICE)
    return [_offer(spec, speaking(spec, lent)) for spec in _specs(config, host) if spec.name != VOICE]


def _specs(config: Config, host: PluginHost) -> list[ProviderSpec]:
    """Of every kind that there is. What is wrong with the others is told when the kernel opens."""
    specs: list[ProviderSpec] = []
    for kind in sorted({provider.kind for provider in config.providers.values()}):
        try:
            specs.append(host.provider_spec(kind))
        except PluginError:
            continue
    return specs


def _offer(spec: ProviderSpec, opened: _Open) -> ProviderSpec:
    """The same kind with the same options. It wants nothing of the environment: a test must not depend on it."""
    return ProviderSpec(name=spec.name, open=opened, options=spec.options, needs_key=False)


def _understudy(real: Provider, voice: Provider) -> Provider:
    class OfTheSameFamily(Understudy):
        family = real.family
        significant_headers = real.significant_headers

    return OfTheSameFamily(real, voice)


class Understudy(Provider):
    """Knows its models as the real codec does, refuses what that refuses, and speaks with another's voice."""

    def __init__(self, real: Provider, voice: Provider) -> None:
        self._real = real
        self._voice = voice

    def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
        self._real.encode(request, target, stream=stream, now=now)
        # Fields that only the real wire has mean something else on this one, or nothing.
        plain = msgspec.structs.replace(target, params={}, headers=())
        return self._voice.encode(request, plain, stream=stream, now=now)

    def authorize(self, wire: WireRequest, secret: str | None, *, now: float) -> WireRequest:
        return self._voice.authorize(wire, secret, now=now)

    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        return self._real.input_bound(request, target)

    def output_bound(self, request: ChatRequest, target: Target) -> int | None:
        return self._real.output_bound(request, target)

    def own_max_tokens(self, target: Target) -> int | None:
        return self._real.own_max_tokens(target)

    def own_thinking(self, target: Target) -> bool | None:
        return self._real.own_thinking(target)

    def kind(self, target: Target) -> Hashable:
        return self._real.kind(target)

    def text_kind(self, target: Target) -> Hashable:
        return self._real.text_kind(target)

    def unsupported(self, request: ChatRequest, target: Target) -> frozenset[str]:
        return self._real.unsupported(request, target)

    def adapted(self, request: ChatRequest, target: Target) -> frozenset[str]:
        return self._real.adapted(request, target)

    def decode(self, response: WireResponse) -> Completion:
        return self._voice.decode(response)

    def decoder(self, head: WireHead) -> StreamDecoder:
        return self._voice.decoder(head)

    def classify(self, response: WireResponse, *, now: float) -> ProviderError:
        return self._voice.classify(response, now=now)

    def capabilities(self, model: str) -> Capabilities:
        return self._real.capabilities(model)
