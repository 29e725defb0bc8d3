"""What a decoder says is still missing of a stream: true of both wires, and a lie is found by the laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from worlds import ANSWER, anthropic_chunks, openai_chunks

from penstock.abc import Missing, Provider, StreamDecoder
from penstock.testing import check_provider
from penstock.types import Target, WireHead
from penstock_providers.anthropic_messages._codec import AnthropicMessages
from penstock_providers.openai_chat._codec import OpenAIChat
from penstock_providers.openai_chat._stream import ChatDecoder

HEAD = WireHead(200, (("content-type", "text/event-stream"),))
WIRES: list[Any] = [
    pytest.param(AnthropicMessages, anthropic_chunks(), id="anthropic"),
    pytest.param(OpenAIChat, openai_chunks(), id="openai"),
]


def told(provider: Provider, chunks: list[bytes]) -> list[str]:
    """What is missing after each chunk."""
    decoder = provider.decoder(HEAD)
    says: list[str] = []
    for chunk in chunks:
        decoder.feed(chunk)
        says.append("nothing" if decoder.done else decoder.missing)
    return says


def test_on_the_chat_wire_usage_is_missing_after_the_reason_and_the_end_after_usage() -> None:
    assert told(OpenAIChat(), openai_chunks())[-3:] == ["usage", "end", "nothing"]
    assert set(told(OpenAIChat(), openai_chunks())[:-3]) == {"answer"}


def test_on_the_messages_wire_the_end_alone_is_missing_after_the_stop_reason_and_its_usage() -> None:
    assert told(AnthropicMessages(), anthropic_chunks())[-3:] == ["answer", "end", "nothing"]
    *begun, reason, end = anthropic_chunks()
    bare = reason.replace(b',"usage":{"output_tokens":3}', b"")
    assert bare != reason
    assert told(AnthropicMessages(), [*begun, bare, end])[-2:] == ["usage", "nothing"]


def test_on_the_messages_wire_a_block_that_has_not_ended_is_more_of_the_answer() -> None:
    *begun, stopped, reason, _ = anthropic_chunks()
    assert told(AnthropicMessages(), [*begun, reason, stopped])[-2:] == ["answer", "end"]


@pytest.mark.parametrize(("make", "chunks"), WIRES)
def test_the_laws_hold(make: Callable[[], Provider], chunks: list[bytes]) -> None:
    target = Target(name="t", provider="p", model="some-model")
    check_provider(make, target=target, streams=[(HEAD, b"".join(chunks))])


class LyingDecoder(ChatDecoder):
    """Says what it was told to say once the text has come."""

    lie = "end"

    @property
    def missing(self) -> Missing:
        return cast("Missing", self.lie if self.completion.message.text == ANSWER else "answer")


@pytest.mark.parametrize("lie", ["end", "usage", "everything"])
def test_a_decoder_that_says_too_early_that_the_answer_is_whole_breaks_a_law(lie: str) -> None:
    class Decoder(LyingDecoder):
        pass

    Decoder.lie = lie

    class Liar(OpenAIChat):
        def decoder(self, head: WireHead) -> StreamDecoder:
            return Decoder(head)

    target = Target(name="t", provider="p", model="some-model")
    with pytest.raises(AssertionError, match="missing"):
        check_provider(Liar, target=target, streams=[(HEAD, b"".join(openai_chunks()))])
