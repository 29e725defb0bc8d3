"""How a target is doing, in a word: the worst of its scopes."""

from __future__ import annotations

from penstock._engine import Engine
from penstock.policy.breaker import BreakerState

__all__ = ["target_state"]


def target_state(engine: Engine, name: str) -> str:
    """`closed`, `open`, `half_open`, `isolated` or `cooling`. Raises NoRouteError where there is no such target."""
    target = engine.targets.target(name)
    unhealthy = engine.breakers.snapshot
    states = [unhealthy[scope].state for scope in target.scopes if scope in unhealthy]
    for worst in (BreakerState.ISOLATED, BreakerState.OPEN, BreakerState.HALF_OPEN):
        if worst in states:
            return str(worst.value)
    return "cooling" if engine.unavailable((target,)) else "closed"
