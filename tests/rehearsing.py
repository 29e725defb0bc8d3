"""Asking a rehearsal upstream through either front, for the tests of the rehearsal.

Not here: penstock. What the upstream writes is read here with nothing but httpx and json.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

import attrs
import httpx
import trio
import trio.testing

from penstock_plugins.rehearsal import Fault, RehearsalTransport, Rule, Script, Upstream, serve

__all__ = [
    "FRONTS",
    "OPENAI_KEY",
    "Anthropic",
    "Front",
    "Heard",
    "OpenAI",
    "Wire",
    "ask",
    "client_of",
    "encoded",
    "faulty",
    "listen",
    "play",
    "raw",
    "talk",
    "tokens",
]

Front: TypeAlias = Literal["socket", "transport"]
FRONTS: tuple[Front, ...] = ("socket", "transport")
OPENAI_KEY = "sk-canary-1"


@attrs.frozen
class OpenAI:
    """How Chat Completions is asked."""

    name: str = "openai"
    model: str = "gpt-4o"
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = attrs.Factory(lambda: {"authorization": f"Bearer {OPENAI_KEY}"})

    def body(self, prompt: str = "How deep is the lake?", *, stream: bool = False, **more: Any) -> dict[str, Any]:
        options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        return {"model": self.model, "messages": [{"role": "user", "content": prompt}], **options, **more}

    def text(self, body: Any) -> str:
        return str(body["choices"][0]["message"]["content"])

    def usage(self, body: Any) -> tuple[int, int]:
        return body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]

    def streamed_text(self, events: list[Any]) -> str:
        return "".join(choice["delta"].get("content") or "" for event in events for choice in event.get("choices", ()))

    def streamed_usage(self, events: list[Any]) -> tuple[int, int] | None:
        return next((self.usage(event) for event in events if event.get("usage")), None)


@attrs.frozen
class Anthropic:
    """How Messages is asked."""

    name: str = "anthropic"
    model: str = "claude-sonnet-4-20250514"
    path: str = "/v1/messages"
    headers: dict[str, str] = attrs.Factory(lambda: {"x-api-key": "sk-canary-2", "anthropic-version": "2023-06-01"})

    def body(self, prompt: str = "How deep is the lake?", *, stream: bool = False, **more: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        return {"model": self.model, "max_tokens": 4096, "messages": messages, "stream": stream, **more}

    def text(self, body: Any) -> str:
        return "".join(block["text"] for block in body["content"] if block["type"] == "text")

    def usage(self, body: Any) -> tuple[int, int]:
        return body["usage"]["input_tokens"], body["usage"]["output_tokens"]

    def streamed_text(self, events: list[Any]) -> str:
        return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")

    def streamed_usage(self, events: list[Any]) -> tuple[int, int] | None:
        opening = next((event["message"].get("usage") for event in events if event["type"] == "message_start"), None)
        ending = next((event.get("usage") for event in events if event["type"] == "message_delta"), None)
        return None if not opening or not ending else (opening["input_tokens"], ending["output_tokens"])


Wire: TypeAlias = OpenAI | Anthropic


@attrs.define
class Heard:
    """What a client heard, to the end or to the error."""

    response: httpx.Response | None = None
    body: bytes = b""
    error: httpx.TransportError | None = None
    gave_up: bool = False
    """It was silent for too long."""
    head_after_s: float = 0.0
    pieces: list[tuple[float, bytes]] = attrs.Factory(list[tuple[float, bytes]])
    """Every piece with the seconds since the request."""

    @property
    def status(self) -> int | None:
        return None if self.response is None else self.response.status_code

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The JSON of every event that came whole; `[DONE]` as the string."""
        whole = self.body[: self.body.rfind(b"\n\n") + 2].decode()
        lines = [line.removeprefix("data: ") for line in whole.split("\n") if line.startswith("data: ")]
        return ["[DONE]" if line == "[DONE]" else json.loads(line) for line in lines]

    @property
    def objects(self) -> list[Any]:
        """The events that are JSON."""
        return [event for event in self.events if event != "[DONE]"]


class Upload(httpx.AsyncByteStream):
    """A body in one piece. httpx's own is a generator, which is left open where the connection breaks meanwhile."""

    def __init__(self, body: bytes) -> None:
        self._pieces = [body]

    def __aiter__(self) -> Upload:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop()


def faulty(fault: Fault, **conditions: Any) -> Upstream:
    """An upstream with one fault."""
    return Upstream(Script((Rule(fault=fault, **conditions),), seed=7))


@asynccontextmanager
async def client_of(
    front: Front, upstream: Upstream, *, read_timeout: float | None = None
) -> AsyncGenerator[httpx.AsyncClient]:
    """A client whose base URL is the upstream."""
    if front == "transport":
        transport = RehearsalTransport(upstream)
        async with httpx.AsyncClient(transport=transport, base_url="http://rehearsal", timeout=read_timeout) as client:
            yield client
        assert transport.open_responses == 0
    else:
        # The client first: it loads certificates for longer than some windows of time are open.
        async with httpx.AsyncClient(timeout=read_timeout, trust_env=False) as client, serve(upstream) as server:
            client.base_url = httpx.URL(server.url)
            yield client
    assert upstream.statistics().in_flight == 0


async def listen(client: httpx.AsyncClient, wire: Wire, body: dict[str, Any], *, give_up_s: float = 60.0) -> Heard:
    """Asks, and hears what comes; after `give_up_s` it is left."""
    heard = Heard()
    started = trio.current_time()
    with trio.move_on_after(give_up_s) as patience:
        try:
            request = client.build_request("POST", wire.path, json=body, headers=wire.headers)
            request.stream = Upload(request.content)
            heard.response = await client.send(request, stream=True)
            heard.head_after_s = trio.current_time() - started
            try:
                async for piece in heard.response.aiter_raw():
                    heard.pieces.append((trio.current_time() - started, piece))
                    heard.body += piece
            finally:
                await heard.response.aclose()
        except httpx.TransportError as error:
            heard.error = error
    heard.gave_up = patience.cancelled_caught
    return heard


def play(front: Front, story: Callable[[], Awaitable[None]]) -> None:
    """Runs a story: in virtual time where no socket is near."""
    clock = trio.testing.MockClock(autojump_threshold=0) if front == "transport" else None
    trio.run(story, clock=clock)


def ask(
    front: Front,
    upstream: Upstream,
    wire: Wire,
    body: dict[str, Any],
    *,
    give_up_s: float = 60.0,
    read_timeout: float | None = None,
) -> Heard:
    """One request to an upstream of its own."""
    heard: list[Heard] = []

    async def story() -> None:
        async with client_of(front, upstream, read_timeout=read_timeout) as client:
            heard.append(await listen(client, wire, body, give_up_s=give_up_s))

    play(front, story)
    return heard[0]


def tokens(text: str) -> int:
    """The rule the upstream states: bytes by four, rounded up."""
    return (len(text.encode()) + 3) // 4


async def talk(port: int, sent: bytes, *, enough: bytes = b"") -> bytes:
    """Sends bytes and hears everything until the server closes, or until `enough` was heard."""
    heard = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with trio.fail_after(5):
            await stream.send_all(sent)
            while not enough or enough not in heard:
                piece = await stream.receive_some(65_536)
                if not piece:
                    break
                heard += bytes(piece)
    return heard


def raw(body: bytes = b"{}", *, headers: str = "", path: str = "/v1/chat/completions") -> bytes:
    """A request as bytes, with its length."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def encoded(value: Any) -> bytes:
    """JSON as httpx sends it."""
    return httpx.Request("POST", "http://x", json=value).content
