"""The commit policies, as plain calls: what is shown when, what may follow, and how an answer is gone on from."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from penstock.policy.commit import (
    COMMIT_NAMES,
    FIRST_CONTENT,
    Commit,
    CommitName,
    Continue,
    Fresh,
    Restart,
    Showing,
    continued,
    is_token,
)
from penstock.types import (
    ChatRequest,
    Chunk,
    Message,
    Restarted,
    Seam,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

USAGE = UsageUpdate(Usage(input_tokens=7))
CALL = ToolCallDelta(0, "call_1", "weather", "{}")


def texts(*pieces: str) -> list[Chunk]:
    return [TextDelta(piece) for piece in pieces]


def begun(commit: CommitName | Commit, *pieces: str) -> Showing:
    """A consumer that was shown so much of an answer, which then broke."""
    showing = Showing(commit if isinstance(commit, Commit) else Commit(commit))
    showing.begin(Fresh())
    showing.take(texts(*pieces))
    return showing


def gone_on(prefix: str, *pieces: str) -> tuple[list[Chunk], str]:
    """What is shown of a continuation, and the whole answer."""
    showing = begun("continue", prefix)
    assert showing.prefix == prefix
    showing.begin(Continue("t", prefix))
    shown: list[Chunk] = []
    for piece in pieces:
        shown += showing.take(texts(piece))
    shown += showing.finish()
    return shown, showing.joined(Message.assistant("".join(pieces))).text


# What is asked for


@pytest.mark.parametrize("name", COMMIT_NAMES)
def test_every_policy_is_named_by_its_word(name: CommitName) -> None:
    assert Commit(name).policy == name
    assert Commit(name).goes_on == (name in ("continue", "restart"))


def test_the_default_is_the_first_content() -> None:
    assert Commit() == FIRST_CONTENT == Commit("first_content")


@pytest.mark.parametrize("name", ["", "first", "Buffer", "buffer:400", "never", None, 3])
def test_a_word_that_is_no_policy_is_refused_with_those_there_are(name: object) -> None:
    with pytest.raises(ValueError, match="valid are first_content, buffer, whole, continue, restart"):
        Commit(name)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("characters", [0, -1, True, 1.5, "400", None])
def test_a_buffer_holds_a_whole_number_of_characters_from_one_on(characters: object) -> None:
    with pytest.raises(ValueError, match="whole number from 1 on"):
        Commit.buffer(characters)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert Commit.buffer(1).characters == 1
    assert Commit.buffer() == Commit("buffer", 400)


# What is shown first


@pytest.mark.parametrize("chunk", [TextDelta("a"), TextDelta("no", refusal=True), ThinkingDelta("hm"), CALL])
def test_text_thinking_refusals_and_tool_calls_are_tokens(chunk: Chunk) -> None:
    assert is_token(chunk)


@pytest.mark.parametrize("chunk", [TextDelta(""), ThinkingDelta(""), USAGE, Seam("t"), Restarted("t")])
def test_empty_deltas_and_usage_are_no_tokens(chunk: Chunk) -> None:
    assert not is_token(chunk)


@pytest.mark.parametrize("name", ["first_content", "continue", "restart"])
def test_the_first_token_shows_it_and_what_came_before_it(name: CommitName) -> None:
    showing = Showing(Commit(name))
    showing.begin(Fresh())
    assert showing.take([USAGE, TextDelta("")]) == ()
    assert not showing.committed
    assert list(showing.take(texts("a"))) == [USAGE, TextDelta(""), TextDelta("a")]
    assert showing.committed
    assert list(showing.take([USAGE])) == [USAGE], "from then on everything goes out at once"
    assert list(showing.finish()) == []


def test_a_buffer_counts_text_thinking_and_arguments() -> None:
    showing = Showing(Commit.buffer(6))
    showing.begin(Fresh())
    assert not showing.take([ThinkingDelta("ab"), USAGE])
    assert not showing.take([TextDelta("cd"), ToolCallDelta(0, "call_1", "weather", "e")])
    assert len(showing.take([ToolCallDelta(0, arguments="f")])) == 5
    assert list(showing.take(texts("g"))) == texts("g")


def test_a_buffer_that_never_fills_shows_a_short_answer_at_its_end() -> None:
    showing = Showing(Commit.buffer(100))
    showing.begin(Fresh())
    assert not showing.take(texts("short"))
    assert list(showing.finish()) == texts("short")


def test_a_buffer_begins_anew_with_each_attempt() -> None:
    showing = Showing(Commit.buffer(6))
    showing.begin(Fresh())
    assert not showing.take(texts("abcde"))
    showing.lost()
    showing.begin(Fresh())
    assert not showing.take(texts("fghij"))
    assert list(showing.take(texts("k"))) == texts("fghij", "k")


def test_whole_shows_nothing_of_an_attempt_that_failed() -> None:
    showing = Showing(Commit("whole"))
    showing.begin(Fresh())
    assert not showing.take(texts("a", "b"))
    showing.lost()
    assert not showing.committed
    showing.begin(Fresh())
    assert not showing.take(texts("c"))
    assert list(showing.finish()) == texts("c")


# What follows


def test_a_restart_is_marked_before_its_first_content() -> None:
    showing = begun("restart", "abc")
    showing.begin(Restart("other"))
    assert list(showing.take([USAGE, TextDelta("x")])) == [Restarted("other"), USAGE, TextDelta("x")]
    assert list(showing.take(texts("y"))) == texts("y")


def test_an_empty_answer_that_takes_the_place_of_a_shown_one_says_so() -> None:
    showing = begun("restart", "abc")
    showing.begin(Restart("other"))
    assert not showing.take([USAGE])
    assert list(showing.finish()) == [Restarted("other"), USAGE]


def test_a_continuation_is_marked_by_a_seam() -> None:
    assert gone_on("The answer", " is 42")[0] == [Seam("t"), TextDelta(" is 42")]


def test_a_continuation_that_adds_nothing_needs_no_seam() -> None:
    shown, whole = gone_on("The answer")
    assert shown == []
    assert whole == "The answer"


@pytest.mark.parametrize(
    ("prefix", "pieces", "shown"),
    [
        # It could not be sent, so the model says it again: it is not shown twice.
        ("one \n", (" \n", "two"), "two"),
        ("one \n", (" ", "\ntwo"), "two"),
        ("one \n", (" ", "", "\n"), ""),
        ("one \n", (" \ntwo",), "two"),
        # It goes on in another way: what is left repeats nothing.
        ("one \n", (" two",), "two"),
        ("one \n", ("two",), "two"),
        ("one \n", ("\n two",), "\n two"),
        ("one \n", (" ", " two"), " two"),
        ("one \n", (" \n\ntwo",), "\ntwo"),
        # Nothing was left out.
        ("one", (" two",), " two"),
        ("one", ("", "two"), "two"),
        ("one\u2003", ("\u2003two",), "two"),
    ],
)
def test_white_space_that_was_shown_and_could_not_be_sent_is_not_shown_twice(
    prefix: str, pieces: Sequence[str], shown: str
) -> None:
    chunks, whole = gone_on(prefix, *pieces)
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta)) == shown
    assert whole == prefix + shown
    assert chunks.count(Seam("t")) == (1 if shown else 0)


def test_a_prefill_never_ends_in_white_space() -> None:
    assert Continue("t", "one \t\n\u2003").prefill == "one"


def test_two_seams_are_never_shown_with_nothing_between() -> None:
    showing = begun("continue", "one ")
    showing.begin(Continue("second", "one "))
    assert list(showing.take(texts(" "))) == []
    # It broke again, having shown nothing.
    assert showing.prefix == "one "
    showing.begin(Continue("third", "one "))
    assert list(showing.take(texts(" two"))) == [Seam("third"), TextDelta("two")]
    assert showing.joined(Message.assistant(" two")).text == "one two"


def test_two_cuts_in_a_row_go_on_from_all_that_was_shown() -> None:
    showing = begun("continue", "a", "b ")
    showing.begin(Continue("second", "ab "))
    assert list(showing.take(texts("c"))) == [Seam("second"), TextDelta("c")]
    assert showing.prefix == "ab c"
    showing.begin(Continue("third", "ab c"))
    showing.take(texts("d"))
    assert showing.joined(Message.assistant("d")).text == "ab cd"
    assert showing.text_characters == 5


def test_after_a_restart_only_what_it_showed_can_be_gone_on_from() -> None:
    showing = begun("continue", "old")
    showing.begin(Restart("second"))
    showing.take(texts("new"))
    assert showing.prefix == "new"
    assert showing.text_characters == 3


@pytest.mark.parametrize("chunk", [TextDelta("no", refusal=True), ThinkingDelta("hm"), CALL])
def test_nothing_that_a_prefill_cannot_say_is_gone_on_from(chunk: Chunk) -> None:
    showing = begun("continue", "one")
    assert showing.prefix == "one"
    showing.take([chunk])
    assert showing.prefix is None
    showing.begin(Restart("second"))
    showing.take(texts("two"))
    assert showing.prefix == "two", "it was dropped"


@pytest.mark.parametrize("name", ["first_content", "buffer", "whole", "restart"])
def test_other_policies_go_on_from_nothing(name: CommitName) -> None:
    showing = begun(name, "one" * 400)
    assert showing.prefix is None


def test_white_space_alone_is_no_beginning() -> None:
    assert begun("continue", " \n").prefix is None


def test_what_follows_the_text_of_a_continuation_stands_behind_the_whole_text() -> None:
    showing = begun("continue", "one ")
    showing.begin(Continue("second", "one "))
    call = ToolCall("call_1", "weather", {}, "{}")
    assert list(showing.take([TextDelta(" two"), CALL])) == [Seam("second"), TextDelta("two"), CALL]
    message = showing.joined(Message.assistant([Text(" two"), call]))
    assert message.content == (Text("one two"), call)


def test_white_space_after_a_tool_call_repeats_nothing() -> None:
    showing = begun("continue", "one ")
    showing.begin(Continue("second", "one "))
    assert list(showing.take([CALL, TextDelta(" two")])) == [Seam("second"), CALL, TextDelta(" two")]
    call = ToolCall("call_1", "weather", {}, "{}")
    joined = showing.joined(Message.assistant([call, Text(" two")]))
    assert joined.content == (Text("one "), call, Text(" two"))


def test_citations_of_a_continuation_are_kept_apart_from_what_came_before() -> None:
    showing = begun("continue", "one")
    showing.begin(Continue("second", "one"))
    showing.take(texts(" two"))
    cited = Text(" two", citations=({"url": "x"},))
    assert showing.joined(Message.assistant([cited])).content == (Text("one"), cited)


def test_what_the_consumer_did_not_take_does_not_count_as_shown() -> None:
    showing = begun("first_content", "abc")
    out = showing.take([TextDelta("de"), TextDelta("no", refusal=True)])
    assert showing.text_characters == 5
    showing.unseen(out)
    assert showing.text_characters == 3


# What is asked of the target that goes on


def test_the_continuation_asks_the_same_with_the_beginning_of_the_answer() -> None:
    request = ChatRequest("Why?", system="Be brief.", max_tokens=100, temperature=0.5, stop=["END"])
    asked = continued(request, "Because")
    assert asked.messages == (*request.messages, Message.assistant("Because"))
    assert (asked.system, asked.temperature, asked.stop, asked.max_tokens) == ("Be brief.", 0.5, ("END",), 100)


def test_tokens_that_are_certainly_used_up_are_taken_off() -> None:
    request = ChatRequest("Why?", max_tokens=100)
    assert continued(request, "x" * 160).max_tokens == 90
    assert continued(request, "ä" * 80).max_tokens == 90
    assert continued(request, "x" * 100_000).max_tokens == 1
    assert continued(ChatRequest("Why?"), "x" * 160).max_tokens is None


def test_the_callers_own_beginning_of_the_answer_comes_first() -> None:
    request = ChatRequest([Message.user("JSON!"), Message.assistant("Here it is: ", name="scribe")])
    (_, last) = continued(request, '{"a"').messages
    assert last == Message.assistant([Text("Here it is: "), Text('{"a"')], name="scribe")
