"""The upstream's own books are exact, whatever goes wrong: held against what a client of its own heard and asked."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import rehearsing
import trio
from hypothesis import given
from hypothesis import strategies as st
from rehearsing import Anthropic, Front, Heard, OpenAI, Wire, client_of, listen, play, tokens

from penstock.types import WireRequest
from penstock_plugins.rehearsal import Fault, Latency, Rule, Script, Served, Statistics, Upstream, faults, key_label

fronts = pytest.mark.parametrize("front", rehearsing.FRONTS)

COUNTABLE: tuple[Fault, ...] = (
    faults.RateLimit(),
    faults.Quota(),
    faults.ServerFailure(),
    faults.Overloaded(),
    faults.WrongKey(),
    faults.ContextLength(),
    faults.Refused(),
    faults.ResetConnection(),
    faults.ResetConnection(at="after_head", abrupt=False),
    faults.ResetConnection(at="mid_body", after_chunks=2),
    faults.SilentBeforeHead(for_s=3),
    faults.SlowConnect(for_s=3),
    faults.SlowUpload(for_s=3),
    faults.SilentAfterHead(for_s=3),
    faults.LateFirstToken(by_s=3),
    faults.Stall(after_chunks=2),
    faults.Stall(after_chunks=2, for_s=5),
    faults.CutStream(after_chunks=1),
    faults.CutStream(after_chunks=5, clean=True),
    faults.MissingTerminator(),
    faults.MissingTerminator(finish_reason=False),
    faults.ErrorEvent(after_chunks=2),
    faults.IgnoreMaxTokens(extra_tokens=30),
    faults.FilteredAnswer(),
    faults.NoUsage(),
    faults.SplitUtf8(),
    faults.Trickle(bytes_per_s=100),
    faults.Trickle(bytes_per_s=2_000),
    faults.EmptyBody(),
    faults.DuplicateChunks(kind="finish"),
)
"""Those after which a client can tell by the text it heard how many tokens were written."""


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.sampled_from((None, *COUNTABLE)), st.sampled_from([OpenAI(), Anthropic()]), st.text(max_size=30)),
        min_size=1,
        max_size=8,
    )
)
def test_the_books_agree_with_what_a_client_heard(calls: list[tuple[Fault | None, Wire, str]]) -> None:
    struck = [(number, fault) for number, (fault, _, _) in enumerate(calls) if fault is not None]
    rules = [Rule(fault=fault, model=f"model-{number}") for number, fault in struck]
    upstream = Upstream(Script(tuple(rules), seed=3), latency=Latency(first_s=0.5, chunk_s=0.1, jitter=0.5))
    heard: dict[int, Heard] = {}

    async def call(client: httpx.AsyncClient, number: int, wire: Wire, prompt: str) -> None:
        body = {**wire.body(f"p{prompt}", stream=True, max_tokens=40), "model": f"model-{number}"}
        heard[number] = await listen(client, wire, body)

    async def story() -> None:
        async with client_of("transport", upstream) as client, trio.open_nursery() as nursery:
            for number, (_, wire, prompt) in enumerate(calls):
                nursery.start_soon(call, client, number, wire, prompt)

    play("transport", story)
    for number, (_, wire, prompt) in enumerate(calls):
        served = upstream.statistics().served(model=f"model-{number}")
        assert served == expected(wire, heard[number], f"p{prompt}")


def expected(wire: Wire, heard: Heard, prompt: str) -> Served:
    """What the books must say of one request, by what its client heard."""
    objects = [event for event in heard.objects if "error" not in event] if heard.status == 200 else []
    refused = isinstance(heard.error, httpx.ConnectError) or 400 <= (heard.status or 0) < 500
    whole = heard.status == 200 and heard.error is None and not heard.gave_up
    return Served(
        requests=1,
        refused=int(refused),
        completed=int(whole),
        input_tokens=0 if refused else tokens(prompt),
        output_tokens=tokens(wire.streamed_text(objects)),
    )


@fronts
def test_tokens_are_kept_apart_by_wire_model_and_key(front: Front) -> None:
    upstream = Upstream()

    async def story() -> None:
        async with client_of(front, upstream) as client:
            for wire in (OpenAI(), Anthropic(), OpenAI(model="o3"), OpenAI(headers={"authorization": "Bearer other"})):
                await listen(client, wire, wire.body("12345"))

    play(front, story)
    statistics = upstream.statistics()
    assert statistics.served().requests == 4
    assert statistics.served(wire="anthropic").requests == 1
    assert statistics.served(model="gpt-4o").requests == 2
    assert statistics.served(model="gpt-4o", key=key_label("other")).input_tokens == 2
    assert [account.wire for account, _ in statistics.accounts] == ["anthropic", "openai", "openai", "openai"]
    assert dict(statistics.statuses) == {200: 4}


@fronts
def test_faults_and_statuses_are_counted(front: Front) -> None:
    rules = (Rule(fault=faults.Overloaded(), last=2), Rule(fault=faults.RateLimit(), first=3, last=3))
    upstream = Upstream(Script(rules))

    async def story() -> None:
        async with client_of(front, upstream) as client:
            for number in range(4):
                await listen(client, Anthropic(), Anthropic().body(f"{number}"))

    play(front, story)
    statistics = upstream.statistics()
    assert dict(statistics.faults) == {"overloaded": 2, "rate-limit": 1}
    assert dict(statistics.statuses) == {200: 1, 429: 1, 529: 2}
    assert (statistics.fault("overloaded"), statistics.fault("quota")) == (2, 0)
    assert (statistics.status(529), statistics.status(404)) == (2, 0)


@fronts
def test_what_is_in_flight_is_known_at_any_time(front: Front) -> None:
    upstream = Upstream(Script((Rule(fault=faults.SilentBeforeHead()),)))
    during: list[Statistics] = []

    async def story() -> None:
        async with client_of(front, upstream) as client:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    for number in range(3):
                        nursery.start_soon(listen, client, OpenAI(), OpenAI().body(f"{number}"))
                    while upstream.statistics().in_flight < 3:  # noqa: ASYNC110 - the server side has no event to wait for
                        await trio.sleep(0.005)
                    during.append(upstream.statistics())
                    scope.cancel()

    play(front, story)
    assert (during[0].in_flight, during[0].most_in_flight) == (3, 3)
    after = upstream.statistics()
    assert (after.in_flight, after.most_in_flight) == (0, 3)
    upstream.receive(WireRequest("GET", "/", (), b""), now=0.0, wall=0.0)
    one_more = upstream.statistics()
    assert (one_more.in_flight, one_more.most_in_flight) == (1, 3)


def test_a_request_that_cannot_be_understood_is_in_nobodys_account() -> None:
    upstream = Upstream()
    body: dict[str, Any] = {"model": "gpt-4o"}

    async def story() -> None:
        async with client_of("transport", upstream) as client:
            await listen(client, OpenAI(), body)

    play("transport", story)
    statistics = upstream.statistics()
    assert (statistics.accounts, statistics.served()) == ((), Served())
    assert dict(statistics.statuses) == {400: 1}
