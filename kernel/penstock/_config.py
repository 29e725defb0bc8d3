"""The configuration as values: frozen, checked, and free of anything that could leak when printed.

Not here: how a TOML file becomes these values (`_config_load`), and what only plugins know (`_config_providers`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import attrs

from penstock._config_books import BudgetConfig, CacheConfig, LedgerConfig
from penstock._config_checks import NOT_IN_A_FILE, at_least_one, attempts_that_end, more_than_zero
from penstock._discreet import keys_only
from penstock._nearest import did_you_mean, one_of, quoted
from penstock._secrets import Secret
from penstock.errors import ConfigError, NoRouteError
from penstock.policy.breaker import BreakerSettings
from penstock.policy.cache_policy import CacheWhen
from penstock.policy.commit import FIRST_CONTENT, Commit
from penstock.policy.fitting import UnsupportedRules
from penstock.policy.retry import AllOpen
from penstock.policy.retry_budget import RetryBudgetSettings
from penstock.policy.upstream_stream import UpstreamStream
from penstock.types import Price

__all__ = [
    "BudgetConfig",
    "CacheConfig",
    "CacheWhen",
    "Config",
    "Defaults",
    "KernelSettings",
    "LedgerConfig",
    "OnLeave",
    "PluginsConfig",
    "ProviderConfig",
    "RouteConfig",
    "Stage",
    "TargetConfig",
    "TelemetryConfig",
    "Timeouts",
]

OnLeave: TypeAlias = Literal["cancel", "drain"]
Protocol: TypeAlias = Literal["http/protobuf", "grpc"]
DEFAULT_ROUTE = "default"


@attrs.frozen(kw_only=True)
class KernelSettings:
    """Limits of the whole process."""

    max_in_flight: int = attrs.field(default=512, validator=at_least_one)
    """Calls at once; more wait."""
    grace: float = attrs.field(default=10.0, validator=more_than_zero)
    """Seconds for calls in flight at shutdown."""
    timeout: float = attrs.field(default=600.0, validator=more_than_zero)
    """Seconds for a call where neither it, its route nor its caller's scope names any."""
    on_leave: OnLeave = "cancel"
    """What becomes of a stream whose consumer leaves: ended, or read on without it, for an exact bill."""


@attrs.frozen(kw_only=True)
class Timeouts:
    """The timeouts of one attempt, in seconds."""

    connect: float = attrs.field(default=5.0, validator=more_than_zero)
    write: float = attrs.field(default=30.0, validator=more_than_zero)
    first_token: float = attrs.field(default=30.0, validator=more_than_zero)
    idle: float = attrs.field(default=30.0, validator=more_than_zero)
    total: float = attrs.field(default=600.0, validator=more_than_zero)
    min_throughput: float | None = attrs.field(default=None, validator=attrs.validators.optional(more_than_zero))
    """UTF-8 bytes of output a second, over ten seconds, once the first token came; None: any will do."""
    given: frozenset[str] = attrs.field(default=frozenset[str](), repr=False, metadata={NOT_IN_A_FILE: True})
    """The names of those that the configuration itself states."""

    @property
    def stated(self) -> frozenset[str]:
        """The names of those that somebody has set, in a configuration or in a program."""
        own = {field.name for field in attrs.fields(Timeouts) if getattr(self, field.name) != field.default}
        return self.given | (own - {"given"})

    def for_thinking(self) -> Timeouts:
        """The same for a model that thinks before it speaks: longer silences, where none are configured."""
        return attrs.evolve(
            self,
            first_token=self.first_token if "first_token" in self.given else 300.0,
            idle=self.idle if "idle" in self.given else 120.0,
        )


@attrs.frozen(kw_only=True)
class ProviderConfig:
    """An API family with credentials. `options` is what its plugin takes; it is structured when the plugin opens."""

    name: str
    kind: str
    """The name of the plugin's entry point."""
    secrets: tuple[Secret, ...] = ()
    """Empty: it needs none."""
    max_connections: int | None = attrs.field(default=None, validator=attrs.validators.optional(at_least_one))
    """None: as many as calls may be in flight."""
    ca_file: Path | None = None
    """Certificates in PEM form: who they vouch for is trusted, and nobody else. None: as the environment says."""
    trust_env: bool = True
    """Whether proxies, SSL_CERT_FILE and SSL_CERT_DIR of the environment hold for its connections."""
    http2: bool = False
    """Over TLS, where the server speaks it. Needs `penstock[http2]`."""
    options: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=keys_only)
    breaker: BreakerSettings | None = None
    retry_budget: RetryBudgetSettings | None = None
    propagate_trace: bool = False
    """Whether it is sent `traceparent`, and so the id of the trace that a call is part of."""
    deferred: bool = False
    """True where its kind was not known yet when the configuration was read: a plugin handed in may bring it."""


@attrs.frozen(kw_only=True)
class TargetConfig:
    """One (provider, model)."""

    name: str
    provider: str
    model: str
    timeouts: Timeouts = Timeouts()
    params: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=keys_only)
    """Body fields, merged under the request's own."""
    headers: dict[str, str] = attrs.field(factory=dict[str, str], repr=keys_only)
    """Names in lower case."""
    price: Price | None = None
    """None: what the price plugins know."""
    default_max_tokens: int | None = attrs.field(default=None, validator=attrs.validators.optional(at_least_one))
    upstream_stream: UpstreamStream = "auto"
    """Whether answers that are wanted whole are streamed upstream: `auto` where they may take long."""
    breaker: BreakerSettings | None = None


@attrs.frozen
class Stage:
    """A target of a route and how often it may be tried."""

    target: str
    """The name of a target, or provider/model."""
    attempts: int = attrs.field(default=3, validator=attempts_that_end)
    """At most 1,000."""


@attrs.frozen(kw_only=True)
class RouteConfig:
    """A named cascade of targets."""

    name: str
    stages: tuple[Stage, ...]
    timeout: float | None = attrs.field(default=None, validator=attrs.validators.optional(more_than_zero))
    commit: Commit = FIRST_CONTENT
    """When a stream is first shown to the consumer, and what follows where it breaks afterwards."""
    on_leave: OnLeave | None = None
    """What becomes of a stream whose consumer leaves; None: as [kernel] says."""
    on_content_filter: Literal["fail", "next"] = "fail"
    cache: CacheWhen | None = None
    """None: as [cache] says."""
    all_open: AllOpen | None = None
    """None: as [breaker] says."""
    on_unsupported: UnsupportedRules = attrs.field(factory=UnsupportedRules)
    """What happens to a parameter that a target cannot take."""


@attrs.frozen(kw_only=True)
class Defaults:
    """What every target and route starts from, the undeclared ones too."""

    timeouts: Timeouts = Timeouts()
    params: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=keys_only)
    headers: dict[str, str] = attrs.field(factory=dict[str, str], repr=keys_only)
    upstream_stream: UpstreamStream = "auto"
    on_unsupported: UnsupportedRules = attrs.field(factory=UnsupportedRules)
    """For routes, and for calls that name a model instead."""


@attrs.frozen(kw_only=True)
class TelemetryConfig:
    """Where traces and metrics go, and what may be in them."""

    enabled: bool = True
    """False: nowhere, whatever else is said, here or in the environment."""
    otlp: str | None = None
    """The address of a collector. None: OTEL_EXPORTER_OTLP_ENDPOINT, where it is set. A program that has set up an
    SDK of its own has its traces and metrics there, and neither counts."""
    protocol: Protocol | None = None
    """None: OTEL_EXPORTER_OTLP_PROTOCOL, else `http/protobuf`."""
    headers: dict[str, Secret] = attrs.field(factory=dict[str, Secret], repr=keys_only)
    """Sent to the collector."""
    traces: bool = True
    metrics: bool = True
    service_name: str | None = None
    """None: OTEL_SERVICE_NAME, else `penstock`."""
    sample: float | None = None
    """The share of new traces that are recorded. None: as OTEL_TRACES_SAMPLER says, else all."""
    metadata: tuple[str, ...] = ()
    """Keys of a call's metadata that its span and its log record tell."""
    capture_content: bool = False
    """Whether what was asked and answered goes into spans."""
    content_limit: int = attrs.field(default=8_192, validator=at_least_one)
    """Characters of text in one attribute."""
    live_view: bool = False
    """Whether `penstock top` may look at the kernel, through a socket that only the user of the process may open."""


@attrs.frozen(kw_only=True)
class PluginsConfig:
    """Which installed plugins may be used, and their own options by the name of their entry point."""

    discover: bool = True
    """False: none of third parties."""
    allow: tuple[str, ...] | None = None
    """Names of entry points or distributions. None: all that are installed."""
    options: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]], repr=keys_only)


@attrs.frozen(kw_only=True)
class Config:
    """Everything `open_kernel` needs to know. Printing it shows no credential."""

    kernel: KernelSettings = KernelSettings()
    providers: dict[str, ProviderConfig] = attrs.field(factory=dict[str, ProviderConfig])
    targets: dict[str, TargetConfig] = attrs.field(factory=dict[str, TargetConfig])
    """The declared ones; `resolve_target` knows the others."""
    routes: dict[str, RouteConfig] = attrs.field(factory=dict[str, RouteConfig])
    defaults: Defaults = Defaults()
    breaker: BreakerSettings = attrs.field(factory=BreakerSettings)
    all_open: AllOpen = "soonest"
    """`all_open` of [breaker]: what a call does where every circuit it could pass is open."""
    retry_budget: RetryBudgetSettings = attrs.field(factory=RetryBudgetSettings)
    budget: BudgetConfig = attrs.field(factory=BudgetConfig)
    ledger: LedgerConfig = attrs.field(factory=LedgerConfig)
    cache: CacheConfig | None = None
    """None: no cache, and no call waits for another's answer."""
    telemetry: TelemetryConfig | None = None
    """None: as the environment and the program say."""
    plugins: PluginsConfig = PluginsConfig()
    source: Path | None = None
    """The file it was read from."""

    @classmethod
    def load(cls, path: str | Path, *, environ: Mapping[str, str] | None = None) -> Config:
        """Reads a TOML file. Raises ConfigError with every mistake in it."""
        from penstock._config_file import read_toml  # noqa: PLC0415  # heavy: only where a file is read
        from penstock._config_load import load_mapping  # noqa: PLC0415  # imports cattrs

        if not isinstance(cast("object", path), str | os.PathLike):
            raise ConfigError(
                f"a configuration is read from the path of a TOML file, not from a {type(path).__name__};"
                " Config.from_dict makes one of a mapping"
            )
        file = Path(path)
        return load_mapping(read_toml(file), source=file, environ=environ)

    @classmethod
    def from_dict(
        cls,
        mapping: Mapping[str, Any],
        *,
        source: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Config:
        """The same from a dict of the same shape; `api_key` may be a callable. `environ` defaults to os.environ."""
        from penstock._config_load import load_mapping  # noqa: PLC0415  # imports cattrs

        return load_mapping(mapping, source=source, environ=environ)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Config:
        """The file that PENSTOCK_CONFIG names, else a cascade over the providers whose keys are in the environment."""
        from penstock._default_models import config_from_environment  # noqa: PLC0415  # as above

        return config_from_environment(environ)

    @classmethod
    def cascade(
        cls,
        stages: Iterable[tuple[str, str, int]],
        *,
        per_day_usd: float | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Config:
        """A default route over (provider, model, attempts), keys from the environment; days are of UTC."""
        cascade = [{"target": f"{provider}/{model}", "attempts": attempts} for provider, model, attempts in stages]
        mapping: dict[str, Any] = {"routes": {DEFAULT_ROUTE: {"cascade": cascade}}}
        if per_day_usd is not None:
            mapping["budget"] = {"limits": [{"per": "day", "usd": per_day_usd}]}
        return cls.from_dict(mapping, environ=environ)

    def route(self, name: str | None = None) -> RouteConfig:
        """The route of that name; without one `default`, or the only one there is. Raises NoRouteError."""
        if name is None:
            if DEFAULT_ROUTE not in self.routes and len(self.routes) == 1:
                return next(iter(self.routes.values()))
            name = DEFAULT_ROUTE
        found = self.routes.get(name)
        if found is None:
            raise NoRouteError(f"there is no route named {quoted(name)}{did_you_mean(name, self.routes)}")
        return found

    def resolve_target(self, name: str) -> TargetConfig:
        """The target of that name, else provider/model, split at the first slash. Raises NoRouteError."""
        declared = self.targets.get(name)
        if declared is not None:
            return declared
        provider, slash, model = name.partition("/")
        if not (slash and model):
            says = f"there is no target named {quoted(name)}{did_you_mean(name, self.targets)}"
            raise NoRouteError(
                f"{says}; or name a provider and its model: {one_of(f'{each}/...' for each in self.providers)}"
            )
        if provider not in self.providers:
            says = f"no provider named {quoted(provider)} is configured for {quoted(name)}"
            raise NoRouteError(says + did_you_mean(provider, self.providers))
        defaults = self.defaults
        return TargetConfig(
            name=name,
            provider=provider,
            model=model,
            timeouts=defaults.timeouts,
            params=dict(defaults.params),
            headers=dict(defaults.headers),
            upstream_stream=defaults.upstream_stream,
        )

    def breaker_settings(self, scope: str) -> BreakerSettings:
        """What holds for a scope such as "target:sonnet", "provider:openai" or "key:openai/0".

        A provider's own settings hold for its keys and its targets too, a target's for it alone.
        """
        kind, _, name = scope.partition(":")
        if kind == "target":
            target = self.targets.get(name)
            if target and target.breaker:
                return target.breaker
            provider = target.provider if target else name.partition("/")[0]
        else:
            provider = name.rpartition("/")[0] if kind == "key" else name
        found = self.providers.get(provider)
        return (found and found.breaker) or self.breaker

    def retry_budget_settings(self, provider: str) -> RetryBudgetSettings:
        """What holds for a provider: its own, else those of all."""
        found = self.providers.get(provider)
        return (found and found.retry_budget) or self.retry_budget
