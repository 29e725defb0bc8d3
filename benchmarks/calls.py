"""CPU per call: the floor (h11 on a trio socket), bare httpx on trio, and a guarded call of penstock, in one run.

    python benchmarks/calls.py [--rounds 7] [--calls 300] [--json FILE]

Client on one core, a pre-rendered upstream on another. Rounds are interleaved; medians are printed. CPU is
`time.process_time` of the client's process: user and system, without the upstream. Excluded: connecting (a warm-up
round comes first), TLS, DNS. The guarded call has a cache (miss and store), three targets, and accounts three levels
deep with day and request limits. The same without limits tells what the ledger in memory adds to a call: bounds,
hold, settle; the median of the differences within each round.
"""

from __future__ import annotations

import argparse
import functools
import json
import operator
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import h11
import httpx
import trio

PROMPT = "why is the sky blue? " * 48
"""About 1 KB."""
CONCURRENCY = (1, 32, 256)
UNLIMITED = "no limits"
Job = Callable[[], Awaitable[None]]


def request_body(number: int) -> bytes:
    """One request of about 1 KB; the number keeps cache keys apart."""
    messages = [{"role": "user", "content": f"{number} {PROMPT}"}]
    return json.dumps({"model": "gpt-4o", "messages": messages, "temperature": 0}).encode()


class Numbers:
    """Counts requests through all rounds, so that no two are alike."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        self.last += 1
        return self.last


async def measured(job: Job, calls: int, concurrency: int) -> float:
    """Microseconds of CPU per call."""

    async def worker(count: int) -> None:
        for _ in range(count):
            await job()

    began = time.process_time()
    async with trio.open_nursery() as nursery:
        for n in range(concurrency):
            nursery.start_soon(worker, calls // concurrency + (n < calls % concurrency))
    return (time.process_time() - began) / calls * 1e6


class Floor:
    """h11 on a trio socket: a stack of open connections, no guards, nothing of penstock."""

    def __init__(self, port: int, numbers: Numbers) -> None:
        self.port = port
        self.numbers = numbers
        self.idle: list[tuple[trio.SocketStream, h11.Connection]] = []

    async def call(self) -> None:
        if self.idle:
            stream, connection = self.idle.pop()
        else:
            stream = await trio.open_tcp_stream("127.0.0.1", self.port)
            connection = h11.Connection(h11.CLIENT)
        body = request_body(self.numbers.next())
        headers = [("host", "127.0.0.1"), ("content-type", "application/json"), ("content-length", str(len(body)))]
        head = h11.Request(method="POST", target="/v1/chat/completions", headers=headers)
        sent = (connection.send(head) or b"") + (connection.send(h11.Data(data=body)) or b"")
        await stream.send_all(sent + (connection.send(h11.EndOfMessage()) or b""))
        pieces: list[bytes] = []
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(16_384))
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                break
        json.loads(b"".join(pieces))
        connection.start_next_cycle()
        self.idle.append((stream, connection))

    async def aclose(self) -> None:
        for stream, _ in self.idle:
            await stream.aclose()


def settings(port: int, *, limited: bool) -> dict[str, object]:
    """Three targets, a cache, and accounts three deep, with limits on each or on none."""
    day = {"per": "day", "tokens": 10**12}
    request = {"per": "request", "input_tokens": 10**6}
    limits = {"limits": [day, request]} if limited else {}
    provider = {"kind": "openai", "base_url": f"http://127.0.0.1:{port}/v1", "api_key": "sk-bench"}
    return {
        "providers": {"openai": provider},
        "routes": {"default": {"cascade": ["openai/gpt-4o", "openai/gpt-4o-mini", "openai/gpt-4.1"]}},
        "budget": limits,
        "accounts": {"team": limits, "team/search": limits},
        "cache": {"store": "memory", "when": "deterministic"},
    }


async def rounds(port: int, calls: int, count: int) -> dict[str, dict[int, list[float]]]:
    """All rows, interleaved."""
    import penstock

    numbers = Numbers()
    floor = Floor(port, numbers)
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=512)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    figures: dict[str, dict[int, list[float]]] = {}
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        config = penstock.Config.from_dict(settings(port, limited=True))
        unlimited = penstock.Config.from_dict(settings(port, limited=False))
        async with penstock.open_kernel(config) as kernel, penstock.open_kernel(unlimited) as free:

            async def by_httpx() -> None:
                headers = {"content-type": "application/json"}
                response = await client.post(url, content=request_body(numbers.next()), headers=headers)
                response.json()

            async def guarded(by: penstock.Kernel) -> None:
                prompt = f"{numbers.next()} {PROMPT}"
                response = await by.complete(prompt, temperature=0, max_tokens=500, account="team/search")
                assert response.cache == "miss"

            rows: dict[str, Job] = {
                "floor": floor.call,
                "httpx": by_httpx,
                "penstock": functools.partial(guarded, kernel),
                UNLIMITED: functools.partial(guarded, free),
            }
            for at in range(count + 1):
                for concurrency in CONCURRENCY:
                    for name, job in rows.items():
                        cost = await measured(job, max(calls, concurrency * 2), concurrency)
                        if at:  # the first round warms up
                            figures.setdefault(name, {}).setdefault(concurrency, []).append(cost)
    await floor.aclose()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder, "port")
        upstream = subprocess.Popen([sys.executable, str(Path(__file__).with_name("upstream.py")), str(port_file)])
        try:
            while not port_file.exists() or not port_file.read_text():
                time.sleep(0.02)
            if len(cores) > 1:
                os.sched_setaffinity(upstream.pid, {cores[-1]})
                os.sched_setaffinity(0, {cores[0]})
            figures = trio.run(rounds, int(port_file.read_text()), arguments.calls, arguments.rounds)
        finally:
            upstream.terminate()
            upstream.wait()
    medians = {name: {n: statistics.median(costs) for n, costs in row.items()} for name, row in figures.items()}
    print(f"CPU per call in microseconds, median of {arguments.rounds} rounds; Python {platform.python_version()}")
    print(f"{'':10}" + "".join(f"{n:>10}" for n in CONCURRENCY) + "   concurrent")
    for name, row in medians.items():
        ratios = "  ".join(f"{row[n] / medians['floor'][n]:.2f}" for n in CONCURRENCY)
        print(f"{name:10}" + "".join(f"{row[n]:>10.0f}" for n in CONCURRENCY) + f"   x floor: {ratios}")
    adds = {n: statistics.median(map(operator.sub, figures["penstock"][n], figures[UNLIMITED][n])) for n in CONCURRENCY}
    print(
        f"{'ledger':10}" + "".join(f"{adds[n]:>10.0f}" for n in CONCURRENCY) + "   what the memory ledger adds per call"
    )
    if arguments.json:
        told = {"unit": "us of CPU per call", "medians": medians, "the memory ledger adds": adds}
        arguments.json.write_text(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
