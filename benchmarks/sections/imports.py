"""What `import penstock` takes beside `import trio, httpx`, and whether it starts a thread or looks at the network."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from benchmarks.bench import Bench, Figures

PROGRAM = """
import json, sys, threading, time
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event.startswith("socket.") else None)
cpu = time.process_time()
import {packages}
cpu = time.process_time() - cpu
calls = [event for event in asked if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto")]
print(json.dumps([cpu * 1e3, threading.active_count() - 1, calls]))
"""
OURS, THEIRS = "penstock", "trio, httpx"
FIRST_USE = "penstock; penstock.Config, penstock.open_kernel"
"""What is put off until a kernel is opened is shown, too: it is paid by whoever opens one."""


def measured(bench: Bench) -> Figures:
    times: dict[str, list[float]] = {OURS: [], THEIRS: [], FIRST_USE: []}
    threads, network = 0, list[str]()
    for _ in range(bench.rounds + 2):
        for packages, seen in times.items():
            cpu_ms, started, asked = imported(packages)
            seen.append(cpu_ms)
            if packages != THEIRS:
                threads, network = max(threads, started), network + asked
    # The least: whatever else the machine does only ever adds.
    ours, theirs = min(times[OURS]), min(times[THEIRS])
    return {
        "unit": "ms of CPU, the least of the rounds, without starting Python",
        "penstock_ms": round(ours, 2),
        "trio_httpx_ms": round(theirs, 2),
        "first_use_ms": round(min(times[FIRST_USE]), 2),
        "median_ratio": round(statistics.median(times[OURS]) / statistics.median(times[THEIRS]), 3),
        "ratio": round(ours / theirs, 3),
        "threads": threads,
        "network": sorted(set(network)),
    }


def imported(packages: str) -> tuple[float, int, list[str]]:
    """Milliseconds, threads started, and what was asked of the network."""
    command = [sys.executable, "-c", PROGRAM.format(packages=packages)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu_ms, started, asked = json.loads(done.stdout)
    return cpu_ms, started, asked
