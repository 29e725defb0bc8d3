"""open_kernel: the nesting of scopes here is the order of start and stop.

    plugins' resources
      actors (router, breakers, cache, budget)
        calls and stream pumps
          the user's body

Only the kernel's own nursery is open around the user's body. It is never cancelled while the body runs.
"""

from __future__ import annotations

import contextvars
import logging
import secrets
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, cast

import httpx
import trio

from penstock._actor_events import changed, cooling, spending, store_change
from penstock._clock import Clock
from penstock._closing import Closing, close_telemetry
from penstock._config import CacheConfig, Config, LedgerConfig
from penstock._config_providers import ReadyProvider, ready_providers
from penstock._config_stores import Ready, ready_cache, ready_ledger
from penstock._connections import Connections
from penstock._discovery import PluginHost
from penstock._discreet import type_name
from penstock._engine import Engine
from penstock._event_plugins import EventPlugins
from penstock._events import ActorCrashed, EventHub
from penstock._front import Kernel
from penstock._live_target import LiveProvider
from penstock._open_plugins import OpenPlugins
from penstock._outputs import OutputBook
from penstock._price_book import PriceBook
from penstock._refresh import Refreshes
from penstock._reload import Reloading, budget_rules
from penstock._second_level import SecondLevel, SecondLevelSettings
from penstock._targets import TargetBook
from penstock._ungrouped import unwrapped
from penstock.abc import LedgerStore, Provider
from penstock.actors._inbox import Inbox
from penstock.actors._supervisor import Actor, supervise
from penstock.actors._waiting_room import WaitingRoom
from penstock.actors.breaker_registry import open_breaker_registry
from penstock.actors.budget_keeper import KeeperSettings, open_budget_keeper
from penstock.actors.cache_actor import CacheSettings, open_cache_actor
from penstock.actors.router import open_router
from penstock.errors import ConfigError, ConfigMistake, KernelError
from penstock.hookspecs import CacheStoreSpec, LedgerSpec, PluginTools
from penstock.policy.accounts import AccountTree
from penstock.policy.freshness import Freshness
from penstock.policy.retry_budget import RetryBudgetSettings
from penstock.telemetry import NO_TELEMETRY
from penstock.telemetry._opening import open_telemetry

if TYPE_CHECKING:
    from penstock._live.server import LiveServer
    from penstock.telemetry._otel.opened import OpenTelemetry

__all__ = ["OpenKernel", "open_kernel"]

logger = logging.getLogger("penstock")


def open_kernel(
    config: Config | str | Path | None = None,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    plugins: Sequence[object] = (),
) -> OpenKernel:
    """A kernel for the length of an `async with` block.

    `config` is a Config or the path of a TOML file; None takes the file that PENSTOCK_CONFIG names, else a cascade over
    the providers whose keys are in the environment. `transport` replaces the kernel's own and is not closed by it;
    what the configuration says of connections (`ca_file`, `trust_env`, `http2`) then means nothing, which is logged.
    `plugins` are objects with penstock's hooks, beside the installed ones.

    Raises ConfigError with every mistake at once, KernelError where no trio loop is running.
    """
    _check_loop()
    if isinstance(plugins, str) or not isinstance(cast("object", plugins), Iterable):
        says = f"{type_name(plugins)} given; give a list of objects with hooks"
        raise ConfigError([ConfigMistake("plugins", says)])
    return OpenKernel(config, transport, tuple(plugins))


def _check_loop() -> None:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        asyncio = sys.modules.get("asyncio")
        try:
            if asyncio:
                asyncio.get_running_loop()
        except RuntimeError:
            asyncio = None
        where = "under asyncio" if asyncio else "where no event loop is running"
        raise KernelError(f"penstock runs on trio, and open_kernel was called {where}: use trio.run(main)") from None


class OpenKernel:
    """What `open_kernel` returns. Kernels exit in nesting order."""

    def __init__(
        self,
        config: Config | str | Path | None,
        transport: httpx.AsyncBaseTransport | None,
        plugins: Sequence[object],
    ) -> None:
        self._given = config
        self._connections = Connections(transport)
        self._plugins = plugins
        self._entered = False
        self._nursery_manager = trio.open_nursery()
        self._actors_done: list[trio.Event] = []
        self._opened = OpenPlugins()
        self._second_level: SecondLevel | None = None
        self._engine: Engine | None = None
        self._telemetry: OpenTelemetry | None = None
        self._live: LiveServer | None = None
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Kernel:
        _check_loop()
        if self._entered:
            raise KernelError("a kernel is opened once; call open_kernel again")
        self._entered = True
        config = self._config()
        host = PluginHost(config.plugins, self._plugins)
        ready = ready_providers(config, host, connects=self._connections.are_own)
        cache = ready_cache(config, host)
        self._connections.warn_of_idle_settings(config)
        for gives_up in config.budget.gives_up:
            logger.warning("%s", gives_up)
        self._nursery = nursery = await self._nursery_manager.__aenter__()
        try:
            clock = Clock()
            most = config.kernel.max_in_flight
            providers = {name: await self._open_provider(each, most, clock, nursery) for name, each in ready.items()}
            ledger = await self._open_ledger(ready_ledger(config, host), clock, nursery)
            events = EventHub()
            stored = await self._open_cache(config, cache, clock, events, nursery)
            prices = PriceBook(config, ready, host, clock.wall)
            targets = TargetBook(config, providers, prices.price, host.tokenizer)
            self._telemetry = open_telemetry(config, clock=clock.monotonic, redactors=host.redactors())
            self._engine = engine = self._assemble(
                config, host, targets, ledger, clock=clock, events=events, nursery=nursery, second_level=stored
            )
            if self._telemetry is not None:
                self._telemetry.watch(engine)
            opened = {name: each.config for name, each in ready.items()}
            engine.reload = Reloading(engine, host, opened, providers, connects=self._connections.are_own).change
        except BaseException:
            # Opened plugins are shielded: they are told to stop, the others are cancelled.
            self._opened.stop()
            if self._second_level is not None:
                self._second_level.give_up()
            nursery.cancel_scope.cancel()
            await self._close_nursery()
            await close_telemetry(self._telemetry)
            raise
        kernel = Kernel(self._engine, nursery)
        if config.telemetry is not None and config.telemetry.live_view:
            from penstock._live.server import LiveServer  # noqa: PLC0415  # only where somebody may watch

            self._live = LiveServer(kernel, self._engine)
            self._live.start(nursery)
        return kernel

    async def _close_nursery(self) -> None:
        """Ends the nursery. What came out of a task of it (Ctrl-C does) is raised bare, never in a group of ours."""
        try:
            await self._nursery_manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            told = group.split(trio.Cancelled)[1]
            if told is None:
                raise
            raise unwrapped(told) from None

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        assert self._engine is not None
        assert self._nursery is not None
        closing = Closing(
            engine=self._engine,
            seconds=0.0 if error else self._engine.config.kernel.grace,
            actors=self._actors_done,
            plugins=self._opened,
            connections=self._connections,
            second_level=self._second_level,
            live=self._live,
            telemetry=self._telemetry,
        )
        pressed = await closing.within(self._nursery)
        await self._close_nursery()
        if pressed is not None:
            raise pressed
        failure = self._engine.failure
        if failure is not None and error is None:
            raise failure from failure.__cause__
        return False

    def _config(self) -> Config:
        match self._given:
            case Config():
                return self._given
            case None:
                return Config.from_environment()
            case _:
                return Config.load(self._given)

    # Start

    async def _open_provider(
        self, ready: ReadyProvider, max_in_flight: int, clock: Clock, nursery: trio.Nursery
    ) -> LiveProvider:
        name, kind = ready.config.name, ready.config.kind
        tools = PluginTools(name=name, wall=clock.wall, logger=_plugin_logger(kind))
        codec = await self._opened.open(
            f"provider {name!r}", Provider, partial(ready.spec.open, ready.options, tools), nursery
        )
        transport = self._connections.of(ready.config, calls=max_in_flight)
        return LiveProvider(name, codec, ready.secret, transport, ready.config.propagate_trace)

    async def _open_ledger(
        self, ready: Ready[LedgerConfig, LedgerSpec], clock: Clock, nursery: trio.Nursery
    ) -> LedgerStore:
        name = ready.config.store
        opening = partial(ready.spec.open, ready.options, ready.tools(clock.wall, _plugin_logger(name)))
        return await self._opened.open(f"ledger store {name!r}", LedgerStore, opening, nursery)

    async def _open_cache(
        self,
        config: Config,
        ready: Ready[CacheConfig, CacheStoreSpec] | None,
        clock: Clock,
        events: EventHub,
        nursery: trio.Nursery,
    ) -> SecondLevel | None:
        """The second level of the cache, open and with its writer; None where there is none."""
        if ready is None:
            return None
        cache = ready.config
        settings = SecondLevelSettings(store=cache.store, timeout=cache.store_timeout, kept=_freshness(config).kept)
        self._second_level = second = SecondLevel(settings, clock, events.emit)
        tools = ready.tools(clock.wall, _plugin_logger(cache.store))
        opened = await nursery.start(second.store.hold, lambda: ready.spec.open(ready.options, tools))
        await trio.lowlevel.checkpoint_if_cancelled()  # it is closed again then: see `hold`
        if not opened:
            return None
        second.start(nursery)
        return second

    def _assemble(
        self,
        config: Config,
        host: PluginHost,
        targets: TargetBook,
        ledger: LedgerStore,
        *,
        clock: Clock,
        events: EventHub,
        nursery: trio.Nursery,
        second_level: SecondLevel | None,
    ) -> Engine:
        slots = config.kernel.max_in_flight
        if plugged := EventPlugins(host.event_listeners()):
            events.tap(plugged)
        emit = events.emit
        waiting = WaitingRoom(clock)

        def retry_budget_for(provider: str) -> RetryBudgetSettings:
            return engine.config.retry_budget_settings(provider)  # another one after a reload

        router, router_inbox, router_ref = open_router(
            clock,
            slots=slots,
            waiting=waiting,
            on_cool_down=lambda cool: emit(cooling(cool, clock.monotonic())),
            retry_budget_for=retry_budget_for,
            retry_money_of=lambda account: engine.accounts.retry_money_of(account),  # noqa: PLW0108 - it may change
        )
        registry, registry_inbox, breaker_ref = open_breaker_registry(
            lambda scope: engine.config.breaker_settings(scope),  # noqa: PLW0108 - as above
            clock,
            slots=slots,
            waiting=waiting,
            on_change=lambda change: emit(changed(change)),
        )
        keeper, keeper_inbox, budget_ref = open_budget_keeper(
            config.budget.accounts,
            ledger,
            clock,
            slots=slots,
            on_event=lambda event: emit(spending(event)),
            on_store=lambda change: emit(store_change(change, config.ledger.on_store_down)),
            settings=KeeperSettings(
                lease=config.ledger.lease, timeout=config.ledger.timeout, on_store_down=config.ledger.on_store_down
            ),
        )
        actors: list[tuple[Actor, Inbox]] = [(router, router_inbox), (registry, registry_inbox), (keeper, keeper_inbox)]
        cache_ref = None
        if config.cache is not None:
            settings = CacheSettings(config.cache.memory_bytes, _freshness(config))
            cache, cache_inbox, cache_ref = open_cache_actor(settings, clock, slots=slots)
            actors.append((cache, cache_inbox))
        engine = Engine(
            name=secrets.token_hex(8),  # holds of all processes on one store are told apart by it
            config=config,
            clock=clock,
            targets=targets,
            accounts=AccountTree(config.budget.accounts),
            rules=budget_rules(config),
            budget=budget_ref,
            breakers=breaker_ref,
            waiting=waiting,
            cache=cache_ref,
            router=router_ref,
            events=events,
            telemetry=NO_TELEMETRY if self._telemetry is None else self._telemetry.telemetry,
            places=trio.Semaphore(slots, max_value=slots),
            problems=lambda: tuple(str(problem) for problem in host.problems),
            second_level=second_level,
            freshness=_freshness(config),
            outputs=OutputBook(host.validator_specs),
        )
        engine.refresh = Refreshes(engine, nursery).begin
        for actor, inbox in actors:
            self._start_actor(nursery, engine, actor, inbox)
        contextvars.Context().run(nursery.start_soon, engine.overdue.watch)
        return engine

    def _start_actor(self, nursery: trio.Nursery, engine: Engine, actor: Actor, inbox: Inbox) -> None:
        done = trio.Event()
        self._actors_done.append(done)

        async def live() -> None:
            try:
                # Only the shutdown ends an actor, by closing its Refs: asks of a body that cleans up must not hang.
                with trio.CancelScope(shield=True):
                    error = await supervise(
                        actor,
                        inbox,
                        lambda name, crash, again: engine.events.emit(ActorCrashed(name, type(crash).__name__, again)),
                    )
                    if error is not None:
                        engine.fail(actor.name, error)
            finally:
                done.set()

        # An empty context: an actor belongs to no caller, whatever its starter holds in context variables.
        contextvars.Context().run(nursery.start_soon, live)


def _freshness(config: Config) -> Freshness:
    cache = config.cache
    return Freshness() if cache is None else Freshness(cache.stale_while_revalidate, cache.stale_if_error)


def _plugin_logger(name: str) -> logging.Logger:
    return logger.getChild(f"plugins.{name}")
