"""CPU per chunk of a stream: what a socket costs, the floor, httpx, and penstock with each commit policy, in one run.

    python benchmarks/streams.py [--rounds 7] [--kinds burst,framed,paced] [--json FILE]

Client on one core, a pre-rendered upstream on another (`streams_upstream.py` says what it sends). Rounds are
interleaved; medians are printed. CPU is `time.process_time` of the client's process over a whole stream, the request
included, divided by its chunks of text, of about four characters. Excluded: connecting (a warm-up round comes first),
TLS, DNS. One stream at a time.

- `raw`: bytes from a trio socket, looked at by nobody
- `floor`: h11, lines split, `json.loads` of each `data:`; no guards, nothing of penstock
- `httpx`: `aiter_lines` of its stream, and `json.loads`
- `penstock`, under each commit policy: metered, for the account and its parents have limits
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import h11
import httpx
import trio
from streams_upstream import CHUNKS, LAST

import penstock

BODY = json.dumps({"messages": [{"role": "user", "content": "why is the sky blue?"}], "stream": True}).encode()
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-20250514"}
COMMITS = ("first_content", "buffer", "whole", "continue", "restart")
READ = 16_384
Job = Callable[[str], Awaitable[int]]
"""Reads one stream of the path to its end; returns how many events or chunks it saw."""


class Raw:
    """A trio socket: the request goes out, bytes come until the last HTTP chunk."""

    def __init__(self, port: int, stream: trio.SocketStream) -> None:
        self.port = port
        self.stream = stream

    async def read(self, path: str) -> int:
        await self.stream.send_all(
            b"POST %b HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (path.encode(), len(BODY)) + BODY
        )
        reads, end = 1, b""
        while not end.endswith(LAST):
            end = await self.stream.receive_some(READ)
            reads += 1
        return reads


class Floor:
    """h11 on a trio socket."""

    def __init__(self, port: int, stream: trio.SocketStream) -> None:
        self.port = port
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def read(self, path: str) -> int:
        http = self.http
        headers = [("host", "127.0.0.1"), ("content-type", "application/json"), ("content-length", str(len(BODY)))]
        sent = http.send(h11.Request(method="POST", target=path, headers=headers)) or b""
        sent += (http.send(h11.Data(data=BODY)) or b"") + (http.send(h11.EndOfMessage()) or b"")
        await self.stream.send_all(sent)
        seen, rest = 0, b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await self.stream.receive_some(READ))
            elif isinstance(event, h11.Data):
                *lines, rest = (rest + event.data).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {"):
                        json.loads(line[6:])
                        seen += 1
            elif isinstance(event, h11.EndOfMessage):
                break
        http.start_next_cycle()
        return seen


def by_httpx(port: int, client: httpx.AsyncClient) -> Job:
    """httpx as its users read server-sent events."""

    async def read(path: str) -> int:
        seen = 0
        async with client.stream("POST", f"http://127.0.0.1:{port}{path}", content=BODY) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    json.loads(line[6:])
                    seen += 1
        return seen

    return read


def settings(port: int, kind: str) -> dict[str, object]:
    """Both wires, and accounts three deep with limits on each: every stream is metered."""
    day = {"per": "day", "tokens": 10**12}
    request = {"per": "request", "input_tokens": 10**6}
    base = f"http://127.0.0.1:{port}/{kind}"
    return {
        "providers": {
            "openai": {"base_url": f"{base}/v1", "api_key": "sk-bench"},
            "anthropic": {"base_url": base, "api_key": "sk-bench"},
        },
        "routes": {wire: {"cascade": [f"{wire}/{model}"]} for wire, model in MODELS.items()},
        "budget": {"limits": [day, request]},
        "accounts": {"team": {"limits": [day, request]}, "team/search": {"limits": [day, request]}},
    }


def by_penstock(kernel: penstock.Kernel, commit: str) -> Job:
    """A guarded, metered stream."""

    async def read(path: str) -> int:
        wire = "anthropic" if path.endswith("messages") else "openai"
        seen = 0
        async with kernel.stream(
            "why is the sky blue?", route=wire, max_tokens=8_000, account="team/search", commit=commit
        ) as stream:
            async for _ in stream:
                seen += 1
        assert stream.response.finish_reason == "stop"
        return seen

    return read


async def measured(job: Job, path: str, chunks: int) -> float:
    """Microseconds of CPU per chunk."""
    began = time.process_time()
    seen = await job(path)
    cost = (time.process_time() - began) / chunks * 1e6
    assert seen >= chunks or isinstance(getattr(job, "__self__", None), Raw), f"only {seen} of {chunks} chunks came"
    return cost


async def rounds(port: int, kinds: list[str], count: int) -> dict[str, dict[str, list[float]]]:
    """All rows, interleaved: figures by row and by column."""
    figures: dict[str, dict[str, list[float]]] = {}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        raw, floor = [await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)) for _ in range(2)]
        rows: dict[str, Job] = {"raw": Raw(port, raw).read, "floor": Floor(port, floor).read}
        rows["httpx"] = by_httpx(port, client)
        kernels = {
            kind: await stack.enter_async_context(penstock.open_kernel(penstock.Config.from_dict(settings(port, kind))))
            for kind in kinds
        }
        for at in range(count + 1):
            for kind in kinds:
                guarded = {f"penstock {commit}": by_penstock(kernels[kind], commit) for commit in COMMITS}
                for wire, path in PATHS.items():
                    for name, job in {**rows, **guarded}.items():
                        cost = await measured(job, f"/{kind}{path}", CHUNKS[kind])
                        if at:  # the first round warms up
                            figures.setdefault(name, {}).setdefault(f"{kind} {wire}", []).append(cost)
    return figures


def with_upstream(kinds: list[str], count: int) -> dict[str, dict[str, list[float]]]:
    """Starts the upstream on the last core, runs on the first."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder, "port")
        script = Path(__file__).with_name("streams_upstream.py")
        upstream = subprocess.Popen([sys.executable, str(script), str(port_file)])
        try:
            while not port_file.exists() or not port_file.read_text():
                time.sleep(0.02)
            if len(cores) > 1:
                os.sched_setaffinity(upstream.pid, {cores[-1]})
                os.sched_setaffinity(0, {cores[0]})
            return trio.run(rounds, int(port_file.read_text()), kinds, count)
        finally:
            upstream.terminate()
            upstream.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kinds", default=",".join(CHUNKS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = with_upstream(arguments.kinds.split(","), arguments.rounds)
    medians = {name: {at: statistics.median(costs) for at, costs in row.items()} for name, row in figures.items()}
    columns = list(medians["raw"])
    print(f"CPU per chunk in microseconds, median of {arguments.rounds} rounds; Python {platform.python_version()}")
    print(f"{'':23}" + "".join(f"{column:>18}" for column in columns))
    for name, row in medians.items():
        print(f"{name:23}" + "".join(f"{row[column]:>18.2f}" for column in columns))
    guarded = medians[f"penstock {COMMITS[0]}"]
    for name in ("raw", "floor", "httpx"):
        ratios = (f"{guarded[column] / medians[name][column]:.2f}" for column in columns)
        print(f"{'  x ' + name:23}" + "".join(f"{ratio:>18}" for ratio in ratios) + f"   {COMMITS[0]}")
    for commit in COMMITS[1:]:
        more = (medians[f"penstock {commit}"][column] - guarded[column] for column in columns)
        print(f"{'  ' + commit:23}" + "".join(f"{us:>+18.2f}" for us in more) + f"   us more than {COMMITS[0]}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"unit": "us of CPU per chunk", "medians": medians}, indent=2))


if __name__ == "__main__":
    main()
