"""The cache as its owner sees it: why an answer was not in it, what is in it, and emptying it.

Nothing here asks upstream. Not here: the values (`_cache_explanation`), and how calls use the cache (`_answers`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from penstock._answers import CallCache, temperature_of
from penstock._asked import Call
from penstock._cache_explanation import CacheExplanation, NearEntry, StageCacheExplanation
from penstock._engine import Engine
from penstock._fitting import CallFitting
from penstock._live_target import LiveTarget
from penstock._plan import AskedFor, CallOptions, check_account, make_call, make_request
from penstock._second_level import SecondLevelStatistics
from penstock.abc import CacheStoreStatistics
from penstock.actors.cache_actor import CacheStatistics
from penstock.errors import CallError
from penstock.policy.cache_key import Parts, Question, differing, tenant_prefix
from penstock.policy.cache_policy import CachePolicy
from penstock.policy.entries import Entry
from penstock.policy.freshness import Age, without_skew
from penstock.policy.sealed import unseal
from penstock.telemetry import NO_TELEMETRY
from penstock.types import ChatRequest, Message, ThinkingLevel, Tool, WireRequest

if TYPE_CHECKING:
    from penstock._extraction import Extraction

__all__ = ["CacheContents", "CacheControls"]

MOST_NEAR = 200
"""Entries of the tenant, the newest ones, with which a request is compared."""
MOST_SHOWN = 3
"""Of the nearest of them are told."""


@attrs.frozen(kw_only=True)
class CacheContents:
    """What is in the cache."""

    memory: CacheStatistics
    store: CacheStoreStatistics | None
    """None: nothing keeps answers beyond this process, or it cannot say now."""
    traffic: SecondLevelStatistics | None
    """How it goes between the two; None likewise."""


class CacheControls:
    """`kernel.cache`."""

    def __init__(self, engine: Engine, options: CallOptions) -> None:
        self._engine = engine
        self._options = options

    async def explain_miss(
        self,
        request: AskedFor,
        *,
        system: str | Message | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        tools: Sequence[Tool | Mapping[str, Any]] | None = None,
        thinking: ThinkingLevel | int | None = None,
        route: str | None = None,
        account: str | None = None,
        cache: str | CachePolicy | None = None,
    ) -> CacheExplanation:
        """For each target of the call: whether its answer is in the cache, and else what is in the way.

        Names the parts of the request in which the nearest stored ones of the same tenant differ (`temperature`,
        `messages[2]`), never what they hold. Nothing is sent. Raises what making the call would raise.
        """
        chat = make_request(
            request,
            system=system,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            tools=tools,
            thinking=thinking,
        )
        options = CallOptions(route=route, account=account, cache=cache).over(self._options)
        call = make_call(attrs.evolve(self._engine, telemetry=NO_TELEMETRY), chat, options)
        return await _Explaining(self._engine, call).explained()

    async def contents(self) -> CacheContents | None:
        """What is in the cache; None where there is none. What went wrong with the store is raised."""
        engine = self._engine
        if engine.cache is None:
            return None
        await engine.cache.flush()
        second = engine.second_level
        return CacheContents(
            memory=engine.cache.contents(),
            store=None if second is None else await second.ask_store(lambda store: store.statistics()),
            traffic=None if second is None else second.statistics(),
        )

    async def purge(self, account: str | None = None) -> int:
        """Removes every answer, or those of the tenant of one account; says how many, wherever there were more.

        What went wrong with the store is raised; the memory is empty then all the same. Raises ConfigError where
        `account` is no path of one.
        """
        engine = self._engine
        if account is not None:
            check_account(account)
        if engine.cache is None:
            return 0
        prefix = "" if account is None else tenant_prefix(engine.accounts.tenant_of(account))
        gone = await engine.cache.purge(prefix)
        if engine.second_level is None:
            return gone
        await engine.second_level.written()
        stored = await engine.second_level.ask_store(lambda store: store.purge(prefix))
        return max(gone, stored or 0)


class _Explaining:
    """One explanation under way."""

    def __init__(self, engine: Engine, call: Call) -> None:
        self._engine = engine
        self._call = call
        self._cache = CallCache(engine, call, may_lead=False, context=None)
        self._fitting = CallFitting(call.id, call.request, call.on_unsupported, engine.events, call.targets)
        self._value = _asking(call)
        if self._value is not None:
            self._cache.takes = self._value.take_stored
        self._near: list[tuple[str, Entry]] | None = None

    async def explained(self) -> CacheExplanation:
        stages = [await self._stage(place, target) for place, target in enumerate(self._call.targets)]
        return CacheExplanation(
            route=self._call.route, tenant=self._call.tenant, when=self._call.cache_when, stages=tuple(stages)
        )

    async def _stage(self, place: int, target: LiveTarget) -> StageCacheExplanation:
        request = self._fitting.foreseen(place, target)
        if isinstance(request, CallError):
            return _told(target, "not_cached", f"the target is passed over: {request}")
        if self._value is not None:
            request = self._value.first_asked(place, target, request)
        keyed = self._cache.key_of(target, request, self._engine.clock.wall())
        if keyed is None:
            return _told(target, "not_cached", "the target's codec cannot say the request")
        if self._engine.cache is None:
            return _told(target, "not_cached", "there is no [cache] table", key=keyed[0])
        if not self._cache.wanted(request, target, keyed[1]):
            return _told(target, "not_cached", self._unwanted(request, target, keyed[1]), key=keyed[0])
        key, _, question = keyed
        return await self._looked_up(target, key, question)

    def _unwanted(self, request: ChatRequest, target: LiveTarget, wire: WireRequest) -> str:
        call = self._call
        if call.cache_when == "never" or not (call.cache.read or call.cache.store):
            return "the call, its route or [cache] says that it is never cached"
        given = temperature_of(request, target, wire)
        is_now = "there is none" if given is None else f"it is {given}"
        return f'when = "deterministic" caches requests at temperature 0, and {is_now} (cache="always" caches it)'

    async def _looked_up(self, target: LiveTarget, key: str, question: Question) -> StageCacheExplanation:
        engine = self._engine
        assert engine.cache is not None
        seen = await engine.cache.see(key)
        entry = seen.entry
        trouble = ""
        if entry is None and engine.second_level is not None:
            found = await engine.second_level.get(key)
            if isinstance(found, Entry):
                entry = without_skew(found, engine.clock.wall())
            elif found is not None:
                trouble = "; its store does not answer now"
        if entry is not None:
            return self._present(target, key, entry)
        if seen.refused:
            return _told(target, "miss", f"the answer was not stored: {seen.refused}{trouble}", key=key)
        near = await self._nearest(question.parts())
        says = f"nothing is stored under its key{trouble}"
        if near:
            says += f"; the nearest differs in {', '.join(near[0].differs[:8])}"
        elif not trouble:
            says += ", nor anything of this tenant like it"
        return _told(target, "miss", says, key=key, near=tuple(near))

    def _present(self, target: LiveTarget, key: str, entry: Entry) -> StageCacheExplanation:
        now, policy = self._engine.clock.wall(), self._call.cache
        age = self._engine.freshness.age(entry.stored_at, entry.fresh_until, now, max_age=policy.max_age)
        old = now - entry.stored_at
        if not self._cache.will_do(entry):
            says = f"what was stored {old:.0f} s ago will not do: it is no answer to what is asked for now"
            return _told(target, "miss", says, key=key, age=old)
        if not policy.read:
            return _told(target, "miss", f"the call does not read what is stored ({old:.0f} s old)", key=key, age=old)
        match age:
            case Age.FRESH:
                return _told(target, "hit", f"stored {old:.0f} s ago, fresh", key=key, age=old)
            case Age.REVALIDATE:
                return _told(target, "stale", f"stored {old:.0f} s ago; served, and fetched anew", key=key, age=old)
            case Age.IF_ERROR:
                says = f"stored {old:.0f} s ago, which is too long; served only where every target fails"
                return _told(target, "expired", says, key=key, age=old)
            case Age.GONE if policy.max_age is not None and old > policy.max_age:
                says = f"stored {old:.0f} s ago, and the call takes none older than {policy.max_age:g} s"
                return _told(target, "expired", says, key=key, age=old)
            case Age.GONE:
                return _told(target, "expired", f"stored {old:.0f} s ago, and its time is over", key=key, age=old)

    async def _nearest(self, parts: Parts) -> list[NearEntry]:
        """Those that differ in the fewest parts."""
        if self._near is None:
            self._near = await self._of_tenant()
        now = self._engine.clock.wall()
        near: list[NearEntry] = []
        for key, entry in self._near:
            try:
                other = msgspec.msgpack.decode(entry.parts, type=dict[str, int])
            except (msgspec.DecodeError, ValueError):
                continue  # of a version that told nothing of them
            differs = differing(parts, other)
            if len(differs) < len(parts):
                near.append(NearEntry(key=key, differs=differs, age=now - entry.stored_at))
        return sorted(near, key=lambda one: (len(one.differs), one.age))[:MOST_SHOWN]

    async def _of_tenant(self) -> list[tuple[str, Entry]]:
        engine, prefix = self._engine, tenant_prefix(self._call.tenant)
        assert engine.cache is not None
        found = dict(await engine.cache.newest(prefix, MOST_NEAR))
        if engine.second_level is not None and len(found) < MOST_NEAR:
            further = await engine.second_level.newest(prefix, MOST_NEAR)
            found = {**dict(_unsealed(further)), **found}
        return list(found.items())


def _asking(call: Call) -> Extraction | None:
    """How the call asks for a value; None where it asks for none."""
    if call.output is None:
        return None
    from penstock._foreseen_repairs import asking  # noqa: PLC0415 - what reads JSON, imported by who needs it

    return asking(call, call.output)


def _unsealed(entries: Iterable[Any]) -> Iterable[tuple[str, Entry]]:
    for stored in entries:
        entry = unseal(stored.key, stored.sealed)
        if entry is not None:
            yield stored.key, entry


def _told(
    target: LiveTarget,
    outcome: Any,
    says: str,
    *,
    key: str | None = None,
    age: float | None = None,
    near: tuple[NearEntry, ...] = (),
) -> StageCacheExplanation:
    assert age is None or math.isfinite(age)
    return StageCacheExplanation(target=target.name, outcome=outcome, says=says, key=key, age=age, near=near)
