"""The tree of accounts as configuration: paths, limits, and what holds for an account nobody declared.

Not here: what is held and spent (budget).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

import attrs
from msgspec import Struct

from penstock.policy.account_paths import check_path, check_pattern, is_pattern, matches, path_and_parents
from penstock.policy.holds import Amount, Refused
from penstock.policy.money import usd_in_words
from penstock.policy.window import Per, check_zone

__all__ = [
    "AccountSpec",
    "AccountTree",
    "ChainTerms",
    "Degrade",
    "Limit",
    "Measure",
    "Shape",
    "Shares",
    "UnknownUsage",
    "chain_terms",
    "check_request_limits",
    "describe_limit",
    "limits_in_words",
    "request_output_cap",
]

Shape: TypeAlias = tuple[Per, str, bool]
"""What makes two limits count over the same windows: the period, its time zone, whether it rolls."""

DEFAULT_TENANT = "default"
MOST_RETRY_MONEY = 10
# Names of accounts come from callers: beyond so many all are worked out anew. Ten thousand that call in turn are known.
_MOST_CHAINS = 16_384


Measure: TypeAlias = Literal["proof", "estimate"]
"""By what a hold counts in a window: the most its call can come to, or what it most likely does."""
UnknownUsage: TypeAlias = Literal["bound", "likely"]
"""What is charged for an attempt whose usage nobody told: the most it can come to, or the best guess."""
Shares: TypeAlias = tuple[float, ...]
"""Parts of a limit, from the smallest: (0.5, 0.8)."""


def _shares(told: float | Iterable[float] | None) -> Shares | None:
    """One share, or several in any order."""
    if told is None:
        return None
    return tuple(sorted(set(told))) if isinstance(told, Iterable) else (told,)


def _own_shares(told: float | Iterable[float] | None) -> Shares:
    return _shares(told) or ()


def _check_shares(shares: Shares | None) -> None:
    if not all(0 < share <= 1 for share in shares or ()):
        raise ValueError("soft is a share of the limit: more than 0, at most 1")


@attrs.frozen(kw_only=True, cache_hash=True)
class Limit:
    """An upper limit over one period. A figure that is None does not limit."""

    per: Per
    tokens: int | None = None
    nano_usd: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    timezone: str = "UTC"
    rolling: bool = False
    bound: Measure | None = None
    """None: that of its account. By "estimate" it may be exceeded: what calls cost beyond it is booked all the same."""
    soft: Shares | None = attrs.field(default=None, converter=_shares)
    """The shares of it whose spending is told as an event. None: those of its account. Empty: none at all."""

    def __attrs_post_init__(self) -> None:
        figures = (self.tokens, self.nano_usd, self.input_tokens, self.output_tokens)
        if all(figure is None for figure in figures):
            raise ValueError("a limit names at least one of tokens, usd, input_tokens, output_tokens")
        if any(figure is not None and figure < 0 for figure in figures):
            raise ValueError("a limit is not negative")
        if self.per is Per.REQUEST and self.rolling:
            raise ValueError("a limit per request does not roll")
        if self.per is Per.REQUEST and self.soft is not None:
            raise ValueError("nothing is spent of a limit per request: soft is for those of a period")
        if self.per is Per.REQUEST and self.bound is not None:
            raise ValueError("a limit per request is judged by the estimate: bound is for those of a period")
        _check_shares(self.soft)
        if self.per is not Per.REQUEST and (self.input_tokens, self.output_tokens) != (None, None):
            raise ValueError("input_tokens and output_tokens are limited per request only")
        check_zone(self.timezone)

    @property
    def shape(self) -> Shape:
        """Limits of equal shape count over the same windows. A rolling window knows no zone."""
        return (self.per, "" if self.rolling else self.timezone, self.rolling)


@attrs.frozen(kw_only=True, cache_hash=True)
class Degrade:
    """What an account does before a limit refuses: its calls by route go another, cheaper one."""

    route: str
    at: float = 0.8
    """The share of a window's limit that is spent then."""

    def __attrs_post_init__(self) -> None:
        if not 0 < self.at <= 1:
            raise ValueError("at is a share of the limit: more than 0, at most 1")


@attrs.frozen(kw_only=True, cache_hash=True)
class AccountSpec:
    """One declared account. `path` is "" for the root, "team/search" for a node below "team".

    A segment `*` stands for any one name, and every account that matches has limits of its own. Where several specs
    match an account, the one that spells out more of it from the left is the only one that counts.
    """

    path: str
    limits: tuple[Limit, ...] = ()
    bound: Measure = "proof"
    """What holds count by in its windows, where a limit itself does not say."""
    soft: Shares = attrs.field(default=(), converter=_own_shares)
    """The shares of a window's limit whose spending is told as an event, where the limit itself names none."""
    tenant: str | None = None
    """The cache partition of the whole subtree. None: each account below has its own."""
    degrade: Degrade | None = None
    unknown_usage: UnknownUsage | None = None
    """For calls of the whole subtree, where no account further down says otherwise."""
    retry_money: float | None = None
    """The share of what calls of the account and those below it settled within the last hour that their retries,
    fallbacks and hedges may spend (`policy.retry_budget`). None: no cap."""

    def __attrs_post_init__(self) -> None:
        check_pattern(self.path)
        _check_shares(self.soft)
        if self.retry_money is not None and not 0 <= self.retry_money <= MOST_RETRY_MONEY:
            raise ValueError(f"retry_money is a share of what was settled: 0 to {MOST_RETRY_MONEY}")
        measures: dict[Shape, Measure] = {}
        for limit in self.limits:
            if limit.per is not Per.REQUEST and measures.setdefault(limit.shape, self.measure(limit)) != self.measure(
                limit
            ):
                words = describe_limit(limit.shape, tokens=limit.tokens, nano_usd=limit.nano_usd)
                raise ValueError(
                    f"a hold counts in a window in one way: give {words} the same bound as the one beside it"
                )

    def measure(self, limit: Limit) -> Measure:
        """What holds count by in the window of one of its limits."""
        return self.bound if limit.bound is None else limit.bound

    @property
    def shapes(self) -> Collection[Shape]:
        """Those of the windows that it limits, each once."""
        return {limit.shape: None for limit in self.limits if limit.per is not Per.REQUEST}.keys()


class _Said(Struct, frozen=True, kw_only=True, gc=False):
    """What the specs on the path of an account come to: every call asks, and accounts are few beside calls."""

    chain: tuple[AccountSpec, ...]
    limited: tuple[AccountSpec, ...]
    unknown_usage: UnknownUsage | None
    money_capped: tuple[str, ...]
    tenant: str


class AccountTree:
    """Answers which spec holds for an account and for each of its parents. Never changes."""

    def __init__(self, accounts: Sequence[AccountSpec]) -> None:
        self.specs: Mapping[str, AccountSpec] = {spec.path: spec for spec in accounts}
        """By path or pattern."""
        if len(self.specs) != len(accounts):
            raise ValueError("an account is declared twice")
        self._exact = {spec.path: spec for spec in accounts if not is_pattern(spec.path)}
        # Sorted so that a spelled-out segment comes before a star, from the left.
        patterns = [spec for spec in accounts if is_pattern(spec.path)]
        self._patterns = sorted(patterns, key=lambda spec: [segment == "*" for segment in spec.path.split("/")])
        self._known: dict[str, _Said] = {}

    @property
    def declared(self) -> Collection[str]:
        """The paths that are spelled out, without the patterns."""
        return self._exact.keys()

    def spec_of(self, path: str) -> AccountSpec | None:
        """The spec that holds for exactly this account; None where it has no limits of its own."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        return next((spec for spec in self._patterns if matches(spec.path, path)), None)

    def chain(self, account: str) -> tuple[AccountSpec, ...]:
        """The specs on the account's path, the root's first. Raises ValueError where it is no path."""
        return self._said_of(account).chain

    def limits_of(self, account: str) -> ChainTerms:
        """What the limits on the path come to: those of the same, where any has limits. Raises as `chain`."""
        return chain_terms(self._said_of(account).limited)

    def unknown_usage_of(self, account: str, default: UnknownUsage) -> UnknownUsage:
        """What is charged to an account where usage was not told: as the nearest upward says, that does."""
        return self._said_of(account).unknown_usage or default

    def money_capped(self, account: str) -> tuple[str, ...]:
        """The accounts on a path that cap what is spent on retries, the root's first."""
        return self._said_of(account).money_capped

    def retry_money_of(self, path: str) -> float | None:
        """The cap of exactly this account."""
        spec = self.spec_of(path)
        return None if spec is None else spec.retry_money

    def tenant_of(self, account: str) -> str:
        """The cache partition: the nearest `tenant` upward, else the account itself; `default` without an account.

        An account of that name is another partition than a tenant of that name: accounts are often named by customers.
        """
        return self._said_of(account).tenant

    def _said_of(self, account: str) -> _Said:
        known = self._known.get(account)
        if known is not None:
            return known
        check_path(account)
        along = [(path, spec) for path in path_and_parents(account) if (spec := self.spec_of(path)) is not None]
        chain = tuple([spec for _, spec in along])
        unknown_usage: UnknownUsage | None = None
        tenant = None if account else DEFAULT_TENANT
        for spec in chain:  # the nearest goes before those above it
            unknown_usage = spec.unknown_usage or unknown_usage
            tenant = tenant if spec.tenant is None else spec.tenant
        said = _Said(
            chain=chain,
            limited=chain if any(spec.limits for spec in chain) else (),
            unknown_usage=unknown_usage,
            money_capped=tuple([path for path, spec in along if spec.retry_money is not None]),
            tenant=f"account:{account}" if tenant is None else f"tenant:{tenant}",
        )
        if len(self._known) >= _MOST_CHAINS:
            self._known.clear()
        return self._known.setdefault(account, said)


@attrs.frozen
class ChainTerms:
    """What the limits on the path of an account say to every request."""

    chain: tuple[AccountSpec, ...]
    money: bool
    """Some of them is in money."""
    input_cap: int | None
    """The most input tokens that all limits per request allow; None: none of them limits it. So for the next three."""
    output_cap: int | None
    tokens_cap: int | None
    nano_usd_cap: int | None
    degrades: bool
    """Some account goes a cheaper way before its limit refuses."""
    guesses: bool
    """Some window counts holds by what they most likely come to."""

    def within(self, asked: int, output: int, nano_usd: int | None) -> bool:
        """True where a request keeps all limits per request, as `check_request_limits` judges it: without the words."""
        return not (
            (self.input_cap is not None and asked > self.input_cap)
            or (self.output_cap is not None and output > self.output_cap)
            or (self.tokens_cap is not None and asked + output > self.tokens_cap)
            or (self.nano_usd_cap is not None and nano_usd is not None and nano_usd > self.nano_usd_cap)
        )


@lru_cache(maxsize=_MOST_CHAINS)
def chain_terms(chain: tuple[AccountSpec, ...]) -> ChainTerms:
    """Worked out once for each path: every call asks. Bounded like the paths of an `AccountTree`."""
    limits = [limit for spec in chain for limit in spec.limits]
    per_request = [limit for limit in limits if limit.per is Per.REQUEST]
    return ChainTerms(
        chain,
        any(limit.nano_usd is not None for limit in limits),
        _least(limit.input_tokens for limit in per_request),
        request_output_cap(chain),
        _least(limit.tokens for limit in per_request),
        _least(limit.nano_usd for limit in per_request),
        any(spec.degrade is not None for spec in chain),
        any(
            spec.measure(limit) == "estimate" for spec in chain for limit in spec.limits if limit.per is not Per.REQUEST
        ),
    )


def _least(figures: Iterable[int | None]) -> int | None:
    return min((figure for figure in figures if figure is not None), default=None)


def check_request_limits(
    chain: Sequence[AccountSpec],
    input_estimate: int,
    output: int,
    *,
    nano_usd: int | None = None,
    input_bound: int | None = None,
    nano_usd_bound: int | None = None,
) -> Refused | None:
    """Judges one request by the limits per request on its path; None where it may go.

    `output` is what the request asks for at least, `nano_usd` the estimate of its cost, None where no price is known.
    By the bounds of the two it is only told what they would have said; None: as the estimates.
    """
    asked = input_estimate if input_bound is None else input_bound
    dearest = nano_usd if nano_usd_bound is None else nano_usd_bound
    for spec in chain:
        for limit in spec.limits:
            if limit.per is not Per.REQUEST:
                continue
            for words, missing in _exceeded(limit, input_estimate, output, nano_usd):
                otherwise = dict(_exceeded(limit, asked, output, dearest)).get(words)
                return Refused("", spec.path, words, missing, None, "request", basis="estimate", otherwise=otherwise)
    return None


def request_output_cap(chain: Sequence[AccountSpec]) -> int | None:
    """The largest output that limits per request on the path allow; None where none of them limits it."""
    caps = [
        limit.output_tokens
        for spec in chain
        for limit in spec.limits
        if limit.per is Per.REQUEST and limit.output_tokens is not None
    ]
    return min(caps, default=None)


def describe_limit(shape: Shape, *, tokens: int | None = None, nano_usd: int | None = None, kind: str = "") -> str:
    """A limit in words, for refusals and events: "20 USD per day (Europe/Berlin)"."""
    per, zone, rolling = shape
    figures: list[str] = []
    if nano_usd is not None:
        figures.append(f"{usd_in_words(nano_usd)} USD")
    if tokens is not None:
        figures.append(f"{tokens} {kind}tokens")
    details = "" if per is Per.REQUEST else f" ({'rolling' if rolling else zone})"
    return f"{' and '.join(figures)} per {per.value}{details}"


def limits_in_words(limit: Limit) -> Iterator[str]:
    """Everything that one limit says, a figure of its own for each kind of tokens."""
    if limit.tokens is not None or limit.nano_usd is not None:
        yield describe_limit(limit.shape, tokens=limit.tokens, nano_usd=limit.nano_usd)
    if limit.input_tokens is not None:
        yield describe_limit(limit.shape, tokens=limit.input_tokens, kind="input ")
    if limit.output_tokens is not None:
        yield describe_limit(limit.shape, tokens=limit.output_tokens, kind="output ")


def _exceeded(limit: Limit, asked: int, output: int, nano_usd: int | None) -> Iterator[tuple[str, Amount]]:
    """The figures of a limit per request that are exceeded, in words, and by how much."""
    if limit.input_tokens is not None and asked > limit.input_tokens:
        words = describe_limit(limit.shape, tokens=limit.input_tokens, kind="input ")
        yield words, Amount(tokens=asked - limit.input_tokens)
    if limit.output_tokens is not None and output > limit.output_tokens:
        words = describe_limit(limit.shape, tokens=limit.output_tokens, kind="output ")
        yield words, Amount(tokens=output - limit.output_tokens)
    if limit.tokens is not None and asked + output > limit.tokens:
        yield describe_limit(limit.shape, tokens=limit.tokens), Amount(tokens=asked + output - limit.tokens)
    if limit.nano_usd is not None and nano_usd is not None and nano_usd > limit.nano_usd:
        words = describe_limit(limit.shape, nano_usd=limit.nano_usd)
        yield words, Amount(nano_usd=nano_usd - limit.nano_usd)
