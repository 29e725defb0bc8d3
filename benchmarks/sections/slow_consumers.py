"""Memory of the client's process for each open stream whose consumer has stopped reading: plain TCP, and TLS apart."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec

from benchmarks.bench import Bench, Figures, Trial
from benchmarks.environments import ROOT

STREAMS = 500
FIRST = 20
"""Opened before memory is looked at: what the first ones load is no cost of a stream."""
AT_ONCE = 32
"""Opened at once: the TLS front is Python, too, and shakes hands with no more of them in the time of connecting."""
ROW = "penstock_guards"


def measured(bench: Bench) -> Figures:
    plain = kib_each(bench, "now")
    if plain is None:
        return {"missing": bench.status(ROW) if ROW in bench.rows else f"{ROW} is not in this run"}
    figures = {"unit": "KiB of resident memory per stream", "streams": opened(bench), "kib_each": plain}
    if find_spec("trustme") is None:
        return figures | {"tls": "trustme is not installed"}
    with tls_front(bench.upstream.port) as (port, folder):
        over_tls = kib_each(bench, f"now?tls={port}&ca={folder}/ca.pem")
    return figures | ({"tls": bench.status(ROW)} if over_tls is None else {"tls_kib_each": over_tls})


def opened(bench: Bench) -> int:
    return FIRST if bench.reduced else STREAMS


def kib_each(bench: Bench, at: str) -> float | None:
    """The most of a few processes."""
    seen: list[float] = []
    for number in range(1 if bench.reduced else 3):
        variant = f"held {at} {number}"
        before, after = (bench.measured(held(bench, at, count), variant) for count in (FIRST, opened(bench)))
        if before is None or after is None:
            return None
        bench.dismiss(ROW, variant)
        seen.append((after["rss_kib"] - before["rss_kib"]) / opened(bench))
    return round(max(seen), 1)


def held(bench: Bench, at: str, count: int) -> Trial:
    """So many more are open from now on."""
    order = bench.order(at, "hold", concurrency=min(count, AT_ONCE), count=count, s=60.0)
    return Trial(ROW, f"{count} held", order | {"warm_up": 0})


@contextmanager
def tls_front(upstream: int) -> Generator[tuple[int, str]]:
    """Its port, and the folder of its authority's certificate."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.upstream.tls", str(upstream), folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as front:
            assert front.stdout is not None
            yield int(front.stdout.readline()), folder
