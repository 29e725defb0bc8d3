"""Streams whose answer is to become a value, and whose attempts end in any way: a consumer is told what to drop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import httpx
import msgspec
import pytest
import trio
from breaking import LOST, Seen, body_of, cascade, is_anthropic, watch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worlds import GPT, HAIKU, good, is_stream, run

import penstock
from penstock import errors
from penstock.policy.commit import COMMIT_NAMES
from penstock.testing import Reply, ScriptedTransport


class Trip(msgspec.Struct):
    city: str
    days: int


WRONG = '{"city": "Paris", "days": "two"}'
RIGHT = '{"city": "Rome", "days": 3}'
STALE = '{"city": "Oslo", "days": 9}'
SAYINGS = [RIGHT, f"```json\n{RIGHT}\n```", WRONG, "Rome, for three days or so.", ""]
NO_JSON = {"message": "Failed to validate JSON", "type": "invalid_request_error", "code": "json_validate_failed"}
NO_FORMAT = {"message": "response_format: this schema is not supported", "type": "invalid_request_error"}
STALE_IF_ERROR = {"store": "memory", "when": "always", "ttl": 1.0, "stale_if_error": 1_000.0}
GOES_ON = ("restart", "continue")
IN_PLACE_OF_A_VALUE = errors.OutputInvalidError | errors.ContentFilteredError | errors.RefusedError


def failed(error: Mapping[str, Any]) -> Reply:
    return Reply(400, json={"error": error})


def whole(text: str) -> Callable[[httpx.Request], Reply]:
    return lambda request: good(request, text)


def broken(text: str, pieces: int, error: Mapping[str, Any] | None = None) -> Callable[[httpx.Request], Reply]:
    """The stream of a text that is lost after so many events, or has an error in the place of the rest."""

    def answer(request: httpx.Request) -> Reply:
        if not is_stream(request):
            return Reply(500, json={"error": {"message": "no"}})
        chunks: Sequence[bytes | Exception] = good(request, text).chunks or []
        type_ = b"event: error\n" if is_anthropic(request) else b""
        told = msgspec.json.encode({"type": "error", "error": error})
        end = LOST if error is None else type_ + b"data: " + told + b"\n\n"
        return Reply(chunks=[*chunks[:pieces], end])

    return answer


def refusing(request: httpx.Request) -> Reply:
    if is_anthropic(request) or not is_stream(request):
        return Reply(500, json={"error": {"message": "no"}})
    chunks = good(request, "").chunks
    assert chunks is not None
    return Reply(chunks=[each.replace(b'"stop"', b'"content_filter"') for each in chunks if isinstance(each, bytes)])


@attrs.frozen
class Ending:
    """How one attempt ends."""

    how: str
    text: str = RIGHT
    pieces: int = 0

    def __call__(self, request: httpx.Request) -> Reply:
        match self.how:
            case "whole":
                return good(request, self.text)
            case "lost":
                return broken(self.text, self.pieces)(request)
            case "no JSON, late":
                return broken(self.text, self.pieces, NO_JSON)(request)
            case "no format, late":
                return broken(self.text, self.pieces, NO_FORMAT)(request)
            case "no JSON":
                return failed(NO_JSON)
            case "no format":
                return failed(NO_FORMAT)
            case "filtered":
                return refusing(request)
            case _:
                return Reply(500, json={"error": {"message": "no"}})


def upstream_of(*endings: Callable[[httpx.Request], Reply], stale: bool = False) -> ScriptedTransport:
    """One after the other, whoever is asked; the last one for all that follow."""
    left = [*([whole(STALE)] if stale else []), *endings]

    def answer(request: httpx.Request) -> Reply:
        ending = left.pop(0) if len(left) > 1 else left[0]
        return ending(request)

    return ScriptedTransport(answer)


@attrs.define
class Watched(Seen):
    """With what was asked upstream when the first text was shown, and in the end."""

    asked_when_shown: int | None = None
    asked: int = 0


def streamed(
    upstream: ScriptedTransport,
    *stages: tuple[str, int],
    commit: str,
    stale: bool = False,
    route: Mapping[str, Any] | None = None,
) -> Watched:
    """What a consumer of the stream has that does as it is told."""

    async def main() -> Watched:
        tables: dict[str, Any] = {"cache": STALE_IF_ERROR} if stale else {}
        request, seen = penstock.ChatRequest("Plan a trip.", output=Trip), Watched()
        async with penstock.open_kernel(cascade(*stages, route=route, **tables), transport=upstream) as kernel:
            if stale:
                await kernel.complete(request)
                await trio.sleep(5)
            async with kernel.stream(request, commit=commit) as stream:
                try:
                    async for chunk in stream:
                        seen.take(chunk)
                        if seen.text and seen.asked_when_shown is None:
                            seen.asked_when_shown = len(upstream.requests)
                    seen.response = stream.response
                except errors.CallError as error:
                    seen.error = error
        seen.asked = len(upstream.requests)
        return seen

    return run(main)


UNSEEN = {"no JSON": failed(NO_JSON), "no format": failed(NO_FORMAT), "an empty answer": None}
SHOWN = '{"city": "Paris", '


def unseen(how: str) -> Callable[[httpx.Request], Reply]:
    reply = UNSEEN[how]
    return whole("") if reply is None else lambda _: reply


@pytest.mark.parametrize("how", UNSEEN)
@pytest.mark.parametrize("commit", GOES_ON)
def test_what_was_shown_before_an_answer_that_nobody_saw_is_taken_back(commit: str, how: str) -> None:
    upstream = upstream_of(broken(WRONG, 7), unseen(how), whole(RIGHT))
    seen = streamed(upstream, (GPT, 3), commit=commit)
    assert seen.response is not None
    assert seen.text == seen.response.text == RIGHT
    assert seen.markers == [f"restarted {GPT}"]
    assert seen.response.value == Trip("Rome", 3)


@pytest.mark.parametrize("how", UNSEEN)
@pytest.mark.parametrize("stale", [False, True])
def test_a_call_that_ends_after_an_answer_that_nobody_saw_says_what_was_shown(how: str, *, stale: bool) -> None:
    upstream = upstream_of(broken(WRONG, 7), unseen(how), Ending("down"), stale=stale)
    seen = streamed(upstream, (GPT, 3), commit="restart", stale=stale)
    assert isinstance(seen.error, errors.StreamBrokenError)
    assert seen.error.partial == seen.text == SHOWN
    assert seen.markers == []


@pytest.mark.parametrize("how", UNSEEN)
def test_a_value_that_grows_begins_anew_after_an_answer_that_nobody_saw(how: str) -> None:
    upstream = upstream_of(broken(WRONG, 7), unseen(how), whole(RIGHT))

    async def main() -> tuple[list[Any], Trip]:
        shown: list[Any] = []
        async with penstock.open_kernel(cascade((GPT, 3)), transport=upstream) as kernel:
            async with kernel.with_options(commit="restart").stream_extract(Trip, "Plan a trip.") as stream:
                shown.extend([dict(value) async for value in stream])
            return shown, stream.value

    shown, value = run(main)
    assert {"city": "Paris"} in shown
    assert shown[-1] == msgspec.to_builtins(value) == {"city": "Rome", "days": 3}


LATE = {"no JSON": NO_JSON, "no format": NO_FORMAT}


@pytest.mark.parametrize("how", LATE)
def test_a_stream_that_was_shown_and_refused_in_the_middle_is_broken_by_default(how: str) -> None:
    upstream = upstream_of(broken(WRONG, 7, LATE[how]), whole(RIGHT))
    seen = streamed(upstream, (GPT, 3), commit="first_content")
    assert isinstance(seen.error, errors.StreamBrokenError)
    assert seen.error.partial == seen.text == SHOWN
    assert (seen.markers, seen.asked) == ([], 1)


@pytest.mark.parametrize("how", LATE)
@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("commit", GOES_ON)
def test_a_stream_that_may_go_on_asks_in_another_way_after_it_was_refused_in_the_middle(
    commit: str, attempts: int, how: str
) -> None:
    upstream = upstream_of(broken(WRONG, 7, LATE[how]), whole(RIGHT))
    seen = streamed(upstream, (GPT, attempts), commit=commit)
    assert seen.response is not None
    assert seen.text == seen.response.text == RIGHT
    assert (seen.markers, seen.asked) == ([f"restarted {GPT}"], 2)
    ways = [body_of(request).get("response_format") for request in upstream.requests]
    assert ways[0] != ways[1]


def test_what_a_target_refused_in_the_middle_of_a_stream_is_known_to_later_calls() -> None:
    upstream = upstream_of(broken(WRONG, 7, NO_FORMAT), whole(RIGHT))

    async def main() -> Seen:
        request = penstock.ChatRequest("Plan a trip.", output=Trip)
        async with penstock.open_kernel(cascade((GPT, 3)), transport=upstream) as kernel:
            assert isinstance((await watch(kernel, request)).error, errors.StreamBrokenError)
            return await watch(kernel, request)

    assert run(main).text == RIGHT
    first, second = (body_of(request) for request in upstream.requests)
    assert first["response_format"] != second.get("response_format")


def check(seen: Watched, commit: str) -> None:
    """Nothing is told but by the chunks and the end: what they say of each other holds."""
    if seen.response is not None:
        assert seen.text == seen.response.text
        assert isinstance(seen.chunks[-1], penstock.Finished)
        assert seen.response.cache == "stale" or seen.response.value == Trip("Rome", 3)
    elif isinstance(seen.error, IN_PLACE_OF_A_VALUE):
        assert not hasattr(seen.error, "partial")  # what came in the place of a value is told instead
    else:
        told = getattr(seen.error, "partial", "")
        assert told == seen.text or (isinstance(seen.error, errors.StreamBrokenError) and not seen.text)
    if commit not in GOES_ON:
        assert seen.markers == []
        assert seen.asked_when_shown in (None, seen.asked), "what was shown is all that there will be"
    for before, after in zip(seen.chunks, seen.chunks[1:], strict=False):
        assert not isinstance(before, penstock.Restarted) or not isinstance(after, penstock.Restarted)


BROKEN = ["lost", "no JSON, late", "no format, late"]
ENDINGS = st.builds(
    Ending,
    st.sampled_from(["whole", *BROKEN, *BROKEN, "no JSON", "no format", "filtered", "down"]),
    st.sampled_from(SAYINGS),
    st.integers(0, 12),
)
PARIS = Ending("lost", WRONG, 7)


@settings(max_examples=100, deadline=None)
@given(
    endings=st.lists(ENDINGS, min_size=1, max_size=6),
    stages=st.sampled_from([[(GPT, 1)], [(GPT, 3)], [(GPT, 2), (HAIKU, 2)], [(HAIKU, 1), (GPT, 4)]]),
    commit=st.sampled_from([*COMMIT_NAMES, "first_content", *GOES_ON]),
    stale=st.booleans(),
    on_content_filter=st.sampled_from(["fail", "next"]),
)
@example(
    endings=[PARIS, Ending("no JSON"), Ending("whole")],
    stages=[(GPT, 3)],
    commit="restart",
    stale=False,
    on_content_filter="fail",
)
@example(
    endings=[PARIS, Ending("whole", ""), Ending("down")],
    stages=[(GPT, 3)],
    commit="continue",
    stale=True,
    on_content_filter="fail",
)
@example(
    endings=[Ending("no format, late", WRONG, 7), Ending("whole")],
    stages=[(GPT, 3)],
    commit="first_content",
    stale=False,
    on_content_filter="fail",
)
def test_a_consumer_of_a_value_holds_the_answer_or_exactly_what_the_error_calls_partial(
    endings: list[Ending], stages: list[tuple[str, int]], commit: str, *, stale: bool, on_content_filter: str
) -> None:
    upstream = upstream_of(*endings, stale=stale)
    route = {"on_content_filter": on_content_filter}
    check(streamed(upstream, *stages, commit=commit, stale=stale, route=route), commit)
