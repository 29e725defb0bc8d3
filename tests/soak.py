"""Whether the tests run at full size: PENSTOCK_SOAK=1 asks for that. `.ci/run` prints what `if SOAK else` reduces."""

from __future__ import annotations

import os

__all__ = ["SOAK"]

SOAK = bool(os.environ.get("PENSTOCK_SOAK"))
