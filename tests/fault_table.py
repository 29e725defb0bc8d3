"""What every fault must come to: a row for each, and once for all rows what the commit policies make of it.

Written down from the design, not from what was seen. Not here: making the calls (`fault_cells`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs
from fault_cells import ATTEMPTS, Cell, WireName

from penstock_plugins.rehearsal import Fault, faults

__all__ = ["ROWS", "Expected", "Met", "Row", "expected", "strikes_after_content"]

Usage: TypeAlias = Literal["equal", "estimated"]
BACK_OFF = (0.0, 0.5)
"""Seconds of the first: full jitter."""
COOL_DOWN = (0.5, 1.0)
"""Seconds of the first without a hint: half of it is jitter."""
OF_ANOTHER_CLOCK = (1.9, 3.1)
"""Seconds until a moment that is 2 s away: told in whole seconds, rounded up, by a clock that is not quite ours."""
FEW, MANY = 3, 12
"""Chunks: fewer than the 40 characters that the policy `buffer` waits for, and more."""


SHOWN_FROM = {"first_content": 1, "buffer": MANY, "whole": 10**9, "continue": 1, "restart": 1}
"""Chunks from which on a policy has shown something."""
OTHER: Mapping[WireName, WireName] = {"anthropic": "openai", "openai": "anthropic"}


@attrs.frozen
class Met:
    """What the primary does, attempt by attempt, and how that ends."""

    outcome: str
    """Of each attempt."""
    error: str = ""
    """The class that the call ends in where there is no fallback. Empty: it is an answer."""
    finish: str = "stop"
    tries: int = ATTEMPTS
    """Attempts where no other target is left."""
    before: int = ATTEMPTS
    """Attempts before the fallback is asked."""
    final: bool = False
    """No other target would cure it: the fallback is not asked."""
    each: tuple[float, float] = (0.0, 0.0)
    """Seconds of one attempt, at least and at most. So for the wait after it."""
    wait: tuple[float, float] = BACK_OFF
    usage: Usage = "estimated"
    shown: int = 0
    """Chunks with content before it breaks. 0: nothing can have been shown, so that all policies are alike."""


@attrs.frozen
class Row:
    """One fault."""

    fault: Fault
    whole: Met | Mapping[WireName, Met]
    """Where the answer comes whole from upstream."""
    streamed: Met | Mapping[WireName, Met]
    """Where it is streamed."""
    max_tokens: int = 400
    note: str = ""
    """For the reader of the table."""

    def met(self, cell: Cell) -> Met:
        """The one that a cell is about."""
        met = self.whole if cell.mode == "complete" else self.streamed
        return met if isinstance(met, Met) else met[cell.wire]


@attrs.frozen
class Expected:
    """What a cell must come to, in the words of `fault_cells.Told`."""

    attempts: str
    end: str
    shown: str
    usage: Usage
    at_least: float
    at_most: float


def expected(row: Row, cell: Cell) -> Expected:
    """The row, as the cell's mode, route and policy let it show."""
    met = row.met(cell)
    if not met.error:
        return _after(met, 1, f"answer: {met.finish}", "1 whole")
    falls_over = cell.route == "fallback" and not met.final
    tries = met.before if falls_over else met.tries
    if cell.mode != "stream":
        shown = _put_together(met, cell, tries)
        return _after(met, tries, "answer: stop", shown, ", F:ok") if falls_over else _after(met, tries, met.error)
    if met.shown < SHOWN_FROM[cell.commit]:
        shown = f"{tries + 1} whole"
        return _after(met, tries, "answer: stop", shown, ", F:ok") if falls_over else _after(met, tries, met.error)
    if cell.commit in ("first_content", "buffer"):
        return _after(met, 1, "StreamBrokenError", "1 part")
    again, elsewhere = _marker(cell, cell.wire), _marker(cell, OTHER[cell.wire])
    parts = ", ".join(["1 part", *(f"{again} {number} part" for number in range(2, tries + 1))])
    if not falls_over:
        return _after(met, tries, "StreamBrokenError", parts)
    return _after(met, tries, "answer: stop", f"{parts}, {elsewhere} {tries + 1} whole", ", F:ok")


def _marker(cell: Cell, wire: WireName) -> str:
    """How a target of that wire takes over what was shown: of the two only Anthropic's takes a prefill."""
    return "seam" if cell.commit == "continue" and wire == "anthropic" else "restarted"


def _put_together(met: Met, cell: Cell, tries: int) -> str:
    """What an answer of the fallback is made of, where nobody watched: with `continue` of what came before, too."""
    if met.shown and cell.commit == "continue" and OTHER[cell.wire] == "anthropic":
        return f"{tries} part, seam {tries + 1} whole"
    return f"{tries + 1} whole"


def _after(met: Met, tries: int, end: str, shown: str = "nothing", then: str = "") -> Expected:
    least, most = (tries * each + (tries - 1) * wait for each, wait in zip(met.each, met.wait, strict=True))
    return Expected(
        attempts=", ".join([f"P:{met.outcome}"] * tries) + then,
        end=end,
        shown=shown,
        usage=met.usage,
        at_least=least,
        at_most=most,
    )


def strikes_after_content(row: Row) -> bool:
    """Whether the commit policies differ in it."""
    met = row.streamed
    return any(each.shown for each in ([met] if isinstance(met, Met) else met.values()))


def _answers(
    seconds: float = 0.0, longest: float | None = None, *, finish: str = "stop", usage: Usage = "equal"
) -> Met:
    """Nothing that a call would fail of."""
    return Met("ok", finish=finish, each=(seconds, seconds if longest is None else longest), usage=usage)


def _refuses(outcome: str, error: str, *, final: bool = False) -> Met:
    """Trying it again is of no use, and it was not billed."""
    return Met(outcome, error, tries=1, before=1, final=final, usage="equal")


def _silent(outcome: str, error: str, seconds: float, shown: int = 0) -> Met:
    """It costs its limit once where another target is left."""
    return Met(outcome, error, before=1, each=(seconds, seconds), shown=shown)


SERVER = Met("server_error", "ServerError")
OVERLOADED = Met("overloaded", "OverloadedError")
LOST = Met("connection_lost", "ConnectionLostError")
MALFORMED = Met("malformed", "MalformedResponseError")
TRUNCATED = Met("truncated", "StreamBrokenError")
LIMITED = Met("rate_limited", "RateLimitedError", usage="equal")
SILENT_WHOLE = _silent("total_timeout", "TotalTimeoutError", 60.0)
SILENT = _silent("first_token_timeout", "FirstTokenTimeoutError", 20.0)
IDLE = _silent("idle_timeout", "IdleTimeoutError", 15.0)
NOT_WRITTEN = _silent("idle_timeout", "IdleTimeoutError", 10.0)
LATER = "the upstream may have worked: settled at the bound"


def _both(fault: Fault, met: Met | Mapping[WireName, Met], note: str = "") -> Row:
    """Streamed or not: the same."""
    return Row(fault, met, met, note=note)


def _limit(
    fault: faults.RateLimit, wait: tuple[float, float], *, tries: int = 2, before: int = 2, note: str = ""
) -> Row:
    return _both(fault, attrs.evolve(LIMITED, wait=wait, tries=tries, before=before), note)


def _cut(fault: Fault, shown: int, note: str = "") -> Row:
    return Row(fault, MALFORMED, attrs.evolve(TRUNCATED, shown=shown), note=note)


def _error_event(fault: faults.ErrorEvent, met: Met) -> Row:
    return Row(fault, met, attrs.evolve(met, shown=fault.after_chunks))


LIMITED_INSIDE = attrs.evolve(LIMITED, usage="estimated", wait=COOL_DOWN)
"""In a 200: what was written before it is served, and may be billed."""

ROWS: Mapping[str, Row] = {
    # 429, with every form of hint
    "rate limit, no hint": _limit(faults.RateLimit(hint="none"), COOL_DOWN),
    "rate limit, 2 s in seconds": _limit(faults.RateLimit(hint="seconds", after_s=2.0), (2.0, 2.0)),
    "rate limit, 2 s in milliseconds": _limit(faults.RateLimit(hint="milliseconds", after_s=2.0), (2.0, 2.0)),
    "rate limit, 2 s as a date": _limit(faults.RateLimit(hint="date", after_s=2.0), OF_ANOTHER_CLOCK),
    "rate limit, 2 s in its message": _limit(faults.RateLimit(hint="message", after_s=2.0), (2.0, 2.0)),
    "rate limit, 2 s as a reset": _limit(faults.RateLimit(hint="reset", after_s=2.0), OF_ANOTHER_CLOCK),
    "rate limit, 60 s": _limit(
        faults.RateLimit(after_s=60.0), (60.0, 60.0), before=1, note="longer than a call waits while another is left"
    ),
    "rate limit, 400 s": _limit(
        faults.RateLimit(after_s=400.0), (0.0, 0.0), tries=1, before=1, note="later than the call's deadline"
    ),
    # Statuses
    "quota": _both(faults.Quota(), _refuses("quota_exhausted", "QuotaExhaustedError")),
    "500": _both(faults.ServerFailure(), SERVER, LATER),
    "502": _both(faults.ServerFailure(status=502), SERVER),
    "503": _both(faults.ServerFailure(status=503), OVERLOADED),
    "504": _both(faults.ServerFailure(status=504), SERVER),
    "408": _both(faults.ServerFailure(status=408), attrs.evolve(SERVER, usage="equal"), "a 4xx is not billed"),
    "409": _both(faults.ServerFailure(status=409), attrs.evolve(SERVER, usage="equal")),
    "425": _both(faults.ServerFailure(status=425), attrs.evolve(SERVER, usage="equal")),
    "overloaded": _both(faults.Overloaded(), OVERLOADED, "529, at OpenAI 503"),
    "wrong key": _both(faults.WrongKey(), _refuses("authentication", "AuthenticationError")),
    "permission denied": _both(faults.PermissionDenied(), _refuses("permission_denied", "PermissionDeniedError")),
    "model not found": _both(faults.ModelNotFound(), _refuses("model_not_found", "ModelNotFoundError")),
    "invalid request": _both(
        faults.InvalidRequest(), _refuses("invalid_request", "InvalidRequestError", final=True), "wrong everywhere"
    ),
    "context length": _both(
        faults.ContextLength(),
        {
            "anthropic": _refuses("context_length", "ContextLengthError", final=True),
            "openai": _refuses("context_length", "ContextLengthError"),
        },
        "goes on only to a larger window, which the Anthropic target has",
    ),
    "prompt filtered": _both(
        faults.FilteredRequest(),
        _refuses("content_filtered", "ContentFilteredError", final=True),
        'goes on where `on_content_filter = "next"`',
    ),
    "answer filtered": _both(
        faults.FilteredAnswer(),
        {"anthropic": _answers(finish="refusal"), "openai": _answers(finish="content_filter")},
        "it is an answer, and says how it ended",
    ),
    # Connections
    "refused": _both(faults.Refused(), Met("connect", "ConnectError", usage="equal")),
    "reset before the head": _both(faults.ResetConnection(), LOST),
    "closed before the head": _both(faults.ResetConnection(abrupt=False), LOST),
    "reset after the head": _cut(faults.ResetConnection(at="after_head"), 0),
    "closed after the head": _cut(faults.ResetConnection(at="after_head", abrupt=False), 0),
    "reset in the body": _cut(faults.ResetConnection(at="mid_body"), FEW),
    "closed in the body": _cut(faults.ResetConnection(at="mid_body", abrupt=False), FEW),
    "slow connection, 2 s": _both(faults.SlowConnect(for_s=2.0), _answers(2.0)),
    "no connection comes about": _both(
        faults.SlowConnect(), Met("connect_timeout", "ConnectTimeoutError", before=1, each=(5.0, 5.0), usage="equal")
    ),
    "slow upload, 2 s": _both(faults.SlowUpload(for_s=2.0), _answers(2.0)),
    "the request is not read": _both(faults.SlowUpload(), NOT_WRITTEN),
    # Silence
    "silent for 2 s": _both(faults.SilentBeforeHead(for_s=2.0), _answers(2.0)),
    "silent": Row(faults.SilentBeforeHead(), SILENT_WHOLE, SILENT, note="its limit once, where another target is left"),
    "silent for 2 s after the head": _both(faults.SilentAfterHead(for_s=2.0), _answers(2.0)),
    "silent after the head": Row(faults.SilentAfterHead(), SILENT_WHOLE, SILENT),
    "first token after 2 s": _both(faults.LateFirstToken(by_s=2.0), _answers(2.0)),
    "first token after 100 s": Row(
        faults.LateFirstToken(by_s=100.0), SILENT_WHOLE, IDLE, note="the head came: idle for 15 s comes first"
    ),
    "stall of 2 s": _both(faults.Stall(for_s=2.0), _answers(2.0)),
    "stall before content": Row(faults.Stall(after_chunks=0), SILENT_WHOLE, IDLE),
    "stall": Row(faults.Stall(), SILENT_WHOLE, attrs.evolve(IDLE, shown=FEW)),
    "late stall": Row(faults.Stall(after_chunks=MANY), SILENT_WHOLE, attrs.evolve(IDLE, shown=MANY)),
    "trickle of 1000 bytes/s": Row(faults.Trickle(bytes_per_s=1000.0), _answers(0.4, 1.5), _answers(2.0, 15.0)),
    "trickle of 60 bytes/s": Row(
        faults.Trickle(bytes_per_s=60.0),
        _answers(5.0, 20.0),
        attrs.evolve(SILENT_WHOLE, shown=MANY),
        note="streamed it is ten times as long: the total timeout",
    ),
    "trickle of 5 bytes/s": Row(faults.Trickle(bytes_per_s=5.0), SILENT_WHOLE, SILENT),
    # Answers that break off
    "cut before content": _cut(faults.CutStream(after_chunks=0), 0),
    "ends before content": _cut(faults.CutStream(after_chunks=0, clean=True), 0, "in order, as if it were whole"),
    "cut": _cut(faults.CutStream(after_chunks=FEW), FEW),
    "ends early": _cut(faults.CutStream(after_chunks=FEW, clean=True), FEW),
    "late cut": _cut(faults.CutStream(after_chunks=MANY), MANY),
    "ends late": _cut(faults.CutStream(after_chunks=MANY, clean=True), MANY),
    "cut after all content": _cut(faults.CutStream(after_chunks=1000), MANY),
    "no terminator": Row(faults.MissingTerminator(), MALFORMED, _answers(), note="the finish reason came: it is whole"),
    "no terminator and no finish reason": _cut(faults.MissingTerminator(finish_reason=False), MANY),
    # Answers with something wrong in them
    "malformed chunk before content": _both(faults.MalformedChunk(after_chunks=0), MALFORMED),
    "malformed chunk": Row(faults.MalformedChunk(), MALFORMED, attrs.evolve(MALFORMED, shown=FEW)),
    "late malformed chunk": Row(
        faults.MalformedChunk(after_chunks=MANY), MALFORMED, attrs.evolve(MALFORMED, shown=MANY)
    ),
    "overloaded, in a 200": _error_event(faults.ErrorEvent(), OVERLOADED),
    "overloaded, after content": _error_event(faults.ErrorEvent(after_chunks=FEW), OVERLOADED),
    "overloaded, late": _error_event(faults.ErrorEvent(after_chunks=MANY), OVERLOADED),
    "server error, in a 200": _error_event(faults.ErrorEvent(kind="server"), SERVER),
    "server error, after content": _error_event(faults.ErrorEvent(after_chunks=FEW, kind="server"), SERVER),
    "rate limit, in a 200": _error_event(faults.ErrorEvent(kind="rate_limit"), LIMITED_INSIDE),
    "rate limit, after content": _error_event(faults.ErrorEvent(after_chunks=FEW, kind="rate_limit"), LIMITED_INSIDE),
    "start twice": Row(
        faults.DuplicateChunks(kind="start"),
        _answers(),
        {"anthropic": MALFORMED, "openai": _answers()},
        note="an Anthropic message that starts twice is none",
    ),
    "ping twice": _both(faults.DuplicateChunks(kind="ping"), _answers()),
    "content twice": Row(
        faults.DuplicateChunks(),
        MALFORMED,
        _answers(),
        note="chunks have no numbers: a stream that repeats itself cannot be told from one that is repeated",
    ),
    "finish reason twice": _both(faults.DuplicateChunks(kind="finish"), _answers()),
    "usage twice": _both(faults.DuplicateChunks(kind="usage"), _answers()),
    "end twice": Row(faults.DuplicateChunks(kind="end"), MALFORMED, _answers()),
    "characters split": _both(faults.SplitUtf8(), _answers(0.0, 0.1)),
    "gzip bomb": _both(faults.GzipBomb(decompressed_bytes=65 * 1024 * 1024), MALFORMED),
    "header bomb": _both(faults.HeaderBomb(), MALFORMED),
    "HTML, 502": _both(faults.Html(), SERVER),
    "HTML, 200": _both(faults.Html(status=200), MALFORMED),
    "HTML, 404": _both(faults.Html(status=404), _refuses("model_not_found", "ModelNotFoundError")),
    "wrong JSON": Row(faults.WrongJson(), MALFORMED, {"anthropic": MALFORMED, "openai": TRUNCATED}),
    "empty 200": Row(faults.EmptyBody(), MALFORMED, TRUNCATED),
    "max_tokens ignored": Row(
        faults.IgnoreMaxTokens(),
        _answers(finish="length"),
        _answers(finish="length"),
        # Enough that the meter, which cuts beyond 16 bytes a token (tests/kernel/test_meter.py), does not meet it.
        max_tokens=100,
        note="booked as billed",
    ),
    "no usage": _both(faults.NoUsage(), _answers(usage="estimated"), "settled at the bound"),
}
