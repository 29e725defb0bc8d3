"""`kernel.breakers`: what every breaker is up to, and opening and closing them by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from penstock._engine import Engine
from penstock._nearest import did_you_mean, quoted
from penstock._targets import provider_scope
from penstock.errors import ConfigError, ConfigMistake, NoRouteError
from penstock.policy.breaker import ScopeState
from penstock.policy.routing import key_scope

__all__ = ["BreakerControls"]


class BreakerControls:
    """Breakers by hand. A scope is `target:NAME`, `provider:NAME`, or `key:PROVIDER/0` for the provider's key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def states(self) -> Mapping[str, ScopeState]:
        """Every breaker: those of the configured targets, keys and providers, and of whatever calls have touched.

        What calls have told so far is in it. Without waiting, `snapshot().breakers` shows those that are not closed.
        """
        config = self._engine.config
        stages = [stage.target for route in config.routes.values() for stage in route.stages]
        targets = [self._engine.targets.target(name) for name in dict.fromkeys([*config.targets, *stages])]
        scopes = [scope for target in targets for scope in target.scopes]
        scopes += [scope for name in config.providers for scope in (key_scope(name), provider_scope(name))]
        return await self._engine.breakers.states(dict.fromkeys(scopes))

    async def isolate(self, scope: str) -> None:
        """Nobody is let through until `close`. Raises ConfigError where there is no such scope."""
        self._check(scope)
        await self._engine.breakers.isolate(scope)

    async def close(self, scope: str) -> None:
        """Everybody is let through again, calls that wait for it at once. Raises ConfigError for an unknown scope."""
        self._check(scope)
        await self._engine.breakers.close_circuit(scope)

    def _check(self, scope: str) -> None:
        """A mistyped scope would be isolated without a word, and calls go on."""
        if not isinstance(cast("object", scope), str):
            raise ConfigError([ConfigMistake("scope", f"is of type {type(scope).__name__}; give target:NAME")])
        config, (kind, _, name) = self._engine.config, scope.partition(":")
        if kind == "target":
            try:
                config.resolve_target(name)
            except NoRouteError as error:
                raise ConfigError([ConfigMistake("scope", f"{quoted(scope)}: {error}")]) from None
            return
        # One key for each provider: the first, and only that.
        known = [named(provider) for named in (provider_scope, key_scope) for provider in sorted(config.providers)]
        if scope not in known:
            says = f"{quoted(scope)} is none{did_you_mean(scope, [*known, 'target:NAME'])}"
            raise ConfigError([ConfigMistake("scope", says)])
