"""Every fault kind against a three-stage cascade, for complete and stream: the outcome, the attempts, the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import httpx
import pytest
import trio
from worlds import ANSWER, GPT, HAIKU, KEY, SONNET, config, failing, good, is_stream, run

import penstock
from penstock import errors
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence

RATE = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
QUOTA = {"type": "error", "error": {"type": "billing_error", "message": "Your credit balance is too low"}}
API_ERROR = {"type": "error", "error": {"type": "api_error", "message": "internal"}}
HTML = Reply(200, body=b"<html><body>welcome</body></html>", headers=[("content-type", "text/html")])


@attrs.frozen
class Fault:
    """What the primary does, and what the call then looks like."""

    answer: Answer | Callable[[httpx.Request], Answer]
    outcome: str
    """How each attempt at the primary ends."""
    tries: int
    """Attempts at the primary before the call goes on."""
    within: float
    """Seconds the whole call may take."""
    stream_outcome: str | None = None
    """Where it differs."""


def cut(request: httpx.Request) -> Reply:
    """The connection ends before anything of the answer can be shown."""
    whole = good(request)
    if is_stream(request):
        return Reply(chunks=[whole.chunks[0], httpx.RemoteProtocolError("peer closed connection")])
    return Reply(chunks=[b'{"id": "msg_1", "content"', httpx.RemoteProtocolError("peer closed connection")])


def error_event(request: httpx.Request) -> Reply:
    """An error inside a 200."""
    if is_stream(request):
        return Reply(
            chunks=[b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n']
        )
    return Reply(json=OVERLOADED)


FAULTS = {
    "rate limit with a short hint": Fault(
        Reply(429, json=RATE, headers=[("retry-after", "2")]), "rate_limited", 3, 5.1
    ),
    "rate limit with a long hint": Fault(
        Reply(429, json=RATE, headers=[("retry-after", "60")]), "rate_limited", 1, 0.1
    ),
    "rate limit without a hint": Fault(Reply(429, json=RATE), "rate_limited", 3, 10.0),
    "quota": Fault(Reply(402, json=QUOTA), "quota_exhausted", 1, 0.1),
    "500": Fault(Reply(500, json=API_ERROR), "server_error", 3, 2.0),
    "529": Fault(Reply(529, json=OVERLOADED), "overloaded", 3, 2.0),
    "refused": Fault(Broken(httpx.ConnectError("refused")), "connect", 3, 2.0),
    "reset": Fault(Broken(httpx.ReadError("connection reset by peer")), "connection_lost", 3, 2.0),
    "silence": Fault(Silence(), "total_timeout", 1, 61.0, "first_token_timeout"),
    "cut": Fault(cut, "malformed", 2, 1.0, "truncated"),
    "error event in a 200": Fault(error_event, "overloaded", 3, 2.0),
    "malformed JSON": Fault(
        lambda request: Reply(
            chunks=[b"event: message_start\ndata: {broken\n\n" if is_stream(request) else b"{broken"]
        ),
        "malformed",
        2,
        1.0,
    ),
    "HTML": Fault(HTML, "malformed", 2, 1.0),
    "empty 200": Fault(Reply(200), "malformed", 2, 1.0, "truncated"),
}
TIMEOUTS = {"timeouts": {"total": 60, "first_token": 20}}


@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_failing_primary_costs_its_attempts_and_the_next_target_answers(name: str, streamed: bool) -> None:  # noqa: FBT001
    fault = FAULTS[name]
    outcome = (fault.stream_outcome or fault.outcome) if streamed else fault.outcome

    async def main() -> None:
        # Quota cools the whole key of the primary's provider; the second target has another.
        upstream = failing(SONNET, answer=fault.answer)
        async with penstock.open_kernel(config(defaults=TIMEOUTS), transport=upstream) as kernel:
            began = trio.current_time()
            response = await ask(kernel, streamed=streamed)
            assert trio.current_time() - began <= fault.within
            assert response.text == ANSWER
            assert response.target == GPT
            told = [(attempt.target, attempt.outcome) for attempt in response.attempts]
            assert told == [(SONNET, outcome)] * fault.tries + [(GPT, "ok")]
            await nothing_is_left(kernel, upstream)

    run(main)


@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
@pytest.mark.parametrize("name", FAULTS)
def test_where_every_target_fails_one_clear_error_tells_every_attempt(name: str, streamed: bool) -> None:  # noqa: FBT001
    fault = FAULTS[name]

    def answer(request: httpx.Request) -> Answer:
        return fault.answer(request) if callable(fault.answer) else fault.answer

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(config(defaults=TIMEOUTS), transport=upstream) as kernel:
            with pytest.raises(errors.CallError) as caught:
                await ask(kernel, streamed=streamed, timeout=300.0)
            error = caught.value
            assert len(error.attempts) == len(upstream.requests) > 0
            if isinstance(error, errors.DeadlineExceededError):
                assert error.attempts[-1].outcome == "cancelled", "the attempt that the deadline cut is told as well"
            else:
                assert all(attempt.error is not None for attempt in error.attempts)
            if not isinstance(error, errors.DeadlineExceededError):
                assert isinstance(error, errors.CascadeExhaustedError)
                assert error.__cause__ is error.errors[-1]
            assert KEY not in str(error)
            await nothing_is_left(kernel, upstream)

    run(main)


def test_the_third_stage_answers_where_two_fail() -> None:
    async def main() -> None:
        upstream = failing(SONNET, GPT, answer=Reply(500, json=API_ERROR))
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            response = await kernel.complete("what is the answer?")
            assert [attempt.target for attempt in response.attempts] == [SONNET] * 3 + [GPT] * 2 + [HAIKU]

    run(main)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, errors.InvalidRequestError), (413, errors.InvalidRequestError), (422, errors.InvalidRequestError)],
)
def test_what_no_target_would_take_fails_at_once(status: int, kind: type[errors.CallError]) -> None:
    async def main() -> None:
        body = {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: wrong"}}
        upstream = failing(SONNET, answer=Reply(status, json=body))
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises((kind, errors.ContextLengthError)):
                await kernel.complete("hello")
            if status == 400:
                assert len(upstream.requests) == 1

    run(main)


def test_a_one_target_route_raises_its_own_last_error() -> None:
    async def main() -> None:
        upstream = failing(SONNET, answer=Reply(500, json=API_ERROR))
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises(errors.ServerError) as caught:
                await kernel.complete("hello", model=SONNET)
            assert len(caught.value.attempts) == 3

    run(main)


async def ask(kernel: penstock.Kernel, *, streamed: bool, timeout: float | None = None) -> penstock.ChatResponse:  # noqa: ASYNC109
    if not streamed:
        return await kernel.complete("what is the answer?", timeout=timeout)
    async with kernel.stream("what is the answer?", timeout=timeout) as stream:
        chunks: Sequence[penstock.Chunk] = [chunk async for chunk in stream]
        assert isinstance(chunks[-1], penstock.Finished)
        shown = "".join(chunk.text for chunk in chunks if isinstance(chunk, penstock.TextDelta))
        assert shown == stream.response.text
        return stream.response


async def nothing_is_left(kernel: penstock.Kernel, upstream: ScriptedTransport) -> None:
    """No call in flight, no open response, no slot, no permit, no hold."""
    snapshot = await kernel.snapshot()
    assert snapshot.in_flight == 0
    assert upstream.open == 0
    for actor in snapshot.actors.values():
        assert (actor.slots_in_use, actor.queued, actor.lost, actor.stray) == (0, 0, 0, 0)
    for account in snapshot.accounts.values():
        assert all(window.held.tokens == 0 for window in account.windows)


@pytest.mark.parametrize("status", [405, 418, 499])
def test_a_status_of_no_row_is_tried_again_where_the_server_asks_for_it(status: int) -> None:
    async def main() -> None:
        odd = Reply(status, json={"error": {"message": "odd"}}, headers=[("x-should-retry", "true")])
        upstream = failing(SONNET, answer=odd)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            response = await kernel.complete("hello")
            assert [attempt.outcome for attempt in response.attempts] == ["server_error"] * 3 + ["ok"]

    run(main)


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_a_request_that_is_wrong_is_sent_once_whatever_the_server_says_of_trying_again(
    status: int, target: str
) -> None:
    async def main() -> None:
        wrong = Reply(
            status,
            json={"type": "error", "error": {"type": "invalid_request_error", "message": "no such field"}},
            headers=[("x-should-retry", "true")],
        )
        upstream = failing(target, answer=wrong)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises(errors.InvalidRequestError):
                await kernel.complete("hello", model=target)
        assert len(upstream.requests) == 1

    run(main)


def test_a_plugins_own_error_class_can_be_shared_without_its_constructor() -> None:
    class TheirsError(errors.InvalidRequestError):
        def __init__(self, code: int, words: str) -> None:
            super().__init__(f"{code}: {words}")

    theirs = TheirsError(7, "no")
    copied = errors.replica(theirs)
    assert copied is not theirs
    assert (type(copied), str(copied)) == (TheirsError, "7: no")
