"""Settings of the whole suite: reproducible, reduced counts; PENSTOCK_SOAK=1 asks for the full ones."""

from __future__ import annotations

import signal

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
