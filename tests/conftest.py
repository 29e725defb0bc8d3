"""Settings of the whole suite: reproducible, reduced counts; PENSTOCK_SOAK=1 asks for the full ones."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from soak import SOAK

settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", parent=settings.get_profile("quick"), max_examples=10)
settings.register_profile("soak", max_examples=2_000, stateful_step_count=100, deadline=None)
settings.load_profile("soak" if SOAK else "quick")

# A shell that starts a program in the background has it ignore Ctrl-C, and its children inherit that: the tests of
# what Ctrl-C does would hang.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SIXTH = os.environ.pop("PENSTOCK_SLOW_SIXTH", "")  # not for the runs of pytest that tests begin
"""`0` to `5`: every sixth of the tests that are marked slow, from there on. `.ci/run` chooses by the commit, so that
each runs with every sixth commit or so. Else all of them run."""
SIXTHS = {"0", "1", "2", "3", "4", "5"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the other five sixths; those by which planted bugs are caught stay together."""
    if SIXTH not in SIXTHS:
        return
    slow = [item for item in items if item.get_closest_marker("slow") and item.path.name != "test_planted.py"]
    left_out = set(slow) - set(slow[int(SIXTH) :: 6])
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def pytest_report_header() -> list[str]:
    """Says so."""
    return [f"slow tests: every sixth one ({SIXTH}), for PENSTOCK_SLOW_SIXTH is set"] if SIXTH in SIXTHS else []
