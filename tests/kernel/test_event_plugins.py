"""Plugins that listen: they hear everything, and cannot harm a call."""

from __future__ import annotations

import time

import pytest
from worlds import ANSWER, config, good, run

import penstock
from penstock.testing import ScriptedTransport


class Listener:
    """A plugin object with one hook."""

    def __init__(self, *, raises: bool = False, slow: float = 0.0) -> None:
        self.heard: list[str] = []
        self.raises = raises
        self.slow = slow

    @penstock.hookimpl
    def penstock_event(self, event: penstock.Event) -> None:
        self.heard.append(type(event).__name__)
        time.sleep(self.slow)
        if self.raises:
            raise RuntimeError("a plugin's own bug")


def events_of(*listeners: Listener, calls: int = 1) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good), plugins=listeners) as kernel:
            for _ in range(calls):
                assert (await kernel.complete("hello")).text == ANSWER

    run(main)


def test_a_plugin_hears_every_event() -> None:
    listener = Listener()
    events_of(listener)
    assert listener.heard == ["CallStarted", "AttemptEnded", "CallEnded", "Shutdown"]


def test_a_plugin_that_raises_is_not_called_again_and_the_others_are(caplog: pytest.LogCaptureFixture) -> None:
    bad, well = Listener(raises=True), Listener()
    events_of(bad, well)
    assert bad.heard == ["CallStarted"]
    assert len(well.heard) == 4
    assert "it raised RuntimeError" in caplog.text
    assert "bug" not in caplog.text


def test_a_plugin_that_is_slow_again_and_again_is_not_called_any_more(caplog: pytest.LogCaptureFixture) -> None:
    slow = Listener(slow=0.02)
    events_of(slow, calls=5)
    assert len(slow.heard) == 3
    assert "not called any more" in caplog.text
