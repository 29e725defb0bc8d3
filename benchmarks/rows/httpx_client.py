"""Bare `httpx.AsyncClient` on trio."""

from __future__ import annotations

import httpx

from benchmarks.rows.httpx_api import row
from benchmarks.worker import run

if __name__ == "__main__":
    run(row(httpx, ("httpx", "httpcore", "trio")))
