"""How a call begins and ends for those who look on: events, the log, and the error of a call that was cut short.

Not here: what is owed to actors when a call is over (`_call`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from penstock._asked import Call
from penstock._books import Books
from penstock._engine import Engine
from penstock._events import CallEnded, CallStarted
from penstock.errors import (
    ActorFailedError,
    CallError,
    DeadlineExceededError,
    KernelClosedError,
    OverloadedLocallyError,
    PenstockError,
)
from penstock.policy.coalesce import GoneReason
from penstock.telemetry._attributes import chosen

__all__ = ["GONE_AFTER", "ConsumerLeft", "Ended", "cut_short", "outcome_of", "tell_end", "tell_start"]

logger = logging.getLogger("penstock")

_INNER_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
GONE_AFTER: Mapping[str, GoneReason] = {
    "cancelled": "cancelled",
    "deadline_exceeded": "deadline",
    "budget_exceeded": "refused",
    "budget_cut": "refused",
    "kernel_closed": "cancelled",
}
"""How a call ended, as its followers need to know it."""


def outcome_of(error: PenstockError) -> str:
    """The word for how a call ended: the kind of its error; of those that have none, their name in the same manner."""
    if isinstance(error, CallError):
        return error.kind
    return _INNER_CAPITAL.sub("_", type(error).__name__.removesuffix("Error")).lower()


class ConsumerLeft(PenstockError):  # noqa: N818 - a signal: nobody is left to see it
    """The consumer is gone, and the attempt that was to be drained is over: there is nothing left to do."""


def tell_start(engine: Engine, call: Call, *, waited: float) -> None:
    """The call got its place, after so many seconds."""
    call.span.placed(waited)
    logger.debug("call %s started on route %s", call.id, call.route)
    if engine.events.heard:
        engine.events.emit(CallStarted(call.id, call.route, call.account))


class Ended(Struct, frozen=True):
    """How a call ended: `ok`, `cancelled`, or the kind of its error; the target that answered; the cache's part."""

    outcome: str
    target: str | None
    cache: str
    since: float
    """When it began (monotonic)."""


def tell_end(engine: Engine, call: Call, books: Books, ended: Ended) -> None:
    """The call is over."""
    call.span.end(ended, books)
    if not (engine.events.heard or logger.isEnabledFor(logging.INFO)):
        return
    duration = engine.clock.monotonic() - ended.since
    usage, cost = books.usage, books.cost
    logger.info(
        "call %s %s: account=%s target=%s attempts=%d duration=%.3f tokens=%d cost=%s cache=%s",
        call.id,
        ended.outcome,
        call.account or "-",
        ended.target or "-",
        len(books.attempts),
        duration,
        usage.total_tokens,
        "unknown" if cost is None else cost,
        ended.cache,
        extra=_fields(engine, call, ended, books, duration) if logger.isEnabledFor(logging.INFO) else None,
    )
    if engine.events.heard:
        engine.events.emit(
            CallEnded(
                call_id=call.id,
                route=call.route,
                account=call.account,
                outcome=ended.outcome,
                target=ended.target,
                attempts=len(books.attempts),
                duration=duration,
                tokens=usage.total_tokens,
                cost=None if cost is None else int(cost * 10**9),
                cache=ended.cache,
            )
        )


def _fields(engine: Engine, call: Call, ended: Ended, books: Books, duration: float) -> dict[str, Any]:
    """The same for handlers that keep fields, and beside them what finds the call's trace."""
    usage, cost, ids = books.usage, books.cost, call.span.ids
    fields: dict[str, Any] = {
        "call_id": call.id,
        "outcome": ended.outcome,
        "route": call.route,
        "account": call.account,
        "target": ended.target,
        "attempts": len(books.attempts),
        "duration_s": duration,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": None if cost is None else float(cost),
        "cache": ended.cache,
    }
    if ids is not None:
        fields["trace_id"], fields["span_id"] = ids
    told = engine.config.telemetry
    for key, value in chosen(call.metadata, told.metadata).items() if told is not None else ():
        # Under a name of its own: a record has attributes that no field may replace.
        fields[f"metadata_{key}"] = value
    return fields


def cut_short(engine: Engine, call: Call, books: Books, *, placed: bool, partial: str) -> PenstockError:
    """The error of a call whose own scope was cancelled: by its deadline, by an actor that broke, or by a shutdown."""
    in_time = engine.clock.monotonic() < call.deadline
    if engine.failure is not None and in_time:
        broken = ActorFailedError(*engine.failure.args)
        broken.__cause__ = engine.failure.__cause__
        return broken
    if engine.closing and in_time:
        return KernelClosedError(f"call {call.id} was still running when the kernel was shut down")
    if not placed:
        return books.signed(
            OverloadedLocallyError(
                f"no place among the {engine.config.kernel.max_in_flight} calls in flight (max_in_flight)"
                " became free in time; nothing was sent"
            )
        )
    late = DeadlineExceededError(
        f"the call was not over within its {call.timeout:g} s, after {len(books.attempts)} attempts"
    )
    late.partial = partial
    late.__cause__ = books.errors[-1] if books.errors else None
    return books.signed(late)
