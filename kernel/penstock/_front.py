"""The kernel as its users see it: calls, views with other options, and what can be seen of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Unpack, overload

import msgspec
import trio

from penstock._breaker_controls import BreakerControls
from penstock._cache_controls import CacheControls
from penstock._call import run_call
from penstock._config import Config
from penstock._engine import Engine
from penstock._events import EventStream
from penstock._explain import explain
from penstock._explanation import Explanation
from penstock._extract import Extracted, OpenExtractStream, Output, Words, called_tools, wanting
from penstock._plan import NOTHING_SAID, AskedFor, CallOptions, check_options, make_call, make_request
from penstock._quotation import Quote
from penstock._quote import quote
from penstock._snapshot import Health, KernelSnapshot
from penstock._stream import OpenStream
from penstock._target_state import target_state
from penstock.policy.cache_policy import CachePolicy
from penstock.policy.commit import Commit
from penstock.types import ChatResponse, Message, ThinkingLevel, Tool

__all__ = ["Kernel"]

T = TypeVar("T")

EVENTS_KEPT = 1_024
"""Events a listener may be behind before it loses the oldest."""


class Kernel:
    """Made by `open_kernel`; every method is safe to call from any task of its loop.

    `complete` and `stream` take what to ask (text, a list of messages, or a ChatRequest) and keywords that override the
    request's fields, and say where it goes: `route` (a cascade of the configuration), or `model` (a target's name, or
    `provider/model`), which `account` pays, and in how many seconds it must be over (`timeout`).
    """

    def __init__(self, engine: Engine, nursery: trio.Nursery, options: CallOptions | None = None) -> None:
        self._engine = engine
        self._nursery = nursery
        self._options = options or NOTHING_SAID

    async def complete(
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
        timeout: float | None = None,  # noqa: ASYNC109 - the contract's word; it becomes a scope at once
        cache: str | CachePolicy | None = None,
        commit: str | Commit | None = None,
        priority: object = None,
        sticky: object = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ChatResponse:
        """A complete answer, or one error of `penstock.errors` that says what was tried.

        `commit="continue"` goes on from what came of an attempt that was streamed upstream and broke; the other commit
        policies are all the same here, for nothing is shown before the end.
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
        options = CallOptions(
            route=route,
            account=account,
            timeout=timeout,
            cache=cache,
            commit=commit,
            priority=priority,
            sticky=sticky,
            metadata=metadata,
        )
        return await run_call(self._engine, make_call(self._engine, chat, options.over(self._options)))

    def stream(
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
        timeout: float | None = None,
        cache: str | CachePolicy | None = None,
        commit: str | Commit | None = None,
        on_leave: str | None = None,
        priority: object = None,
        sticky: object = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> OpenStream:
        """The same, as chunks while they come: `async with kernel.stream("...") as stream: async for chunk in stream`.

        `commit` says when the stream is first shown, and what becomes of one that breaks. Until then failures are met
        as in `complete`, unseen.

        - `first_content` (default): shown from the first token on. One that breaks later raises StreamBrokenError.
        - `buffer`, or `Commit.buffer(characters=400)`: shown once so many characters of text, thinking and arguments
          came, or at the end. One that breaks later raises StreamBrokenError.
        - `whole`: shown when the answer is complete. Nothing of a failed attempt ever is.
        - `restart`: shown from the first token on. After a break comes `Restarted` (drop what you have), and then
          another answer from its start.
        - `continue`: the same, but where a target takes a prefill comes `Seam` and the rest of the answer. It restarts
          where none does, and where more than text was shown, or thinking or a schema was asked for.

        StreamBrokenError and DeadlineExceededError have as `partial` exactly the text that was shown since the last
        `Restarted`, and the usage of all attempts. Where nothing was shown, the `partial` of a cut is what had come.

        Leaving the block ends the call upstream, and what it cost is settled at its bound where nobody knows better.
        With `on_leave="drain"` the attempt under way is read to its end, for 30 s at most and for 32 streams at once,
        so that its bill is exact; no other one is made. Until then it keeps its place among `max_in_flight`, and a
        shutdown gives it its `grace`.
        """
        options = CallOptions(
            route=route,
            account=account,
            timeout=timeout,
            cache=cache,
            commit=commit,
            on_leave=on_leave,
            priority=priority,
            sticky=sticky,
            metadata=metadata,
        ).over(self._options)
        chat = make_request(
            request,
            system=system,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            tools=tools,
            thinking=thinking,
        )
        return OpenStream(self._engine, self._nursery, lambda: make_call(self._engine, chat, options, streamed=True))

    @overload
    async def extract(
        self, kind: type[Output[T]], request: AskedFor, *, max_repairs: int = 2, **words: Unpack[Words]
    ) -> Extracted[T]: ...
    @overload
    async def extract(
        self, kind: type[T], request: AskedFor, *, max_repairs: int = 2, **words: Unpack[Words]
    ) -> Extracted[T]: ...
    @overload
    async def extract(
        self, kind: object, request: AskedFor, *, max_repairs: int = 2, **words: Unpack[Words]
    ) -> Extracted[Any]: ...
    async def extract(
        self, kind: Any, request: AskedFor, *, max_repairs: int = 2, **words: Unpack[Words]
    ) -> Extracted[Any]:
        """A value of `kind`, or an error that says why not: `(await kernel.extract(Invoice, text)).value`.

        `kind` is a msgspec Struct, an attrs class, a dataclass, a TypedDict, an enum, a pydantic model, a Literal, a
        union or list of these, or a JSON Schema (a dict). Asked for in the target's native schema mode, else by a tool,
        else in words; read wherever the JSON stands, and mended where its notation is damaged; then checked.

        An answer that is not valid is asked for again, `max_repairs` times at most in the whole call: of the same
        target, and after two such answers of the next. One that was cut by its limit gets more room. All of that is
        under the call's one hold and one deadline, and in `response.attempts`.
        `validators` stand behind the type, in order: a Validator; a function that raises ValueError, or returns False
        for what is no bool, as its no; the name of a validator plugin, as "acme" where it goes by `kind`, as
        ("jsonschema", {...}) where by something else.

        Raises OutputInvalidError, with the paths of what is wrong, the last output, and what it cost; RefusedError and
        ContentFilteredError where the model or a filter ended the answer; else what `complete` raises.
        """
        chat, options = wanting(kind, request, words, max_repairs)
        response = await run_call(self._engine, make_call(self._engine, chat, options.over(self._options)))
        return Extracted.of(response, called_tools=called_tools(response))

    @overload
    def stream_extract(
        self, kind: type[Output[T]], request: AskedFor, *, max_repairs: int = 2, **words: Unpack[Words]
    ) -> OpenExtractStream[T]: ...
    @overload
    def stream_extract(
        self, kind: type[T], request: AskedFor, *, max_repairs: int = 2, **words: Unpack[Words]
    ) -> OpenExtractStream[T]: ...
    @overload
    def stream_extract(
        self, kind: object, request: AskedFor, *, max_repairs: int = 2, **words: Unpack[Words]
    ) -> OpenExtractStream[Any]: ...
    def stream_extract(
        self, kind: Any, request: AskedFor, *, max_repairs: int = 2, **words: Unpack[Words]
    ) -> OpenExtractStream[Any]:
        """While it grows: `async with kernel.stream_extract(Invoice, text) as stream: async for part in stream`.

        The iteration brings plain JSON data; `stream.value` is the value, once it has ended. An answer that is not
        valid, or breaks, is followed by another, which grows from nothing.
        """
        chat, options = wanting(kind, request, words, max_repairs)
        options = msgspec.structs.replace(options.over(self._options), commit=Commit("restart"))
        return OpenExtractStream(
            lambda: OpenStream(
                self._engine, self._nursery, lambda: make_call(self._engine, chat, options, streamed=True)
            ),
            schema=lambda: self._engine.outputs.wanted(options.kind).ready.schema,
            callers_tools=bool(chat.tools),
        )

    def explain(
        self,
        request: AskedFor,
        *,
        stream: bool = False,
        system: str | Message | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        tools: Sequence[Tool | Mapping[str, Any]] | None = None,
        thinking: ThinkingLevel | int | None = None,
        route: str | None = None,
        account: str | None = None,
        timeout: float | None = None,
        cache: str | CachePolicy | None = None,
        commit: str | Commit | None = None,
        on_leave: str | None = None,
        priority: object = None,
        sticky: object = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Explanation:
        """What `complete`, or with `stream` a stream, would do with the same: whom it would ask, when and how often,
        and what that takes at most in seconds, tokens and money, all attempts and repairs together.

        Nothing is sent, and no actor is asked. Raises what making the call would raise: ConfigError, NoRouteError,
        UnsendableRequestError, KernelClosedError. What happened in the end stands in `response.attempts`.
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
        options = CallOptions(
            route=route,
            account=account,
            timeout=timeout,
            cache=cache,
            commit=commit,
            on_leave=on_leave,
            priority=priority,
            sticky=sticky,
            metadata=metadata,
        )
        return explain(self._engine, chat, options.over(self._options), stream=stream)

    def quote(
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
        timeout: float | None = None,
        cache: str | None = None,
        commit: str | Commit | None = None,
        priority: object = None,
        sticky: object = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Quote:
        """What one attempt of `complete` would be charged with the same: bound and estimate, target by target and for
        the dearest, and whether its accounts allow that now, or which limit does not, by how much, and until when.

        Nothing is reserved or sent. Where the ledger outlives the process, await the quote: then the store is asked.
        Raises what making the call would raise: ConfigError, NoRouteError, UnsendableRequestError, KernelClosedError.
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
        options = CallOptions(
            route=route,
            account=account,
            timeout=timeout,
            cache=cache,
            commit=commit,
            priority=priority,
            sticky=sticky,
            metadata=metadata,
        )
        return quote(self._engine, chat, options.over(self._options))

    def with_options(
        self,
        *,
        route: str | None = None,
        account: str | None = None,
        timeout: float | None = None,
        cache: str | CachePolicy | None = None,
        commit: str | Commit | None = None,
        on_leave: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Kernel:
        """A view of the same kernel with other defaults for its calls.

        Raises ConfigError for a value of `cache`, `commit` or `on_leave` that there is not. Whether a route is known
        and an account has a path is asked by the calls.
        """
        options = CallOptions(
            route=route,
            account=account,
            timeout=timeout,
            cache=cache,
            commit=commit,
            on_leave=on_leave,
            metadata=metadata,
        )
        check_options(options)
        return Kernel(self._engine, self._nursery, options.over(self._options))

    async def reload(self, config: Config | str | Path) -> None:
        """Takes on another configuration, or the file at a path, without losing what is held or spent.

        Calls that begin after this has returned go by it; those in flight keep the one they began with. All or nothing:
        on ConfigError, which names everything that is wrong, the old one holds as it did.

        May change: accounts and limits and all of `[budget]`; targets, routes, `[defaults]`; `[breaker]` and
        `[retry_budget]`, of providers and targets too; `api_key` of a provider (the circuit that the old key had opened
        is closed); `grace`, `timeout` and `on_leave` of `[kernel]`; `when` of `[cache]`. A provider may be left out,
        and come back.
        May not, and is a ConfigError: a provider that was not there when the kernel opened, its kind, options and
        connections; `max_in_flight`; all of `[ledger]` and `[plugins]`; the rest of `[cache]`.

        Limits: a window goes on where period, zone and kind stay the same, with all that is in it. One that is new to
        an account begins with what the account has spent in another of the same period, and with its holds. One that is
        gone goes on counting, in case it comes back. Where a limit is now below what is held and spent, nothing new is
        held until there is room; what is held stays. What is known of a target's health goes on under its name.

        Raises ConfigError, KernelClosedError, ActorFailedError.
        """
        loaded = config if isinstance(config, Config) else Config.load(config)
        assert self._engine.reload is not None
        await self._engine.reload(loaded)

    @property
    def breakers(self) -> BreakerControls:
        """The breakers, to open and close by hand."""
        return BreakerControls(self._engine)

    @property
    def cache(self) -> CacheControls:
        """The cache, to be looked into and emptied."""
        return CacheControls(self._engine, self._options)

    def events(self, *, size: int = EVENTS_KEPT) -> EventStream:
        """A listener to everything that happens from now on. It never slows the kernel: the oldest are lost instead.

        It keeps `size` of them that are not read yet. Raises ConfigError where that is no whole number from 1 on.
        """
        return self._engine.events.listen(size)

    def snapshot(self) -> KernelSnapshot:
        """The kernel at this moment. Await it for one in which everything told to the actors so far is handled."""
        engine = self._engine
        now = engine.clock.monotonic()
        cooling = engine.router.snapshot.cooling
        return KernelSnapshot(
            in_flight=engine.in_flight,
            waiting=engine.places.statistics().tasks_waiting,
            breakers=engine.breakers.snapshot,
            cooling={scope: cool for scope, cool in cooling.items() if cool.until > now},
            accounts=engine.budget.accounts(),
            cache=None if engine.cache is None else engine.cache.contents(),
            cache_store=None if engine.second_level is None else engine.second_level.statistics(),
            actors={statistics.name: statistics for statistics in engine.mail()},
            later=self._snapshot_later,
        )

    async def _snapshot_later(self) -> KernelSnapshot:
        await self._engine.flush()
        await self._engine.budget.look()
        return self.snapshot()

    def health(self) -> Health:
        """Whether calls can be taken, and where they would go."""
        engine = self._engine
        names = dict.fromkeys(stage.target for route in engine.config.routes.values() for stage in route.stages)
        return Health(
            ready=not engine.closing and not engine.dead,
            closing=engine.closing,
            in_flight=engine.in_flight,
            targets={name: target_state(engine, name) for name in names},
            problems=(*engine.problems(), *(f"the {name} is over" for name in engine.dead)),
        )
