"""Ctrl-C at the end of a call: it comes when everything that the call owes is paid."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

import pytest
import trio
from worlds import config, good, run

import penstock
from penstock.testing import ScriptedTransport

TABLES: dict[str, Any] = {
    "budget": {"limits": [{"per": "day", "usd": 100}]},
    "cache": {"store": "memory", "when": "always"},
}


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
