"""What comes through foreign code without being its fault: whoever raised it means those around.

Ctrl-C, a cancellation, the end of a generator, the exit that a signal handler asks for, and what no code raises that
does not want to be met (the `fail` of a test). All else that foreign code raises is its fault, and is met where it was
called. `Exception` would not say that: `sys.exit` is none, and neither is the panic of a Rust extension, and one that
went on from there would end the kernel, and with it the calls of everybody else.
"""

from __future__ import annotations

import signal
from types import CodeType
from typing import cast

import trio

from penstock._ungrouped import raise_as_it_is, unwrapped

__all__ = ["interruptible", "let_through", "signal_in"]

interruptible = trio.lowlevel.disable_ki_protection
"""Of what asks foreign code in a call: Ctrl-C comes in the middle of it. In the rest of a call it waits for a
checkpoint, but foreign code may never come to an end.
"""
FAULTS = frozenset({"PanicException", "CancelledError"})
"""Classes that are no Exception, by name: pyo3 makes one for each extension, and asyncio's means no loop of ours."""


def signal_in(error: BaseException) -> BaseException | None:
    """What foreign code raised, or what of a group of it, where that is meant for those around it. None: nothing is."""
    if isinstance(error, BaseExceptionGroup):
        signals = cast("BaseExceptionGroup[BaseException]", error).split(_is_signal)[0]
        return None if signals is None else unwrapped(signals)
    return error if _is_signal(error) else None


def let_through(error: BaseException) -> None:
    """Raises that, and only that."""
    meant = signal_in(error)
    if meant is None:
        return
    try:
        raise_as_it_is(meant)
    finally:
        del meant, error  # they hold this frame: together they would wait for the garbage collector


def _is_signal(error: BaseException) -> bool:
    if isinstance(error, Exception | BaseExceptionGroup):
        return False
    if isinstance(error, SystemExit):
        return _is_of_a_handler(error)
    return not any(kind.__name__ in FAULTS for kind in type(error).__mro__)


def _is_of_a_handler(error: BaseException) -> bool:
    """Whether the handler of a signal raised it, in the middle of whatever ran."""
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def _code_of(handler: object) -> CodeType | None:
    """Of a function, a method, a `functools.partial` of one, or an object that can be called."""
    handler = getattr(handler, "func", handler)
    handler = getattr(handler, "__func__", handler)
    code = getattr(handler, "__code__", None) or getattr(vars(type(handler)).get("__call__"), "__code__", None)
    return code if isinstance(code, CodeType) else None
