"""Ctrl-C in a call, wherever it is: it comes when nothing is left behind by that, and at once in foreign code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import msgspec
import pytest
import trio
from acme import PROMPT, THEIRS, acme
from acme import settings as with_acme
from soak import SOAK
from worlds import GPT, config, good, openai_body, run

import penstock
from penstock.testing import Reply, ScriptedTransport

PLACES = 10**6 if SOAK else 60
TABLES: dict[str, Any] = {
    "budget": {"limits": [{"per": "day", "usd": 100}]},
    "cache": {"store": "memory", "when": "always"},
}
Story = Callable[[penstock.Kernel], Awaitable[object]]


class City(msgspec.Struct):
    name: str


async def completes(kernel: penstock.Kernel) -> None:
    await kernel.complete("hello")


async def completes_from_the_cache(kernel: penstock.Kernel) -> None:
    await kernel.complete("asked before")


async def extracts(kernel: penstock.Kernel) -> None:
    await kernel.extract(City, "hello")


async def streams(kernel: penstock.Kernel) -> None:
    async with kernel.stream("hello") as stream:
        async for _ in stream:
            pass


async def leaves_a_stream(kernel: penstock.Kernel) -> None:
    async with kernel.stream("hello") as stream:
        await anext(stream)


async def leaves_a_stream_to_drain(kernel: penstock.Kernel) -> None:
    async with kernel.stream("hello", on_leave="drain") as stream:
        await anext(stream)


class Press:
    """Presses Ctrl-C at one line of those of penstock that the task runs."""

    def __init__(self, line: int) -> None:
        self.left = line
        self.task = trio.lowlevel.current_task()
        self.place = ""

    def called(self, frame: FrameType, _event: str, _: object) -> Any:
        ours = "/kernel/penstock/" in frame.f_code.co_filename
        return self.came_to if ours and not self.place and trio.lowlevel.current_task() is self.task else None

    def came_to(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and not self.place:
            self.left -= 1
            if not self.left:
                self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                signal.raise_signal(signal.SIGINT)
        return self.came_to


@pytest.mark.slow
@pytest.mark.parametrize(
    "story",
    [completes, completes_from_the_cache, extracts, streams, leaves_a_stream, leaves_a_stream_to_drain],
    ids=lambda story: story.__name__,
)
def test_ctrl_c_at_any_line_of_a_call_leaves_nothing_behind(story: Story) -> None:
    async def main(line: int) -> int:
        """How many lines there were before that one."""
        transport = ScriptedTransport(lambda request: good(request, pause=0.01))
        async with penstock.open_kernel(config(**TABLES), transport=transport) as kernel:
            await kernel.complete("asked before")
            press = Press(line)
            before = sys.gettrace()
            sys.settrace(press.called)
            interrupted = False
            try:
                with suppress(penstock.errors.PenstockError):
                    await story(kernel)
                await trio.sleep(1)
            except KeyboardInterrupt:
                interrupted = True
            finally:
                sys.settrace(before)
            assert interrupted is bool(press.place), f"{press.place}: Ctrl-C was lost"
            await trio.sleep(40)  # longer than a stream drains
            seen = await kernel.snapshot()
            assert seen.in_flight == transport.open == 0, press.place
            assert seen.accounts[""].windows[0].held.nano_usd == 0, press.place
            assert all(actor.slots_in_use == actor.restarts == 0 for actor in seen.actors.values()), press.place
            assert (await kernel.complete("after")).text, press.place
            began = trio.current_time()
        assert trio.current_time() - began < 0.5, f"{press.place}: a call was waited for"
        return line - press.left

    lines = run(lambda: main(sys.maxsize))
    assert lines > 100, "too few to be a call"
    for line in range(1, lines, max(1, lines // PLACES)):
        run(partial(main, line))


class PressAt(trio.abc.Instrument):
    """Presses Ctrl-C before one step of any task."""

    def __init__(self, step: int) -> None:
        self.left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.left -= 1
        if not self.left:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_the_grace_of_a_closing_kernel_and_comes_when_all_is_closed() -> None:
    async def main(step: int) -> int:
        """How many steps there were before that one."""
        press = PressAt(step)
        transport = ScriptedTransport(lambda request: good(request, pause=3.0))
        tables = TABLES | {"kernel": {"grace": 100.0}}
        began, pressed = trio.current_time(), False
        kernel = None
        try:
            async with penstock.open_kernel(config(**tables), transport=transport) as kernel:
                async with kernel.stream("hello", on_leave="drain") as stream:
                    await anext(stream)
                began = trio.current_time()
                trio.lowlevel.add_instrument(press)
            trio.lowlevel.remove_instrument(press)
            await trio.lowlevel.checkpoint()  # where it came too late to be heard by the kernel
        except KeyboardInterrupt:
            pressed = True
        assert pressed is (press.left <= 0)
        assert transport.open == 0
        assert kernel is not None
        assert not kernel.health().ready
        assert trio.current_time() - began < (20 if pressed else 100)
        return step - press.left

    steps = run(partial(main, sys.maxsize))
    assert steps > 10
    for step in range(1, steps + 1):
        run(partial(main, step))


def test_ctrl_c_while_a_stream_is_waited_for_ends_the_wait() -> None:
    async def main() -> float:
        transport = ScriptedTransport(lambda request: good(request, pause=3.0))

        @trio.lowlevel.enable_ki_protection  # the signal is to find the main task at rest
        async def press() -> None:
            await trio.sleep(1)
            signal.raise_signal(signal.SIGINT)

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            with pytest.raises(KeyboardInterrupt):
                async with penstock.open_kernel(config(kernel={"grace": 100.0}), transport=transport) as kernel:
                    async with kernel.stream("hello", on_leave="drain") as stream:
                        await anext(stream)
                    began = trio.current_time()
                    nursery.start_soon(press)
            return trio.current_time() - began

    assert run(main) < 1.5, "the stream had more than that to come"


@pytest.mark.parametrize("method", ["encode", "authorize", "decode"])
def test_ctrl_c_in_a_codec_comes_at_once(method: str) -> None:
    went_on: list[str] = []

    def endless() -> None:
        signal.raise_signal(signal.SIGINT)
        went_on.append(method)

    async def main() -> None:
        plugin = acme(**{method: endless})
        async with penstock.open_kernel(with_acme(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            await kernel.complete(PROMPT, model=THEIRS)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert not went_on


def test_ctrl_c_in_a_validator_comes_at_once_and_leaves_nothing_behind() -> None:
    went_on: list[object] = []

    def endless(value: object) -> None:
        signal.raise_signal(signal.SIGINT)
        went_on.append(value)

    async def main() -> None:
        transport = ScriptedTransport([Reply(json=openai_body('{"name": "Rome"}'))])
        async with penstock.open_kernel(config(**TABLES), transport=transport) as kernel:
            try:
                await kernel.extract(City, "hello", model=GPT, validators=[endless])
            finally:
                seen = await kernel.snapshot()
                assert seen.in_flight == transport.open == 0
                assert seen.accounts[""].windows[0].held.nano_usd == 0

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert not went_on


@pytest.mark.parametrize(
    "where", ["CallCache.end", "CallHold.settle", "Address.tell_owed", "Semaphore.release", "tell_end"]
)
def test_ctrl_c_while_a_call_pays_what_it_owes_comes_after_that(where: str) -> None:
    pressed = False

    def press(frame: FrameType, event: str, _: object) -> None:
        nonlocal pressed
        if event == "call" and not pressed and frame.f_code.co_qualname == where and is_paying(frame):
            pressed = True
            signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with penstock.open_kernel(config(**TABLES), transport=ScriptedTransport(good)) as kernel:
            sys.setprofile(press)
            with pytest.raises(KeyboardInterrupt):
                await kernel.complete("hello")
                await trio.sleep(1)
            sys.setprofile(None)
            assert pressed
            seen = await kernel.snapshot()
            assert seen.in_flight == 0
            assert seen.accounts[""].windows[0].held.nano_usd == 0
            assert all(actor.slots_in_use == 0 for actor in seen.actors.values())
            began = trio.current_time()
        assert trio.current_time() - began < 0.5, "no call was waited for"

    try:
        run(main)
    finally:
        sys.setprofile(None)


def is_paying(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_qualname == "_Run.pay":
            return True
        frame = frame.f_back
    return False
