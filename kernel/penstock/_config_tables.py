"""The tables of the file where their shape differs from the values made of them, and what they cannot say yet.

A key that the design knows and this version does not build is refused by name, never taken in silence.
Not here: how the tables refer to each other (`_config_load`).
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import attrs

from penstock._config import (
    CacheWhen,
    KernelSettings,
    OnLeave,
    Stage,
    Timeouts,
)
from penstock._config_checks import (
    a_share,
    a_zone,
    at_least_one,
    more_than_zero,
    no_key,
    not_empty,
    sendable_headers,
    sendable_json,
    shares,
)
from penstock._config_hooks import NanoUsd
from penstock._config_mistakes import WrongError
from penstock._config_structure import Reader, make_converter
from penstock.policy.accounts import Limit, Measure, UnknownUsage
from penstock.policy.breaker import BreakerSettings
from penstock.policy.commit import FIRST_CONTENT, Commit, CommitName
from penstock.policy.fitting import Rule, UnsupportedRules
from penstock.policy.retry import AllOpen
from penstock.policy.retry_budget import RetryBudgetSettings
from penstock.policy.upstream_stream import UpstreamStream
from penstock.policy.window import Per
from penstock.types import Price

__all__ = [
    "AccountTable",
    "BreakerTable",
    "BudgetTable",
    "DefaultsTable",
    "ProviderTable",
    "RouteTable",
    "TargetTable",
    "UnsupportedTable",
    "tables_reader",
    "unsupported_rules",
]

_positive_or_none = attrs.validators.optional(at_least_one)
_amount_or_none = attrs.validators.optional(more_than_zero)
_seconds_or_none = attrs.validators.optional(more_than_zero)
_retry_money = attrs.validators.optional(attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(10)))
_shares_or_none = attrs.validators.optional(shares)


@attrs.frozen(kw_only=True)
class ProviderTable:
    """What of [providers.*] is the kernel's; everything else is the plugin's."""

    kind: str | None = attrs.field(default=None, validator=attrs.validators.optional(no_key))
    max_connections: int | None = attrs.field(default=None, validator=_positive_or_none)
    ca_file: str | None = None
    trust_env: bool = True
    http2: bool = False
    breaker: BreakerSettings | None = None
    retry_budget: RetryBudgetSettings | None = None
    propagate_trace: bool = False


FREE = NanoUsd(0)


@attrs.frozen(kw_only=True)
class PriceTable:
    """USD per million tokens."""

    input: NanoUsd
    output: NanoUsd
    cached_input: NanoUsd | None = None
    cache_write: NanoUsd | None = None
    cache_write_1h: NanoUsd | None = None
    reasoning: NanoUsd | None = None
    request: NanoUsd = FREE
    """USD for each request."""


@attrs.frozen(kw_only=True)
class TargetTable:
    """[targets.*]."""

    provider: str
    model: str = attrs.field(validator=not_empty)
    timeouts: Timeouts | None = None
    params: dict[str, Any] = attrs.field(factory=dict[str, Any], validator=sendable_json)
    headers: dict[str, str] = attrs.field(factory=dict[str, str], validator=sendable_headers)
    price: Price | None = None
    default_max_tokens: int | None = attrs.field(default=None, validator=_positive_or_none)
    upstream_stream: UpstreamStream | None = None
    breaker: BreakerSettings | None = None


@attrs.frozen(kw_only=True)
class UnsupportedTable:
    """`on_unsupported`, parameter by parameter. None: as it is elsewhere."""

    max_tokens: Rule | None = None
    tools: Rule | None = None
    vision: Rule | None = None
    schema: Rule | None = None
    thinking: Rule | None = None
    tool_choice: Rule | None = None
    parallel_tool_calls: Rule | None = None
    temperature: Rule | None = None
    top_p: Rule | None = None
    stop: Rule | None = None
    seed: Rule | None = None


def unsupported_rules(base: UnsupportedRules, own: Rule | UnsupportedTable | None) -> UnsupportedRules:
    """What holds where `own` lies over `base`: a word is for every parameter, a table for those it names."""
    match own:
        case None:
            return base
        case UnsupportedTable():
            named = {name: rule for name, rule in attrs.asdict(own).items() if rule is not None}
            return attrs.evolve(base, **named)
        case rule:
            return UnsupportedRules.all(rule)


@attrs.frozen(kw_only=True)
class DefaultsTable:
    """[defaults]."""

    timeouts: Timeouts | None = None
    params: dict[str, Any] = attrs.field(factory=dict[str, Any], validator=sendable_json)
    headers: dict[str, str] = attrs.field(factory=dict[str, str], validator=sendable_headers)
    upstream_stream: UpstreamStream = "auto"
    on_unsupported: Rule | UnsupportedTable | None = None


@attrs.frozen(kw_only=True)
class RouteCacheTable:
    """`cache` of a route, spelled out."""

    when: CacheWhen


@attrs.frozen(kw_only=True)
class CommitTable:
    """`commit` of a route, where it is not a word."""

    buffer: int = attrs.field(validator=at_least_one)
    """Characters."""


@attrs.frozen(kw_only=True)
class RouteTable:
    """[routes.*]."""

    cascade: tuple[Stage, ...] = attrs.field(validator=not_empty)
    timeout: float | None = attrs.field(default=None, validator=_seconds_or_none)
    commit: Commit = FIRST_CONTENT
    on_leave: OnLeave | None = None
    on_content_filter: Literal["fail", "next"] = "fail"
    cache: CacheWhen | RouteCacheTable | None = None
    all_open: AllOpen | None = None
    on_unsupported: Rule | UnsupportedTable | None = None


@attrs.frozen(kw_only=True)
class BreakerTable(BreakerSettings):
    """[breaker]: what each breaker starts from, and what calls do where none lets them pass."""

    all_open: AllOpen = "soonest"


@attrs.frozen(kw_only=True)
class LimitTable:
    """One of `limits`."""

    per: Literal["request", "minute", "hour", "day", "month"]
    usd: NanoUsd | None = attrs.field(default=None, validator=_amount_or_none)
    tokens: int | None = attrs.field(default=None, validator=_positive_or_none)
    input_tokens: int | None = attrs.field(default=None, validator=_positive_or_none)
    output_tokens: int | None = attrs.field(default=None, validator=_positive_or_none)
    timezone: str = attrs.field(default="UTC", validator=a_zone)
    rolling: bool = False
    bound: Measure | None = None
    soft: float | tuple[float, ...] | None = attrs.field(default=None, validator=_shares_or_none)


@attrs.frozen(kw_only=True)
class DegradeTable:
    """`degrade` of an account."""

    route: str = attrs.field(validator=not_empty)
    at: float = attrs.field(default=0.8, validator=a_share)


@attrs.frozen(kw_only=True)
class AccountTable:
    """[accounts.*]."""

    limits: tuple[Limit, ...] = ()
    bound: Measure = "proof"
    soft: float | tuple[float, ...] | None = attrs.field(default=None, validator=_shares_or_none)
    tenant: str | None = attrs.field(default=None, validator=attrs.validators.optional(not_empty))
    degrade: DegradeTable | None = None
    unknown_usage: UnknownUsage | None = None
    retry_money: float | None = attrs.field(default=None, validator=_retry_money)


@attrs.frozen(kw_only=True)
class BudgetTable(AccountTable):
    """[budget]: the root account, and what holds for all."""

    on_unknown_price: Literal["deny", "cap", "allow"] = "deny"
    price_cap: Price | None = None
    on_unknown_bound: Literal["deny", "estimate"] = "deny"
    hold_wait: float = attrs.field(default=5.0, validator=more_than_zero)
    min_output_tokens: int = attrs.field(default=1024, validator=at_least_one)


KEYS_LATER: dict[type, frozenset[str]] = {
    KernelSettings: frozenset({"max_wait", "on_unsupported", "hedge"}),
    TargetTable: frozenset({"limits", "hedge", "on_unsupported", "tokenizer"}),
    DefaultsTable: frozenset({"limits", "hedge"}),
    RouteTable: frozenset({"hedge", "max_wait", "sticky", "strategy", "validators"}),
}


@functools.cache
def tables_reader() -> Reader:
    """Reads all tables of ours."""
    converter = make_converter()
    stage, limit, price = (converter.get_structure_hook(cls) for cls in (Stage, LimitTable, PriceTable))
    commit, name = converter.get_structure_hook(CommitTable), converter.get_structure_hook(CommitName)

    def read_stage(value: object, _: object) -> Stage:
        return Stage(value) if isinstance(value, str) else stage(value, Stage)

    def read_commit(value: object, _: object) -> Commit:
        if isinstance(value, str):
            return Commit(name(value, CommitName))
        return Commit.buffer(commit(value, CommitTable).buffer)

    def read_limit(value: object, _: object) -> Limit:
        return _limit(limit(value, LimitTable), value)

    def read_price(value: object, _: object) -> Price:
        return Price(**attrs.asdict(price(value, PriceTable)), source="toml")

    converter.register_structure_hook(Stage, read_stage)
    converter.register_structure_hook(Commit, read_commit)
    converter.register_structure_hook(Limit, read_limit)
    converter.register_structure_hook(Price, read_price)
    return Reader(converter, KEYS_LATER)


def _limit(table: LimitTable, value: object) -> Limit:
    try:
        return Limit(
            per=Per(table.per),
            tokens=table.tokens,
            nano_usd=table.usd,
            input_tokens=table.input_tokens,
            output_tokens=table.output_tokens,
            timezone=table.timezone,
            rolling=table.rolling,
            bound=table.bound,
            soft=table.soft,
        )
    except ValueError as error:
        raise WrongError(value, str(error)) from None
