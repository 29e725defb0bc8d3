"""The penstock command as a user runs it: in a process of its own, piped or in a terminal, with an upstream to talk to.

Not here: what is expected of it.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio

from penstock_plugins.rehearsal import Script, Statistics, Upstream, serve

__all__ = ["KEY", "Ended", "LocalUpstream", "Running", "local_upstream", "run_command", "run_in_terminal", "start"]

KEY = "sk-canary-of-the-command"
PATIENCE = 60.0
"""Seconds until a command counts as hung."""


@attrs.frozen
class Ended:
    """A command that is over."""

    code: int
    out: str
    err: str


@attrs.frozen
class LocalUpstream:
    """A rehearsal upstream on loopback, in a thread."""

    url: str
    upstream: Upstream

    @property
    def environ(self) -> dict[str, str]:
        """What makes the command use it, with no configuration."""
        return {"OPENAI_BASE_URL": f"{self.url}/v1", "OPENAI_API_KEY": KEY}

    @property
    def statistics(self) -> Statistics:
        """What it counted."""
        return self.upstream.statistics()

    def config(self, folder: Path, more: str = "") -> str:
        """The path of a configuration with one target here; `more` is TOML that follows."""
        path = folder / "penstock.toml"
        path.write_text(
            f'[providers.openai]\napi_key = "{KEY}"\nbase_url = "{self.url}/v1"\n'
            '[routes.default]\ncascade = [{ target = "openai/gpt-4.1", attempts = 1 }]\n' + more
        )
        return str(path)


@contextmanager
def local_upstream(script: Script | None = None) -> Generator[LocalUpstream]:
    """Serves until the block is left."""
    upstream = Upstream(script)
    ready = threading.Event()
    handed: list[tuple[str, trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def main() -> None:
        async with serve(upstream) as server:
            with trio.CancelScope() as scope:
                handed.append((server.url, trio.lowlevel.current_trio_token(), scope))
                ready.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(PATIENCE)
    url, token, scope = handed[0]
    try:
        yield LocalUpstream(url, upstream)
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(PATIENCE)


def _environ(more: Mapping[str, str] | None) -> dict[str, str]:
    """Nothing of the developer's own: no keys, no configuration, no colours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONUTF8": "1", **(more or {})}


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "penstock.cli", *arguments]


def run_command(*arguments: str, stdin: str | bytes = b"", environ: Mapping[str, str] | None = None) -> Ended:
    """Runs it with pipes, to its end."""
    ended = subprocess.run(
        _command(arguments),
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        env=_environ(environ),
        timeout=PATIENCE,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


@attrs.frozen
class Running:
    """A command that is not over yet."""

    process: subprocess.Popen[bytes]

    def read_until(self, words: str) -> str:
        """What it wrote to stdout, up to the line that holds `words`."""
        assert self.process.stdout is not None
        read = ""
        for line in self.process.stdout:
            read += line.decode()
            if words in read:
                return read
        raise AssertionError(f"{words!r} never came; what came is {read!r}")

    def interrupt(self) -> Ended:
        """Ctrl-C, and what came of it."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=PATIENCE)
        return Ended(self.process.returncode, out.decode(), err.decode())


@contextmanager
def start(*arguments: str, environ: Mapping[str, str] | None = None) -> Generator[Running]:
    """Starts it with pipes; whatever is left of it when the block is left is killed."""
    with subprocess.Popen(
        _command(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environ(environ),
        bufsize=0,  # What is not read line by line must be left for the end.
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def run_in_terminal(
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    interrupt_at: str | None = None,
    types: tuple[str, str] | None = None,
) -> tuple[int, str]:
    """Runs it in a terminal of 80 columns and 30 rows; returns its code and everything that was drawn.

    Where `interrupt_at` appears, Ctrl-C is pressed, and again after each 5 s in which nothing came of it: Python does
    not see a signal that comes just before it begins to read from a terminal. Where the first of `types` appears, the
    second is typed.
    """
    ours, theirs = pty.openpty()
    size = {"COLUMNS": "80", "LINES": "30", "TERM": "xterm-256color"}
    try:
        process = subprocess.Popen(
            _command(arguments),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=_environ({**size, **(environ or {})}),
            # A session of its own, whose terminal this is: so Ctrl-C reaches it, and only it.
            start_new_session=True,
        )
        os.close(theirs)
        drawn = _drawn(process, ours, interrupt_at, types)
        return process.wait(PATIENCE), drawn
    finally:
        os.close(ours)


def _drawn(
    process: subprocess.Popen[bytes], terminal: int, interrupt_at: str | None, types: tuple[str, str] | None
) -> str:
    drawn = b""
    interrupted = False
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 5.0)[0]:
            if interrupted:
                process.send_signal(signal.SIGINT)
            continue
        try:
            read = os.read(terminal, 65_536)
        except OSError:
            break  # Linux says so when the last writer has left.
        if not read:
            break
        drawn += read
        if interrupt_at is not None and interrupt_at in drawn.decode(errors="ignore"):
            process.send_signal(signal.SIGINT)
            interrupted, interrupt_at = True, None
        if types is not None and types[0] in drawn.decode(errors="ignore"):
            os.write(terminal, types[1].encode())
            types = None
    return drawn.decode(errors="replace").replace("\r\n", "\n")
