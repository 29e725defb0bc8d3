"""The processes of a run: the upstream on one core, and on the other the worker of each row, in its environment."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from benchmarks.environments import ROOT
from benchmarks.rows.bodies import openai_call

__all__ = ["Upstream", "Worker", "WorkerFailedError", "cores"]

STARTING_S = 120.0
"""Until a row has imported its packages: LiteLLM alone takes several seconds."""
SATURATING = 256
"""Connections that ask at once when the upstream's own speed is taken."""


class WorkerFailedError(Exception):
    """A row could not be measured; the message says why."""


def cores() -> tuple[int | None, int | None]:
    """Of the clients, and of the upstream; None where nothing can be pinned, or there is but one."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else (None, None)


class Upstream:
    """The upstream's process."""

    def __init__(self, core: int | None) -> None:
        command = [sys.executable, "-m", "benchmarks.upstream.server"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        if core is not None:
            os.sched_setaffinity(self.process.pid, {core})

    def statistics(self) -> tuple[int, float]:
        """How many requests it has answered, for how many seconds of CPU."""
        with socket.create_connection(("127.0.0.1", self.port)) as asking:
            asking.sendall(b"GET /statistics HTTP/1.1\r\n\r\n")
            said = json.loads(asking.recv(4_096).partition(b"\r\n\r\n")[2])
        return said["requests"], said["cpu_s"]

    def saturated_us(self, rounds: int) -> float:
        """Microseconds of its CPU for one call where it always has more to do: the least of the rounds."""
        body = openai_call(1)
        request = b"POST /now/v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        asking = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(SATURATING)]
        seen: list[float] = []
        try:
            for _ in range(rounds):
                requests, cpu = self.statistics()
                for _ in range(4):
                    for each in asking:
                        each.sendall(request)
                    for each in asking:
                        each.recv(65_536)
                answered, taken = self.statistics()
                seen.append((taken - cpu) / (answered - requests) * 1e6)
        finally:
            for each in asking:
                each.close()
        return min(seen)

    def close(self) -> None:
        """It ends when its input does."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Worker:
    """One row's process. Where it ends, or says nothing for too long, that is the row's failure."""

    def __init__(self, python: str | Path, module: str, port: int, core: int | None) -> None:
        pinned = [] if core is None else ["--core", str(core)]
        self.words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [str(python), "-m", module, str(port), "--serve", *pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            cwd=ROOT,
            # A key of the machine's must not reach a peer, nor its proxy stand between it and the upstream.
            env={name: value for name, value in os.environ.items() if not name.upper().endswith(("_KEY", "_PROXY"))},
        )
        self.unread = b""
        try:
            self.hello = self._answer(STARTING_S)
        except WorkerFailedError:
            self.close()
            raise

    def told(self, order: dict[str, Any]) -> dict[str, Any]:
        """What one measurement came to. Raises WorkerFailedError."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise WorkerFailedError(self._last_words()) from None
        # Twice: warming up has a time of its own. The rest is for what was begun within it.
        return self._answer(2 * order["at_most_s"] + 60)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.words.close()

    def _answer(self, within_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        until, fd = time.monotonic() + within_s, self.process.stdout.fileno()
        while b"\n" not in self.unread:
            ready, _, _ = select.select([fd], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.process.kill()
                raise WorkerFailedError(f"nothing came within {within_s:g} s")
            more = os.read(fd, 65_536)
            if not more:
                raise WorkerFailedError(self._last_words())
            self.unread += more
        line, _, self.unread = self.unread.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise WorkerFailedError(said["error"])
        return said

    def _last_words(self) -> str:
        self.process.wait()
        self.words.seek(0)
        lines = self.words.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.process.returncode}"
