"""httpx2, the fork of httpx, on trio."""

from __future__ import annotations

import httpx2

from benchmarks.rows.httpx_api import row
from benchmarks.worker import run

if __name__ == "__main__":
    run(row(httpx2, ("httpx2", "trio")))
