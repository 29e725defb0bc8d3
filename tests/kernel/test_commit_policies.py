"""Each commit policy, cut before and after content, with its recovery at the same target and at another."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from breaking import TEXT, Seen, body_of, cascade, cut, prefill_of, scripted, stalled, watch
from worlds import GPT, HAIKU, SONNET, anthropic_chunks, run

import penstock
from penstock import Commit, errors
from penstock._events import AttemptEnded
from penstock.policy.commit import COMMIT_NAMES
from penstock.testing import Reply, ScriptedTransport

LIMITED = {"limits": [{"per": "day", "tokens": 10**9}]}
TWICE = [(SONNET, 2)]
ELSEWHERE = [(SONNET, 1), (HAIKU, 1)]
NO_PREFILL = [(SONNET, 1), (GPT, 1)]
BEGINNING = TEXT[:6]
"""Two pieces."""


def streamed(upstream: ScriptedTransport, settings: penstock.Config, **options: Any) -> Seen:
    async def main() -> Seen:
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            seen = await watch(kernel, **options)
            snapshot = await kernel.snapshot()
            assert snapshot.in_flight == 0
            assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())
            assert all(window.held.tokens == 0 for window in snapshot.accounts[""].windows)
        assert upstream.open == 0
        return seen

    return run(main)


def completed(upstream: ScriptedTransport, settings: penstock.Config, **options: Any) -> penstock.ChatResponse:
    async def main() -> penstock.ChatResponse:
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            return await kernel.complete("hello", **options)

    return run(main)


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("stages", [TWICE, ELSEWHERE, NO_PREFILL])
@pytest.mark.parametrize("commit", COMMIT_NAMES)
def test_a_cut_before_content_is_met_unseen_under_every_policy(
    commit: str,
    stages: list[tuple[str, int]],
    clean: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    upstream = scripted(sonnet=[cut(0, clean=clean)])
    seen = streamed(upstream, cascade(*stages, budget=LIMITED), commit=commit)
    assert (seen.text, seen.markers, seen.error) == (TEXT, [], None)
    assert [outcome for _, outcome in seen.attempts] == ["truncated", "ok"]
    assert all(not prefill_of(request) for request in upstream.requests)


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("stages", [TWICE, ELSEWHERE, NO_PREFILL])
@pytest.mark.parametrize("commit", ["first_content", Commit.buffer(5)])
def test_a_cut_after_the_commit_ends_the_stream_with_what_was_shown(
    commit: str | Commit,
    stages: list[tuple[str, int]],
    clean: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    seen = streamed(scripted(sonnet=[cut(2, clean=clean)]), cascade(*stages, budget=LIMITED), commit=commit)
    assert isinstance(seen.error, errors.StreamBrokenError)
    assert seen.error.partial == seen.text == BEGINNING
    assert seen.attempts == [(SONNET, "truncated")]
    assert seen.error.usage is not None
    assert seen.error.usage.input_tokens == 11
    assert seen.error.usage.estimated
    assert not any(isinstance(chunk, penstock.Finished) for chunk in seen.chunks)


@pytest.mark.parametrize("stages", [TWICE, ELSEWHERE, NO_PREFILL])
@pytest.mark.parametrize("commit", ["whole", "buffer", Commit.buffer(7)])
def test_a_cut_before_the_commit_is_met_unseen_however_much_had_come(
    commit: str | Commit, stages: list[tuple[str, int]]
) -> None:
    seen = streamed(scripted(sonnet=[cut(2)]), cascade(*stages, budget=LIMITED), commit=commit)
    assert (seen.text, seen.markers, seen.error) == (TEXT, [], None)
    assert [outcome for _, outcome in seen.attempts] == ["truncated", "ok"]


@pytest.mark.parametrize("stages", [TWICE, ELSEWHERE, NO_PREFILL])
def test_restart_says_so_and_begins_again(stages: list[tuple[str, int]]) -> None:
    upstream = scripted(sonnet=[cut(2)])
    seen = streamed(upstream, cascade(*stages, budget=LIMITED), commit="restart")
    assert (seen.text, seen.error) == (TEXT, None)
    assert seen.markers == [f"restarted {stages[-1][0]}"]
    assert seen.response is not None
    assert seen.response.text == TEXT
    assert all(not prefill_of(request) for request in upstream.requests)


@pytest.mark.parametrize("stages", [TWICE, ELSEWHERE])
def test_continue_goes_on_from_what_was_shown(stages: list[tuple[str, int]]) -> None:
    upstream = scripted(sonnet=[cut(2)])
    seen = streamed(upstream, cascade(*stages, budget=LIMITED), commit="continue", max_tokens=100)
    assert (seen.text, seen.error) == (TEXT, None)
    assert seen.markers == [f"seam {stages[-1][0]}"]
    assert seen.response is not None
    assert seen.response.text == TEXT
    assert [prefill_of(request) for request in upstream.requests] == ["", BEGINNING]


def test_continue_restarts_where_the_other_target_takes_no_prefill() -> None:
    upstream = scripted(sonnet=[cut(2)])
    seen = streamed(upstream, cascade(*NO_PREFILL, budget=LIMITED), commit="continue")
    assert (seen.text, seen.markers) == (TEXT, [f"restarted {GPT}"])
    assert body_of(upstream.requests[1])["messages"] == [{"role": "user", "content": "hello"}]


def test_a_stall_is_recovered_at_another_target_like_a_cut() -> None:
    upstream = scripted(sonnet=[lambda request: Reply(chunks=cut(2)(request).chunks[:-1], pause=20.0)])
    settings = cascade((SONNET, 2), (HAIKU, 1), defaults={"timeouts": {"idle": 15, "first_token": 100}}, budget=LIMITED)
    seen = streamed(upstream, settings, commit="continue")
    assert seen.error is None
    assert seen.text == TEXT
    assert [target for target, _ in seen.attempts] == [SONNET, HAIKU]


@pytest.mark.parametrize("commit", ["restart", "continue"])
def test_where_the_cascade_comes_to_its_end_the_error_has_the_last_of_what_was_shown(commit: str) -> None:
    upstream = scripted(sonnet=[cut(2), cut(3)], haiku=[cut(1)])
    seen = streamed(upstream, cascade((SONNET, 2), (HAIKU, 1), budget=LIMITED), commit=commit)
    assert isinstance(seen.error, errors.StreamBrokenError)
    assert isinstance(seen.error.__cause__, errors.CascadeExhaustedError)
    assert seen.error.partial == seen.text == (TEXT[:3] if commit == "restart" else TEXT[:18])
    assert [outcome for _, outcome in seen.attempts] == ["truncated"] * 3


@pytest.mark.parametrize("commit", ["restart", "continue"])
def test_where_no_other_attempt_shows_anything_the_error_has_what_the_first_had_shown(commit: str) -> None:
    broken = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})
    upstream = scripted(sonnet=[cut(2)], haiku=[broken, cut(0)])
    seen = streamed(upstream, cascade((SONNET, 1), (HAIKU, 2), budget=LIMITED), commit=commit)
    assert isinstance(seen.error, errors.StreamBrokenError)
    assert seen.error.partial == seen.text == BEGINNING
    assert seen.markers == []


@pytest.mark.parametrize("commit", COMMIT_NAMES)
def test_usage_is_that_of_all_attempts_and_marked_where_one_did_not_tell_all(commit: str) -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(2)])
        settings = cascade(*ELSEWHERE, budget=LIMITED)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            events = kernel.events()
            seen = await watch(kernel, commit=commit, max_tokens=50)
            ended = seen.response or seen.error
            assert ended is not None
            assert ended.usage is not None
            assert ended.usage.estimated
            used = [attempt.usage for attempt in ended.attempts if attempt.usage is not None]
            assert ended.usage.total_tokens == sum(usage.total_tokens for usage in used)
            assert used[0].estimated
            if seen.response is not None:
                last = seen.chunks[-1]
                assert isinstance(last, penstock.Finished)
                assert last.usage == seen.response.usage
                assert (used[1].input_tokens, used[1].output_tokens, used[1].estimated) == (11, 3, False)
            window = (await kernel.snapshot()).accounts[""].windows[0]
            assert window.held.tokens == 0
            assert window.spent.tokens >= ended.usage.total_tokens
            told = [event for event in events.take() if isinstance(event, AttemptEnded)]
            assert [event.estimated for event in told] == [usage.estimated for usage in used]

    run(main)


@pytest.mark.parametrize("commit", COMMIT_NAMES)
def test_a_whole_answer_that_was_streamed_upstream_outlives_a_cut_under_every_policy(commit: str) -> None:
    upstream = scripted(sonnet=[cut(2)])
    response = completed(upstream, cascade(*ELSEWHERE, budget=LIMITED), commit=commit, max_tokens=5_000)
    assert response.text == TEXT
    assert [attempt.outcome for attempt in response.attempts] == ["truncated", "ok"]
    assert [prefill_of(request) for request in upstream.requests] == ["", BEGINNING if commit == "continue" else ""]


@pytest.mark.parametrize("commit", COMMIT_NAMES)
def test_an_unstreamed_answer_is_asked_for_anew_under_every_policy(commit: str) -> None:
    upstream = scripted(sonnet=[cut(2)])
    response = completed(upstream, cascade(*ELSEWHERE, budget=LIMITED), commit=commit)
    assert response.text == TEXT
    assert [attempt.outcome for attempt in response.attempts] == ["malformed", "ok"]
    assert all(not prefill_of(request) for request in upstream.requests)


@pytest.mark.parametrize("commit", COMMIT_NAMES)
def test_a_call_without_a_consumer_ends_in_its_own_errors(commit: str) -> None:
    upstream = scripted(sonnet=[cut(2)], haiku=[cut(1)])
    with pytest.raises(errors.CascadeExhaustedError) as caught:
        # A model that writes so much that both are streamed.
        completed(upstream, cascade((SONNET, 1), ("anthropic/claude-haiku-4-5", 1)), commit=commit, max_tokens=5_000)
    assert [error.kind for error in caught.value.errors] == ["truncated", "truncated"]


# The call's own deadline


@pytest.mark.parametrize("commit", COMMIT_NAMES)
def test_a_deadline_in_the_middle_tells_what_was_shown(commit: str) -> None:
    upstream = scripted(sonnet=[stalled(2)])
    seen = streamed(upstream, cascade((SONNET, 1), budget=LIMITED), commit=commit, timeout=10)
    assert isinstance(seen.error, errors.DeadlineExceededError)
    assert seen.error.partial == seen.text == ("" if commit in ("whole", "buffer") else BEGINNING)


@pytest.mark.parametrize("commit", ["first_content", "continue", "restart"])
def test_what_a_slow_consumer_had_not_taken_is_no_part_of_what_it_was_shown(commit: str) -> None:
    async def main() -> None:
        upstream = scripted()
        async with penstock.open_kernel(cascade((SONNET, 1)), transport=upstream) as kernel:
            seen = Seen()
            async with kernel.stream("hello", commit=commit, timeout=10) as stream:
                await trio.sleep(100)
                with pytest.raises(errors.DeadlineExceededError) as caught:
                    async for chunk in stream:
                        seen.take(chunk)
            assert 0 < len(seen.text) < len(TEXT)
            assert caught.value.partial == seen.text

    run(main)


def test_a_restart_that_the_consumer_never_saw_leaves_it_what_it_had() -> None:
    async def main() -> None:
        upstream = scripted(sonnet=[cut(4)])
        async with penstock.open_kernel(cascade((SONNET, 1), (GPT, 1)), transport=upstream) as kernel:
            seen = Seen()
            async with kernel.stream("hello", commit="restart", timeout=10) as stream:
                # Four batches come: one is taken, two wait in the channel, the fourth cannot be handed over.
                await trio.sleep(1)
                seen.take(await anext(stream))
                seen.take(await anext(stream))
                seen.take(await anext(stream))
                await trio.sleep(100)
                with pytest.raises(errors.DeadlineExceededError) as caught:
                    async for chunk in stream:
                        seen.take(chunk)
            assert seen.markers == []
            assert caught.value.partial == seen.text

    run(main)


# The route's word on filtered answers


@pytest.mark.parametrize("commit", COMMIT_NAMES)
def test_a_filtered_answer_that_nobody_saw_is_never_gone_on_from(commit: str) -> None:
    refused = [*anthropic_chunks("I will not")]
    refused[-2] = refused[-2].replace(b"end_turn", b"refusal")
    upstream = scripted(sonnet=[Reply(chunks=refused)])
    settings = cascade(*ELSEWHERE, route={"on_content_filter": "next"})
    response = completed(upstream, settings, commit=commit, max_tokens=5_000)
    assert response.text == TEXT
    assert [prefill_of(request) for request in upstream.requests] == ["", ""]
    assert [attempt.outcome for attempt in response.attempts] == ["refused", "ok"]
