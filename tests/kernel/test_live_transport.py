"""Whole calls over real loopback sockets and the default transport, against upstreams that misbehave on the wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import httpx
import msgspec
import pytest
import trio
from loopback import Peer, Script, loopback, open_sockets, saying
from worlds import ANSWER, KEY, openai_body, openai_chunks

import penstock
from penstock import errors

LIMIT = 3.0
"""Seconds of real time within which every test must be over, however badly the upstream behaves."""
SHORT = 0.4
"""Seconds: the timeouts of tests that wait for one."""


def http(body: bytes, *, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


WHOLE = http(msgspec.json.encode(openai_body()))
STREAM = chunked(*openai_chunks())
HTML = b"<html><head><title>Welcome to nginx!</title></head></html>"


async def say_nothing(peer: Peer) -> None:
    while await peer.asked() is not None:
        pass


async def hang_up(peer: Peer) -> None:
    """Closes before anything was asked."""


async def hang_up_when_asked(peer: Peer) -> None:
    await peer.asked()


async def reset_when_asked(peer: Peer) -> None:
    await peer.asked()
    await peer.reset()


def then_silence(start: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say(start)
        await peer.asked()  # which ends when the client closes

    return script


def then_reset(start: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.say(start)
        await trio.sleep(0.02)
        await peer.reset()

    return script


async def drip(peer: Peer) -> None:
    """A byte of the head now and then: never silent, never done."""
    await peer.asked()
    for byte in WHOLE:
        await peer.say(bytes([byte]))
        await trio.sleep(0.02)


@attrs.frozen
class Bad:
    """What an upstream does, what it is called, and what the sentence must name."""

    script: Script
    complete: type[errors.CallError]
    stream: type[errors.CallError]
    says: str


MALFORMED, LOST, BROKEN = errors.MalformedResponseError, errors.ConnectionLostError, errors.StreamBrokenError
NO_HEAD = "the server hung up before a whole HTTP/1.1 head had come"
UPSTREAMS = {
    "HTML with a 200": Bad(saying(http(HTML, kind="text/html")), MALFORMED, MALFORMED, "live/gpt-4o: "),
    "HTML with a 502": Bad(
        saying(http(HTML, status="502 Bad Gateway", kind="text/html")),
        errors.ServerError,
        errors.ServerError,
        "live/gpt-4o: .*502",
    ),
    "HTTP/0.9": Bad(saying(HTML), LOST, LOST, f"live/gpt-4o was lost: {NO_HEAD}"),
    "another protocol": Bad(saying(b"SSH-2.0-OpenSSH_9.6\r\n"), LOST, LOST, f"live/gpt-4o was lost: {NO_HEAD}"),
    "HTTP/2 unasked": Bad(
        saying(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18),
        MALFORMED,
        MALFORMED,
        "does not speak HTTP/1.1",
    ),
    "a head without end": Bad(
        saying(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 20_000), MALFORMED, MALFORMED, "does not speak HTTP/1.1"
    ),
    "hangs up at once": Bad(hang_up, LOST, LOST, "the connection to live/gpt-4o was lost"),
    "hangs up when asked": Bad(hang_up_when_asked, LOST, LOST, "the connection to live/gpt-4o was lost"),
    "resets when asked": Bad(reset_when_asked, LOST, LOST, "the connection to live/gpt-4o was lost"),
    "says nothing, ever": Bad(say_nothing, errors.TotalTimeoutError, errors.FirstTokenTimeoutError, "live/gpt-4o"),
    "a head and silence": Bad(
        then_silence(WHOLE[:60]), errors.TotalTimeoutError, errors.FirstTokenTimeoutError, "live/gpt-4o"
    ),
    "a byte now and then": Bad(drip, errors.TotalTimeoutError, errors.FirstTokenTimeoutError, "live/gpt-4o"),
    "a body that is cut": Bad(saying(WHOLE[:-9]), MALFORMED, BROKEN, "the response was cut"),
    "a body that is reset": Bad(then_reset(WHOLE[:-9]), MALFORMED, BROKEN, "the response was cut"),
    "a stream without its end": Bad(saying(chunked(*openai_chunks()[:1], end=b"")), MALFORMED, BROKEN, "live/gpt-4o: "),
    "an empty 200": Bad(saying(http(b"")), MALFORMED, BROKEN, "live/gpt-4o: "),
    "204": Bad(saying(b"HTTP/1.1 204 No Content\r\n\r\n"), MALFORMED, BROKEN, "live/gpt-4o: "),
    "a redirect": Bad(
        saying(http(b"", status="302 Found", extra="location: http://127.0.0.1:1/\r\n")),
        errors.ProviderError,
        errors.ProviderError,
        "live/gpt-4o: .*302",
    ),
    "a switch of protocols": Bad(
        saying(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"),
        MALFORMED,
        MALFORMED,
        "does not speak HTTP/1.1",
    ),
    "a length that is none": Bad(
        saying(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}"),
        MALFORMED,
        MALFORMED,
        "does not speak HTTP/1.1",
    ),
    "a chunk that is none": Bad(
        saying(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}"),
        MALFORMED,
        MALFORMED,
        "live/gpt-4o",
    ),
}


def settings(url: str, attempts: int = 1, **tables: Any) -> penstock.Config:
    return penstock.Config.from_dict(
        {
            "providers": {"live": {"kind": "openai", "api_key": KEY, "base_url": f"{url}/v1"}},
            "routes": {"default": {"cascade": [{"target": "live/gpt-4o", "attempts": attempts}]}},
            **tables,
        },
        environ={},
    )


IMPATIENT: dict[str, Any] = {"defaults": {"timeouts": {"total": 2 * SHORT, "first_token": SHORT, "connect": 2}}}


def live(main: Callable[[], Awaitable[None]]) -> None:
    """Runs `main` with the real clock; afterwards no socket is left."""

    async def bounded() -> None:
        with trio.fail_after(LIMIT):
            await main()

    before = open_sockets()
    trio.run(bounded)
    assert open_sockets() <= before


async def completed(kernel: penstock.Kernel) -> str:
    return (await kernel.complete("hello")).text


async def streamed(kernel: penstock.Kernel) -> str:
    async with kernel.stream("hello") as stream:
        return "".join([text async for text in stream.text()])


@pytest.mark.slow
@pytest.mark.parametrize("name", UPSTREAMS)
def test_an_upstream_that_misbehaves_is_one_clear_error_in_time_and_nothing_is_left(name: str) -> None:
    bad = UPSTREAMS[name]

    async def main() -> None:
        async with loopback(bad.script) as server:
            for call, kind in ((completed, bad.complete), (streamed, bad.stream)):
                async with penstock.open_kernel(settings(server.url, **IMPATIENT)) as kernel:
                    with pytest.raises(kind, match=bad.says) as caught:
                        await call(kernel)
                    (attempt,) = caught.value.attempts
                    assert attempt.error is caught.value
                    assert KEY not in str(caught.value)
                    snapshot = await kernel.snapshot()
                    assert snapshot.in_flight == 0
                    assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())
            await server.all_closed()

    live(main)


@pytest.mark.parametrize("name", UPSTREAMS)
def test_a_call_survives_an_upstream_that_misbehaves_once(name: str) -> None:
    first = [UPSTREAMS[name].script]

    async def script(peer: Peer) -> None:
        if first:
            await first.pop()(peer)
            return
        while (asked := await peer.asked()) is not None:
            await peer.say(STREAM if msgspec.json.decode(asked.body).get("stream") else WHOLE)

    async def main() -> None:
        async with loopback(script) as server:
            url = server.url
            config = settings(url, **IMPATIENT)
            config = attrs.evolve(
                config,
                providers={**config.providers, "other": attrs.evolve(config.providers["live"], name="other")},
                routes={"default": settings_route("live/gpt-4o", "other/gpt-4o")},
            )
            async with penstock.open_kernel(config) as kernel:
                response = await kernel.complete("hello")
                assert response.text == ANSWER
                assert response.attempts[0].outcome != "ok"
                assert await streamed(kernel) == ANSWER
            await server.all_closed()

    live(main)


def settings_route(*targets: str) -> Any:
    stages = [{"target": target, "attempts": 2} for target in targets]
    providers = {name: {"kind": "openai", "api_key": KEY} for name in ("live", "other")}
    return penstock.Config.from_dict(
        {"providers": providers, "routes": {"default": {"cascade": stages}}}, environ={}
    ).routes["default"]


def test_nobody_listens_is_told_as_no_connection() -> None:
    async def main() -> None:
        async with penstock.open_kernel(settings("http://127.0.0.1:1")) as kernel:
            with pytest.raises(errors.ConnectError, match="no connection to live/gpt-4o"):
                await kernel.complete("hello")

    live(main)


def test_a_name_that_does_not_exist_is_told_as_no_connection() -> None:
    async def main() -> None:
        async with penstock.open_kernel(settings("http://nowhere.invalid")) as kernel:
            with pytest.raises(errors.ConnectError, match="no connection to live/gpt-4o"):
                await kernel.complete("hello")

    live(main)


def test_plain_http_behind_https_is_told_as_no_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port")

    async def main() -> None:
        async with loopback(script) as server:
            async with penstock.open_kernel(settings(server.url.replace("http:", "https:"))) as kernel:
                with pytest.raises(errors.ConnectError, match="no connection to live/gpt-4o"):
                    await kernel.complete("hello")

    live(main)


def test_a_connection_is_used_again_and_one_that_died_meanwhile_costs_no_attempt() -> None:
    async def main() -> None:
        async with loopback(saying(WHOLE, STREAM)) as server:  # hangs up after two
            async with penstock.open_kernel(settings(server.url)) as kernel:
                assert (await kernel.complete("one")).text == ANSWER
                assert await streamed(kernel) == ANSWER
                assert server.connections == 1
                response = await kernel.complete("three")
                assert response.text == ANSWER
                assert server.connections == 2
                assert response.attempts[-1].outcome == "ok"

    live(main)


def test_a_stream_that_is_cut_after_it_was_shown_tells_what_had_come() -> None:
    async def main() -> None:
        shown = chunked(*openai_chunks()[:3], end=b"")
        async with loopback(saying(shown)) as server:
            async with penstock.open_kernel(settings(server.url, attempts=3)) as kernel:
                with pytest.raises(errors.StreamBrokenError) as caught:
                    await streamed(kernel)
                assert caught.value.partial
                assert ANSWER.startswith(caught.value.partial)
                assert server.connections == 1, "what was shown is not asked for again"

    live(main)


ALL_BUT_THE_END = openai_chunks()[:-1]
IN_PLACE_OF_THE_END: dict[str, Script] = {
    "nothing more": saying(chunked(*ALL_BUT_THE_END, end=b"")),
    "a reset": then_reset(chunked(*ALL_BUT_THE_END, end=b"")),
    "a chunk that is none": saying(chunked(*ALL_BUT_THE_END, end=b"zz\r\n{}")),
    "a chunk that is none, after a moment": then_silence(chunked(*ALL_BUT_THE_END, end=b"zz\r\n{}")),
    "a chunk that is cut": saying(chunked(*ALL_BUT_THE_END, end=b"10\r\ndata: [DO")),
    "a chunk longer than it says": saying(chunked(*ALL_BUT_THE_END, end=b"2\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")),
    "half an event": saying(chunked(*ALL_BUT_THE_END, b'data: {"id\n\n')),
}


@pytest.mark.parametrize("transport", [None, httpx.AsyncHTTPTransport], ids=["ours", "httpx"])
@pytest.mark.parametrize("name", IN_PLACE_OF_THE_END)
def test_a_stream_whose_answer_has_come_is_whole_whatever_comes_in_the_place_of_its_end(
    name: str, transport: Callable[[], httpx.AsyncBaseTransport] | None
) -> None:
    async def main() -> None:
        for commit in ("first_content", "whole"):
            async with loopback(IN_PLACE_OF_THE_END[name]) as server:
                given = transport and transport()
                async with penstock.open_kernel(settings(server.url), transport=given) as kernel:
                    async with kernel.stream("hello", commit=commit) as stream:
                        text = "".join([text async for text in stream.text()])
                    assert (text, stream.response.finish_reason) == (ANSWER, "stop")
                    assert stream.response.usage == penstock.Usage(input_tokens=11, output_tokens=3)
                if given is not None:
                    await given.aclose()

    live(main)


@pytest.mark.parametrize("transport", [None, httpx.AsyncHTTPTransport], ids=["ours", "httpx"])
@pytest.mark.parametrize(
    ("script", "complete", "stream"),
    [
        (hang_up_when_asked, LOST, LOST),
        (reset_when_asked, LOST, LOST),
        (saying(b"\x00\x00\x12\x04\x00\r\n\r\n"), MALFORMED, MALFORMED),
        (saying(WHOLE[:-9]), MALFORMED, BROKEN),
        (saying(chunked(*openai_chunks()[:3], end=b"")), MALFORMED, BROKEN),
        (saying(chunked(*openai_chunks()[:3], end=b"zz\r\n{}")), MALFORMED, errors.TransportError),
    ],
)
def test_what_a_connection_did_is_told_by_its_kind_and_not_by_its_words_whichever_transport_it_is(
    script: Script,
    complete: type[Exception],
    stream: type[Exception],
    transport: Callable[[], httpx.AsyncBaseTransport] | None,
) -> None:
    async def main() -> None:
        for call, kind in ((completed, complete), (streamed, stream)):
            async with loopback(script) as server:
                given = transport and transport()
                async with penstock.open_kernel(settings(server.url), transport=given) as kernel:
                    with pytest.raises(kind):
                        await call(kernel)
                if given is not None:
                    await given.aclose()

    live(main)


def test_a_stream_that_falls_silent_after_it_was_shown_ends_in_time() -> None:
    async def main() -> None:
        async with loopback(then_silence(chunked(*openai_chunks()[:3], end=b""))) as server:
            tables: dict[str, Any] = {"defaults": {"timeouts": {"idle": SHORT}}}
            async with penstock.open_kernel(settings(server.url, **tables)) as kernel:
                began = trio.current_time()
                with pytest.raises(errors.StreamBrokenError, match=rf"fell silent for {SHORT} s \(idle\)"):
                    await streamed(kernel)
                assert trio.current_time() - began < 5
            await server.all_closed()

    live(main)


def test_leaving_a_stream_closes_its_connection_at_once() -> None:
    async def main() -> None:
        async with loopback(then_silence(chunked(*openai_chunks()[:3], end=b""))) as server:
            async with penstock.open_kernel(settings(server.url)) as kernel:
                async with kernel.stream("hello") as stream:
                    await anext(stream)
                    assert server.open == 1
                with trio.fail_after(5):
                    await server.all_closed()

    live(main)


def test_a_call_that_its_caller_leaves_closes_its_connection_at_once() -> None:
    async def main() -> None:
        async with loopback(say_nothing) as server:
            async with penstock.open_kernel(settings(server.url)) as kernel:
                with trio.move_on_after(SHORT):
                    await kernel.complete("hello")
                with trio.fail_after(5):
                    await server.all_closed()

    live(main)


def test_closing_the_kernel_closes_idle_connections() -> None:
    async def main() -> None:
        async with loopback(saying(*[WHOLE] * 9)) as server:
            async with penstock.open_kernel(settings(server.url)) as kernel:
                await kernel.complete("hello")
                assert server.open == 1
            with trio.fail_after(5):
                await server.all_closed()

    live(main)


def test_the_key_is_sent_where_it_belongs_and_nowhere_else() -> None:
    seen: list[tuple[dict[str, str], bytes]] = []

    async def script(peer: Peer) -> None:
        asked = await peer.asked()
        assert asked is not None
        seen.append((asked.headers, asked.body))
        await peer.say(WHOLE)

    async def main() -> None:
        async with loopback(script) as server, penstock.open_kernel(settings(server.url)) as kernel:
            await kernel.complete("hello")

    live(main)
    ((headers, body),) = seen
    assert headers.pop("authorization") == f"Bearer {KEY}"
    assert KEY not in f"{headers}{body!r}"


def test_where_a_server_closes_kept_connections_unsaid_every_call_is_answered_at_its_second_try() -> None:
    async def closes_unsaid(peer: Peer) -> None:
        if await peer.asked() is not None:
            await trio.sleep(0.002)
            await peer.say(WHOLE)
            await trio.sleep(0.001)

    async def main() -> None:
        async with loopback(closes_unsaid) as server:
            provider = {"kind": "openai", "api_key": KEY, "base_url": f"{server.url}/v1", "max_connections": 4}
            tables = {"providers": {"live": provider}, "routes": {"default": {"cascade": ["live/gpt-4o"]}}}
            tries: list[int] = []

            async def calls(kernel: penstock.Kernel) -> None:
                tries.extend([len((await kernel.complete("hello", timeout=20)).attempts) for _ in range(8)])

            async with penstock.open_kernel(penstock.Config.from_dict(tables, environ={})) as kernel:
                async with trio.open_nursery() as nursery:
                    for _ in range(24):
                        nursery.start_soon(calls, kernel)
            assert len(tries) == 24 * 8
            assert max(tries) == 2

    trio.run(main)
