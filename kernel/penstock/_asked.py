"""One call as it was asked for: everything that is decided before its first hop.

Not here: who decides it (`_plan`), and what becomes of it (`_call`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from penstock._budgeting import BudgetRules
from penstock._config import CacheWhen, OnLeave, RouteConfig
from penstock._live_target import LiveTarget
from penstock._outputs import Wanted
from penstock._targets import RouteTargets
from penstock.policy.accounts import AccountSpec, ChainTerms, UnknownUsage
from penstock.policy.cache_policy import CachePolicy
from penstock.policy.commit import FIRST_CONTENT, Commit
from penstock.policy.fitting import UnsupportedRules
from penstock.policy.retry import AllOpen, Stage
from penstock.telemetry import CallSpan
from penstock.types import ChatRequest

__all__ = ["Call", "CallTerms"]


class CallTerms(Struct, frozen=True, eq=False, gc=False):
    """What a call's options come to under a configuration: the same for all calls that say the same."""

    route: RouteConfig
    along: RouteTargets
    limits: ChainTerms
    tenant: str
    unknown_usage: UnknownUsage
    cache: CachePolicy
    cache_when: CacheWhen
    all_open: AllOpen
    commit: Commit
    on_leave: OnLeave


class Call(Struct, frozen=True, eq=False, kw_only=True, gc=False):
    """Frozen: what changes while it runs is the run's."""

    id: str
    request: ChatRequest
    route: str
    along: RouteTargets
    account: str
    chain: tuple[AccountSpec, ...]
    """The accounts on its path that have limits, the root's first."""
    limits: ChainTerms
    """What these limits come to."""
    tenant: str
    unknown_usage: UnknownUsage
    """What is charged for an attempt whose usage nobody told."""
    cache_when: CacheWhen
    """What `cache.when` and the configuration come to."""
    cache: CachePolicy
    timeout: float
    """Seconds that it was given; infinite where its caller's scope alone says when it ends."""
    deadline: float
    """When they are over (monotonic)."""
    horizon: float
    """The caller's own deadline: nothing is begun that could not end before it."""
    next_on_content_filter: bool
    all_open: AllOpen
    on_unsupported: UnsupportedRules
    rules: BudgetRules
    """Of the configuration that it began with."""
    span: CallSpan
    output: Wanted | None = None
    """What the answer is to become."""
    commit: Commit = FIRST_CONTENT
    """Where nobody watches, only whether it goes on from a prefix matters: nothing is shown before the end."""
    on_leave: OnLeave = "cancel"
    metadata: Mapping[str, Any] | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Of its cascade."""
        return self.along.stages

    @property
    def targets(self) -> tuple[LiveTarget, ...]:
        """One for each stage."""
        return self.along.targets
