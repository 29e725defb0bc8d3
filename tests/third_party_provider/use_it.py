"""Uses the installed `acme` provider as somebody's program would; prints one line for each thing that worked.

Run in an environment that holds penstock and acme-penstock, and nothing of their sources on the path.
"""
# what it prints is what its test reads

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio
from acme_penstock import Acme
from trio.testing import MockClock

import penstock
from penstock._discovery import PluginHost
from penstock.testing import Answer, Reply, ScriptedTransport, check_provider
from penstock.types import ChatRequest, Target, WireHead, WireResponse

SAID = {"id": "a-1", "voice": "baritone", "says": "la la", "ended": "done", "units": {"heard": 5, "spoken": 2}}
LINES = (
    b'{"more": "la"}\n',
    b'{"more": " la"}\n{"ended": "done", "id": "a-1", "voice": "baritone", "units": {"heard": 5, "spoken": 2}}\n',
)
TARGET = Target(name="acme/baritone", provider="acme", model="baritone")
CONFIG: dict[str, Any] = {
    "providers": {"acme": {"api_key": "acme-canary", "region": "eu"}},
    "plugins": {"acme-prices": {}},
    "routes": {
        "default": {
            "cascade": [{"target": "acme/baritone", "attempts": 1}, {"target": "acme/tenor", "attempts": 1}],
        }
    },
    "budget": {"limits": [{"per": "day", "usd": 1}]},
}


def codec_keeps_the_laws() -> None:
    """The codec alone, checked as its author would."""
    check_provider(
        lambda: Acme("https://eu.acme.example"),
        target=TARGET,
        requests=[ChatRequest("sing"), ChatRequest("sing", system="you sing", max_tokens=5)],
        responses=[WireResponse(200, (), msgspec.json.encode(SAID))],
        streams=[(WireHead(200, ()), b"".join(LINES))],
    )
    codec = Acme("https://eu.acme.example")
    wire = codec.encode(ChatRequest("sing"), TARGET, stream=False, now=0.0)
    assert wire.url == "https://eu.acme.example/speak"
    assert msgspec.json.decode(wire.body)["turns"] == [{"who": "user", "says": "sing"}]
    answer = codec.decode(WireResponse(200, (), msgspec.json.encode(SAID)))
    assert (answer.message.text, answer.finish_reason) == ("la la", "stop")


def _upstream(request: httpx.Request) -> Answer:
    assert request.url.host == "eu.acme.example"
    assert request.headers["x-acme-key"] == "acme-canary"
    asked = msgspec.json.decode(request.content)
    if asked["voice"] == "baritone":
        return Reply(status=503, json={"wrong": {"code": "hoarse", "why": "the baritone is hoarse"}})
    if asked["stream"]:
        return Reply(chunks=LINES)
    return Reply(json={**SAID, "voice": asked["voice"]})


async def calls_go_through_the_kernel() -> None:
    """Whole and streamed, each falling over from the voice that fails to the one that sings."""
    config = penstock.Config.from_dict(CONFIG, environ={})
    async with penstock.open_kernel(config, transport=ScriptedTransport(_upstream)) as kernel:
        response = await kernel.complete("sing")
        assert response.text == "la la"
        assert [attempt.target for attempt in response.attempts] == ["acme/baritone", "acme/tenor"]
        assert response.cost is not None
        assert response.cost > 0
        async with kernel.stream("sing") as stream:
            assert "".join([text async for text in stream.text()]) == "la la"
            assert stream.response.target == "acme/tenor"


def mistakes_are_named() -> None:
    """The options class of the plugin speaks through the configuration."""
    paths: set[str] = set()
    try:
        penstock.Config.from_dict({"providers": {"acme": {"api_key": "k", "regoin": "eu"}}}, environ={})
    except penstock.ConfigError as error:
        paths = {mistake.path for mistake in error.mistakes}
    assert paths == {"providers.acme.regoin", "providers.acme.region"}


def main() -> None:
    """One line for each thing that worked."""
    for module in (penstock, sys.modules["acme_penstock"]):
        print("from", Path(str(module.__file__)).parent)
    for info in PluginHost(penstock.Config.from_dict(CONFIG, environ={}).plugins).list_plugins():
        print("plugin", info.group, info.name, info.distribution, info.version)
    codec_keeps_the_laws()
    print("codec ok")
    mistakes_are_named()
    print("mistakes ok")
    trio.run(calls_go_through_the_kernel, clock=MockClock(autojump_threshold=0))
    print("kernel ok")


if __name__ == "__main__":
    main()
