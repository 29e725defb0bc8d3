"""Which transport a URL takes, and that both kinds behave alike."""

from __future__ import annotations

import gzip
import sys

import httpx
import pytest
import trio
from loopback import OK, Asked, Peer, fetch, forever, loopback, post

from penstock._transport import RoutingTransport, Transport, default_transport
from penstock._transport.proxies import Proxies

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://api.example/", None),
        ({"HTTPS_PROXY": PROXY}, "https://api.example/", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://api.example/", None),
        ({"http_proxy": "proxy.example:3128"}, "http://api.example/", PROXY),
        ({"ALL_PROXY": PROXY}, "http://api.example/", PROXY),
        ({"all_proxy": "socks5://p:1080", "https_proxy": PROXY}, "https://api.example/", PROXY),
        ({"HTTPS_PROXY": "http://other", "https_proxy": PROXY}, "https://api.example/", PROXY),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://api.example/", None),
        ({"HTTPS_PROXY": ""}, "https://api.example/", None),
    ],
)
def test_the_environment_names_the_proxy(environ: dict[str, str], url: str, proxy: str | None) -> None:
    assert Proxies.of(environ).proxy_for(httpx.URL(url)) == proxy


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/",
        "http://127.8.9.10/",
        "https://localhost/",
        "http://model.localhost/",
        "http://[::1]:8080/",
    ],
)
def test_loopback_is_always_direct(url: str) -> None:
    assert Proxies.of({"ALL_PROXY": PROXY}).proxy_for(httpx.URL(url)) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "https://api.example/", True),
        ("api.example", "https://api.example/", True),
        ("example", "https://api.example/", True),
        (".example", "https://api.example/", True),
        ("*.example", "https://api.example/", True),
        ("other.org, API.Example ,", "https://api.example/", True),
        ("ample", "https://api.example/", False),
        ("api.example.org", "https://api.example/", False),
        ("api.example:443", "https://api.example/", True),
        ("api.example:8443", "https://api.example/", False),
        ("https://api.example", "https://api.example/", True),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.1.2.3:443", "https://10.1.2.3/", True),
        ("fd00::/8", "https://[fd00::1]/", True),
        ("[fd00::1]:443", "https://[fd00::1]/", True),
        ("1.2.3.4", "https://api.example/", False),
        (",", "https://api.example/", False),
    ],
)
def test_no_proxy_exempts_hosts_networks_and_ports(no_proxy: str, url: str, *, direct: bool) -> None:
    proxies = Proxies.of({"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert (proxies.proxy_for(httpx.URL(url)) is None) is direct


def test_a_password_of_a_proxy_is_not_shown() -> None:
    assert "secret" not in repr(Proxies.of({"HTTPS_PROXY": "http://user:secret@proxy.example"}))


def test_without_proxies_ours_is_used_alone() -> None:
    assert isinstance(default_transport(environ={}), Transport)
    assert isinstance(default_transport(environ={"ALL_PROXY": PROXY}, trust_env=False), Transport)
    assert isinstance(default_transport(environ={"ALL_PROXY": PROXY}), RoutingTransport)


def test_a_proxy_gets_what_is_for_it_and_the_rest_goes_direct() -> None:
    seen: list[str] = []

    async def proxy(peer: Peer) -> None:
        while (asked := await peer.asked()) is not None:
            seen.append(asked.line)
            body = gzip.compress(b"by proxy")
            head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
            await peer.say(head + body)

    async def main() -> None:
        async with loopback(proxy) as between, loopback(forever) as server:
            environ = {"HTTP_PROXY": between.url, "NO_PROXY": "exempt.example"}
            async with default_transport(environ=environ) as transport:
                assert await fetch(transport, post("http://api.example/v1")) == (200, b"by proxy")
                assert await fetch(transport, post(server.url)) == (200, b"ok")
        assert server.connections == 1

    trio.run(main)
    assert seen == ["POST http://api.example/v1 HTTP/1.1"]


@pytest.mark.parametrize("proxy", ["socks4://user:secret@proxy", "http://user:secret@a:b"])
def test_a_proxy_that_cannot_be_used_is_an_error_that_shows_no_password(proxy: str) -> None:
    async def main() -> None:
        async with default_transport(environ={"ALL_PROXY": proxy}) as transport:
            with pytest.raises(httpx.ProxyError) as caught:
                await fetch(transport, post("http://api.example/"))
            assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"

    trio.run(main)


def test_a_ca_file_that_is_not_there_is_noticed_at_once() -> None:
    with pytest.raises(OSError, match="No such file"):
        default_transport(ca_file="/nowhere/ca.pem", environ={})


def test_ours_and_httpx_own_transport_give_the_same_response() -> None:
    answer = (
        b"HTTP/1.1 429 Slow Down\r\nRetry-After: 3\r\nX-Twice: a\r\nX-Twice: b\r\n"
        b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    seen: list[Asked | None] = []

    async def script(peer: Peer) -> None:
        while (asked := await peer.asked()) is not None:
            seen.append(asked)
            await peer.say(answer)

    async def main() -> None:
        async with loopback(script) as server:
            found: list[tuple[object, ...]] = []
            for transport in (Transport(), httpx.AsyncHTTPTransport()):
                async with httpx.AsyncClient(transport=transport, headers={"user-agent": "t"}) as client:
                    response = await client.post(server.url, json={"a": 1})
                    found.append(
                        (
                            response.status_code,
                            response.reason_phrase,
                            response.http_version,
                            response.headers.raw,
                            response.content,
                        )
                    )
            assert found[0] == found[1]

    trio.run(main)
    assert seen[0] == seen[1]


def test_http2_without_its_package_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)  # as where it is not installed
    with pytest.raises(ImportError, match="penstock\\[http2\\]"):
        default_transport(http2=True, environ={})


def test_a_socks_proxy_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)

    async def main() -> None:
        async with default_transport(environ={"ALL_PROXY": "socks5://user:secret@proxy:1080"}) as transport:
            with pytest.raises(httpx.ProxyError, match="httpx\\[socks\\]") as caught:
                await fetch(transport, post("http://api.example/"))
            assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"

    trio.run(main)


def test_plain_http_stays_with_ours_even_where_http2_is_asked_for() -> None:
    async def main() -> None:
        async with loopback(forever) as server:
            direct = Transport(environ={})
            routing = RoutingTransport(direct, Proxies.of({}), {}, ca_file=None, max_connections=8, http2=True)
            async with routing:
                assert await fetch(routing, post(server.url)) == (200, OK[-2:])
                assert direct.statistics().idle == 1

    trio.run(main)
