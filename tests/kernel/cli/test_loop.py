"""Where Ctrl-C reaches a command."""

from __future__ import annotations

import signal

import pytest
import trio

from penstock.cli._loop import run_loop


def test_an_interrupt_breaks_nothing_off_between_two_checkpoints() -> None:
    done: list[str] = []

    async def command() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("to the next checkpoint")
        await trio.lowlevel.checkpoint()
        done.append("and beyond")

    with pytest.raises(KeyboardInterrupt):
        run_loop(command)
    assert done == ["to the next checkpoint"]


def test_an_interrupt_ends_what_waits() -> None:
    async def command() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.lowlevel.checkpoint()
            signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as ended:
        run_loop(command)
    assert ended.value.subgroup(KeyboardInterrupt) is not None
