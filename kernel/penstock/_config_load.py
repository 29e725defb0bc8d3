"""A mapping of tables to a Config: every table read, every reference between them checked, all mistakes told at once.

Not here: the shapes of the tables (`_config_tables`), the file (`_config_file`), and what plugins know of their
options (`_config_providers`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs

from penstock._config import (
    BudgetConfig,
    CacheConfig,
    Config,
    Defaults,
    KernelSettings,
    LedgerConfig,
    PluginsConfig,
    ProviderConfig,
    RouteConfig,
    TargetConfig,
    TelemetryConfig,
    Timeouts,
)
from penstock._config_connections import check_connection, read_ca_file
from penstock._config_mistakes import Mistakes, join, plain, shown
from penstock._config_plugins import read_plugins
from penstock._config_providers import KERNEL_KEYS, own_options, read_keys, settle_provider
from penstock._config_references import References
from penstock._config_stores import check_files_apart, read_cache, read_ledger
from penstock._config_tables import (
    AccountTable,
    BreakerTable,
    BudgetTable,
    DefaultsTable,
    ProviderTable,
    RouteCacheTable,
    RouteTable,
    TargetTable,
    tables_reader,
    unsupported_rules,
)
from penstock._config_telemetry import read_telemetry
from penstock._discovery import PluginHost
from penstock._key_shapes import looks_like_key, without_keys
from penstock._nearest import did_you_mean
from penstock.errors import ConfigError
from penstock.policy.account_paths import check_pattern
from penstock.policy.accounts import AccountSpec, Degrade
from penstock.policy.breaker import BreakerSettings
from penstock.policy.fitting import UnsupportedRules
from penstock.policy.retry_budget import RetryBudgetSettings

__all__ = ["load_mapping"]

T = TypeVar("T")
Settings = TypeVar("Settings", BreakerSettings, RetryBudgetSettings)

SECTIONS = (
    "kernel",
    "providers",
    "targets",
    "routes",
    "defaults",
    "breaker",
    "retry_budget",
    "budget",
    "accounts",
    "ledger",
    "cache",
    "telemetry",
    "plugins",
)
SECTIONS_LATER = frozenset({"hedging", "hedge", "gateway", "validators", "rehearsal"})
LONGEST_NAME = 200


def load_mapping(
    mapping: object,
    *,
    source: Path | None = None,
    environ: Mapping[str, str] | None = None,
    host_for: Callable[[PluginsConfig], PluginHost] = PluginHost,
    connects: bool = True,
) -> Config:
    """The configuration that the mapping says. Raises ConfigError with every mistake in it.

    `connects`: False where no connection will be made with it, so that nothing that one needs has to be there.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"a configuration is a table, not {type(mapping).__name__}")
    mistakes = Mistakes()
    tables = plain(cast("Mapping[object, object]", mapping), mistakes)
    environ = os.environ if environ is None else environ
    loading = _Loading(tables, mistakes, environ, source.parent if source else Path(), connects)
    config = loading.config(host_for)
    mistakes.end(str(source) if source else None)
    return attrs.evolve(config, source=source)


@attrs.define
class _Loading:
    tables: dict[str, Any]
    mistakes: Mistakes
    environ: Mapping[str, str]
    folder: Path
    connects: bool

    def config(self, host_for: Callable[[PluginsConfig], PluginHost]) -> Config:
        """What the tables say; to be thrown away where there are mistakes."""
        for key in self.tables:
            if key in SECTIONS_LATER:
                self.mistakes.add(join("", key), "is not available in this version")
            elif key not in SECTIONS:
                self.mistakes.add(join("", key), f"is unknown{did_you_mean(key, SECTIONS)}")
        root = self._value(BreakerTable, "breaker") or BreakerTable()
        breaker = BreakerSettings(**{field.name: getattr(root, field.name) for field in attrs.fields(BreakerSettings)})
        retry_budget = self._value(RetryBudgetSettings, "retry_budget") or RetryBudgetSettings()
        defaults = self._defaults()
        plugins, host = read_plugins(self._section("plugins"), host_for, self.mistakes)
        providers = self._providers(breaker, retry_budget)
        references = References(self._section("providers"), self._section("targets"), host.kinds(), self.mistakes)
        config = Config(
            kernel=self._value(KernelSettings, "kernel") or KernelSettings(),
            targets=self._targets(defaults, providers, breaker, references),
            routes=self._routes(defaults, references),
            defaults=defaults,
            breaker=breaker,
            all_open=root.all_open,
            retry_budget=retry_budget,
            budget=self._budget(),
            ledger=self._ledger(host),
            cache=self._cache(host),
            telemetry=self._telemetry(),
            plugins=plugins,
        )
        if says := check_files_apart(config.ledger, config.cache, self.folder, host):
            self.mistakes.add("cache.path", says)
        settled: dict[str, ProviderConfig] = {}
        for name in references.undeclared:
            providers[name] = ProviderConfig(name=name, kind=name, deferred=True)
        for name, provider in providers.items():
            ready = settle_provider(provider, plugins.options, host, self.mistakes, environ=self.environ)
            settled[name] = ready.config if ready else provider
        return attrs.evolve(config, providers=settled)

    def _providers(self, breaker: BreakerSettings, retry_budget: RetryBudgetSettings) -> dict[str, ProviderConfig]:
        providers: dict[str, ProviderConfig] = {}
        for name, path, table in self._named("providers"):
            if "/" in name:
                self.mistakes.add(path, "a provider's name holds no slash: provider/model is split at the first one")
            if looks_like_key(name):
                self.mistakes.add(path, "this is no name, but looks like a key: it goes into api_key of the provider")
            own = {key: table[key] for key in KERNEL_KEYS if key in table and key != "api_key"}
            read = self._read(ProviderTable, own, path)
            secrets = read_keys(table, path, self.environ, self.folder, self.mistakes)
            ca_file = read_ca_file(table, self.folder)
            providers[name] = provider = ProviderConfig(
                name=name,
                kind=(read and read.kind) or name,
                secrets=secrets,
                max_connections=read.max_connections if read else None,
                ca_file=ca_file,
                trust_env=table.get("trust_env") is not False,
                http2=table.get("http2") is True,
                options=own_options(table, ca_file),
                breaker=_overlaid(breaker, read.breaker if read else None, own.get("breaker")),
                retry_budget=_overlaid(retry_budget, read.retry_budget if read else None, own.get("retry_budget")),
                propagate_trace=read.propagate_trace if read else False,
                deferred=True,
            )
            if self.connects:
                check_connection(provider, self.mistakes)
        return providers

    def _targets(
        self,
        defaults: Defaults,
        providers: dict[str, ProviderConfig],
        breaker: BreakerSettings,
        references: References,
    ) -> dict[str, TargetConfig]:
        targets: dict[str, TargetConfig] = {}
        for name, path, table in self._named("targets"):
            read = self._read(TargetTable, table, path)
            # What a table refers to is checked even where something else in it is wrong.
            if isinstance(table.get("provider"), str):
                references.provider(table["provider"], join(path, "provider"))
            if read is None:
                continue
            provider = providers.get(read.provider)
            base = (provider and provider.breaker) or breaker
            targets[name] = TargetConfig(
                name=name,
                provider=read.provider,
                model=read.model,
                timeouts=_merged_timeouts(defaults.timeouts, read.timeouts, table.get("timeouts")),
                params={**defaults.params, **read.params},
                headers={**defaults.headers, **_lower(read.headers)},
                price=read.price,
                default_max_tokens=read.default_max_tokens,
                upstream_stream=read.upstream_stream or defaults.upstream_stream,
                breaker=_overlaid(base, read.breaker, table.get("breaker")),
            )
        return targets

    def _routes(self, defaults: Defaults, references: References) -> dict[str, RouteConfig]:
        routes: dict[str, RouteConfig] = {}
        for name, path, table in self._named("routes"):
            read = self._read(RouteTable, table, path)
            references.cascade(table.get("cascade"), join(path, "cascade"))
            if read is None:
                continue
            cache = read.cache.when if isinstance(read.cache, RouteCacheTable) else read.cache
            if cache not in {None, "never"} and "cache" not in self.tables:
                self.mistakes.add(join(path, "cache"), "there is no [cache] table, so nothing is ever cached")
            routes[name] = RouteConfig(
                name=name,
                stages=read.cascade,
                timeout=read.timeout,
                commit=read.commit,
                on_leave=read.on_leave,
                on_content_filter=read.on_content_filter,
                cache=cache,
                all_open=read.all_open,
                on_unsupported=unsupported_rules(defaults.on_unsupported, read.on_unsupported),
            )
        return routes

    def _defaults(self) -> Defaults:
        table = self._section("defaults")
        read = self._read(DefaultsTable, table, "defaults")
        if read is None:
            return Defaults()
        timeouts = _merged_timeouts(Timeouts(), read.timeouts, table.get("timeouts"))
        return Defaults(
            timeouts=timeouts,
            params=read.params,
            headers=_lower(read.headers),
            upstream_stream=read.upstream_stream,
            on_unsupported=unsupported_rules(UnsupportedRules(), read.on_unsupported),
        )

    def _budget(self) -> BudgetConfig:
        root = self._value(BudgetTable, "budget") or BudgetTable()
        self._checked_degrade(root, "budget")
        said = (root.limits, root.soft, root.tenant, root.degrade, root.retry_money) != ((), None, None, None, None)
        accounts = [*self._account("", root, "budget")] if said else []
        for name, path, table in self._named("accounts", check_name=False):
            read = self._read(AccountTable, table, path)
            try:
                check_pattern(name)
            except ValueError as error:
                self.mistakes.add(path, without_keys(str(error), ids=True))
                continue
            if not name:
                self.mistakes.add(path, "the root account is [budget]")
            elif read is not None:
                self._checked_degrade(read, path)
                accounts += self._account(name, read, path)
        if root.on_unknown_price == "cap" and root.price_cap is None:
            self.mistakes.add("budget.price_cap", 'on_unknown_price = "cap" needs it: { input = 20, output = 100 }')
        if root.on_unknown_price != "cap" and root.price_cap is not None:
            self.mistakes.add("budget.price_cap", 'it counts only where on_unknown_price is "cap"')
        return BudgetConfig(
            accounts=tuple(accounts),
            on_unknown_price=root.on_unknown_price,
            price_cap=root.price_cap,
            on_unknown_bound=root.on_unknown_bound,
            unknown_usage=root.unknown_usage or "bound",
            hold_wait=root.hold_wait,
            min_output_tokens=root.min_output_tokens,
        )

    def _account(self, name: str, table: AccountTable, path: str) -> Iterator[AccountSpec]:
        degrade = None if table.degrade is None else Degrade(route=table.degrade.route, at=table.degrade.at)
        try:
            yield AccountSpec(
                path=name,
                limits=table.limits,
                bound=table.bound,
                soft=table.soft,
                tenant=table.tenant,
                degrade=degrade,
                unknown_usage=table.unknown_usage if name else None,
                retry_money=table.retry_money,
            )
        except ValueError as error:
            self.mistakes.add(join(path, "limits"), str(error))

    def _checked_degrade(self, table: AccountTable, path: str) -> None:
        routes = self._section("routes")
        if table.degrade is not None and table.degrade.route not in routes:
            says = f"there is no route named {shown(table.degrade.route)}{did_you_mean(table.degrade.route, routes)}"
            self.mistakes.add(join(join(path, "degrade"), "route"), says)
        elif table.degrade is not None and len(routes) == 1:
            says = f"{shown(table.degrade.route)} is the only route: every call goes it already; name a cheaper one"
            self.mistakes.add(join(join(path, "degrade"), "route"), says)

    def _ledger(self, host: PluginHost) -> LedgerConfig:
        if "ledger" not in self.tables:
            return LedgerConfig()
        return read_ledger(self._section("ledger"), host, self.mistakes)

    def _cache(self, host: PluginHost) -> CacheConfig | None:
        return read_cache(self._section("cache"), host, self.mistakes) if "cache" in self.tables else None

    def _telemetry(self) -> TelemetryConfig | None:
        if "telemetry" not in self.tables:
            return None
        return read_telemetry(self._section("telemetry"), self.environ, self.folder, self.mistakes)

    def _value(self, cls: type[T], section: str) -> T | None:
        return self._read(cls, self._section(section), section)

    def _read(self, cls: type[T], table: object, path: str) -> T | None:
        return tables_reader().read(cls, table, path, self.mistakes)

    def _section(self, name: str) -> dict[str, Any]:
        table = self.tables.get(name, {})
        if isinstance(table, dict):
            return cast("dict[str, Any]", table)
        self.mistakes.add(name, f"{shown(table, name)}: must be a table")
        return {}

    def _named(self, section: str, *, check_name: bool = True) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for name, table in self._section(section).items():
            path = join(section, name)
            if check_name and not (name and name == name.strip() and name.isprintable() and len(name) <= LONGEST_NAME):
                self.mistakes.add(path, f"{shown(name)} cannot be a name: printable, at most {LONGEST_NAME} characters")
            if isinstance(table, dict):
                yield name, path, cast("dict[str, Any]", table)
            else:
                hint = ': its key stands in it, as api_key = "env:NAME"' if section == "providers" else ""
                self.mistakes.add(path, f"{shown(table, path)}: must be a table{hint}")


def _merged_timeouts(base: Timeouts, own: Timeouts | None, table: Mapping[str, Any] | None) -> Timeouts:
    if own is None or not table:
        return base
    stated = {name: getattr(own, name) for name in table}
    return attrs.evolve(base, **stated, given=base.given | frozenset(stated))


def _overlaid(base: Settings, own: Settings | None, table: Mapping[str, Any] | None) -> Settings | None:
    if own is None or not table:
        return None
    return attrs.evolve(base, **{name: getattr(own, name) for name in table})


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
