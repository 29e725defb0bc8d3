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

THIRD = os.environ.pop("PENSTOCK_SLOW_THIRD", "")  # not for the runs of pytest that tests begin
"""`0`, `1` or `2`: every third of the tests that are marked slow, from there on. `.ci/run` chooses by the commit, so
that each runs with every third commit or so. Else all of them run."""
THIRDS = {"0", "1", "2"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the other two thirds; those by which planted bugs are caught stay together."""
    if THIRD not in THIRDS:
        return
    slow = [item for item in items if item.get_closest_marker("slow") and item.path.name != "test_planted.py"]
    left_out = set(slow) - set(slow[int(THIRD) :: 3])
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def pytest_report_header() -> list[str]:
    """Says so."""
    return [f"slow tests: every third one ({THIRD}), for PENSTOCK_SLOW_THIRD is set"] if THIRD in THIRDS else []
