"""The live view: who may look, what is sent, what it costs the kernel, and what `penstock top` makes of it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from worlds import GPT, HAIKU, SONNET, config, good, model_of

import penstock
from penstock import errors
from penstock._events import AttemptEnded, CallEnded
from penstock._live import server
from penstock._live.frame import AccountFrame, ActorFrame, CacheFrame, Frame, TargetFrame
from penstock._live.sockets import NotPrivateError, folder_of_sockets, sockets_in
from penstock._live.tally import RATE_OVER, LiveTally
from penstock.cli._top.screen import drawn
from penstock.testing import Reply, ScriptedTransport

DECODER = msgspec.json.Decoder(Frame)


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of the test's own for sockets."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(server, "EVERY", 0.02)
    return tmp_path / "penstock"


@asynccontextmanager
async def watched(answer: Any = good, **tables: Any) -> AsyncGenerator[penstock.Kernel]:
    settings = config(telemetry={"live_view": True}, **tables)
    with trio.fail_after(10):
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            yield kernel


def is_heard(kernel: penstock.Kernel) -> bool:
    """Whether events are made."""
    engine: Any = kernel._engine  # pyright: ignore[reportPrivateUsage] - nothing else tells
    return bool(engine.events.heard)


async def connected(folder: Path) -> trio.SocketStream:
    (path,) = sockets_in(folder)
    return trio.SocketStream((await trio.open_unix_socket(path)).socket)


async def frames(stream: trio.SocketStream, count: int) -> list[Frame]:
    read = b""
    while read.count(b"\n") < count:
        more = await stream.receive_some()
        assert more, "the kernel hung up"
        read += more
    return [DECODER.decode(line) for line in read.splitlines()[:count]]


def test_only_its_user_may_open_the_socket_and_it_goes_with_the_kernel(runtime: Path) -> None:
    async def main() -> None:
        async with watched():
            (path,) = sockets_in(runtime)
            assert [stat.S_IMODE(os.stat(each).st_mode) for each in (path, runtime)] == [0o600, 0o700]  # noqa: PTH116 - once, in a test
            assert path.name.startswith(f"{os.getpid()}-")
        assert sockets_in(runtime) == []

    trio.run(main)


@pytest.mark.parametrize("how", ["readable by others", "a link", "a file"])
def test_a_folder_that_others_might_have_made_or_see_is_not_used(
    how: str, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = runtime.parent / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    match how:
        case "readable by others":
            runtime.mkdir()
            runtime.chmod(0o755)
        case "a link":
            runtime.symlink_to(elsewhere)
        case _:
            runtime.touch(0o700)

    async def main() -> None:
        async with watched() as kernel:
            # The kernel goes on without.
            assert (await kernel.complete("hello")).target == SONNET

    trio.run(main)
    assert "nobody can watch this kernel" in caplog.text
    assert list(elsewhere.iterdir()) == []
    if how == "readable by others":
        with pytest.raises(NotPrivateError, match="0700"):
            folder_of_sockets(make=False)


def no_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def left_behind(path: Path) -> Path:
    """A socket at which nobody listens any more."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    return path


def test_a_kernel_that_begins_takes_away_what_killed_ones_have_left_and_nothing_else(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    gone = no_process()
    dead = left_behind(runtime / f"{gone}-dead.sock")
    about_to_listen = left_behind(runtime / f"{os.getpid()}-beginning.sock")
    strange = left_behind(runtime / "other.sock")
    file = runtime / f"{gone}-file.sock"
    file.touch()
    link = runtime / f"{gone}-link.sock"
    link.symlink_to(about_to_listen)

    async def main() -> None:
        async with watched():
            assert not dead.exists()
            assert all(each.exists() for each in (about_to_listen, strange, file, link, elsewhere))

    # The number is of a process elsewhere, which shares the folder; and its queue is full.
    elsewhere = runtime / f"{gone}-elsewhere.sock"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as waiting:
        listening.bind(str(elsewhere))
        listening.listen(0)
        waiting.connect(str(elsewhere))
        trio.run(main)


def test_frames_tell_what_happens_from_the_moment_on_that_somebody_watches(runtime: Path) -> None:
    def answer(request: Any) -> Reply:
        if model_of(request).startswith("claude-sonnet"):
            return Reply(404, json={"error": {"message": "no such model"}})
        return good(request)

    async def main() -> None:
        limits = {"limits": [{"per": "day", "usd": 10}]}
        async with watched(answer, budget=limits, cache={"store": "memory"}) as kernel:
            await kernel.complete("before")
            async with await connected(runtime) as stream:
                (first,) = await frames(stream, 1)
                assert (first.calls, first.outcomes) == (0, {})
                await kernel.complete("hello")
                await kernel.breakers.isolate(f"target:{HAIKU}")
                await trio.testing.wait_all_tasks_blocked()
                last = (await frames(stream, 3))[-1]
        assert last.calls == 1
        assert last.outcomes == {"ok": 1}
        assert last.pid == os.getpid()
        targets = {target.name: target for target in last.targets}
        assert (targets[SONNET].attempts, targets[SONNET].failures) == (1, 1)
        assert targets[SONNET].last_failure == "model_not_found"
        assert (targets[GPT].attempts, targets[GPT].failures) == (1, 0)
        assert (targets[HAIKU].state, targets[HAIKU].why) == ("isolated", f"by_hand, target:{HAIKU}")
        (account,) = last.accounts
        assert (account.account, account.unit, account.limit) == ("", "USD", 10)
        assert account.spent > 0
        assert last.cache is not None

    trio.run(main)


def of_target(name: str) -> Any:
    """A configuration with one target."""
    return config(
        targets={name: {"provider": "openai", "model": "gpt-4o"}},
        routes={"default": {"cascade": [name]}},
        telemetry={"live_view": True},
    )


def test_a_target_that_a_reload_took_away_is_shown_as_gone_to_all_who_watch(runtime: Path) -> None:
    async def main() -> None:
        with trio.fail_after(10):
            async with penstock.open_kernel(of_target("old"), transport=ScriptedTransport(good)) as kernel:
                async with await connected(runtime) as one, await connected(runtime) as other:
                    for stream in (one, other):
                        await frames(stream, 1)
                    await kernel.complete("hello")
                    await kernel.reload(of_target("new"))
                    await kernel.complete("hello")
                    for stream in (one, other):
                        targets = {target.name: target for target in (await frames(stream, 3))[-1].targets}
                        assert (targets["old"].state, targets["old"].attempts) == ("gone", 1)
                        assert (targets["new"].state, targets["new"].attempts) == ("closed", 1)
                async with await connected(runtime) as late:
                    (frame,) = await frames(late, 1)
                    assert [target.name for target in frame.targets] == ["new"]

    trio.run(main)


def test_the_trouble_of_one_watcher_is_no_others(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However it may come about: here the clock of its tally breaks for one of them."""
    broken: list[LiveTally] = []

    def heard(tally: LiveTally, event: Any, now: float) -> None:
        del event, now
        if tally in broken:
            raise RuntimeError("a bug")

    async def main() -> None:
        async with watched() as kernel, await connected(runtime) as one, await connected(runtime) as other:
            for stream in (one, other):
                await frames(stream, 1)
            await kernel.complete("hello")
            assert await one.receive_some() == b""
            await frames(other, 3)
            for _ in range(2):  # and who comes back is told of no more
                async with await connected(runtime) as again:
                    await frames(again, 1)

    made = LiveTally.__init__

    def first_is_broken(tally: LiveTally, *args: Any) -> None:
        made(tally, *args)
        if not broken:
            broken.append(tally)

    monkeypatch.setattr(LiveTally, "__init__", first_is_broken)
    monkeypatch.setattr(LiveTally, "heard", heard)
    trio.run(main)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "telemetry.live_view: a bug; a watcher is let go (this is told once)"
    ]


def test_while_nobody_watches_no_event_is_made(runtime: Path) -> None:
    async def main() -> None:
        async with watched() as kernel:
            assert not is_heard(kernel)
            async with await connected(runtime) as stream:
                await frames(stream, 1)
                assert is_heard(kernel)
            while is_heard(kernel):  # noqa: ASYNC110 - until the socket says that it is gone
                await trio.sleep(0.01)

    trio.run(main)


def test_a_watcher_that_does_not_read_is_let_go_and_holds_up_nobody(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.05)
    monkeypatch.setattr(server, "EVERY", 0.0)

    async def main() -> None:
        async with watched() as kernel:
            async with await connected(runtime) as stream:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                await frames(stream, 1)
                while is_heard(kernel):
                    await kernel.complete("hello")
                    await trio.sleep(0.01)
            await kernel.complete("hello")

    trio.run(main)


def test_so_many_may_watch_at_once_and_one_more_is_turned_away(runtime: Path) -> None:
    async def main() -> None:
        async with watched():
            streams = [await connected(runtime) for _ in range(server.MOST_WATCHERS)]
            for stream in streams:
                await frames(stream, 1)
            async with await connected(runtime) as late:
                assert await late.receive_some() == b""
            for stream in streams:
                await stream.aclose()

    trio.run(main)


def test_closing_a_kernel_does_not_wait_for_who_watches_it(runtime: Path) -> None:
    async def main() -> None:
        streams: list[trio.SocketStream] = []
        with trio.fail_after(2):
            async with watched():
                streams.append(await connected(runtime))
                await frames(streams[0], 1)
        await streams[0].aclose()

    trio.run(main)


def test_no_prompt_and_no_key_is_in_a_frame(runtime: Path) -> None:
    def answer(_: Any) -> Reply:
        return Reply(400, json={"error": {"type": "invalid_request_error", "message": "canary-of-the-message"}})

    async def main() -> bytes:
        async with watched(answer) as kernel, await connected(runtime) as stream:
            await frames(stream, 1)
            with pytest.raises(errors.InvalidRequestError):
                await kernel.complete("canary-of-the-prompt")
            read = b""
            while b"invalid_request" not in read:
                read += await stream.receive_some()
            return read

    told = trio.run(main)
    assert b"canary" not in told
    assert b"sk-" not in told


# The tally


def call(outcome: str = "ok", duration: float = 1.0) -> CallEnded:
    return CallEnded("c", "r", "", outcome, "t", 1, duration, 10, 5, "off")


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["ok", "cancelled", "overloaded"]))))
def test_every_call_is_counted_once_under_its_outcome(ends: list[tuple[float, str]]) -> None:
    tally = LiveTally(0.0)
    for now, outcome in sorted(ends):
        tally.heard(call(outcome), now)
    assert tally.calls == len(ends) == sum(tally.outcomes.values())
    last = max((now for now, _ in ends), default=0.0)
    recent = sum(int(now) > last - RATE_OVER for now, _ in ends)
    assert tally.recent.rate(last, 0.0) == pytest.approx(recent / max(1.0, min(RATE_OVER, last)))


@given(st.lists(st.floats(0, 60), min_size=1, max_size=100))
def test_percentiles_are_of_values_that_were_seen(durations: list[float]) -> None:
    tally = LiveTally(0.0)
    for duration in durations:
        tally.heard(call(duration=duration), 0.0)
    half, most = tally.recent.percentile(0.5), tally.recent.percentile(0.95)
    assert half in durations
    assert most in durations
    assert half is not None
    assert most is not None
    assert sum(each <= half for each in durations) * 2 >= len(durations)
    assert half <= most


def test_a_cancelled_attempt_is_no_failure_of_its_target() -> None:
    tally = LiveTally(0.0)
    for outcome in ("ok", "cancelled", "overloaded"):
        tally.heard(AttemptEnded("c", "t", 1, outcome, 0.1), 0.0)
    target = tally.targets["t"]
    assert (target.attempts, target.failures, target.last_failure) == (3, 1, "overloaded")


# The screen


def frame(targets: int) -> Frame:
    return Frame(
        kernel="0a1b2c3d",
        version="0.1.0",
        pid=4711,
        up_s=191.0,
        watched_s=60.0,
        closing=False,
        in_flight=12,
        waiting=0,
        max_in_flight=512,
        calls=900,
        calls_per_s=15.0,
        outcomes={"ok": 880, "cancelled": 5, "overloaded": 15},
        duration_p50=0.8,
        duration_p95=2.1,
        tokens=123_456,
        cost=1.25,
        targets=tuple(
            TargetFrame(
                name=f"target-{at}-with-a-name-that-is-rather-long",
                state="open" if at == targets - 1 else "closed",
                why="failures_in_a_row, target:t" if at == targets - 1 else "",
                for_s=4.0 if at == targets - 1 else None,
                attempts=at,
                failures=at // 2,
                per_s=at / 10,
                first_token_p95=0.4,
                duration_p50=0.9,
            )
            for at in range(targets)
        ),
        accounts=(AccountFrame(account="team/search", per="day", unit="USD", limit=20, spent=15, held=4.5),),
        cache=CacheFrame(entries=12, bytes=3_000, hits=50, misses=150, followers=0),
        actors=(ActorFrame(name="router", queued=0, slots_in_use=0, handled=10),),
        problems=(),
        missed=0,
    )


def shown(made: Frame, width: int, height: int | None) -> list[str]:
    console = Console(width=width, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(drawn(made, width=width, height=height, unicode=True))
    return capture.get().splitlines()


@pytest.mark.parametrize("targets", [0, 3, 60])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 12), (200, 80)])
def test_it_fits_the_terminal_and_counts_what_does_not(targets: int, width: int, height: int) -> None:
    lines = shown(frame(targets), width, height)
    assert len(lines) <= max(height, 14)
    assert max(map(len, lines)) <= width
    rows = sum(line.startswith("target-") for line in lines)
    left = [line for line in lines if line.startswith("and ")]
    assert rows + sum(int(line.split()[1]) for line in left) == targets


def test_what_is_sick_comes_first_and_says_why_where_there_is_room() -> None:
    lines = shown(frame(60), 120, 24)
    first = next(line for line in lines if line.startswith("target-"))
    assert "OPEN 4 s" in first
    assert "failures_in_a_row" in first


def test_a_name_that_would_move_the_cursor_is_told_and_not_obeyed() -> None:
    sick = TargetFrame(name="\x1b[2Jboo", state="open", why="\x07")
    told = "\n".join(shown(msgspec.structs.replace(frame(0), targets=(sick,), problems=("\x1b]0;title",)), 120, 24))
    assert "\x1b[2J" not in told
    assert r"\x1b[2Jboo" in told
