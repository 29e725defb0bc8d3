"""Where the time of an attempt went, over a real connection."""

from __future__ import annotations

import pytest
import trio
from collector import Collector, collecting
from commands import local_upstream
from worlds import config

import penstock


def test_an_attempt_tells_when_it_had_a_connection_its_first_token_and_its_end() -> None:
    async def main(collector: Collector, url: str) -> None:
        settings = config(
            telemetry={"otlp": collector.url, "metrics": False},
            providers={"openai": {"api_key": "any", "base_url": f"{url}/v1"}, "anthropic": {"api_key": "any"}},
        )
        async with penstock.open_kernel(settings) as kernel:
            for _ in range(2):
                async with kernel.stream("hello", model="openai/gpt-4.1", max_tokens=20) as stream:
                    async for _chunk in stream:
                        pass

    with collecting() as collector, local_upstream() as upstream:
        trio.run(main, collector, upstream.url)
    attempts = [span for span in collector.spans if span.kind == "client"]
    assert len(attempts) == 2
    for span in attempts:
        told = span.attributes
        duration = (span.span.end_time_unix_nano - span.span.start_time_unix_nano) / 1e9
        assert 0 <= told["penstock.phase.connect_s"] <= told["penstock.phase.first_token_s"]
        whole = told["penstock.phase.first_token_s"] + told["penstock.phase.stream_s"]
        assert whole == pytest.approx(duration, abs=0.05)
        assert told["server.address"] == "127.0.0.1"


def test_a_call_that_waits_for_its_place_says_for_how_long() -> None:
    async def main(collector: Collector, url: str) -> None:
        settings = config(
            kernel={"max_in_flight": 1},
            telemetry={"otlp": collector.url, "metrics": False},
            providers={"openai": {"api_key": "any", "base_url": f"{url}/v1"}, "anthropic": {"api_key": "any"}},
        )
        async with penstock.open_kernel(settings) as kernel, trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(lambda n: kernel.complete(f"hello {n}", model="openai/gpt-4.1"), number)

    with collecting() as collector, local_upstream() as upstream:
        trio.run(main, collector, upstream.url)
    queued = sorted(span.attributes["penstock.phase.queue_s"] for span in collector.spans if span.kind == "internal")
    assert len(queued) == 3
    assert queued[0] < queued[1] < queued[2]
