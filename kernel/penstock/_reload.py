"""Another configuration for a kernel that runs: what may differ, what may not, and the change itself.

All or nothing: whatever can be wrong is found before anything is changed. Calls in flight go on with what they began
with: their targets, timeouts, prices, rules and key stand in the call, and no reload reaches them there.
Not here: what other accounts and limits do to what is held and spent (`policy.account_windows`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import trio
from attrs import AttrsInstance

from penstock._budgeting import BudgetRules
from penstock._config import Config, ProviderConfig
from penstock._config_mistakes import Mistakes, join
from penstock._config_providers import ReadyProvider, ready_providers
from penstock._config_stores import ready_cache, ready_ledger
from penstock._discovery import PluginHost
from penstock._engine import Engine
from penstock._events import Reloaded
from penstock._live_target import LiveProvider
from penstock._price_book import PriceBook
from penstock._secrets import Secret
from penstock._targets import TargetBook
from penstock.errors import ConfigError
from penstock.policy.accounts import AccountTree
from penstock.policy.routing import key_scope

__all__ = ["FREE_SECTIONS", "FREE_SETTINGS", "Reloading", "budget_rules"]

logger = logging.getLogger("penstock")

FREE_SECTIONS = frozenset({"targets", "routes", "defaults", "breaker", "all_open", "retry_budget", "budget"})
"""May change as a whole."""
FREE_SETTINGS: Mapping[str, frozenset[str]] = {
    "kernel": frozenset({"grace", "timeout", "on_leave"}),
    "providers": frozenset({"secrets", "breaker", "retry_budget", "propagate_trace"}),
    "cache": frozenset({"when"}),
    "ledger": frozenset(),
    "telemetry": frozenset(),
    "plugins": frozenset(),
}
"""Of the other sections: the settings that may change. All others were handed to something that is open."""
SETTLED = frozenset({"name", "deferred"})
"""Of providers: what says nothing about them once their plugins are known."""
FIXED = "cannot change while the kernel runs; close it, and open it with the new configuration"


def budget_rules(config: Config) -> BudgetRules:
    """What a configuration says of budgets beside the limits."""
    return BudgetRules(
        on_unknown_price=config.budget.on_unknown_price,
        price_cap=config.budget.price_cap,
        on_unknown_bound=config.budget.on_unknown_bound,
        unknown_usage=config.budget.unknown_usage,
        hold_wait=config.budget.hold_wait,
        min_output_tokens=config.budget.min_output_tokens,
    )


@attrs.define(eq=False)
class Reloading:
    """Changes the configuration of one kernel: one change at a time, in the order of asking."""

    engine: Engine
    host: PluginHost
    """The plugins that are open."""
    opened: Mapping[str, ProviderConfig]
    """The providers as they were opened. One that a later configuration leaves out stays open, and may come back."""
    providers: dict[str, LiveProvider]
    connects: bool
    _turn: trio.Lock = attrs.field(init=False, factory=trio.Lock)

    async def change(self, config: Config) -> None:
        """Puts `config` in the place of what the kernel has. Raises ConfigError, with nothing changed."""
        async with self._turn:
            engine = self.engine
            engine.check_taking_calls()
            ready = self._checked(config)
            prices = PriceBook(config, ready, self.host, engine.clock.wall)
            providers = {name: self._provider(each) for name, each in ready.items()}
            targets = TargetBook(config, {**self.providers, **providers}, prices.price, self.host.tokenizer)
            accounts = AccountTree(config.budget.accounts)
            # A caller who leaves here has changed nothing: an ask that is cancelled is dropped unhandled. It waits no
            # longer than for the batch that the ledger's store has in hand, which has its own timeout.
            await engine.budget.reconfigure(config.budget.accounts)
            # Nothing waits until all of it is changed: a call that is planned finds the old or the new.
            changed = tuple(_changed(engine.config, config))
            rotated = [name for name, each in providers.items() if _is_new(self.providers[name].secret, each.secret)]
            self.providers.update(providers)
            engine.config, engine.accounts, engine.rules = config, accounts, budget_rules(config)
            engine.targets = targets
            engine.terms.clear()
            engine.events.emit(Reloaded(changed))
            for gives_up in config.budget.gives_up:
                logger.warning("%s", gives_up)
            logger.info("another configuration holds from now on; changed: %s", ", ".join(changed) or "nothing")
            # What was refused was the key of before. Shielded: it is a part of the whole, and answered at once.
            with trio.CancelScope(shield=True):
                for name in rotated:
                    await engine.breakers.close_circuit(key_scope(name))

    def _checked(self, config: Config) -> dict[str, ReadyProvider]:
        """The providers of a configuration that this kernel can take on. Raises ConfigError with all that is wrong."""
        mistakes = Mistakes()
        for path in _fixed(self.engine.config, config):
            mistakes.add(path, FIXED)
        for path in self._moved(config) if not len(mistakes) else ():
            mistakes.add(path, FIXED)
        for name in config.providers:
            if name not in self.opened:
                mistakes.add(join("providers", name), "was not there when the kernel opened, and " + FIXED)
        source = str(config.source) if config.source else None
        mistakes.end(source)
        ready = ready_providers(config, self.host, connects=self.connects)
        for name, each in ready.items():
            for path in _differences(join("providers", name), self.opened[name], each.config, SETTLED):
                mistakes.add(path, FIXED)
        mistakes.end(source)
        return ready

    def _moved(self, config: Config) -> Iterator[str]:
        """Files of stores that would be others: a path that says the same begins at the configuration's own folder."""
        old = self.engine.config
        for section, ready in (("ledger", ready_ledger), ("cache", ready_cache)):
            before, after = ready(old, self.host), ready(config, self.host)
            if before is None or after is None:
                continue
            options: Any = before.options
            kind = options.__class__
            fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(kind) if attrs.has(kind) else ()
            for field in fields:
                path = getattr(before.options, field.name)
                if isinstance(path, Path) and path.absolute() != getattr(after.options, field.name).absolute():
                    yield join(section, field.name)

    def _provider(self, ready: ReadyProvider) -> LiveProvider:
        live = self.providers[ready.config.name]
        trace = ready.config.propagate_trace
        return LiveProvider(live.name, live.codec, ready.secret, live.transport, trace)


def _fixed(old: Config, new: Config) -> Iterator[str]:
    """The paths of settings that differ and may not, but for those of providers, which only plugins settle."""
    for field in attrs.fields(Config):
        section = field.name
        if section in FREE_SECTIONS or section in {"source", "providers"}:
            continue
        before, after = getattr(old, section), getattr(new, section)
        if before is None or after is None:
            yield from () if before is after else (section,)
        else:
            yield from _differences(section, before, after, frozenset())


def _differences(path: str, old: AttrsInstance, new: AttrsInstance, but: Collection[str]) -> Iterator[str]:
    free = FREE_SETTINGS[path.partition(".")[0]]
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(type(old))
    for field in fields:
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name in free or field.name in but or before == after:
            continue
        if field.name == "options" and path != "plugins":
            # They stand in the table itself.
            keys = dict.fromkeys([*before, *after])
            yield from (join(path, key) for key in keys if before.get(key) != after.get(key))
        else:
            yield join(path, field.name)


def _changed(old: Config, new: Config) -> Iterator[str]:
    """The sections that differ. A key is no part of it: nobody can tell by looking at where it comes from."""
    for field in attrs.fields(Config):
        if field.name not in {"source", "providers"} and getattr(old, field.name) != getattr(new, field.name):
            yield field.name
    if _without_keys(old) != _without_keys(new):
        yield "providers"


def _without_keys(config: Config) -> dict[str, ProviderConfig]:
    return {name: attrs.evolve(each, secrets=()) for name, each in config.providers.items()}


def _is_new(old: Secret | None, new: Secret | None) -> bool:
    """True where another credential is sent from now on."""
    if old is None or new is None:
        return old is not new
    try:
        return old.reveal() != new.reveal()
    except ConfigError:
        return True  # a callable that has none at the moment
