"""CPU per chunk of a stream: in bursts, in bursts of small HTTP chunks, one every 2 ms; under each commit policy."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Trial
from benchmarks.upstream.answers import CHUNKS

BOTH = ("raw", "floor", "penstock_guards", "httpx_client", "httpx2_client", "aiohttp_client")
OF_OPENAI = ("tensorzero_embedded", "openai_sdk", "pydantic_ai_fallback", "langchain_fallbacks", "litellm_call")
OF_ANTHROPIC = ("anthropic_sdk",)
COMMITS = ("buffer", "whole", "continue", "restart")


def measured(bench: Bench) -> Figures:
    wires = {"openai": BOTH + OF_OPENAI, "anthropic": BOTH + OF_ANTHROPIC}
    trials = [
        Trial(row, f"{kind} {wire}", stream(bench, kind, wire))
        for kind in CHUNKS
        for wire, rows in wires.items()
        for row in bench.chosen(*rows)
    ]
    trials += [
        Trial(row, f"burst openai, {commit}", stream(bench, "burst", f"openai {commit}"))
        for commit in COMMITS
        for row in bench.chosen("penstock_guards")
    ]
    return {"unit": "us of CPU per chunk", "rows": bench.interleaved(trials)}


def stream(bench: Bench, kind: str, job: str) -> dict[str, object]:
    """One whole stream at a time, the request included. The first round of the run warms up."""
    return bench.order(kind, job, count=1, s=20.0) | {"warm_up": 0}
