"""What a configuration comes to once its plugins have read it: the lines of `penstock check`. No key is in them.

Not here: printing them (`_check`), and sending anything (`_live_check`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from penstock._config import Config, TargetConfig
from penstock._config_providers import ReadyProvider, ready_providers
from penstock._config_stores import check_stores
from penstock._discovery import PluginHost
from penstock._price_book import PriceBook, configured_targets
from penstock.cli._telemetry_line import safe_address, telemetry_line
from penstock.cli._words import days_since, dollars
from penstock.policy.accounts import limits_in_words
from penstock.policy.money import price_at, usd
from penstock.policy.window import Per
from penstock.types import Price

__all__ = ["OLD_PRICES", "AccountLine", "Inspection", "ProviderLine", "RouteLine", "TargetLine", "inspect"]

OLD_PRICES = 90
"""Days. Vendors change prices a few times a year."""


@attrs.frozen
class ProviderLine:
    """A provider, and where its key comes from."""

    name: str
    kind: str
    address: str
    key: str


@attrs.frozen
class TargetLine:
    """A target of a route, or a declared one."""

    name: str
    provider: str
    model: str
    price: str
    priced_by: str
    timeouts: str


@attrs.frozen
class RouteLine:
    """A cascade in one line."""

    name: str
    cascade: str
    timeout: str


@attrs.frozen
class AccountLine:
    """An account and one of its limits."""

    path: str
    limit: str


@attrs.frozen(kw_only=True)
class Inspection:
    """A configuration without mistakes. `warnings`: what may still surprise; `problems`: what is wrong with plugins."""

    providers: tuple[ProviderLine, ...]
    targets: tuple[TargetLine, ...]
    routes: tuple[RouteLine, ...]
    accounts: tuple[AccountLine, ...]
    cache: str
    telemetry: str
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


def inspect(config: Config, now: float, environ: Mapping[str, str]) -> Inspection:
    """Loads the plugins that the configuration enables. Raises ConfigError with everything they do not take.

    `now` is the Unix time: prices change, and grow old. `environ`: what OpenTelemetry's variables say.
    """
    host = PluginHost(config.plugins)
    ready = ready_providers(config, host)
    check_stores(config, host)
    targets = [config.resolve_target(name) for name in configured_targets(config)]
    book = PriceBook(config, ready, host, lambda: now)
    prices = {target.name: book.price(target) for target in targets}
    return Inspection(
        providers=tuple(_provider(each) for each in ready.values()),
        targets=tuple(_target(target, prices[target.name], now) for target in targets),
        routes=tuple(_routes(config)),
        accounts=tuple(_accounts(config)),
        cache=_cache(config),
        telemetry=telemetry_line(config.telemetry, environ),
        warnings=(*_warnings(config, prices), *_old_prices(prices, now)),
        problems=tuple(str(problem) for problem in host.problems),
    )


def _provider(ready: ReadyProvider) -> ProviderLine:
    secret = ready.secret
    # Its repr says where a key comes from, and nothing more.
    key = "none" if secret is None else repr(secret).removeprefix("Secret(").removesuffix(")")
    return ProviderLine(ready.config.name, ready.config.kind, _address(ready.options), key)


def _address(options: object) -> str:
    url = getattr(options, "base_url", None)
    if not isinstance(url, str) or not url:
        return "-"
    return safe_address(url)


def _target(target: TargetConfig, price: Price | None, now: float) -> TargetLine:
    timeouts = target.timeouts
    today = None if price is None else price_at(price, now)
    return TargetLine(
        name=target.name,
        provider=target.provider,
        model=target.model,
        price="unknown" if today is None else f"{_usd(today.input)} / {_usd(today.output)}",
        priced_by="-" if price is None else price.source or "the configuration",
        timeouts=f"{timeouts.connect:g} / {timeouts.first_token:g} / {timeouts.idle:g} / {timeouts.total:g}",
    )


def _old_prices(prices: dict[str, Price | None], now: float) -> Iterator[str]:
    old: dict[tuple[str, int], list[str]] = {}
    for name, price in prices.items():
        days = None if price is None else days_since(price.as_of, now)
        if price is not None and days is not None and days > OLD_PRICES:
            old.setdefault((price.source, days), []).append(name)
    for (source, days), names in old.items():
        yield (
            f"the prices of {', '.join(names)} are {days} days old ({source}): update penstock or the plugin they come"
            " from, or install penstock[prices]"
        )


def _usd(nano: int) -> str:
    amount = usd(nano)
    return f"${amount:.2f}" if amount == round(amount, 2) else dollars(amount)


def _routes(config: Config) -> Iterator[RouteLine]:
    for route in config.routes.values():
        cascade = ", then ".join(f"{stage.target} ({stage.attempts}x)" for stage in route.stages)
        timeout = route.timeout or config.kernel.timeout
        yield RouteLine(route.name, cascade, f"{timeout:g} s")


def _accounts(config: Config) -> Iterator[AccountLine]:
    for spec in config.budget.accounts:
        for limit in spec.limits:
            for words in limits_in_words(limit):
                yield AccountLine(spec.path or "(all)", words)


def _cache(config: Config) -> str:
    cache = config.cache
    if cache is None:
        return "none"
    stale = [
        f"{words} for {seconds:g} s more"
        for words, seconds in (
            ("served and fetched anew", cache.stale_while_revalidate),
            ("kept for an outage", cache.stale_if_error),
        )
        if seconds
    ]
    where = f"in {cache.store}, {cache.memory_bytes / 2**20:,.0f} MiB of memory"
    return ", ".join([where, f"for {cache.ttl:g} s", *stale, f"when {cache.when}"])


def _warnings(config: Config, prices: dict[str, Price | None]) -> Iterator[str]:
    money = [
        spec.path or "the whole budget"
        for spec in config.budget.accounts
        if any(limit.nano_usd is not None for limit in spec.limits)
    ]
    unpriced = [name for name, price in prices.items() if price is None]
    if money and unpriced and config.budget.on_unknown_price == "deny":
        yield (
            f"no price is known for {', '.join(unpriced)}: calls that {', '.join(money)} pays for will not go there"
            " (give the target a price, or set budget.on_unknown_price)"
        )
    yield from config.budget.gives_up
    if config.ledger.store == "memory" and any(
        limit.per in (Per.DAY, Per.MONTH) for spec in config.budget.accounts for limit in spec.limits
    ):
        yield "the ledger is kept in memory: what was spent is forgotten when the process ends"
    if not config.routes:
        yield "there is no route: every call has to name a model"
    for provider in config.providers.values():
        for secret in provider.secrets:
            if repr(secret) == "Secret(the configuration itself)":
                yield f"the key of {provider.name} stands in the configuration itself; env:NAME or file:PATH is safer"
