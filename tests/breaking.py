"""Streams that break: a scripted upstream of both wires that can be cut anywhere, and a consumer that obeys markers.

The upstream goes on from a prefill as a model would: with the rest of its one answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import httpx
import msgspec
from worlds import anthropic_body, anthropic_chunks, config, is_stream, model_of, openai_body, openai_chunks

import penstock
from penstock import errors
from penstock._events import Event
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence

TEXT = "The answer is forty-two, as is well known."
PREFILL_REFUSED = Reply(
    400,
    json={
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": (
                "This model does not support assistant message prefill. The conversation must end with a user message."
            ),
        },
        "request_id": "req_011CczucEpAJhxQrXmpnodCV",
    },
    headers=[("x-should-retry", "false"), ("request-id", "req_011CczucEpAJhxQrXmpnodCV")],
)
"""As it was recorded: `recordings/anthropic-messages/activeagent--structured_output-anthropic_json--0.json`."""
LOST = httpx.RemoteProtocolError("peer closed connection without sending complete message body")

Scripted = Answer | Callable[[httpx.Request], Answer]


def body_of(request: httpx.Request) -> dict[str, Any]:
    """What was asked, as JSON."""
    return msgspec.json.decode(request.content, type=dict[str, Any])


def prefill_of(request: httpx.Request) -> str:
    """The beginning of the answer that the request ends in, as text; empty where there is none."""
    last = body_of(request)["messages"][-1]
    if last["role"] != "assistant":
        return ""
    content = last["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def is_anthropic(request: httpx.Request) -> bool:
    """Which of the two wires it speaks."""
    return request.url.path.endswith("/messages")


def rest_of(request: httpx.Request, text: str = TEXT) -> str:
    """What is left to say after the prefill."""
    return text.removeprefix(prefill_of(request))


def whole(request: httpx.Request, text: str = TEXT) -> Reply:
    """The answer, or what is left of it."""
    text, anthropic = rest_of(request, text), is_anthropic(request)
    if is_stream(request):
        return Reply(chunks=anthropic_chunks(text) if anthropic else openai_chunks(text))
    return Reply(json=anthropic_body(text) if anthropic else openai_body(text))


def chunks_of(request: httpx.Request, pieces: int, text: str = TEXT) -> list[bytes]:
    """The stream of the answer up to so many pieces of three characters."""
    text = rest_of(request, text)
    return anthropic_chunks(text)[: 2 + pieces] if is_anthropic(request) else openai_chunks(text)[: 1 + pieces]


def cut(pieces: int, *, clean: bool = False, pause: float = 0.0) -> Callable[[httpx.Request], Reply]:
    """The connection breaks after so many pieces; `clean`: the body ends as if it were whole."""

    def answer(request: httpx.Request) -> Reply:
        if not is_stream(request):
            return Reply(chunks=[b'{"id": "', LOST])
        return Reply(chunks=[*chunks_of(request, pieces), *([] if clean else [LOST])], pause=pause)

    return answer


def stalled(pieces: int) -> Callable[[httpx.Request], Reply]:
    """Silence after so many pieces; they come a second apart."""
    return lambda request: Reply(chunks=[*chunks_of(request, pieces), *[b": ping\n\n"] * 10_000], pause=1.0)


def scripted(then: Scripted = whole, /, **answers: Sequence[Scripted]) -> ScriptedTransport:
    """For each model (`sonnet`, `gpt`, `haiku`) its answers in order; afterwards, and for the others, the whole one."""
    left: defaultdict[str, list[Scripted]] = defaultdict(list)
    for name, scripts in answers.items():
        left[name] = list(scripts)

    def answer(request: httpx.Request) -> Answer:
        name = next(name for name in ("sonnet", "gpt", "haiku") if name in model_of(request))
        scripted = left[name].pop(0) if left[name] else then
        return scripted if isinstance(scripted, Reply | Broken | Silence) else scripted(request)

    return ScriptedTransport(answer)


def cascade(*stages: tuple[str, int], route: Mapping[str, Any] | None = None, **tables: Any) -> penstock.Config:
    """Targets with their attempts; `route` is what else the route says."""
    stage_tables = [{"target": target, "attempts": attempts} for target, attempts in stages]
    return config(routes={"default": {"cascade": stage_tables, **(route or {})}}, **tables)


@attrs.define
class Seen:
    """What a consumer of a stream has in the end."""

    chunks: list[penstock.Chunk] = attrs.Factory(list[penstock.Chunk])
    text: str = ""
    """Since the last `Restarted`."""
    markers: list[str] = attrs.Factory(list[str])
    response: penstock.ChatResponse | None = None
    error: errors.CallError | None = None
    seconds: float = 0.0
    """What the call took, where that is asked for."""
    events: list[Event] = attrs.Factory(list[Event])
    """What the kernel told meanwhile, likewise."""

    def take(self, chunk: penstock.Chunk) -> None:
        self.chunks.append(chunk)
        match chunk:
            case penstock.Restarted(target=target):
                self.text = ""
                self.markers.append(f"restarted {target}")
            case penstock.Seam(target=target):
                self.markers.append(f"seam {target}")
            case penstock.TextDelta(text=text, refusal=False):
                self.text += text
            case _:
                pass

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """Target and outcome of each."""
        ended = self.response or self.error
        assert ended is not None
        return [(attempt.target, attempt.outcome) for attempt in ended.attempts]


async def watch(kernel: penstock.Kernel, asked: Any = "hello", **options: Any) -> Seen:
    """Streams to the end, or to the error."""
    seen = Seen()
    async with kernel.stream(asked, **options) as stream:
        try:
            async for chunk in stream:
                seen.take(chunk)
            seen.response = stream.response
        except errors.CallError as error:
            seen.error = error
    return seen
