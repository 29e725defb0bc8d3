"""The targets of a configuration, and those of each of its routes: made from their names, once.

Not here: what a target is (`_live_target`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from penstock._codec_results import flaw_of_capabilities
from penstock._config import Config, RouteConfig, TargetConfig, Timeouts
from penstock._foreign import interruptible, let_through
from penstock._live_target import LiveProvider, LiveTarget
from penstock._standing import Standing
from penstock._token_counter import TokenCounter
from penstock.policy.retry import Stage
from penstock.policy.routing import Learned, key_scope, target_scope
from penstock.policy.stream_watch import Phases
from penstock.types import Capabilities, Price, Target

__all__ = ["RouteTargets", "TargetBook", "provider_scope"]

logger = logging.getLogger("penstock")

MOST_TARGETS = 10_000
"""Names of models can come from callers: beyond so many the oldest is forgotten, and made anew when asked for."""


def provider_scope(provider: str) -> str:
    """The name under which a provider breaks."""
    return f"provider:{provider}"


class RouteTargets(Struct, eq=False):
    """What a route comes to: the same for all calls that take it."""

    route: RouteConfig
    targets: tuple[LiveTarget, ...]
    stages: tuple[Stage, ...]
    _standing: Standing | None = None
    _alike: Sequence[int] | None = None

    @property
    def alike(self) -> Sequence[int]:
        """For each stage the first one of its kind: itself, where its target is of none."""
        known = self._alike
        if known is None:
            firsts: dict[object, int] = {}
            kinds = enumerate(target.kind for target in self.targets)
            known = self._alike = [at if kind is None else firsts.setdefault(kind, at) for at, kind in kinds]
        return known

    def alone(self, stage: int) -> RouteTargets:
        """One stage as if it were all of the route."""
        return RouteTargets(self.route, self.targets[stage : stage + 1], self.stages[stage : stage + 1])

    def standing(self, learned: Mapping[str, Learned]) -> Standing:
        """Which of the stages stand for all of them, by what is known now."""
        known = self._standing
        if known is None or known.learned is not learned:
            known = self._standing = Standing(self.targets, learned)
        return known


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


@interruptible
def _capabilities(provider: LiveProvider, model: str) -> Capabilities:
    """What the codec knows of the model; the cautious defaults where it breaks: the call itself will show how far."""
    told: object = None
    try:
        told = provider.codec.capabilities(model)
    except BaseException as bug:  # noqa: BLE001 - foreign code: its words could quote anything
        let_through(bug)
        logger.error("the codec of provider %s broke on capabilities(): %s", provider.name, type(bug).__name__)  # noqa: TRY400
    if not isinstance(told, Capabilities):
        return Capabilities()
    flaw = flaw_of_capabilities(told)
    if flaw is None:
        return told
    logger.error("the codec of provider %s gave capabilities() that cannot be: %s", provider.name, flaw)
    return Capabilities()
