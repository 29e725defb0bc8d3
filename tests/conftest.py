"""Settings of the whole suite: reproducible, reduced counts; PENSTOCK_SOAK=1 asks for the full ones."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", max_examples=2_000, stateful_step_count=100, deadline=None)
settings.load_profile("soak" if os.environ.get("PENSTOCK_SOAK") else "quick")
