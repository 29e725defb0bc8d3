"""Weight: what is left of thousands of cancelled calls, and what a slow consumer costs. Real sockets, real clock."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from soak import SOAK

import penstock
from penstock import errors

CALLS = 10_000 if SOAK else 1_000
CHUNKS = 200_000 if SOAK else 40_000
WARM_UP = 1_000 if SOAK else 500

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory and sockets are read from /proc"),
]


@contextmanager
def upstream(chunks: int) -> Generator[int, None, None]:
    """The upstream's port. It runs in a process of its own, so that this process's memory is the client's."""
    program = Path(__file__).parent.parent / "endless.py"
    server = subprocess.Popen([sys.executable, str(program), str(chunks)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def kernel_config(port: int) -> penstock.Config:
    return penstock.Config.from_dict(
        {
            "providers": {"local": {"kind": "openai", "base_url": f"http://127.0.0.1:{port}/v1"}},
            "routes": {"default": {"cascade": ["local/gpt-4o"]}},
            "budget": {"limits": [{"per": "day", "tokens": 10**15}]},
            # Small, so that it is full before memory is measured: what answers are kept is no growth of calls.
            "cache": {"store": "memory", "memory_bytes": 131_072},
        },
        environ={},
    )


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def sockets() -> int:
    """Open sockets of this process."""
    links = list(Path("/proc/self/fd").iterdir())
    # The descriptor that listed the folder is gone by now.
    return sum(link.is_symlink() and str(link.readlink()).startswith("socket:") for link in links)


async def nothing_is_left(kernel: penstock.Kernel) -> None:
    snapshot = await kernel.snapshot()
    assert snapshot.in_flight == 0 == snapshot.waiting
    for actor in snapshot.actors.values():
        assert (actor.slots_in_use, actor.queued, actor.lost, actor.stray) == (0, 0, 0, 0), actor
    assert all(window.held.tokens == 0 for window in snapshot.accounts[""].windows)


@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
def test_thousands_of_cancelled_calls_leave_no_task_socket_permit_hold_or_memory(streamed: bool) -> None:  # noqa: FBT001
    print(f"{CALLS} cancelled calls")
    chance = random.Random(7)

    async def call(kernel: penstock.Kernel) -> None:
        # A whole call takes some milliseconds: most are cut somewhere on their way, some get through.
        with trio.move_on_after(chance.uniform(0, 0.02)):
            try:
                if streamed:
                    async with kernel.stream("hello", max_tokens=100) as stream:
                        async for _ in stream:
                            pass
                else:
                    await kernel.complete(f"hello {chance.random()}", max_tokens=100, temperature=0)
            except errors.CallError:
                return  # a refused connection under load is an outcome, not a leak

    async def many(kernel: penstock.Kernel, count: int) -> None:
        async def worker() -> None:
            for _ in range(count // 20):
                await call(kernel)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(worker)

    async def main(port: int) -> None:
        before_sockets = sockets()
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with penstock.open_kernel(kernel_config(port)) as kernel:
            await many(kernel, WARM_UP)
            await nothing_is_left(kernel)
            at_rest, memory = trio.lowlevel.current_statistics().tasks_living, resident()
            await many(kernel, CALLS)
            await nothing_is_left(kernel)
            grown = resident() - memory
            print(f"grown by {grown / 1e6:.2f} MB after {CALLS} calls")
            assert grown < 4_000_000
            assert trio.lowlevel.current_statistics().tasks_living == at_rest
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert sockets() == before_sockets

    with upstream(20) as port:
        trio.run(main, port)


def test_a_slow_consumer_costs_bounded_memory_and_the_upstream_feels_it() -> None:
    print(f"{CHUNKS} chunks")

    async def written(port: int) -> int:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"GET /written HTTP/1.1\r\nhost: x\r\n\r\n")
            return int((await stream.receive_some(4_096)).rpartition(b"\r\n")[2])

    async def warm(port: int) -> None:
        """One whole stream first: what is imported and allocated once is not the stream's."""
        async with penstock.open_kernel(kernel_config(port)) as kernel, kernel.stream("hello") as stream:
            async for _ in stream:
                pass

    async def main(port: int) -> None:
        async with penstock.open_kernel(kernel_config(port)) as kernel:
            memory = resident()
            before = await written(port)
            async with kernel.stream("hello", max_tokens=CHUNKS) as stream:
                await anext(stream)
                # The consumer stops: the upstream soon cannot write any more, and then stands still.
                progress = [-1, -2]
                while progress[-1] != progress[-2]:
                    await trio.sleep(0.3)
                    progress.append(await written(port) - before)
                assert progress[-1] < CHUNKS, "the upstream was never held back"
                held = stream.statistics()
                assert held.queued <= 2
                most = 0
                count = 1
                async for _ in stream:
                    count += 1
                    if count % 10_000 == 0:
                        most = max(most, resident() - memory)
                text = len(stream.response.text)
            grown = max(most, resident() - memory)
            print(f"held back at chunk {progress[-1]}; grown by {grown / 1e6:.2f} MB for {text / 1e6:.2f} MB of text")
            assert text == CHUNKS * 6
            assert grown - text < 2_000_000

    with upstream(2_000) as port:
        trio.run(warm, port)
    with upstream(CHUNKS) as port:
        trio.run(main, port)
