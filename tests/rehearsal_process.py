"""The rehearsal upstream as a process of its own, which outlives those that call it: a count nobody can take away.

    python rehearsal_process.py

Says its URL in the first line. For each line of its input it says what it has served so far, as JSON of `Statistics`;
it ends with its input. It keeps `max_tokens`, and fails now and then: what it served before a cut it has counted.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs
import msgspec
import trio

from penstock_plugins.rehearsal import Latency, Rule, Script, Statistics, Upstream, faults, serve

__all__ = ["Rehearsing", "rehearsing"]

FAULTS = (
    Rule(fault=faults.ServerFailure(), probability=0.03),
    Rule(fault=faults.CutStream(after_chunks=5), probability=0.04),
    Rule(fault=faults.NoUsage(), probability=0.03),
)
LATENCY = Latency(first_s=0.03, chunk_s=0.0005, jitter=0.8)


@attrs.frozen
class Rehearsing:
    """Such a process, as its tests see it."""

    url: str
    process: subprocess.Popen[bytes]

    def statistics(self) -> Statistics:
        """What it has served so far."""
        return msgspec.json.decode(self._answer(), type=Statistics)

    def _answer(self) -> bytes:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@contextmanager
def rehearsing() -> Generator[Rehearsing]:
    """Runs one; it must be in good health at the end, too."""
    command = [sys.executable, str(Path(__file__))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Rehearsing(process.stdout.readline().decode().strip(), process)
            process.communicate(timeout=30)
            assert process.returncode == 0, "the upstream failed: see stderr"
        finally:
            process.kill()


async def main() -> None:
    """Serves to the end of the input."""
    upstream = Upstream(Script(FAULTS, seed=4), latency=LATENCY)
    async with serve(upstream) as server:
        print(server.url, flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            sys.stdout.buffer.write(msgspec.json.encode(upstream.statistics()) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    trio.run(main)
