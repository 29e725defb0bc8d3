"""What comes through foreign code without being its fault: Ctrl-C, a cancellation, the end of a generator.

All else that it raises is its fault, and is met where it was called. `Exception` would not say that: `sys.exit` is
none, and neither is the panic of a Rust extension (pyo3's PanicException). One that went on from there would end the
kernel, and with it the calls of everybody else. Where foreign code is only called, and never awaited, Ctrl-C alone can
come through it: there two lines say the same (`except KeyboardInterrupt: raise`, then `except BaseException`).
"""

from __future__ import annotations

from typing import cast

import trio

__all__ = ["interruptible", "let_through", "signal_in"]

interruptible = trio.lowlevel.disable_ki_protection
"""Of what asks foreign code in a call: Ctrl-C comes in the middle of it. In the rest of a call it waits for a
checkpoint, but foreign code may never come to an end.
"""
SIGNALS = (KeyboardInterrupt, trio.Cancelled, GeneratorExit)


def signal_in(error: BaseException) -> BaseException | None:
    """That of what foreign code raised which is meant for those around it; of a group, the part. None: nothing is."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(SIGNALS)[0]
    return error if isinstance(error, SIGNALS) else None


def let_through(error: BaseException) -> None:
    """Raises that, and only that."""
    signal = signal_in(error)
    if signal is None:
        return
    try:
        raise signal
    finally:
        del signal, error  # they hold this frame: together they would wait for the garbage collector
