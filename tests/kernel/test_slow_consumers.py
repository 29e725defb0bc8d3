"""Consumers slower than their call's deadline: what came whole is taken at their own pace, and holds up nothing."""

from __future__ import annotations

import pytest
import trio
from breaking import Seen, cascade, scripted
from worlds import GPT, HAIKU, SONNET, anthropic_chunks, openai_chunks, run

import penstock
from penstock import errors
from penstock.policy.commit import COMMIT_NAMES
from penstock.testing import Reply, ScriptedTransport, Silence

TIMEOUT = 10.0
SLOWNESS = 6.0
"""Seconds for each chunk."""
LIMITED = {"limits": [{"per": "day", "tokens": 10**9}]}
WORDS = "one two three"
WIRES = {SONNET: anthropic_chunks, GPT: openai_chunks}


async def read_slowly(kernel: penstock.Kernel, slowness: float = SLOWNESS, **options: object) -> Seen:
    seen = Seen()
    async with kernel.stream("hello", timeout=TIMEOUT, **options) as stream:  # type: ignore[arg-type]
        try:
            async for chunk in stream:
                seen.take(chunk)
                await trio.sleep(slowness)
            seen.response = stream.response
        except errors.CallError as error:
            seen.error = error
    return seen


def is_whole(seen: Seen, *, estimated: bool = False) -> None:
    assert seen.error is None
    assert seen.response is not None
    assert seen.text == seen.response.text == WORDS
    assert seen.response.usage.estimated is estimated
    if not estimated:
        assert seen.response.usage == penstock.Usage(input_tokens=11, output_tokens=3)
    assert isinstance(seen.chunks[-1], penstock.Finished)


async def nothing_is_left(kernel: penstock.Kernel, upstream: ScriptedTransport) -> None:
    snapshot = await kernel.snapshot()
    assert (snapshot.in_flight, snapshot.waiting, upstream.open) == (0, 0, 0)
    assert all(window.held.tokens == 0 for window in snapshot.accounts[""].windows)


@pytest.mark.parametrize("reads", [1, 2, 3, 4])
@pytest.mark.parametrize("commit", COMMIT_NAMES)
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_what_came_whole_before_the_deadline_is_delivered_after_it(target: str, commit: str, reads: int) -> None:
    """In up to four reads: two fill the channel, one is in the consumer's hand, one in the pump's."""
    chunks = WIRES[target](WORDS)
    size = -(-len(chunks) // reads)
    upstream = ScriptedTransport(
        [Reply(chunks=[b"".join(chunks[at : at + size]) for at in range(0, len(chunks), size)])]
    )

    async def main() -> None:
        async with penstock.open_kernel(cascade((target, 1), budget=LIMITED), transport=upstream) as kernel:
            is_whole(await read_slowly(kernel, commit=commit))
            await nothing_is_left(kernel, upstream)

    run(main)


@pytest.mark.parametrize("target", [SONNET, GPT])
def test_a_call_is_over_with_the_end_of_its_answer_whenever_that_is_taken(target: str) -> None:
    upstream = ScriptedTransport([Reply(chunks=[b"".join(WIRES[target](WORDS))])])

    async def main() -> None:
        async with penstock.open_kernel(cascade((target, 1), budget=LIMITED), transport=upstream) as kernel:
            async with kernel.stream("hello", timeout=TIMEOUT) as stream:
                await trio.sleep(1.0)
                await nothing_is_left(kernel, upstream)
                assert stream.statistics().queued > 0
                await trio.sleep(1_000.0)
                seen = Seen()
                async for chunk in stream:
                    seen.take(chunk)
                seen.response = stream.response
                is_whole(seen)
                assert stream.statistics().queued == 0
                assert seen.response.attempts[0].duration < 1.0

    run(main)


@pytest.mark.parametrize("target", [SONNET, GPT])
def test_an_answer_whose_end_was_not_read_yet_is_whole_all_the_same_and_its_call_over_with_the_deadline(
    target: str,
) -> None:
    """All of its content is in the pump's hand when the consumer stops reading: what is lost is the count, at most."""
    chunks = WIRES[target](WORDS)
    second, end = (3, -1) if target == SONNET else (2, -2)
    reads = [chunks[:second], chunks[second : second + 1], chunks[second + 1 : end], chunks[end:]]
    upstream = ScriptedTransport([Reply(chunks=[b"".join(read) for read in reads])])

    async def main() -> None:
        async with penstock.open_kernel(cascade((target, 1), budget=LIMITED), transport=upstream) as kernel:
            seen = Seen()
            async with kernel.stream("hello", timeout=TIMEOUT) as stream:
                await trio.sleep(TIMEOUT - 1.0)
                assert (await kernel.snapshot()).in_flight == 1, "it waits for room"
                await trio.sleep(2.0)
                await nothing_is_left(kernel, upstream)
                await trio.sleep(1_000.0)
                async for chunk in stream:
                    seen.take(chunk)
                seen.response = stream.response
            is_whole(seen, estimated=target == GPT)

    run(main)


def test_what_was_not_read_when_the_deadline_came_is_lost_to_it() -> None:
    upstream = ScriptedTransport([Reply(chunks=openai_chunks("word " * 20))])

    async def main() -> None:
        async with penstock.open_kernel(cascade((GPT, 1), budget=LIMITED), transport=upstream) as kernel:
            seen = await read_slowly(kernel)
            assert isinstance(seen.error, errors.DeadlineExceededError)
            assert seen.error.partial == seen.text
            await nothing_is_left(kernel, upstream)

    run(main)


def test_a_batch_that_waited_past_the_deadline_is_counted_once() -> None:
    async def main() -> None:
        upstream = scripted(gpt=[Reply(chunks=openai_chunks("abcdefghi"))])
        async with penstock.open_kernel(cascade((GPT, 1)), transport=upstream) as kernel:
            taken = 0
            async with kernel.stream("hello", timeout=5) as stream:
                async for _ in stream:
                    taken += 1
                    if taken == 1:
                        await trio.sleep(20)
                assert stream.statistics().chunks == taken

    run(main)


@pytest.mark.parametrize("wait", [0.5, TIMEOUT + 5.0])
@pytest.mark.parametrize("on_leave", ["cancel", "drain"])
@pytest.mark.parametrize("reads", [1, 4, 100])
def test_a_consumer_that_leaves_what_came_whole_leaves_nothing_behind(reads: int, on_leave: str, wait: float) -> None:
    chunks = openai_chunks(WORDS)
    size = -(-len(chunks) // reads)
    upstream = ScriptedTransport(
        [Reply(chunks=[b"".join(chunks[at : at + size]) for at in range(0, len(chunks), size)])]
    )

    async def main() -> None:
        async with penstock.open_kernel(cascade((GPT, 1), budget=LIMITED), transport=upstream) as kernel:
            async with kernel.stream("hello", timeout=TIMEOUT, on_leave=on_leave) as stream:
                await trio.sleep(wait)
            assert stream.statistics().queued == 0
            await trio.sleep(0.1)
            await nothing_is_left(kernel, upstream)

    run(main)


def test_an_answer_that_turns_out_not_to_be_whole_gives_the_deadline_back() -> None:
    """While its consumer was slow, no deadline could take it; the attempt after it has no longer than the call."""
    more = b'data: {"choices": "more"}\n\n'
    chunks = openai_chunks(WORDS)[:-2]
    spoiled = Reply(chunks=[*chunks[:2], b"".join(chunks[2:]), *[more] * 5])
    upstream = scripted(Silence(), gpt=[spoiled])

    async def main() -> None:
        async with penstock.open_kernel(cascade((GPT, 1), (HAIKU, 1), budget=LIMITED), transport=upstream) as kernel:
            began = trio.current_time()
            seen = await read_slowly(kernel, 0.5, commit="restart")
            assert isinstance(seen.error, errors.DeadlineExceededError)
            assert trio.current_time() - began == pytest.approx(TIMEOUT)
            await nothing_is_left(kernel, upstream)

    run(main)
