"""What answers take in memory: as much as the configuration gives them, however many there are."""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import httpx
import pytest
import trio
from worlds import GPT, config, good

import penstock
from penstock.testing import Reply, ScriptedTransport

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc"),
]

ANSWERS, LENGTH = 1_500, 16_384
"""Twelve times as many bytes as may be kept."""
MEMORY = 2 * 2**20
FACTOR = 1.5
"""Of the bytes that entries take: the allocator's rounding, and what is freed in pieces."""
BESIDE = 5 * 2**20
"""Bytes of what is not the memory: the pages of SQLite, what waits to be written."""


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.slow
def test_many_more_answers_than_fit_pass_through_memory_and_it_does_not_grow_beyond_its_bound(tmp_path: Path) -> None:
    dice = random.Random(5)

    def answer(request: httpx.Request) -> Reply:
        upstream.requests.clear()  # it would keep them all
        return good(request, dice.randbytes(LENGTH // 2).hex())

    upstream = ScriptedTransport(answer)
    cache = {"path": str(tmp_path / "answers.db"), "when": "always", "memory_bytes": MEMORY, "store_timeout": 10.0}
    settings = config(cache=cache, routes={"default": {"cascade": [GPT]}})

    async def asked(outcome: str) -> int:
        """All of the questions; how much the process grew by after the first tenth."""
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            before = 0
            for number in range(ANSWERS):
                if number == ANSWERS // 10:
                    before = resident()
                response = await kernel.complete(f"question {number}")
                assert response.cache == outcome
                assert len(response.text) == LENGTH
            grown = resident() - before
            statistics = (await kernel.snapshot()).cache
        assert statistics is not None
        assert MEMORY * 0.9 < statistics.entries.bytes <= MEMORY
        return grown

    grown = [trio.run(asked, outcome) for outcome in ("miss", "hit")]
    print(f"{ANSWERS} answers of {LENGTH} bytes through {MEMORY} bytes of memory: grown by {grown}")
    assert max(grown) <= FACTOR * MEMORY + BESIDE
