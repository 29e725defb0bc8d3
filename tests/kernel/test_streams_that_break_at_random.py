"""Calls whose attempts break at random, under every commit policy: what a consumer holds is what it is told it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import httpx
import pytest
import trio
from breaking import LOST, PREFILL_REFUSED, Scripted, Seen, cascade, chunks_of, prefill_of, scripted, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock
from worlds import GPT, HAIKU, SONNET, is_stream

import penstock
from penstock import Commit, errors
from penstock.testing import Reply

SAYINGS = "One two.  \n Three \n\n four five  six. "
LIMITED = {"limits": [{"per": "day", "tokens": 10**9}]}
TIMEOUTS = {"timeouts": {"first_token": 10, "idle": 5, "total": 60}}


@attrs.frozen
class Break:
    """How an attempt ends that does not come to its end."""

    pieces: int
    how: str
    pause: float

    def __call__(self, request: httpx.Request) -> Reply:
        if self.how == "refused":
            return PREFILL_REFUSED if prefill_of(request) else whole(request, SAYINGS)
        if not is_stream(request):
            return Reply(500, json={"error": {"message": "boom"}})
        endings: dict[str, list[bytes | Exception]] = {
            "lost": [LOST],
            "clean": [],
            "junk": [b"data: {no json\n\n"],
            "stall": [b": ping\n\n"] * 1_000,
        }
        chunks: list[bytes | Exception] = [*chunks_of(request, self.pieces, SAYINGS), *endings[self.how]]
        return Reply(chunks=chunks, pause=self.pause)


def target_of(stage: tuple[str, int]) -> str:
    return stage[0]


HOWS = st.sampled_from(["lost", "clean", "junk", "stall", "refused"])
BREAKS = st.builds(Break, st.integers(0, 9), HOWS, st.sampled_from([0.0, 0.5]))
SCRIPTS: st.SearchStrategy[Mapping[str, Sequence[Scripted]]] = st.fixed_dictionaries(
    {model: st.lists(BREAKS, max_size=3) for model in ("sonnet", "gpt", "haiku")}
)
STAGES = st.lists(
    st.tuples(st.sampled_from([SONNET, GPT, HAIKU]), st.integers(1, 3)), min_size=1, max_size=3, unique_by=target_of
)
COMMITS = st.sampled_from(
    ["first_content", "whole", "restart", "restart", "continue", "continue", "continue", Commit.buffer(7), "buffer"]
)


@attrs.frozen
class Reader:
    """A consumer that takes its time after some chunks, and may leave."""

    slow_after: int
    seconds: float
    leaves_after: int
    on_leave: str

    async def read(self, kernel: penstock.Kernel, **options: Any) -> Seen:
        seen = Seen()
        async with kernel.stream("hello", on_leave=self.on_leave, **options) as stream:
            try:
                async for chunk in stream:
                    seen.take(chunk)
                    if len(seen.chunks) == self.slow_after:
                        await trio.sleep(self.seconds)
                    if len(seen.chunks) == self.leaves_after:
                        return seen
                seen.response = stream.response
            except errors.CallError as error:
                seen.error = error
        return seen


READERS = st.builds(
    Reader,
    st.integers(1, 9),
    st.sampled_from([0.0, 3.0, 50.0]),
    st.integers(1, 60),
    st.sampled_from(["cancel", "drain"]),
)


def check(seen: Seen) -> None:
    if seen.response is not None:
        assert seen.text == seen.response.text == SAYINGS
        assert isinstance(seen.chunks[-1], penstock.Finished)
        assert seen.chunks[-1].usage == seen.response.usage
    elif seen.error is not None:
        told = getattr(seen.error, "partial", "")
        # Where nothing was shown, a cut tells what had come of it.
        assert told == seen.text or (isinstance(seen.error, errors.StreamBrokenError) and not seen.text)
        assert not any(isinstance(chunk, penstock.Finished) for chunk in seen.chunks)
    for before, after in zip(seen.chunks, seen.chunks[1:], strict=False):
        markers = penstock.Restarted | penstock.Seam
        assert not (isinstance(before, markers) and isinstance(after, markers))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    stages=STAGES,
    scripts=SCRIPTS,
    commit=COMMITS,
    reader=READERS,
    timeout=st.sampled_from([4.0, 20.0, 300.0]),
)
def test_a_consumer_holds_the_answer_or_exactly_what_the_error_calls_partial(
    stages: list[tuple[str, int]],
    scripts: Mapping[str, Sequence[Scripted]],
    commit: str | Commit,
    reader: Reader,
    timeout: float,
) -> None:
    async def main() -> None:
        upstream = scripted(partial(whole, text=SAYINGS), **scripts)
        config = cascade(*stages, budget=LIMITED, defaults=TIMEOUTS)
        async with penstock.open_kernel(config, transport=upstream) as kernel:
            plan = kernel.explain("hello", stream=True, commit=commit, timeout=timeout, max_tokens=100)
            seen = await reader.read(kernel, commit=commit, timeout=timeout, max_tokens=100)
            check(seen)
            ended = seen.response or seen.error
            if ended is not None:
                assert len(ended.attempts) <= plan.attempts
            await trio.sleep(60)
            snapshot = await kernel.snapshot()
            assert snapshot.in_flight == 0
            assert upstream.open == 0
            assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())
            window = snapshot.accounts[""].windows[0]
            assert window.held.tokens == 0
            if seen.response is not None and not seen.response.usage.estimated:
                assert window.spent.tokens == seen.response.usage.total_tokens
            assert plan.tokens is not None
            assert window.spent.tokens <= plan.tokens

    trio.run(main, clock=MockClock(autojump_threshold=0))
