"""From what a caller asks to a call that can run: request, route, stages, account, deadline."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import trio
from msgspec import Struct

from penstock._asked import Call, CallTerms
from penstock._config import CacheWhen, OnLeave, RouteConfig
from penstock._config import Stage as ConfigStage
from penstock._engine import Engine
from penstock._nearest import did_you_mean, quoted
from penstock._outputs import MAX_REPAIRS
from penstock._request import is_plain
from penstock._stack_room import check_stack_room
from penstock.errors import ConfigError, ConfigMistake, UnsendableRequestError
from penstock.policy.account_paths import check_path
from penstock.policy.accounts import ChainTerms
from penstock.policy.cache_policy import CACHE_WORDS, MAX_AGE, CachePolicy, cache_policy
from penstock.policy.commit import COMMIT_NAMES, Commit
from penstock.types import (
    ChatRequest,
    Image,
    Message,
    Part,
    Text,
    ThinkingLevel,
    Tool,
    ToolResult,
    check_request,
)

__all__ = [
    "NOTHING_SAID",
    "CallOptions",
    "check_account",
    "check_options",
    "given_timeout",
    "make_call",
    "make_request",
]

AskedFor = str | Sequence[Message | ToolResult | Mapping[str, Any]] | ChatRequest
TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "model": (str, "a str"),
    "system": ((str, Message), "a str or a Message"),
    "max_tokens": (int, "a whole number"),
    "temperature": ((int, float), "a number"),
    "top_p": ((int, float), "a number"),
    "seed": (int, "a whole number"),
    "thinking": ((str, int), "off, low, medium, high or a number of tokens"),
}
"""The fields of a request that hold a single value."""
AS_CONFIGURED = CachePolicy()
ON_LEAVE: tuple[OnLeave, ...] = ("cancel", "drain")
ATTEMPTS_BY_MODEL = 3
"""For a call that names a model instead of a route: the default of a stage."""
MOST_TERMS = 16_384
"""Names of accounts come from callers: beyond so many all are worked out anew."""


class CallOptions(Struct, frozen=True, kw_only=True):
    """What a caller says beside the request. None: as configured."""

    route: str | None = None
    account: str | None = None
    timeout: float | None = None
    cache: str | CachePolicy | None = None
    commit: str | Commit | None = None
    on_leave: str | None = None
    priority: object = None
    sticky: object = None
    metadata: Mapping[str, Any] | None = None
    kind: Any = None
    """What the answer is to become; else what the request's `output` says."""
    validators: Sequence[Any] = ()
    max_repairs: int = MAX_REPAIRS

    def over(self, other: CallOptions) -> CallOptions:
        """These, and `other`'s where these are silent."""
        if other is NOTHING_SAID:
            return self
        named = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(other, **named)


NOTHING_SAID = CallOptions()


def make_request(
    asked: AskedFor,
    *,
    system: str | Message | None = None,
    model: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    tools: Sequence[Tool | Mapping[str, Any]] | None = None,
    thinking: ThinkingLevel | int | None = None,
) -> ChatRequest:
    """The request, with the keywords over its own fields. Raises UnsendableRequestError with every reason."""
    changes: dict[str, Any] = {}
    if system is not None:
        changes["system"] = system
    if model is not None:
        changes["model"] = model
    if max_tokens is not None:
        changes["max_tokens"] = max_tokens
    if temperature is not None:
        changes["temperature"] = temperature
    if tools is not None:
        changes["tools"] = tools
    if thinking is not None:
        changes["thinking"] = thinking
    if not isinstance(asked, ChatRequest):
        request = ChatRequest(asked, **changes)
    else:
        request = msgspec.structs.replace(asked, **changes) if changes else asked
    if is_plain(request):
        return request
    wrong = [*_wrong_types(request), *_wrong_text(request)]
    if wrong:
        raise UnsendableRequestError("the request cannot be sent: " + "; ".join(wrong))
    check_request(request)
    return request


def _wrong_types(request: ChatRequest) -> Iterable[str]:
    """What is not of the type that its annotation names: Python lets it pass, and every codec would stumble."""
    for name, (kinds, says) in TYPES.items():
        value = getattr(request, name)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            yield f"{name} is of type {type(value).__name__}; it must be {says}"


def _wrong_text(request: ChatRequest) -> Iterable[str]:
    """What JSON cannot carry: halves of a character, as they come of cutting text, and Python's own objects."""
    places: list[tuple[str, object]] = [
        (f"messages[{at}]", message)
        for at, message in enumerate(request.messages)
        if not all(map(_is_plain, message.content))
    ]
    places += [(f"tools[{at}] ({tool.name!r})", tool) for at, tool in enumerate(request.tools)]
    others = {
        "model": request.model,
        "tool_choice": request.tool_choice,
        "system": request.system,
        "stop": request.stop,
        "output": None if request.output is None else request.output.schema,
        "extra": request.extra,
    }
    places += [(where, value) for where, value in others.items() if value]
    for where, value in places:
        try:
            msgspec.json.encode(value)
        except UnicodeEncodeError:
            yield f"{where} holds half a character (a lone surrogate), which no text on a wire can have"
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            yield f"{where} holds something that JSON cannot carry ({type(error).__name__})"


def _is_plain(part: Part) -> bool:
    """True where nothing needs to be tried: nearly always, and at no cost."""
    match part:
        case Text(text=text, citations=()):
            return text.isascii()
        case Image(url=None):
            return True
        case _:
            return False


def make_call(engine: Engine, request: ChatRequest, options: CallOptions, *, streamed: bool = False) -> Call:
    """Everything that is decided before the first hop. Raises ConfigError, NoRouteError or KernelClosedError."""
    check_stack_room()
    engine.check_taking_calls()
    _refuse_what_is_not_built(options)
    if options.metadata is not None:
        _check_metadata(options)
    terms = _terms(engine, request, options)
    kind, validators, asks = options.kind, options.validators, request.output
    if asks is not None and kind is None and (asks.kind is not None or asks.validators):
        kind, validators = asks.schema if asks.kind is None else asks.kind, asks.validators
    output = None
    if kind is not None:
        output = engine.outputs.wanted(kind, validators, options.max_repairs)
        request = request if asks is None else msgspec.structs.replace(request, output=None)
    route, along, account = terms.route, terms.along, options.account or ""
    now = engine.clock.monotonic()
    horizon = trio.current_effective_deadline()
    timeout = _timeout(engine, route, options, horizon=math.inf if streamed else horizon)
    engine.calls += 1
    call_id = f"{engine.name}-{engine.calls}"
    return Call(
        id=call_id,
        request=request,
        route=route.name,
        along=along,
        account=account,
        chain=terms.limits.chain,
        limits=terms.limits,
        tenant=terms.tenant,
        unknown_usage=terms.unknown_usage,
        cache_when=terms.cache_when,
        cache=terms.cache,
        timeout=timeout,
        deadline=now + timeout,
        horizon=horizon,
        next_on_content_filter=route.on_content_filter == "next",
        all_open=terms.all_open,
        on_unsupported=route.on_unsupported,
        rules=engine.rules,
        output=output,
        commit=terms.commit,
        on_leave=terms.on_leave,
        metadata=options.metadata,
        # The last of all: from here on nothing is refused, and what has begun is ended.
        span=engine.telemetry.call(call_id, route.name, account, along.targets, request, options.metadata),
    )


def _terms(engine: Engine, request: ChatRequest, options: CallOptions) -> CallTerms:
    """What the options come to: remembered until a reload, but for calls that name a model."""
    if request.model is not None:
        _check_types(options)
        return _found_terms(engine, _route_to(engine, request.model, options), options)
    terms = _known_terms(engine, options.route, options)
    instead = engine.budget.route_instead(options.account or "", engine.clock.wall())
    return terms if instead is None else _known_terms(engine, instead, options)


def _known_terms(engine: Engine, route: str | None, options: CallOptions) -> CallTerms:
    key = (route, options.account, options.cache, options.commit, options.on_leave)
    try:
        known = engine.terms.get(key)
    except TypeError:
        known = None  # something in it cannot be hashed, and is no option: which one is told below
    if known is None:
        _check_types(options)
        known = _found_terms(engine, engine.config.route(route), options)
        if len(engine.terms) >= MOST_TERMS:
            engine.terms.clear()
        engine.terms[key] = known
    return known


def _found_terms(engine: Engine, route: RouteConfig, options: CallOptions) -> CallTerms:
    config, account = engine.config, options.account or ""
    commit, on_leave, cache = _commit(options), _on_leave(options), _cache(options)
    return CallTerms(
        route=route,
        along=engine.targets.along(route),
        limits=_limits(engine, account),
        tenant=engine.accounts.tenant_of(account),
        unknown_usage=engine.accounts.unknown_usage_of(account, engine.rules.unknown_usage),
        cache=cache,
        cache_when=_cache_when(engine, route, cache),
        all_open=route.all_open or config.all_open,
        commit=commit or route.commit,
        on_leave=on_leave or route.on_leave or config.kernel.on_leave,
    )


def check_options(options: CallOptions) -> None:
    """Raises ConfigError for what no call could take, whatever it asks: a view is refused before any call is made."""
    _refuse_what_is_not_built(options)
    _check_types(options)
    _check_metadata(options)
    _commit(options)
    _on_leave(options)
    _cache(options)


def check_account(account: str) -> None:
    """Raises ConfigError where it is no path of an account."""
    _check_type("account", account, str, "a str")
    try:
        check_path(account)
    except ValueError as error:
        raise _mistake("account", str(error)) from None


def _commit(options: CallOptions) -> Commit | None:
    match options.commit:
        case None | Commit():
            return options.commit
        case str(name) if name in COMMIT_NAMES:
            return Commit(name)
        case other:
            meant = did_you_mean(str(other), [*COMMIT_NAMES, "Commit.buffer(characters=400)"])
            raise _mistake("commit", f"{_named(other)} is no commit policy{meant}")


def _on_leave(options: CallOptions) -> OnLeave | None:
    match options.on_leave:
        case None | "cancel" | "drain":
            return options.on_leave
        case other:
            raise _mistake("on_leave", f"{_named(other)} is not valid{did_you_mean(str(other), ON_LEAVE)}")


def _route_to(engine: Engine, model: str, options: CallOptions) -> RouteConfig:
    if options.route is not None:
        raise _mistake("model", f"model {model!r} and route {options.route!r} are both given; give one of them")
    stage = ConfigStage(model, ATTEMPTS_BY_MODEL)
    return RouteConfig(name=f"model:{model}", stages=(stage,), on_unsupported=engine.config.defaults.on_unsupported)


def _limits(engine: Engine, account: str) -> ChainTerms:
    try:
        return engine.accounts.limits_of(account)
    except ValueError as error:
        raise _mistake("account", str(error)) from None


def given_timeout(options: CallOptions) -> float | None:
    """The caller's own, in seconds; infinite where no clock tells so many. Raises UnsendableRequestError."""
    given = options.timeout
    if given is None:
        return None
    if not isinstance(cast("object", given), int | float):
        raise UnsendableRequestError(f"timeout is of type {type(given).__name__}; it must be a number of seconds")
    if not given > 0:
        # Python shows no int of thousands of digits.
        shown = "far below 0" if given < -sys.float_info.max else given
        raise UnsendableRequestError(f"timeout is {shown}; it must be more than 0 seconds")
    return math.inf if given > sys.float_info.max else given


def _timeout(engine: Engine, route: RouteConfig, options: CallOptions, *, horizon: float) -> float:
    """Seconds: the earlier of the caller's and the route's; the kernel's where neither, nor a scope, names any.

    `horizon` is the deadline of that scope. A stream has none: it outlives the scope it was opened in where its
    consumer goes on elsewhere, so it keeps a deadline of its own.
    """
    given = given_timeout(options)
    if given is not None or route.timeout is not None:
        return min(given or math.inf, math.inf if route.timeout is None else route.timeout)
    return math.inf if horizon < math.inf else engine.config.kernel.timeout


def _cache(options: CallOptions) -> CachePolicy:
    match options.cache:
        case None:
            return AS_CONFIGURED
        case CachePolicy():
            return options.cache
        case word:
            if word not in CACHE_WORDS and not word.startswith(MAX_AGE):
                valid = [*CACHE_WORDS, f"{MAX_AGE}60"]
                raise _mistake("cache", f"{quoted(word)} is not available{did_you_mean(word, valid)}")
            try:
                return cache_policy(word)
            except ValueError as error:
                raise _mistake("cache", str(error)) from None


def _cache_when(engine: Engine, route: RouteConfig, cache: CachePolicy) -> CacheWhen:
    if cache.when is not None:
        return cache.when
    if route.cache is not None:
        return route.cache
    return engine.config.cache.when if engine.config.cache else "never"


def _named(value: object) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)


def _refuse_what_is_not_built(options: CallOptions) -> None:
    if options.priority is not None or options.sticky is not None:
        name = "sticky" if options.priority is None else "priority"
        raise _mistake(name, "is not available in this version")


def _check_types(options: CallOptions) -> None:
    _check_type("route", options.route, str, "a str")
    _check_type("account", options.account, str, "a str")
    _check_type("cache", options.cache, (str, CachePolicy), "a str or a CachePolicy")


def _check_metadata(options: CallOptions) -> None:
    _check_type("metadata", options.metadata, Mapping, "a mapping of names to values")
    for pair in (options.metadata or {}).items():
        # They go into spans, which leave together: one that cannot be written would take its neighbours along.
        if any(isinstance(text, str) and not text.isascii() and _is_torn(text) for text in pair):
            raise _mistake("metadata", "holds half a character (a lone surrogate), which no text can have")


def _check_type(name: str, value: object, kinds: type | tuple[type, ...], says: str) -> None:
    if value is not None and not isinstance(value, kinds):
        raise _mistake(name, f"is of type {type(value).__name__}; it must be {says}")


def _is_torn(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _mistake(path: str, says: str) -> ConfigError:
    return ConfigError([ConfigMistake(path, says)])
