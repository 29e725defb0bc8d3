"""`penstock top`: a kernel in another process, watched in a terminal and through a pipe."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import run_command, run_in_terminal

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import trio, penstock
from worlds import config, good
from penstock.testing import ScriptedTransport

async def main():
    settings = config(telemetry={{"live_view": True}})
    async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
        print("open", flush=True)
        while True:
            await kernel.complete("hello")
            await trio.sleep(0.01)

trio.run(main)
"""


@contextmanager
def a_kernel(runtime: Path) -> Generator[subprocess.Popen[str]]:
    """A process that makes calls, and may be watched."""
    source = PROGRAM.format(tests=str(Path(__file__).parents[2]))
    environ = {"XDG_RUNTIME_DIR": str(runtime), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_it_draws_a_kernel_in_a_terminal_until_it_is_interrupted(tmp_path: Path) -> None:
    with a_kernel(tmp_path) as process:
        code, drawn = run_in_terminal("top", environ={"XDG_RUNTIME_DIR": str(tmp_path)}, interrupt_at="ok ")
    assert code == 0  # as its help says: that is how one stops watching
    assert f"pid {process.pid}" in drawn
    assert "anthropic/claude" in drawn


@pytest.mark.slow
def test_through_a_pipe_it_prints_looks_or_their_json(tmp_path: Path) -> None:
    with a_kernel(tmp_path) as process:
        environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
        once = run_command("top", "--once", environ=environ)
        told = run_command("top", "--once", "--json", str(process.pid), environ=environ)
        other = run_command("top", "4711-no-such", environ=environ)
    assert once.code == 0, once.err
    assert "in flight" in once.out
    assert "\x1b" not in once.out
    assert json.loads(told.out)["pid"] == process.pid
    assert other.code == 1
    assert "no kernel named 4711-no-such is running here" in other.err


@pytest.mark.slow
def test_a_kernel_that_was_killed_is_not_found_and_of_several_one_must_be_named(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with a_kernel(tmp_path) as one, a_kernel(tmp_path) as two:
        both = run_command("top", "--once", environ=environ)
        assert both.code == 1
        assert str(one.pid) in both.err
        assert str(two.pid) in both.err
        one.send_signal(signal.SIGKILL)
        one.wait()
        assert len(list((tmp_path / "penstock").iterdir())) == 2
        assert run_command("top", "--once", environ=environ).code == 0
        (left,) = (tmp_path / "penstock").iterdir()
        assert left.name.startswith(f"{two.pid}-")


def test_where_there_is_none_it_says_how_to_have_one(tmp_path: Path) -> None:
    ended = run_command("top", environ={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert ended.code == 1
    assert "live_view = true" in ended.err


def test_what_speaks_otherwise_is_no_kernel_of_this_version(tmp_path: Path) -> None:
    folder = tmp_path / "penstock"
    folder.mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "1-other.sock"))
        listening.listen()
        with subprocess.Popen(
            [sys.executable, "-m", "penstock.cli", "top", "--once"],
            stderr=subprocess.PIPE,
            text=True,
            env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        ) as process:
            peer, _ = listening.accept()
            peer.sendall(b'{"kernel": 1}\n')
            _, said = process.communicate(timeout=30)
            peer.close()
    assert process.returncode == 1
    assert "of a version that speaks otherwise" in said
