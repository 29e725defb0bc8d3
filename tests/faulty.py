"""A faulty upstream: the mix of faults for tests of weight, and the mix served from a process of its own.

    python faulty.py SHARE CPU

Serves on a free port, which it prints, pinned to one processor; when its input ends it prints its books and leaves.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import trio

from penstock_plugins.rehearsal import Fault, Latency, Rule, Script, Upstream, faults, serve

__all__ = ["FAULTS", "STUCK", "script"]

ONCE: dict[Fault, int] = {faults.PermissionDenied(): 200, faults.WrongKey(): 500, faults.Quota(): 800}
"""One of them closes a key for minutes: only one request of each model meets it, the so-manieth."""
LIMITS: tuple[Fault, ...] = (
    faults.RateLimit(hint="none"),
    faults.RateLimit(hint="milliseconds", after_s=0.3),
    faults.RateLimit(hint="message", after_s=0.5),
)
"""A limit holds up every call for as long as it says: as often as the others, they would leave no room for them."""
SELDOM = 0.001
STUCK: tuple[Fault, ...] = (faults.SlowConnect(), faults.SlowUpload())
"""In memory only."""
COMMON: tuple[Fault, ...] = (
    faults.ServerFailure(),
    faults.ServerFailure(status=408),
    faults.Overloaded(),
    faults.ModelNotFound(),
    faults.InvalidRequest(),
    faults.ContextLength(),
    faults.FilteredRequest(),
    faults.FilteredAnswer(),
    faults.Refused(),
    faults.ResetConnection(),
    faults.ResetConnection(at="after_head"),
    faults.ResetConnection(at="mid_body", abrupt=False),
    *STUCK,
    faults.SilentBeforeHead(),
    faults.SilentAfterHead(),
    faults.LateFirstToken(by_s=3.0),
    faults.Stall(),
    faults.Trickle(bytes_per_s=300.0),
    faults.CutStream(),
    faults.CutStream(clean=True),
    faults.MissingTerminator(),
    faults.MissingTerminator(finish_reason=False),
    faults.MalformedChunk(),
    faults.ErrorEvent(),
    faults.ErrorEvent(after_chunks=2),
    faults.ErrorEvent(after_chunks=2, kind="rate_limit"),
    faults.DuplicateChunks(kind="finish"),
    faults.SplitUtf8(),
    faults.GzipBomb(decompressed_bytes=1024 * 1024),
    faults.HeaderBomb(header_bytes=150_000),
    faults.Html(),
    faults.WrongJson(),
    faults.EmptyBody(),
    faults.IgnoreMaxTokens(),
    faults.NoUsage(),
)
FAULTS: tuple[Fault, ...] = (*ONCE, *LIMITS, *COMMON)
"""Every kind there is."""


def script(mix: Sequence[Fault], share: float, *, seed: int) -> Script:
    """So that about `share` of all exchanges meet a fault."""
    often = share * 1.2 / len(mix)
    return Script(tuple(_rule(fault, often) for fault in mix), seed)


def _rule(fault: Fault, often: float) -> Rule:
    if fault in ONCE:
        return Rule(fault=fault, model="gpt*", first=ONCE[fault], last=ONCE[fault])
    return Rule(fault=fault, probability=SELDOM if fault in LIMITS else often)


async def main(share: float) -> None:
    mix = [fault for fault in FAULTS if fault not in STUCK]
    upstream = Upstream(script(mix, share, seed=13), latency=Latency(first_s=0.05, chunk_s=0.005, jitter=0.5))
    async with serve(upstream) as server:
        print(server.port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        statistics = upstream.statistics()
        served = statistics.served()
        print(
            json.dumps(
                {
                    "served": served.input_tokens + served.output_tokens,
                    "bad": sum(count for _, count in statistics.faults),
                    "in_flight": statistics.in_flight,
                    "connections": server.connections_open,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(sys.argv[2])})
    trio.run(main, float(sys.argv[1]))
