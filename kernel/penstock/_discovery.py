"""Plugins: found by their entry points, loaded behind guards, and asked through typed methods.

One broken plugin is reported and the rest works. Not here: what they open (the kernel does that), and their options
(`_config_providers`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast

import attrs
import pluggy
from msgspec.structs import replace

from penstock._bare_spec import Offer
from penstock._config import PluginsConfig
from penstock._events import Event
from penstock._installed import EntryPoints, Group, Installed, PluginInfo, installed_plugins
from penstock._plugin_guard import guarded, hook_manager, rehearse
from penstock._token_counter import TokenCounter
from penstock.errors import PluginError, PluginLoadError, PluginVersionError
from penstock.hookspecs import PLUGIN_API, CacheStoreSpec, LedgerSpec, ProviderSpec, ValidatorSpec
from penstock.policy.price_figures import can_be_reckoned_with
from penstock.types import Price

__all__ = ["CACHES", "LEDGERS", "PluginHost", "PluginInfo", "Sort"]

logger = logging.getLogger("penstock")

A = TypeVar("A")
S = TypeVar("S", ProviderSpec, LedgerSpec, CacheStoreSpec, ValidatorSpec)
T = TypeVar("T", LedgerSpec, CacheStoreSpec)


@attrs.frozen
class Sort(Generic[S]):
    """One sort of thing that plugins offer by specs."""

    spec: type[S]
    hook: str
    what: str
    prefix: str = ""
    """How the entry points of penstock's own stores begin: one for something else may have the same name."""


PROVIDERS = Sort(ProviderSpec, "penstock_providers", "provider")
LEDGERS = Sort(LedgerSpec, "penstock_ledgers", "ledger store", "ledger-")
CACHES = Sort(CacheStoreSpec, "penstock_caches", "cache store", "cache-")
VALIDATORS = Sort(ValidatorSpec, "penstock_validators", "validator", "validator-")
ALWAYS = frozenset({"prices"})
"""Plugins of penstock's own that no configuration needs to name."""


@attrs.define(eq=False)
class _Loaded:
    info: PluginInfo
    plugin: object
    rank: int
    """Of several that know an answer the highest rank decides: the program's own over third parties over penstock's."""
    offers: tuple[ProviderSpec | LedgerSpec | CacheStoreSpec | ValidatorSpec, ...] = ()

    def of(self, sort: Sort[S]) -> list[S]:
        """What it offers of that sort."""
        return [spec for spec in self.offers if isinstance(spec, sort.spec)]


class PluginHost:
    """The plugins of one kernel.

    Laws: only what is asked for is imported; what goes wrong in a plugin is kept in `problems`, logged once, and never
    raised but to who asks for that very plugin; penstock's own names cannot be taken by what is merely installed.
    What the program hands in as `plugins` is used in any case, and before everything else.
    """

    def __init__(
        self,
        settings: PluginsConfig | None = None,
        plugins: Sequence[object] = (),
        *,
        entry_points: EntryPoints | None = None,
    ) -> None:
        self._settings = settings or PluginsConfig()
        self._manager = hook_manager()
        self._loaded: dict[str, _Loaded] = {}
        self._problems: list[PluginError] = []
        self._reported: set[str] = set()
        self._plugins_loaded = False
        self._installed = installed_plugins(
            discover=self._settings.discover, allow=self._settings.allow, entry_points=entry_points
        )
        for each in self._installed:
            if each.info.problem:
                self._report(each.info.problem)
        self._program = [self._take(plugin, number) for number, plugin in enumerate(plugins)]

    @property
    def problems(self) -> tuple[PluginError, ...]:
        """What went wrong so far, in order."""
        return tuple(self._problems)

    def list_plugins(self) -> tuple[PluginInfo, ...]:
        """Everything that is installed or handed in. Imports nothing."""
        return (*(each.info for each in self._installed), *self._program)

    def kinds(self) -> frozenset[str]:
        """The names a provider's `kind` may have, broken ones too."""
        usable = {each.info.name for each in self._installed if _is_usable(each, "providers")}
        return frozenset(usable | {spec.name for loaded in self._loaded.values() for spec in loaded.of(PROVIDERS)})

    def plugin_names(self) -> frozenset[str]:
        """The names that `[plugins.*]` may have."""
        usable = {each.info.name for each in self._installed if _is_usable(each, "plugins")}
        return self.kinds() | usable | {info.name for info in self._program}

    def provider_spec(self, kind: str) -> ProviderSpec:
        """The spec of that kind. Raises PluginError that says what is wrong with its plugin."""
        found = self._find(PROVIDERS, kind)
        if found is None:
            self._load_named(kind, "providers")
            found = self._find(PROVIDERS, kind)
        if found is None:
            raise PluginLoadError(f"no plugin offers a provider named {kind!r}")
        return found

    def stores(self, sort: Sort[T]) -> frozenset[str]:
        """The names that the `store` of a section may have, as far as is known without importing anything."""
        usable = [each for each in self._installed if _is_usable(each, "plugins")]
        own = {each.info.name for each in usable if each.own}
        stores = {name.removeprefix(sort.prefix) for name in own if name.startswith(sort.prefix)}
        # What a third party's plugin offers is known once it is imported, and for that it has to be named.
        stores |= {each.info.name for each in usable if not each.own}
        return frozenset(stores | {spec.name for loaded in self._loaded.values() for spec in loaded.of(sort)})

    def store_spec(self, sort: Sort[T], name: str) -> T:
        """The spec of the store of that name. Raises PluginError that says what is wrong with its plugin."""
        for entry in (f"{sort.prefix}{name}", name):
            found = self._find(sort, name)
            if found is not None:
                return found
            self._load_named(entry, "plugins")
        found = self._find(sort, name)
        if found is None:
            raise PluginLoadError(f"no plugin offers a {sort.what} named {name!r}")
        return found

    def validator_specs(self) -> list[ValidatorSpec]:
        """The program's own, then third parties', then penstock's; msgspec's, which takes any type, last."""
        self.load_plugins()
        for each in self._installed:
            if each.own and _is_usable(each, "plugins") and each.info.name.startswith(VALIDATORS.prefix):
                self._load(each)
        by_rank = sorted(self._loaded.values(), key=lambda loaded: -loaded.rank)
        specs = [spec for loaded in by_rank for spec in loaded.of(VALIDATORS)]
        return sorted(specs, key=lambda spec: spec.name == "msgspec")

    def load_plugins(self) -> None:
        """Loads what is not a provider and is enabled: prices, and what `[plugins]` names."""
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        named = set(self._settings.options) | set(self._settings.allow or ())
        for each in self._installed:
            wanted = each.info.name in ALWAYS if each.own else each.named_by(named)
            if _is_usable(each, "plugins") and (wanted or each.info.name in self._settings.options):
                self._load(each)

    def load_plugin(self, name: str) -> None:
        """Loads the plugin of that name. Raises PluginError that says what is wrong with it."""
        self._load_named(name, "plugins")

    def price(self, model: str, kind: str, base_url: str | None, now: float) -> Price | None:
        """What the first plugin that knows the model at that provider says. One that fails is passed over."""

        def taken(loaded: _Loaded, answer: object) -> Price | None:
            if not isinstance(answer, Price) or not can_be_reckoned_with(answer):
                return None
            return answer if answer.source else replace(answer, source=f"plugin {loaded.info.name}")

        told = {"model": model, "kind": kind, "base_url": base_url, "now": now}
        return self._first_answer("penstock_price", told, taken, "not a Price of whole figures from 0 on")

    def tokenizer(self, model: str, kind: str) -> TokenCounter | None:
        """What the first plugin that knows the model counts its tokens with. One that fails is passed over."""

        def taken(loaded: _Loaded, answer: object) -> TokenCounter | None:
            if not callable(answer):
                return None
            return TokenCounter(str(loaded.info), cast("Callable[[str], int]", answer))

        told = {"model": model, "kind": kind}
        return self._first_answer("penstock_tokenizer", told, taken, "which counts nothing")

    def event_listeners(self) -> list[tuple[str, Callable[[Event], object]]]:
        """Every `penstock_event` with the name of its plugin. They are called by who watches over them."""
        self.load_plugins()
        listeners: list[tuple[str, Callable[[Event], object]]] = []
        for implementation in self._implementations("penstock_event"):
            function = implementation.function
            takes = (*implementation.argnames, *implementation.kwargnames)
            listener = partial(_by_name, function) if takes else partial(_without, function)
            listeners.append((str(self._loaded[implementation.plugin_name].info), listener))
        return listeners

    def redactors(self) -> list[Callable[[str], str]]:
        """Every `penstock_redact`, in the order in which they are applied."""
        return [partial(_redacted, each.function) for each in self._implementations("penstock_redact")]

    def _first_answer(
        self, hook: str, told: Mapping[str, object], taken: Callable[[_Loaded, object], A | None], flaw: str
    ) -> A | None:
        """What the first plugin says that knows something; `taken` is None for what is no answer, and has that flaw."""
        self.load_plugins()
        for implementation in self._implementations(hook):
            loaded = self._loaded[implementation.plugin_name]
            takes = (*implementation.argnames, *implementation.kwargnames)
            ask = partial(implementation.function, **{name: told[name] for name in takes})
            try:
                answer = guarded(ask, f"{loaded.info}: its {hook} failed")
            except PluginError as problem:
                self._report_once(implementation.plugin_name, problem)
                continue
            if answer is None:
                continue
            found = taken(loaded, answer)
            if found is not None:
                return found
            says = f"{loaded.info}: its {hook} returned {type(answer).__name__}, {flaw}"
            self._report_once(implementation.plugin_name, PluginLoadError(says))
        return None

    def _find(self, sort: Sort[S], name: str) -> S | None:
        """The spec of that name which counts, among the plugins that are loaded."""
        ranked = sorted(self._loaded.values(), key=lambda loaded: -loaded.rank)
        return next((spec for loaded in ranked for spec in loaded.of(sort) if spec.name == name), None)

    def _load_named(self, name: str, group: Group) -> None:
        namesakes = [each for each in self._installed if each.info.group == group and each.info.name == name]
        usable = [each for each in namesakes if each.info.status in {"installed", "loaded", "broken"}]
        for each in usable:
            self._load(each)
            if each.info.problem:
                raise each.info.problem
            return
        for each in namesakes:
            raise each.info.problem or PluginLoadError(f"{each.info} is kept out by [plugins] discover or allow")

    def _load(self, each: Installed) -> None:
        if each.info.status != "installed":
            return
        try:
            self._load_bare(each)
        except PluginError as problem:
            self._forget(_key(each.info))
            each.now("broken", problem)
            self._report(problem)
        else:
            each.now("loaded")

    def _load_bare(self, each: Installed) -> None:
        plugin = guarded(each.entry_point.load, f"{each.info} cannot be imported")
        names = [spec.name for spec in self._register(each.info, plugin, rank=0 if each.own else 1).of(PROVIDERS)]
        if each.info.group == "providers" and each.info.name not in names:
            offers = ", ".join(names) or "none"
            raise PluginLoadError(f"{each.info} offers no provider of that name (it offers: {offers})")

    def _take(self, plugin: object, number: int) -> PluginInfo:
        if isinstance(plugin, ProviderSpec | LedgerSpec | CacheStoreSpec | ValidatorSpec):
            plugin = Offer(plugin)
        name = str(getattr(plugin, "__name__", None) or type(plugin).__name__)
        info = PluginInfo(name=name, group="program", distribution="given by the program", version="", status="loaded")
        if any(loaded.plugin is plugin for loaded in self._loaded.values()):
            return info
        try:
            self._register(info, plugin, rank=2, key=f"program/{number}")
        except PluginError as problem:
            self._report(problem)
            return attrs.evolve(info, status="broken", problem=problem)
        return info

    def _register(self, info: PluginInfo, plugin: object, *, rank: int, key: str | None = None) -> _Loaded:
        for known in self._loaded.values():
            if known.plugin is plugin:
                return known
        guarded(partial(rehearse, plugin), f"{info} does not fit penstock's hooks")
        key = key or _key(info)
        self._manager.register(plugin, key)
        loaded = self._loaded[key] = _Loaded(info, plugin, rank)
        try:
            loaded.offers += self._specs(loaded, PROVIDERS)
            loaded.offers += self._specs(loaded, LEDGERS)
            loaded.offers += self._specs(loaded, CACHES)
            loaded.offers += self._specs(loaded, VALIDATORS)
        except PluginError:
            self._forget(key)
            raise
        return loaded

    def _forget(self, key: str) -> None:
        if self._loaded.pop(key, None):
            self._manager.unregister(name=key)

    def _specs(self, loaded: _Loaded, sort: Sort[S]) -> tuple[S, ...]:
        specs: list[S] = []
        for implementation in self._implementations(sort.hook):
            if implementation.plugin is loaded.plugin:
                answer = guarded(implementation.function, f"{loaded.info}: its {sort.hook} failed")
                if not isinstance(answer, list | tuple):
                    raise PluginLoadError(f"{loaded.info}: its {sort.hook} returned no list of specs")
                specs += [_checked(spec, sort, loaded.info) for spec in cast("Sequence[object]", answer)]
        return tuple(specs)

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        # pluggy calls the last one first; its order (tryfirst and trylast too) holds within a rank.
        in_order = caller.get_hookimpls()[::-1]
        return sorted(in_order, key=lambda each: -self._loaded[each.plugin_name].rank)

    def _report(self, problem: PluginError) -> None:
        self._problems.append(problem)
        logger.warning("plugin: %s", problem)

    def _report_once(self, key: str, problem: PluginError) -> None:
        # Models are named by callers: a hook that fails for each of them must not fill the list and the log.
        if key not in self._reported:
            self._reported.add(key)
            self._report(problem)


def _redacted(function: Callable[..., object], text: str) -> Any:
    return function(text=text)  # whether it is a text is asked by whoever needs one


def _by_name(function: Callable[..., object], event: Event) -> object:
    return function(event=event)


def _without(function: Callable[[], object], _event: Event) -> object:
    return function()


def _checked(spec: object, sort: Sort[S], info: PluginInfo) -> S:
    what = sort.what
    if not isinstance(spec, sort.spec):
        raise PluginLoadError(f"{info}: its {sort.hook} returned {type(spec).__name__}, not a {sort.spec.__name__}")
    if spec.api_version != PLUGIN_API:
        raise PluginVersionError(
            f"{info}: its {what} {spec.name!r} is written for version {spec.api_version!r} of the plugin interface;"
            f" this penstock has version {PLUGIN_API}"
        )
    if not isinstance(spec, ValidatorSpec) and not (spec.options is type(None) or attrs.has(spec.options)):
        raise PluginLoadError(f"{info}: the options of its {what} {spec.name!r} are no attrs class")
    return spec


def _key(info: PluginInfo) -> str:
    return f"{info.group}/{info.name}"


def _is_usable(each: Installed, group: Group) -> bool:
    return each.info.group == group and each.info.status in {"installed", "loaded", "broken"}
