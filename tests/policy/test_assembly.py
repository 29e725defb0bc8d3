"""Assembly of a message from deltas, beside a model that is a dict of strings."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.policy.assembly import Assembly
from penstock.types import Image, Message, ProviderPart, Refusal, Text, Thinking, ToolCall


def test_parts_stand_in_the_order_in_which_their_blocks_began() -> None:
    assembly = Assembly("family")
    assembly.text(2, "sec")
    assembly.tool_call(0, id="c", name="f", arguments="{}")
    assembly.text(1, "third")
    assembly.text(2, "ond")
    assert assembly.message() == Message("assistant", (Text("second"), ToolCall("c", "f", {}, "{}"), Text("third")))


def test_interleaved_tool_calls_do_not_mix() -> None:
    assembly = Assembly()
    for fragment in ['{"a"', ": 1", "}"]:
        assert assembly.tool_call("x", arguments=fragment) == 0
        assert assembly.tool_call("y", arguments=fragment.replace("a", "b")) == 1
    assembly.tool_call("y", id="2", name="g")
    assembly.tool_call("x", id="1", name="f")
    first, second = assembly.message().tool_calls
    assert (first.id, first.name, first.arguments) == ("1", "f", {"a": 1})
    assert (second.id, second.name, second.arguments) == ("2", "g", {"b": 1})


def test_an_id_or_name_that_comes_again_is_not_doubled() -> None:
    assembly = Assembly()
    for _ in range(3):
        assembly.tool_call(0, id="call_1", name="search", arguments="")
    assembly.tool_call(0, id="", name=None, arguments="{}")
    (call,) = assembly.message().tool_calls
    assert (call.id, call.name, call.raw_arguments) == ("call_1", "search", "{}")


def test_blocks_that_stayed_empty_are_left_out_but_a_tool_call_never_is() -> None:
    assembly = Assembly()
    assembly.text("t", "")
    assembly.text("r", "", refusal=True)
    assembly.thinking("h")
    assembly.tool_call("c", id="1", name="now")
    assert assembly.message().content == (ToolCall("1", "now"),)
    assert all(block in assembly for block in ("t", "r", "h", "c"))
    assert "x" not in assembly


def test_an_empty_assembly_is_an_empty_message() -> None:
    assert Assembly().message() == Message("assistant", ())


def test_reasoning_carries_its_signature_and_the_family_that_made_it() -> None:
    assembly = Assembly("anthropic")
    assembly.thinking(0, "because ")
    assembly.thinking(0, "so")
    assembly.thinking(0, signature="sig")
    assembly.thinking(0, signature="nature")
    assembly.thinking(1, redacted="encrypted")
    assembly.thinking(1)
    assembly.thinking_detail(2, {"type": "summary"})
    assert assembly.message().content == (
        Thinking("because so", "signature", None, "anthropic"),
        Thinking("", None, "encrypted", "anthropic"),
        Thinking("", None, None, "anthropic", ({"type": "summary"},)),
    )


def test_a_refusal_is_not_text() -> None:
    assembly = Assembly()
    assembly.text("refusal", "I will ", refusal=True)
    assembly.text("refusal", "not", refusal=True)
    assert assembly.message().content == (Refusal("I will not"),)
    assert assembly.message().text == ""


def test_citations_stay_with_their_text() -> None:
    assembly = Assembly()
    assembly.text(0, "cited")
    assembly.cite(0, {"source": 1})
    assembly.cite(1, {"source": 2})
    assert assembly.message().content == (
        Text("cited", citations=({"source": 1},)),
        Text("", citations=({"source": 2},)),
    )


def test_what_only_the_family_understands_is_kept_whole() -> None:
    assembly = Assembly("anthropic")
    assembly.provider_part(0, {"type": "server_tool_use"})
    assembly.whole(1, Image(url="https://example.com/a.png"))
    assert assembly.message().content == (
        ProviderPart("anthropic", {"type": "server_tool_use"}),
        Image(url="https://example.com/a.png"),
    )


def test_a_custom_tool_keeps_its_free_text() -> None:
    assembly = Assembly()
    assembly.tool_call(0, id="1", name="shell", arguments="ls {", kind="custom")
    (call,) = assembly.message().tool_calls
    assert (call.kind, call.raw_arguments, call.malformed) == ("custom", "ls {", False)


@pytest.mark.parametrize("raw", ['{"a": ', "[1]", "nonsense"])
def test_arguments_that_are_no_object_are_kept_as_they_came(raw: str) -> None:
    assembly = Assembly()
    assembly.tool_call(0, id="1", name="f", arguments=raw)
    (call,) = assembly.message().tool_calls
    assert (call.arguments, call.raw_arguments, call.malformed) == ({}, raw, True)


def test_time_is_linear_in_the_deltas() -> None:
    def seconds(count: int) -> float:
        assembly = Assembly()
        start = time.process_time()
        for _ in range(count):
            assembly.text(0, "word ")
            assembly.tool_call(1, arguments=" ")
        assert len(assembly.message().text) == 5 * count
        return time.process_time() - start

    assert min(seconds(32_000) for _ in range(3)) < 40 * min(seconds(4_000) for _ in range(5))


words = st.sampled_from(["", "a", "é ", "{", '{"b": 1', "}", "[]"])
numbers = st.integers(0, 2)


class AssemblyMachine(RuleBasedStateMachine):
    """Keys are pairs of a kind and a number, as codecs choose them: a block keeps its kind."""

    def __init__(self) -> None:
        super().__init__()
        self.assembly = Assembly("family")
        self.model: dict[tuple[str, int], dict[str, str]] = {}

    def grown(self, kind: str, number: int) -> dict[str, str]:
        return self.model.setdefault((kind, number), {})

    def add(self, kind: str, number: int, field: str, word: str) -> None:
        fields = self.grown(kind, number)
        fields[field] = fields.get(field, "") + word

    @rule(number=numbers, word=words)
    def text(self, number: int, word: str) -> None:
        self.assembly.text(("text", number), word)
        self.add("text", number, "text", word)

    @rule(number=numbers, word=words)
    def refusal(self, number: int, word: str) -> None:
        self.assembly.text(("refusal", number), word, refusal=True)
        self.add("refusal", number, "text", word)

    @rule(number=numbers, word=words, signature=words, redacted=st.none() | words)
    def thinking(self, number: int, word: str, signature: str, redacted: str | None) -> None:
        self.assembly.thinking(("thinking", number), word, signature=signature, redacted=redacted)
        self.add("thinking", number, "text", word)
        self.add("thinking", number, "signature", signature)
        if redacted:
            self.grown("thinking", number)["redacted"] = redacted

    @rule(number=numbers, id=st.none() | words, name=st.none() | words, arguments=words)
    def tool_call(self, number: int, id: str | None, name: str | None, arguments: str) -> None:
        index = self.assembly.tool_call(("call", number), id=id, name=name, arguments=arguments)
        self.add("call", number, "arguments", arguments)
        for field, word in (("id", id), ("name", name)):
            if word:
                self.grown("call", number)[field] = word
        calls = [key for key in self.model if key[0] == "call"]
        assert calls.index(("call", number)) == index

    @rule(number=numbers, word=words)
    def whole(self, number: int, word: str) -> None:
        self.assembly.provider_part(("whole", number), {"word": word})
        self.grown("whole", number)["word"] = word

    @invariant()
    def the_message_says_what_the_strings_say(self) -> None:
        expected: list[tuple[str, str, str, str]] = []
        for (kind, _), fields in self.model.items():
            match kind:
                case "text" | "refusal" if fields["text"]:
                    expected.append((kind, fields["text"], "", ""))
                case "thinking" if any(fields.values()):
                    expected.append((kind, fields["text"], fields["signature"], fields.get("redacted", "")))
                case "call":
                    expected.append((kind, fields["arguments"], fields.get("id", ""), fields.get("name", "")))
                case "whole":
                    expected.append((kind, fields["word"], "", ""))
                case _:
                    pass
        assert [strings_of(part) for part in self.assembly.message().content] == expected
        assert self.assembly.message() == self.assembly.message()


def strings_of(part: object) -> tuple[str, str, str, str]:
    match part:
        case Text(text):
            return "text", text, "", ""
        case Refusal(text):
            return "refusal", text, "", ""
        case Thinking(text, signature, redacted, "family"):
            return "thinking", text, signature or "", redacted or ""
        case ToolCall(id, name, arguments, raw):
            assert arguments == (object_in(raw) or {})
            return "call", raw, id, name
        case ProviderPart("family", data):
            return "whole", str(data["word"]), "", ""
        case _:
            raise AssertionError(part)


def object_in(raw: str) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(raw, type=dict[str, object])
    except msgspec.MsgspecError:
        return None


TestAssemblyMachine = AssemblyMachine.TestCase
