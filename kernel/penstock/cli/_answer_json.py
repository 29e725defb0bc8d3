"""Answers and failures as JSON objects, for programs that run the command.

Not here: when they are written.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from penstock.cli._schema import value_json
from penstock.errors import CallError, OutputInvalidError, PenstockError
from penstock.types import Attempt, ChatResponse, Chunk, Usage

__all__ = ["chunk_line", "error_line", "extracted_line", "finished_line", "growing_line", "response_line"]

# Amounts of money as numbers with all their digits, never as floats.
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def response_line(response: ChatResponse) -> str:
    """The whole answer."""
    return _line({"text": response.text, **_about(response)})


def extracted_line(value: object, response: ChatResponse) -> str:
    """The whole answer, and the value that was made of it and checked."""
    return _line({"value": value_json(value), "text": response.text, **_about(response)})


def growing_line(part: object) -> str:
    """A value as far as it has come: nobody has checked it."""
    return _line({"type": "growing", "value": value_json(part)})


def chunk_line(chunk: Chunk) -> str:
    """One chunk of a stream; `type` says which."""
    return _line(chunk)


def finished_line(response: ChatResponse, **more: object) -> str:
    """The last line of a stream: everything about the answer but its text; and `more`."""
    return _line({"type": "finished", **more, **_about(response)})


def error_line(error: PenstockError, code: int) -> str:
    """What went wrong, and the exit code that goes with it."""
    fields: dict[str, Any] = {"kind": _kind(error), "message": str(error), "exit_code": code}
    if isinstance(error, CallError):
        fields |= {
            "retry_after": error.retry_after,
            "request_id": error.request_id,
            "cost": _usd(error.cost),
            "attempts": [_attempt(attempt) for attempt in error.attempts],
        }
    if isinstance(error, OutputInvalidError):
        fields["paths"] = error.paths
    return _line({"error": fields})


def _about(response: ChatResponse) -> dict[str, Any]:
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in response.tool_calls]
    return {
        "finish_reason": response.finish_reason,
        "usage": _usage(response.usage),
        "cost": _usd(response.cost),
        "model": response.model,
        "target": response.target,
        "route": response.route,
        "attempts": [_attempt(attempt) for attempt in response.attempts],
        "cache": response.cache,
        "capped_by": response.capped_by,
        "id": response.id,
    } | ({"tool_calls": calls} if calls else {})


def _usage(usage: Usage) -> dict[str, Any]:
    return {**msgspec.to_builtins(usage), "total_tokens": usage.total_tokens}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "target": attempt.target,
        "number": attempt.number,
        "outcome": attempt.outcome,
        "error": None if attempt.error is None else str(attempt.error),
        "waited": round(attempt.waited, 3),
        "duration": round(attempt.duration, 3),
        "first_token": None if attempt.first_token is None else round(attempt.first_token, 3),
        "usage": None if attempt.usage is None else _usage(attempt.usage),
        "cost": _usd(attempt.cost),
    }


def _usd(cost: Decimal | None) -> Decimal | None:
    # Without the zeros of nano-USD at its end.
    return cost if cost is None else cost.normalize()


def _kind(error: PenstockError) -> str:
    return error.kind if isinstance(error, CallError) else type(error).__name__


def _line(value: object) -> str:
    return _ENCODER.encode(value).decode() + "\n"
