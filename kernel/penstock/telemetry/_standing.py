"""What stands at a moment: queues, calls in flight, holds and breakers, for whoever collects metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from penstock.telemetry import _names as n
from penstock.telemetry._labels import Bounded
from penstock.telemetry._metrics import Instrument, Labels

if TYPE_CHECKING:
    from penstock._engine import Engine

__all__ = ["STANDING", "Look", "look_at"]

STANDING = (
    Instrument(n.IN_FLIGHT, "{call}", "Calls that have a place."),
    Instrument(n.QUEUE_LENGTH, "{call}", "Calls that wait for a place."),
    Instrument(n.HOLDS, "{hold}", "Calls that hold a part of a budget."),
    Instrument(n.BREAKER_METRIC, "1", "State of a breaker that is not closed: 1 open or isolated, 0.5 half-open."),
)
Look: TypeAlias = Callable[[str], Iterator[tuple[float, Labels]]]
"""By the name of an instrument: its values now. Called by any thread; never raises."""
STATES = {"open": 1.0, "isolated": 1.0, "half_open": 0.5}


def look_at(engine: Engine, holds: Callable[[], int]) -> Look:
    """Looks at a kernel. What it reads is replaced as a whole, never changed, so that any thread may."""
    scopes = Bounded()

    def look(instrument: str) -> Iterator[tuple[float, Labels]]:
        match instrument:
            case n.IN_FLIGHT:
                yield engine.in_flight, ()
            case n.QUEUE_LENGTH:
                yield engine.places.statistics().tasks_waiting, ()
            case n.HOLDS:
                yield holds(), ()
            case _:
                worst: dict[str, float] = {}
                for scope, health in engine.breakers.snapshot.items():
                    name = scopes(scope)
                    worst[name] = max(worst.get(name, 0.0), STATES.get(str(health.state.value), 0.0))
                for name, value in worst.items():
                    yield value, ((n.BREAKER_SCOPE, name),)

    return look
