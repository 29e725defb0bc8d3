"""What a provider's table says of its connections, through the whole kernel, over real sockets and real TLS."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import trio
import trustme
from http2_loopback import Answer2, Asked2, http2_loopback
from loopback import Asked, Peer, loopback, server_context
from worlds import ANSWER, KEY, openai_body, openai_chunks

import penstock
from penstock import errors

T = TypeVar("T")
LIMIT = 10.0
"""Seconds of real time within which every test must be over."""
WHOLE = msgspec.json.encode(openai_body())
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxies and certificates the machine has, they are none of these tests'."""
    for name in (*PROXIES, "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """Another authority, and the file of its certificate."""
    authority, path = trustme.CA(), tmp_path_factory.mktemp("stranger") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return authority, path


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        with trio.fail_after(LIMIT):
            return await main()

    return trio.run(bounded)


async def answering(peer: Peer) -> None:
    """Chat Completions over HTTP/1.1, whole and streamed."""
    while (asked := await peer.asked()) is not None:
        await peer.say(answer_to(asked.body))


def answer_to(body: bytes) -> bytes:
    if not msgspec.json.decode(body).get("stream"):
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE) + WHOLE
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in openai_chunks()) + b"0\r\n\r\n"


def settings(attempts: int = 1, **providers: dict[str, Any]) -> penstock.Config:
    """Providers that speak Chat Completions, and a route over them in their order."""
    stages = [{"target": f"{name}/gpt-4o", "attempts": attempts} for name in providers]
    tables = {name: {"kind": "openai", "api_key": KEY, **table} for name, table in providers.items()}
    return penstock.Config.from_dict({"providers": tables, "routes": {"default": {"cascade": stages}}}, environ={})


async def asked(kernel: penstock.Kernel, model: str | None = None) -> None:
    """One whole answer and one stream."""
    assert (await kernel.complete("hello", model=model)).text == ANSWER
    async with kernel.stream("hello", model=model) as stream:
        assert "".join([text async for text in stream.text()]) == ANSWER


# Certificates


def test_a_providers_own_certificates_are_found_beside_the_configuration(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "etc"
    (folder / "certificates").mkdir(parents=True)
    authority.cert_pem.write_to_path(folder / "certificates" / "ours.pem")
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with loopback(answering, tls=server_context(authority)) as server:
            (folder / "penstock.toml").write_text(
                f'[providers.inside]\nkind = "openai"\napi_key = "{KEY}"\nbase_url = "{server.url}/v1"\n'
                'ca_file = "certificates/ours.pem"\n[routes.default]\ncascade = ["inside/gpt-4o"]\n',
                encoding="utf-8",
            )
            async with penstock.open_kernel("etc/penstock.toml") as kernel:
                await asked(kernel)
            assert server.connections == 1

    run(main)


def test_each_provider_trusts_its_own_authority_and_no_other(
    authority: trustme.CA, ca_file: str, stranger: tuple[trustme.CA, Path]
) -> None:
    theirs, their_file = stranger

    async def main() -> None:
        async with (
            loopback(answering, tls=server_context(authority)) as one,
            loopback(answering, tls=server_context(theirs)) as other,
        ):
            config = settings(
                ours={"base_url": f"{one.url}/v1", "ca_file": ca_file},
                theirs={"base_url": f"{other.url}/v1", "ca_file": str(their_file)},
                crossed={"base_url": f"{other.url}/v1", "ca_file": ca_file},
                untold={"base_url": f"{one.url}/v1"},
            )
            async with penstock.open_kernel(config) as kernel:
                await asked(kernel, "ours/gpt-4o")
                await asked(kernel, "theirs/gpt-4o")
                for name in ("crossed", "untold"):
                    with pytest.raises(errors.ConnectError, match="certificate"):
                        await kernel.complete("hello", model=f"{name}/gpt-4o")

    run(main)


def test_providers_at_one_address_do_not_wait_for_one_anothers_connections() -> None:
    """One that is silent holds all it may have; the other's calls are answered meanwhile."""

    async def main() -> None:
        silent = trio.Event()

        async def one_model_is_silent(peer: Peer) -> None:
            while (asked := await peer.asked()) is not None:
                if msgspec.json.decode(asked.body)["model"] == "silent":
                    silent.set()
                    await trio.sleep_forever()
                await peer.say(answer_to(asked.body))

        async with loopback(one_model_is_silent) as server, trio.open_nursery() as nursery:
            same = {"base_url": f"{server.url}/v1", "max_connections": 1}
            async with penstock.open_kernel(settings(one=same, other=same)) as kernel:
                for _ in range(2):
                    nursery.start_soon(partial(kernel.complete, "hello", model="one/silent"))
                await silent.wait()
                with trio.fail_after(2):
                    await asked(kernel, "other/gpt-4o")
                nursery.cancel_scope.cancel()

    run(main)


@pytest.mark.parametrize(("apart", "connections"), [({}, 1), ({"trust_env": False}, 2), ({"max_connections": 3}, 2)])
def test_providers_that_are_connected_to_alike_share_their_connections(
    apart: dict[str, Any], connections: int, authority: trustme.CA, ca_file: str
) -> None:
    async def main() -> int:
        async with loopback(answering, tls=server_context(authority)) as server:
            same = {"base_url": f"{server.url}/v1", "ca_file": ca_file}
            async with penstock.open_kernel(settings(one=same, other={**same, **apart})) as kernel:
                await kernel.complete("hello", model="one/gpt-4o")
                await kernel.complete("hello", model="other/gpt-4o")
            return server.connections

    assert run(main) == connections


# The environment


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_of_the_environment_hold_unless_the_provider_says_not(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)

    async def main() -> None:
        async with loopback(answering, tls=server_context(authority)) as server:
            table = {"base_url": f"{server.url}/v1", "trust_env": trusted}
            async with penstock.open_kernel(settings(one=table)) as kernel:
                if trusted:
                    await asked(kernel)
                    return
                with pytest.raises(errors.ConnectError, match="certificate"):
                    await kernel.complete("hello")

    run(main)


def test_proxies_of_the_environment_hold_unless_the_provider_says_not(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    async def between(peer: Peer) -> None:
        while (asked := await peer.asked()) is not None:
            lines.append(asked.line)
            await peer.say(answer_to(asked.body))

    async def main() -> None:
        async with loopback(between) as proxy, loopback(answering) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            # This machine, by an address that is not loopback's: those are always direct.
            url = f"{server.url.replace('127.0.0.1', '0.0.0.0')}/v1"
            config = settings(by={"base_url": url}, direct={"base_url": url, "trust_env": False})
            async with penstock.open_kernel(config) as kernel:
                await asked(kernel, "direct/gpt-4o")
                assert (lines, proxy.connections, server.connections) == ([], 0, 1)
                await asked(kernel, "by/gpt-4o")
                assert server.connections == 1
            assert lines == [f"POST {url}/chat/completions HTTP/1.1"] * 2

    run(main)


# SOCKS


@asynccontextmanager
async def socks_proxy(port: int, hosts: list[str]) -> AsyncGenerator[str]:
    """A SOCKS 5 proxy that leads every name to this port of this machine. Gives its URL."""

    async def pour(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        async for data in source:
            await sink.send_all(data)

    async def serve(client: trio.SocketStream) -> None:
        async with client:
            _, methods = await exactly(client, 2)
            assert 0 in await exactly(client, methods)
            await client.send_all(b"\x05\x00")
            *_, kind, length = await exactly(client, 5)
            assert kind == 3, "a name, for the proxy to look up"
            hosts.append((await exactly(client, length)).decode())
            await exactly(client, 2)
            async with await trio.open_tcp_stream("127.0.0.1", port) as server:
                await client.send_all(b"\x05\x00\x00\x01" + bytes(6))
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(pour, client, server)
                        await pour(server, client)
                        nursery.cancel_scope.cancel()
                except* trio.BrokenResourceError:
                    pass  # one of the two hung up

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"socks5://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = bytes(await stream.receive_some(size - len(data)))
        assert more
        data += more
    return data


def test_calls_go_through_a_socks_proxy_over_tls(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts: list[str] = []

    async def main() -> None:
        async with loopback(answering, tls=server_context(authority, "api.example")) as server:
            async with socks_proxy(int(server.url.rpartition(":")[2]), hosts) as url:
                monkeypatch.setenv("ALL_PROXY", url)
                table = {"base_url": "https://api.example/v1", "ca_file": ca_file}
                async with penstock.open_kernel(settings(one=table)) as kernel:
                    await asked(kernel)

    run(main)
    assert hosts == ["api.example"]


@pytest.mark.parametrize(
    ("proxy", "says"),
    [("socks5://me:canary@proxy:1080", r"httpx\[socks\]"), ("socks://me:canary@proxy:1080", "cannot be used")],
)
def test_a_socks_proxy_that_cannot_be_used_is_a_connect_error_that_says_why(
    proxy: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where it is not installed
    monkeypatch.setenv("ALL_PROXY", proxy)

    async def main() -> None:
        async with penstock.open_kernel(settings(one={"base_url": "https://api.example/v1"})) as kernel:
            with pytest.raises(errors.ConnectError, match=says) as caught:
                await kernel.complete("hello")
            assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"

    run(main)


# HTTP/2


def answer_over_http2(asked: Asked2) -> Answer2:
    if msgspec.json.decode(asked.body).get("stream"):
        return Answer2(openai_chunks(), kind="text/event-stream")
    return Answer2([WHOLE])


def over_http2(
    authority: trustme.CA,
    ca_file: str,
    answer: Callable[[Asked2], Answer2],
    body: Callable[[penstock.Kernel], Awaitable[None]],
    *,
    attempts: int = 1,
    meet: int = 1,
) -> tuple[list[Asked2], int]:
    """What the server was asked over HTTP/2, and over how many connections."""

    async def main() -> tuple[list[Asked2], int]:
        async with http2_loopback(answer, server_context(authority)) as server:
            server.meet = meet
            table = {"base_url": f"{server.url}/v1", "ca_file": ca_file, "http2": True}
            async with penstock.open_kernel(settings(attempts, one=table)) as kernel:
                await body(kernel)
            assert set(server.protocols) == {"h2"}
            return server.asked, server.connections

    return run(main)


def test_answers_and_streams_come_over_http2(authority: trustme.CA, ca_file: str) -> None:
    requests, connections = over_http2(authority, ca_file, answer_over_http2, asked)
    assert connections == 1
    assert [each.headers[":method"] for each in requests] == ["POST", "POST"]
    assert [each.headers[":path"] for each in requests] == ["/v1/chat/completions"] * 2
    assert [each.headers["authorization"] for each in requests] == [f"Bearer {KEY}"] * 2


def test_calls_at_once_share_a_connection_over_http2(authority: trustme.CA, ca_file: str) -> None:
    async def once(kernel: penstock.Kernel) -> None:
        assert (await kernel.complete("hello")).text == ANSWER

    async def body(kernel: penstock.Kernel) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(once, kernel)

    # None is answered before all have come, so they are under way together.
    requests, connections = over_http2(authority, ca_file, answer_over_http2, body, meet=8)
    assert len(requests) == 8
    assert connections == 1


def test_an_error_over_http2_is_retried_with_the_same_key(authority: trustme.CA, ca_file: str) -> None:
    busy = Answer2([b'{"error": {"message": "slow down"}}'], 429, headers=[("retry-after-ms", "1")])
    answers = iter([busy, busy, Answer2([WHOLE])])

    async def body(kernel: penstock.Kernel) -> None:
        response = await kernel.complete("hello")
        assert [attempt.outcome for attempt in response.attempts] == ["rate_limited", "rate_limited", "ok"]

    requests, connections = over_http2(authority, ca_file, lambda _: next(answers), body, attempts=3)
    assert connections == 1
    assert len({each.headers["idempotency-key"] for each in requests}) == 1


def test_a_stream_that_is_reset_over_http2_never_looks_complete(authority: trustme.CA, ca_file: str) -> None:
    async def body(kernel: penstock.Kernel) -> None:
        with pytest.raises(errors.CallError) as caught:
            async with kernel.stream("hello") as stream:
                async for _ in stream:
                    pass
        assert isinstance(caught.value, errors.TransportError)

    over_http2(authority, ca_file, lambda _: Answer2(openai_chunks()[:3], kind="text/event-stream", cut=True), body)


def test_a_server_without_http2_is_spoken_to_as_it_can(authority: trustme.CA, ca_file: str) -> None:
    seen: list[Asked] = []

    async def script(peer: Peer) -> None:
        while (request := await peer.asked()) is not None:
            seen.append(request)
            await peer.say(answer_to(request.body))

    async def main() -> None:
        context = server_context(authority)
        context.set_alpn_protocols(["http/1.1"])
        async with loopback(script, tls=context) as server:
            table = {"base_url": f"{server.url}/v1", "ca_file": ca_file, "http2": True}
            async with penstock.open_kernel(settings(one=table)) as kernel:
                await asked(kernel)

    run(main)
    assert [each.line for each in seen] == ["POST /v1/chat/completions HTTP/1.1"] * 2
