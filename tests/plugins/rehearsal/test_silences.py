"""Faults of connections and of time: refused, reset, silent, late, stalled, slow. Each on both fronts.

Sockets need real seconds, so their silences are short; in memory time is virtual and they are as long as in life.
"""

from __future__ import annotations

from itertools import pairwise

import httpx
import pytest
import rehearsing
import trio
from rehearsing import Anthropic, Front, Heard, OpenAI, Wire, ask, client_of, faulty, listen, play, tokens

from penstock_plugins.rehearsal import Fault, Latency, RehearsalTransport, Rule, Script, Served, Upstream, faults

fronts = pytest.mark.parametrize("front", rehearsing.FRONTS)
wires = pytest.mark.parametrize("wire", [OpenAI(), Anthropic()], ids=["openai", "anthropic"])

LONG: dict[Front, float] = {"socket": 0.1, "transport": 1000.0}
"""A silence that is long on that front, in seconds."""


def before_the_gap(heard: Heard, at_least_s: float) -> bytes:
    """What came before the longest silence of the body, which must have been so long."""
    times = [heard.head_after_s, *(at for at, _ in heard.pieces)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    longest = max(gaps)
    assert longest >= at_least_s
    return b"".join(piece for _, piece in heard.pieces[: gaps.index(longest)])


@fronts
@wires
def test_silence_before_the_head_ends_in_a_whole_answer(front: Front, wire: Wire) -> None:
    long = LONG[front]
    heard = ask(front, faulty(faults.SilentBeforeHead(for_s=long)), wire, wire.body(), give_up_s=60 * long)
    assert heard.head_after_s >= long
    assert wire.text(heard.json)


@fronts
@wires
def test_silence_before_the_head_can_be_for_ever_and_costs_the_input(front: Front, wire: Wire) -> None:
    upstream = faulty(faults.SilentBeforeHead())
    heard = ask(front, upstream, wire, wire.body("1234567"), give_up_s=10 * LONG[front])
    assert (heard.response, heard.error) == (None, None)
    served = upstream.statistics().served()
    assert (served.requests, served.input_tokens, served.output_tokens) == (1, 2, 0)


@fronts
@wires
def test_silence_after_the_head_comes_before_any_byte(front: Front, wire: Wire) -> None:
    long = LONG[front]
    heard = ask(front, faulty(faults.SilentAfterHead(for_s=long)), wire, wire.body(stream=True), give_up_s=60 * long)
    assert before_the_gap(heard, 0.9 * long) == b""
    assert wire.streamed_usage(heard.objects)


@fronts
@wires
def test_silence_after_the_head_can_be_for_ever(front: Front, wire: Wire) -> None:
    heard = ask(front, faulty(faults.SilentAfterHead()), wire, wire.body(stream=True), give_up_s=LONG[front])
    assert (heard.status, heard.body, heard.error) == (200, b"", None)


@fronts
@wires
def test_a_late_first_token_comes_after_an_early_opening(front: Front, wire: Wire) -> None:
    long = LONG[front]
    heard = ask(front, faulty(faults.LateFirstToken(by_s=long)), wire, wire.body(stream=True), give_up_s=60 * long)
    early = before_the_gap(heard, 0.9 * long)
    assert early
    assert wire.streamed_text(Heard(body=early).objects) == ""
    assert wire.streamed_text(heard.objects)


@fronts
@wires
def test_a_stall_comes_after_so_many_chunks_and_ends(front: Front, wire: Wire) -> None:
    long = LONG[front]
    fault = faults.Stall(after_chunks=2, for_s=long)
    heard = ask(front, faulty(fault), wire, wire.body(stream=True), give_up_s=60 * long)
    early = before_the_gap(heard, 0.9 * long)
    assert len(wire.streamed_text(Heard(body=early).objects).split()) == 2
    assert wire.streamed_usage(heard.objects)


@fronts
@wires
def test_a_stall_can_be_for_ever_and_costs_what_was_written(front: Front, wire: Wire) -> None:
    upstream = faulty(faults.Stall(after_chunks=4))
    heard = ask(front, upstream, wire, wire.body(stream=True), give_up_s=LONG[front])
    text = wire.streamed_text(heard.objects)
    assert (len(text.split()), heard.error) == (4, None)
    assert upstream.statistics().served().output_tokens == tokens(text)


@fronts
@wires
def test_a_trickle_brings_everything_slowly(front: Front, wire: Wire) -> None:
    rate = 40_000.0 if front == "socket" else 10.0
    heard = ask(front, faulty(faults.Trickle(bytes_per_s=rate)), wire, wire.body("[[words 12]]"), give_up_s=1000)
    seconds = heard.pieces[-1][0] - heard.head_after_s
    assert seconds >= 0.7 * len(heard.body) / rate
    assert len(wire.text(heard.json).split()) == 12


@fronts
@wires
@pytest.mark.parametrize("abrupt", [True, False])
def test_a_connection_breaks_before_the_head(front: Front, wire: Wire, *, abrupt: bool) -> None:
    upstream = faulty(faults.ResetConnection(abrupt=abrupt))
    heard = ask(front, upstream, wire, wire.body())
    assert heard.response is None
    assert isinstance(heard.error, httpx.ReadError if abrupt else httpx.RemoteProtocolError)
    assert upstream.statistics().served().input_tokens > 0


@fronts
@wires
@pytest.mark.parametrize("abrupt", [True, False])
def test_a_connection_breaks_after_the_head(front: Front, wire: Wire, *, abrupt: bool) -> None:
    heard = ask(front, faulty(faults.ResetConnection(at="after_head", abrupt=abrupt)), wire, wire.body(stream=True))
    assert (heard.status, heard.body) == (200, b"")
    assert isinstance(heard.error, httpx.ReadError if abrupt else httpx.RemoteProtocolError)


@fronts
def test_a_refused_connection_costs_nothing_and_the_port_comes_back(front: Front) -> None:
    wire, upstream = OpenAI(), faulty(faults.Refused(), until_s=0.12)
    outcomes: list[Heard] = []

    async def story() -> None:
        async with client_of(front, upstream) as client:
            outcomes.append(await listen(client, wire, wire.body()))
            await trio.sleep(0.18)
            outcomes.append(await listen(client, wire, wire.body()))

    play(front, story)
    refused, answered = outcomes
    assert isinstance(refused.error, httpx.ConnectError)
    assert answered.status == 200
    assert upstream.statistics().served().requests == 1


@fronts
def test_an_outage_that_begins_later_closes_the_port_for_clients_that_were_connected(front: Front) -> None:
    wire, upstream = OpenAI(), faulty(faults.Refused(), from_s=0.12)
    outcomes: list[Heard] = []

    async def story() -> None:
        async with client_of(front, upstream) as client:
            outcomes.append(await listen(client, wire, wire.body()))
            await trio.sleep(0.18)
            outcomes.append(await listen(client, wire, wire.body()))

    play(front, story)
    answered, refused = outcomes
    assert answered.status == 200
    assert isinstance(refused.error, httpx.TransportError)


@fronts
def test_a_refusal_for_one_model_spares_the_others(front: Front) -> None:
    wire = OpenAI()
    upstream = faulty(faults.Refused(), model="gpt-4o")
    outcomes: list[Heard] = []

    async def story() -> None:
        async with client_of(front, upstream) as client:
            outcomes.append(await listen(client, wire, wire.body()))
            outcomes.append(await listen(client, wire, {**wire.body(), "model": "gpt-4o-mini"}))

    play(front, story)
    assert isinstance(outcomes[0].error, httpx.TransportError)
    assert outcomes[1].status == 200
    assert upstream.statistics().served(model="gpt-4o").input_tokens == 0


@fronts
@wires
def test_latency_is_spent_before_the_head_and_between_chunks(front: Front, wire: Wire) -> None:
    long = LONG[front] / 20
    upstream = Upstream(latency=Latency(first_s=long, chunk_s=long / 10))
    heard = ask(front, upstream, wire, wire.body("[[words 6]]", stream=True), give_up_s=1000)
    assert heard.head_after_s >= long
    assert heard.pieces[-1][0] - heard.head_after_s >= 0.4 * long
    whole = ask(front, upstream, wire, wire.body("[[words 6]]"), give_up_s=1000)
    assert whole.head_after_s >= 1.4 * long


def test_jitter_varies_the_latency_within_its_bounds_and_by_the_seed() -> None:
    async def waits(seed: int) -> list[float]:
        upstream = Upstream(Script(seed=seed), latency=Latency(first_s=10, jitter=0.5))
        async with client_of("transport", upstream) as client:
            heard = [await listen(client, OpenAI(), OpenAI().body(f"question {n}")) for n in range(20)]
        return [one.head_after_s for one in heard]

    async def story() -> None:
        first, again, other = await waits(1), await waits(1), await waits(2)
        assert first == pytest.approx(again)
        assert first != pytest.approx(other)
        assert all(5 <= seconds <= 15 for seconds in first)
        assert min(first) < 8
        assert max(first) > 12

    play("transport", story)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(faults.SlowConnect(), httpx.ConnectTimeout), (faults.SlowUpload(), httpx.WriteTimeout)],
    ids=["connect", "upload"],
)
def test_what_never_arrived_ends_in_its_own_timeout_and_costs_nothing(
    fault: Fault, error: type[httpx.TimeoutException]
) -> None:
    upstream = faulty(fault)
    heard = ask("transport", upstream, OpenAI(), OpenAI().body(), read_timeout=5)
    assert type(heard.error) is error
    assert upstream.statistics().served() == Served()


@pytest.mark.parametrize("fault", [faults.SlowConnect(for_s=3), faults.SlowUpload(for_s=3)], ids=["connect", "upload"])
def test_what_arrives_late_is_answered_and_billed(fault: Fault) -> None:
    upstream = faulty(fault)
    heard = ask("transport", upstream, OpenAI(), OpenAI().body("1234567"), read_timeout=5)
    assert heard.status == 200
    assert heard.head_after_s == pytest.approx(3)
    assert upstream.statistics().served().input_tokens == 2


@pytest.mark.parametrize("fault", [faults.SlowConnect(), faults.SlowUpload()], ids=["connect", "upload"])
def test_a_socket_shows_as_silence_what_it_cannot_show(fault: Fault) -> None:
    upstream = faulty(fault)
    heard = ask("socket", upstream, OpenAI(), OpenAI().body(), read_timeout=0.1)
    assert isinstance(heard.error, httpx.ReadTimeout)
    assert upstream.statistics().served() == Served()


READ_TIMEOUTS: list[Fault] = [faults.SilentBeforeHead(), faults.SilentAfterHead(), faults.Stall()]


@fronts
@pytest.mark.parametrize("fault", READ_TIMEOUTS, ids=[faults.fault_name(fault) for fault in READ_TIMEOUTS])
def test_a_read_timeout_ends_a_silence(front: Front, fault: Fault) -> None:
    wire, upstream = OpenAI(), faulty(fault)
    limit = LONG[front] / 2
    heard = ask(front, upstream, wire, wire.body(stream=True), read_timeout=limit, give_up_s=60 * limit)
    assert isinstance(heard.error, httpx.ReadTimeout)


def test_a_read_timeout_counts_from_the_last_byte() -> None:
    wire = OpenAI()
    upstream = Upstream(latency=Latency(chunk_s=9))
    heard = ask("transport", upstream, wire, wire.body(stream=True), read_timeout=10, give_up_s=10_000)
    assert heard.error is None
    assert heard.pieces[-1][0] > 50


def test_a_slow_reader_stops_the_writing_upstream() -> None:
    wire, upstream = OpenAI(), Upstream()

    async def story() -> None:
        transport = RehearsalTransport(upstream, window=2_000)
        body = wire.body("[[words 1000]]", stream=True)
        request = httpx.Request("POST", f"http://rehearsal{wire.path}", json=body, headers=wire.headers)
        response = await transport.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        await trio.sleep(3600)
        for _ in range(3):
            assert len(await anext(aiter(response.stream))) < 2_000
            await trio.sleep(3600)
        assert 0 < upstream.statistics().served().output_tokens < 50
        await response.aclose()
        assert upstream.statistics().served().output_tokens < 50
        assert transport.open_responses == 0

    play("transport", story)


def test_what_was_written_before_the_reader_left_stays_counted() -> None:
    wire = OpenAI()

    def leave_after(seconds: float) -> int:
        upstream = Upstream(latency=Latency(chunk_s=1))

        async def story() -> None:
            async with client_of("transport", upstream) as client:
                body = wire.body("[[words 100]]", stream=True)
                async with client.stream("POST", wire.path, json=body, headers=wire.headers):
                    await trio.sleep(seconds)

        play("transport", story)
        return upstream.statistics().served().output_tokens

    counts = [leave_after(seconds) for seconds in (0, 5, 50, 500)]
    assert counts == sorted(set(counts)), "the longer it was listened to, the more was written"


@fronts
def test_the_window_of_a_rule_opens_and_closes_by_the_clock(front: Front) -> None:
    second = 0.08 if front == "socket" else 100.0
    rule = Rule(fault=faults.Overloaded(), wire="anthropic", from_s=1 * second, until_s=2 * second)
    upstream = Upstream(Script((rule,)))
    statuses: list[tuple[int | None, int | None]] = []

    async def story() -> None:
        async with client_of(front, upstream) as client:
            started = trio.current_time()
            for moment in (0.0, 1.5, 2.5):
                await trio.sleep_until(started + moment * second)
                both = [(await listen(client, wire, wire.body())).status for wire in (OpenAI(), Anthropic())]
                statuses.append((both[0], both[1]))

    play(front, story)
    assert statuses == [(200, 200), (200, 529), (200, 200)]
