"""Targets as they are used: configuration, codec, price, capabilities and scopes of one (provider, model)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs
import httpx
from msgspec import Struct

from penstock._config import Config, RouteConfig, TargetConfig, Timeouts
from penstock._config_checks import is_header_name
from penstock._secrets import Secret
from penstock._token_counter import TokenCounter
from penstock.abc import Provider
from penstock.policy.bound import OutputRange
from penstock.policy.money import Dearest, dearest_prices
from penstock.policy.retry import Stage
from penstock.policy.routing import NOTHING_LEARNED, TOKENS_PER_BYTE, Learned, key_scope, target_scope
from penstock.policy.shape import Shape
from penstock.policy.stream_watch import Phases
from penstock.policy.upstream_stream import UpstreamStream, asked_to_think, takes_long
from penstock.types import Capabilities, ChatRequest, Price, Target

__all__ = ["LiveProvider", "LiveTarget", "OutputTerms", "RouteTargets", "TargetBook", "provider_scope"]

logger = logging.getLogger("penstock")

MOST_SHAPES = 256
"""Of requests that a target remembers something about: beyond so many all are found out anew. An application sends a
few; one that draws a seed for each call gains nothing, and loses little."""
MOST_TARGETS = 10_000
"""Names of models can come from callers: beyond so many the oldest is forgotten, and made anew when asked for."""


def provider_scope(provider: str) -> str:
    """The name under which a provider breaks."""
    return f"provider:{provider}"


def _idempotency_header(provider: LiveProvider) -> str | None:
    """The header that the codec names; None where it names what no request can have."""
    named: object = None
    try:
        named = provider.codec.idempotency_header
    except (Exception, SystemExit) as bug:  # noqa: BLE001 - foreign code: its words could quote anything
        named = bug
    if named is None or (isinstance(named, str) and is_header_name(named) and named == named.lower()):
        return named
    logger.error("the codec of provider %s has an idempotency_header that is no name: none is sent", provider.name)
    return None


OutputKey: TypeAlias = tuple[Shape, int | None, int]
"""A request's shape, the cap of its account's limits, the smallest useful answer."""


class OutputTerms(Struct, frozen=True):
    """How the output of requests of one shape is set."""

    outputs: OutputRange
    choices: int
    uncapped: int
    """What `outputs.maximum` would be without an account's limit per request."""


@attrs.frozen(eq=False)
class LiveProvider:
    """A configured provider with its open codec."""

    name: str
    codec: Provider
    secret: Secret | None
    transport: httpx.AsyncBaseTransport
    propagate_trace: bool = False
    """Whether it is told of the trace that a call is part of."""
    idempotency_header: str | None = attrs.field(
        init=False, default=attrs.Factory(_idempotency_header, takes_self=True)
    )
    """Asked for once: codecs are foreign code."""


def _kind(target: LiveTarget) -> object:
    """None where the codec tells none, or what it tells cannot be compared."""
    try:
        told = target.provider.codec.kind(target.wire)
        kind = (
            target.provider.name,
            told,
            target.capabilities,
            target.price,
            target.default_max_tokens,
            target.overlong,
        )
        hash(kind)
    except (Exception, SystemExit) as bug:  # noqa: BLE001 - foreign code: its words could quote anything
        logger.error("the codec of provider %s broke on kind(): %s", target.provider.name, type(bug).__name__)  # noqa: TRY400
        return None
    return None if told is None else kind


def _overlong(target: LiveTarget) -> bool:
    most = target.capabilities.max_output
    if most is None or not target.wire.params:
        return False
    return (target.output_bound(ChatRequest("?")) or 0) > most


def _own_max_tokens(target: LiveTarget) -> int | None:
    """None where the codec names no figure, or none that could be one."""
    told = _of_own_params(target, lambda codec: codec.own_max_tokens(target.wire))
    return told if isinstance(told, int) and told > 0 else None


def _own_thinking(target: LiveTarget) -> bool | None:
    """None where the codec says nothing of it, or what is no answer."""
    told = _of_own_params(target, lambda codec: codec.own_thinking(target.wire))
    return told if isinstance(told, bool) else None


def _of_own_params(target: LiveTarget, ask: Callable[[Provider], object]) -> object:
    """What the codec says of the target's params. None: there are none, or it broke."""
    if not target.wire.params:
        return None
    try:
        return ask(target.provider.codec)
    except (Exception, SystemExit):  # noqa: BLE001 - foreign code; what breaks here shows where it encodes
        return None


def _dearest(target: LiveTarget) -> Dearest | None:
    price = target.price
    return None if price is None or price.long is not None or price.timed else dearest_prices(price)


@attrs.frozen(eq=False)
class LiveTarget:
    """Everything a call needs to know of a target, worked out once."""

    name: str
    wire: Target
    provider: LiveProvider
    phases: Phases
    thinking_phases: Phases
    """The timeouts where the model thinks before it speaks."""
    capabilities: Capabilities
    price: Price | None
    upstream_stream: UpstreamStream
    scopes: tuple[str, str, str]
    """Key, target, provider: what breaks and cools."""
    target_share: float
    provider_share: float
    """How many failures one call may have them before it goes to others first, by the settings of their breakers."""
    overlong: bool = attrs.field(init=False, default=attrs.Factory(_overlong, takes_self=True))
    """Its own params ask for more than its model can write."""
    own_max_tokens: int | None = attrs.field(init=False, default=attrs.Factory(_own_max_tokens, takes_self=True))
    """What its own params ask for. None: they name no figure."""
    own_thinking: bool | None = attrs.field(init=False, default=attrs.Factory(_own_thinking, takes_self=True))
    """Whether its own params ask the model to think. None: they say nothing of it."""
    fitting: set[Shape] = attrs.field(init=False, repr=False, factory=set[Shape])
    """Shapes of requests that fit as they are, whatever the rules."""
    outputs: dict[OutputKey, OutputTerms] = attrs.field(init=False, repr=False, factory=dict[OutputKey, OutputTerms])
    """How their output is set."""

    dearest: Dearest | None = attrs.field(init=False, repr=False, default=attrs.Factory(_dearest, takes_self=True))
    """The most that its tokens cost. None: that depends on their number or the time, or its price is not known."""
    kind: object = attrs.field(init=False, default=attrs.Factory(_kind, takes_self=True))
    """Targets of one kind cost the same for every request, by what is known without asking them. None: its own."""

    def remember_fitting(self, shape: Shape) -> None:
        """The target takes requests of that shape as they are: its codec need not be asked again."""
        if len(self.fitting) >= MOST_SHAPES:
            self.fitting.clear()
        self.fitting.add(shape)

    def remember_output(self, key: OutputKey, terms: OutputTerms) -> None:
        """How the output of requests of that shape is set under those rules."""
        if len(self.outputs) >= MOST_SHAPES:
            self.outputs.clear()
        self.outputs[key] = terms

    def output_bound(self, request: ChatRequest) -> int | None:
        """Output tokens that the wire request itself allows; None: nothing bounds them. Never raises."""
        told: object = None
        try:
            told = self.provider.codec.output_bound(request, self.wire)
        except (Exception, SystemExit):  # noqa: BLE001 - foreign code; what breaks here shows where it encodes
            return None
        return told if isinstance(told, int) and told >= 0 else None

    def phases_for(self, request: ChatRequest) -> Phases:
        """The timeouts of an attempt: longer silences where thinking is asked for, or the model reasons unasked."""
        asked = self.asked_to_think(request)
        thinks = self.capabilities.reasoning if asked is None else asked
        return self.thinking_phases if thinks else self.phases

    def asked_to_think(self, request: ChatRequest) -> bool | None:
        """Whether the model is asked to think, by the request or by its params. None: neither says."""
        return asked_to_think(request, own=self.own_thinking)

    def takes_long(self, request: ChatRequest) -> bool:
        """True where the answer may take minutes, for what the request or its params ask for."""
        thinks = self.asked_to_think(request) or False
        return takes_long(request, thinks=thinks, own_max_tokens=self.own_max_tokens)

    @property
    def default_max_tokens(self) -> int | None:
        """What an answer gets where the request names no figure: by its params, which are sent, else as configured."""
        return self.own_max_tokens or self.wire.default_max_tokens

    @property
    def key(self) -> str:
        """The scope of its key."""
        return self.scopes[0]


class RouteTargets(Struct, eq=False):
    """What a route comes to: the same for all calls that take it."""

    route: RouteConfig
    targets: tuple[LiveTarget, ...]
    stages: tuple[Stage, ...]
    _standing: tuple[Mapping[str, Learned], tuple[int, ...]] | None = None

    def standing(self, learned: Mapping[str, Learned]) -> tuple[int, ...]:
        """Stages such that for a request with a shape each other one is of the kind of one of them, and costs no more.

        More was learned of some targets of a kind than of others: what adds to a bound, or to an estimate, decides.
        """
        known = self._standing
        if known is None or known[0] is not learned:
            known = self._standing = (learned, tuple(sorted(_dearest_of_each_kind(self.targets, learned))))
        return known[1]


def _dearest_of_each_kind(targets: Sequence[LiveTarget], learned: Mapping[str, Learned]) -> Iterator[int]:
    kinds: dict[object, list[tuple[int, float, int]]] = {}
    for stage, target in enumerate(targets):
        if target.kind is None:
            yield stage
            continue
        known = learned.get(target.name, NOTHING_LEARNED)
        figures = (known.extra_allowance, known.tokens_per_byte or TOKENS_PER_BYTE, -stage)
        kinds.setdefault(target.kind, []).append(figures)
    for alike in kinds.values():
        most = 0.0
        for _, per_byte, stage in sorted(alike, reverse=True):
            if per_byte > most:  # else one of those before is above it in both
                most = per_byte
                yield -stage


class TargetBook:
    """Makes live targets from names and keeps them."""

    def __init__(
        self,
        config: Config,
        providers: Mapping[str, LiveProvider],
        price: Callable[[TargetConfig], Price | None],
        tokenizer: Callable[[str, str], TokenCounter | None],
    ) -> None:
        """`tokenizer` is asked for a model and the kind of its provider."""
        self._config = config
        self._providers = providers
        self._price = price
        self._tokenizer = tokenizer
        self._targets: dict[str, LiveTarget] = {}
        self._routes: dict[str, RouteTargets] = {}
        """No more than the configuration has."""

    def target(self, name: str) -> LiveTarget:
        """The target of that name, or `provider/model`. Raises NoRouteError naming what there is."""
        found = self._targets.get(name)
        if found is None:
            found = self._make(self._config.resolve_target(name))
            if len(self._targets) >= MOST_TARGETS:
                del self._targets[next(iter(self._targets))]
            self._targets[name] = found
        return found

    def along(self, route: RouteConfig) -> RouteTargets:
        """The targets of a route; those of the configuration are looked up once. Raises NoRouteError as `target`."""
        found = self._routes.get(route.name)
        if found is not None and found.route is route:
            return found
        targets = tuple([self.target(stage.target) for stage in route.stages])
        stages = tuple(
            [
                Stage(
                    stage.target,
                    stage.attempts,
                    target.capabilities.context_window,
                    target.provider.name,
                    target.target_share,
                    target.provider_share,
                )
                for stage, target in zip(route.stages, targets, strict=True)
            ]
        )
        found = RouteTargets(route, targets, stages)
        if self._config.routes.get(route.name) is route:
            self._routes[route.name] = found
        return found

    def _make(self, config: TargetConfig) -> LiveTarget:
        provider = self._providers[config.provider]
        timeouts = config.timeouts
        scopes = (key_scope(config.provider), target_scope(config.name), provider_scope(config.provider))
        _, target_share, provider_share = [self._config.breaker_settings(scope).share_of_a_call for scope in scopes]
        return LiveTarget(
            name=config.name,
            wire=Target(
                name=config.name,
                provider=config.provider,
                model=config.model,
                params=dict(config.params),
                headers=tuple(config.headers.items()),
                default_max_tokens=config.default_max_tokens,
                count_tokens=self._tokenizer(config.model, self._config.providers[config.provider].kind),
            ),
            provider=provider,
            phases=_phases(timeouts, timeouts.stated),
            thinking_phases=_phases(timeouts.for_thinking(), timeouts.stated),
            capabilities=_capabilities(provider, config.model),
            price=self._price(config),
            upstream_stream=config.upstream_stream,
            scopes=scopes,
            target_share=target_share,
            provider_share=provider_share,
        )


def _phases(timeouts: Timeouts, given: frozenset[str]) -> Phases:
    return Phases(
        connect=timeouts.connect,
        write=timeouts.write,
        first_token=timeouts.first_token,
        idle=timeouts.idle,
        total=timeouts.total,
        min_throughput=timeouts.min_throughput,
        given=given,
    )


def _capabilities(provider: LiveProvider, model: str) -> Capabilities:
    """What the codec knows of the model; the cautious defaults where it breaks: the call itself will show how far."""
    told: object = None
    try:
        told = provider.codec.capabilities(model)
    except (Exception, SystemExit) as bug:  # noqa: BLE001 - foreign code: its words could quote anything
        logger.error("the codec of provider %s broke on capabilities(): %s", provider.name, type(bug).__name__)  # noqa: TRY400
    return told if isinstance(told, Capabilities) else Capabilities()
