"""A request made to fit a target, against a table of what it asks and what the target takes, kept by hand."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.fitting import PARAMETERS, Fitted, Rule, Unfit, UnsupportedRules, fit, too_long
from penstock.types import (
    Capabilities,
    ChatRequest,
    Image,
    Message,
    Part,
    ProviderPart,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolCallIdForm,
    ToolResult,
)

OURS, THEIRS = "our-wire", "their-wire"
PICTURE = Image(data=b"x", media_type="image/png")
CALL, RESULT = ToolCall("call.1", "f", {"a": 1}), ToolResult("call.1", [Text("r"), PICTURE])
ANSWER: tuple[Part, ...] = (
    Thinking("hm", "sig", family=THEIRS),
    Thinking("", redacted="secret", family=THEIRS),
    Thinking("mine", "sig", family=OURS),
    Thinking("cut", family=OURS),
    ProviderPart(THEIRS, {"type": "server_tool_use"}),
    ProviderPart(OURS, {"type": "server_tool_use"}),
    Text("cited", citations=({"type": "page_location"},)),
    Refusal("no"),
    CALL,
)
EVERYTHING = ChatRequest(
    [Message.user([Text("q"), PICTURE]), Message.assistant(ANSWER), RESULT, Message.user("go on")],
    temperature=0.5,
    top_p=0.5,
    stop="END",
    seed=1,
    tools=[Tool("f")],
    tool_choice="f",
    parallel_tool_calls=False,
    thinking="low",
    output={"type": "object"},
)
DENIED: dict[str, dict[str, Any]] = {
    "tools": {"tools": False},
    "vision": {"vision": False},
    "schema": {"json_schema": False},
    "thinking": {"thinking": False},
    "parallel_tool_calls": {"parallel_tool_calls": False},
    "temperature": {"temperature": False},
    "top_p": {"top_p": False},
    "stop": {"stop": False},
    "seed": {"seed": False},
}
"""How a codec denies each parameter."""
FIELD = {"schema": "output"}
UNSET: dict[str, object] = {"stop": (), "tools": ()}


def fitted(request: ChatRequest, rules: UnsupportedRules | None = None, **can: Any) -> Fitted:
    """The request as a target of our wire takes it."""
    made = fit(request, Capabilities(**can), OURS, "mine", rules or UnsupportedRules())
    assert isinstance(made, Fitted)
    return made


def unfit(request: ChatRequest, rules: UnsupportedRules | None = None, **can: Any) -> Unfit:
    """Why a target of our wire is not asked."""
    made = fit(request, Capabilities(**can), OURS, "mine", rules or UnsupportedRules())
    assert isinstance(made, Unfit)
    return made


# Parameters


def test_what_fits_is_returned_as_it_is() -> None:
    request = ChatRequest("q", temperature=0.5, seed=1, tools=[Tool("f")], extra={OURS: {"a": 1}})
    assert fitted(request) == Fitted(request)
    assert fitted(request).request is request


@pytest.mark.parametrize("name", ["temperature", "top_p", "stop", "seed", "thinking", "parallel_tool_calls"])
def test_what_shapes_an_answer_is_left_out_and_named(name: str) -> None:
    asked = msgspec.structs.replace(EVERYTHING, messages=(Message.user("q"),))
    made = fitted(asked, **DENIED[name])
    assert made.dropped == (name,)
    assert made.request == msgspec.structs.replace(asked, **{name: UNSET.get(name)})


@pytest.mark.parametrize("name", ["tools", "vision", "schema"])
def test_what_makes_an_answer_another_one_sends_the_call_on(name: str) -> None:
    refused = unfit(EVERYTHING, **DENIED[name])
    assert (refused.parameters, refused.rule) == ((name,), "next")
    assert name in refused.says


def test_tools_in_the_conversation_need_a_model_that_has_tools() -> None:
    asked = ChatRequest([Message.user("q"), Message.assistant([CALL]), ToolResult("call.1", "r")])
    assert unfit(asked, tools=False).parameters == ("tools",)


def test_what_is_not_known_is_sent() -> None:
    asked = ChatRequest("q", seed=1, output={"type": "object"})
    assert fitted(asked, seed=None, json_schema=None) == Fitted(asked)


def test_the_values_that_every_model_has_by_itself_are_taken_by_all() -> None:
    asked = ChatRequest("q", temperature=1, top_p=1.0, thinking="off")
    assert fitted(asked, temperature=False, top_p=False, thinking=False) == Fitted(asked)


@pytest.mark.parametrize(("asked", "dropped"), [(0.0, ()), (1.0, ()), (1.5, ("temperature",))])
def test_a_temperature_above_the_highest_is_left_out(asked: float, dropped: tuple[str, ...]) -> None:
    assert fitted(ChatRequest("q", temperature=asked), highest_temperature=1.0).dropped == dropped


def test_fail_ends_the_call_and_next_goes_before_it() -> None:
    """A target that is passed over anyway fails nothing."""
    rules = UnsupportedRules(seed="fail", stop="fail")
    refused = unfit(EVERYTHING, rules, seed=False, stop=False, top_p=False)
    assert (refused.parameters, refused.rule) == (("stop", "seed"), "fail")
    assert unfit(EVERYTHING, rules, seed=False, vision=False).rule == "next"


def test_dropped_tools_take_their_choice_and_their_calls_with_them() -> None:
    made = fitted(EVERYTHING, UnsupportedRules(tools="drop"), tools=False)
    assert made.dropped == ("tools", "tool_choice", "parallel_tool_calls")
    assert (made.request.tools, made.request.tool_choice, made.request.parallel_tool_calls) == ((), None, None)
    kinds = [type(part) for message in made.request.messages for part in message.content]
    assert ToolCall not in kinds
    assert ToolResult not in kinds
    assert [message.role for message in made.request.messages] == ["user", "assistant", "user"]
    assert {"tool_call", "tool_result"} <= set(made.left_out)


def test_dropped_images_go_from_messages_and_results() -> None:
    made = fitted(EVERYTHING, UnsupportedRules(vision="drop"), vision=False)
    assert made.dropped == ("vision",)
    assert made.left_out.count("image") == 2
    assert made.request.messages[2].content == (ToolResult("call.1", [Text("r")]),)


def test_a_target_that_could_be_sent_nothing_is_passed_over() -> None:
    drop = UnsupportedRules.all("drop")
    refused = unfit(ChatRequest([Message.user([PICTURE])], system="s"), drop, vision=False)
    assert (refused.parameters, refused.rule) == (("vision",), "next")
    foreign = ChatRequest([Message.assistant([Thinking("hm", family=THEIRS)])])
    assert unfit(foreign, drop).rule == "next"


# What the codec adds


def told(request: ChatRequest, *names: str, rules: UnsupportedRules | None = None, **can: Any) -> Fitted | Unfit:
    return fit(
        request, Capabilities(**can), OURS, "mine", rules or UnsupportedRules(), unsupported=lambda _: frozenset(names)
    )


def test_what_the_codec_cannot_take_beside_the_rest_is_judged_by_the_same_rules() -> None:
    asked = ChatRequest("q", temperature=0.5, thinking="low", tools=[Tool("f")])
    dropped = told(asked, "temperature", "top_p", "nonsense")
    assert isinstance(dropped, Fitted)
    assert dropped.dropped == ("temperature",)
    assert dropped.request.temperature is None
    failing = told(asked, "temperature", rules=UnsupportedRules(temperature="fail"))
    assert isinstance(failing, Unfit)
    assert (failing.parameters, failing.rule) == (("temperature",), "fail")
    passed_over = told(asked, "tools")
    assert isinstance(passed_over, Unfit)
    assert passed_over.rule == "next"


def test_the_codec_is_asked_about_what_is_left() -> None:
    seen: list[ChatRequest] = []

    def unsupported(request: ChatRequest) -> frozenset[str]:
        seen.append(request)
        return frozenset({"temperature"} if request.thinking else ())

    asked = ChatRequest("q", temperature=0.5, thinking="low")
    made = fit(asked, Capabilities(thinking=False), OURS, "mine", UnsupportedRules(), unsupported=unsupported)
    assert isinstance(made, Fitted)
    assert made.dropped == ("thinking",)
    assert [request.thinking for request in seen] == [None]


# Parts


def test_parts_of_another_wire_are_left_out_each_counted_by_its_kind() -> None:
    made = fitted(EVERYTHING)
    assert made.left_out == ("thinking", "thinking", "provider_part")
    assert made.dropped == ()
    assert made.request.messages[1].content == (*ANSWER[2:4], *ANSWER[5:])
    assert made.request.messages[0] is EVERYTHING.messages[0]


def test_thinking_goes_back_where_it_is_taken_and_signed_where_that_is_demanded() -> None:
    signed = fitted(EVERYTHING, thinking_parts="signed")
    assert [part for part in signed.request.messages[1].content if isinstance(part, Thinking)] == [ANSWER[2]]
    none = fitted(EVERYTHING, thinking_parts="none")
    assert not any(isinstance(part, Thinking) for part in none.request.messages[1].content)
    assert none.left_out.count("thinking") == 4
    redacted = ChatRequest([Message.user("q"), Message.assistant([Thinking("", redacted="x", family=OURS)])])
    assert fitted(redacted, thinking_parts="signed").request is redacted


@pytest.mark.parametrize(("signer", "target", "left"), [("a", "b", 2), ("a", "a", 0), ("", "b", 0), ("a", "", 0)])
def test_signed_thinking_goes_back_to_the_model_that_signed_it(signer: str, target: str, left: int) -> None:
    """Anthropic answers 400 "Invalid signature in thinking block" to another of its models as well."""
    signed = [Thinking("hm", "sig", family=OURS, model=signer), Thinking("", redacted="x", family=OURS, model=signer)]
    asked = ChatRequest([Message.user("q"), Message.assistant([*signed, Text("a")]), Message.user("r")])
    made = fit(asked, Capabilities(thinking_parts="signed"), OURS, "mine", UnsupportedRules(), model=target)
    assert isinstance(made, Fitted)
    assert made.left_out == ("thinking",) * left
    unsigned = fit(asked, Capabilities(), OURS, "mine", UnsupportedRules(), model=target)
    assert unsigned == Fitted(asked)


@pytest.mark.parametrize(
    ("provider", "model", "left"),
    [
        ("mine", "m", ()),
        ("mine", "n", ("thinking",)),
        ("theirs", "m", ("thinking", "provider_part")),
        ("", "", ()),
    ],
)
def test_parts_bound_to_their_provider_go_back_to_it_alone(provider: str, model: str, left: tuple[str, ...]) -> None:
    parts: list[Part] = [
        Thinking("hm", family=OURS, provider=provider, model=model),
        ProviderPart(OURS, {}, provider),
        Text("a"),
    ]
    asked = ChatRequest([Message.user("q"), Message.assistant(parts), Message.user("r")])
    bound = Capabilities(parts_bound_to="provider")
    made = fit(asked, bound, OURS, "mine", UnsupportedRules(), model="m")
    assert isinstance(made, Fitted)
    assert made.left_out == left
    assert fit(asked, Capabilities(), OURS, "mine", UnsupportedRules(), model="m") == Fitted(asked)


@pytest.mark.parametrize(("ending", "left"), [("", 0), ("_location", 0), (None, 1), ("_citation", 1)])
def test_citations_go_back_to_who_knows_their_types(ending: str | None, left: int) -> None:
    made = fitted(EVERYTHING, citations=ending)
    assert made.left_out.count("citations") == left
    (text,) = [part for part in made.request.messages[1].content if isinstance(part, Text)]
    assert (text.text, bool(text.citations)) == ("cited", not left)


def test_a_message_of_which_nothing_is_left_goes_too() -> None:
    thought = Message.assistant([Thinking("hm", family=THEIRS)])
    made = fitted(ChatRequest([Message.user("a"), thought, Message.user("b")]))
    assert [message.text for message in made.request.messages] == ["a", "b"]


def test_parts_in_the_system_prompt_are_looked_at_as_well() -> None:
    system = Message.system([Text("s", citations=({"type": "x"},)), ProviderPart(THEIRS, {})])
    made = fitted(ChatRequest("q", system=system), citations=None)
    assert made.request.system == Message.system("s")
    assert made.left_out == ("citations", "provider_part")
    alone = fitted(ChatRequest("q", system=Message.system([ProviderPart(THEIRS, {})])))
    assert alone.request.system is None


def test_a_call_and_its_result_are_given_one_new_id_and_nobody_is_told() -> None:
    made = fitted(EVERYTHING, tool_call_id=ToolCallIdForm(symbols="_-"))
    (call,) = made.request.messages[1].tool_calls
    (result,) = made.request.messages[2].content
    assert isinstance(result, ToolResult)
    assert call.id == result.call_id != "call.1"
    assert (call.name, call.arguments, result.content) == ("f", {"a": 1}, RESULT.content)
    assert made.left_out == fitted(EVERYTHING).left_out


def test_extra_goes_to_the_provider_and_the_family_it_names_and_to_nobody_else() -> None:
    extra: dict[str, dict[str, Any]] = {OURS: {"a": 1}, "mine": {"b": 2}, THEIRS: {"c": 3}, "other": {"d": 4}}
    made = fitted(ChatRequest("q", extra=extra))
    assert made.request.extra == {OURS: {"a": 1}, "mine": {"b": 2}}
    assert (made.dropped, made.left_out) == ((), ())


# Against a model


@attrs.frozen
class Case:
    """What is asked, what is denied, and by which rules."""

    asked: frozenset[str]
    denied: frozenset[str]
    rules: dict[str, Rule]

    def request(self) -> ChatRequest:
        fields = {FIELD.get(name, name): getattr(EVERYTHING, FIELD.get(name, name)) for name in self.asked - {"vision"}}
        shown: list[Part] = [Text("q"), *([PICTURE] if "vision" in self.asked else [])]
        return ChatRequest([Message.user(shown)], **fields)

    def expected(self) -> tuple[str, set[str]]:
        """The outcome, and the parameters it names."""
        refused = self.asked & self.denied
        for rule in ("next", "fail"):
            named = {name for name in refused if self.rules[name] == rule}
            if named:
                return rule, named
        goes_along = {"tool_choice", "parallel_tool_calls"} & self.asked if "tools" in refused else set[str]()
        return "drop", {*refused, *goes_along}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = st.frozensets(st.sampled_from([*sorted(DENIED), "tool_choice"]))
    rules = {name: draw(st.sampled_from(["next", "drop", "fail"])) for name in PARAMETERS}
    lenient = draw(st.booleans())
    return Case(draw(names), draw(names), dict.fromkeys(PARAMETERS, "drop") if lenient else rules)  # type: ignore[arg-type]


@given(cases(), st.data())
def test_every_parameter_ends_as_its_rule_says(case: Case, data: st.DataObject) -> None:
    """Whether capabilities deny it or the codec does, in any mixture."""
    by_codec = data.draw(st.frozensets(st.sampled_from(sorted(case.denied)))) if case.denied else frozenset[str]()
    by_codec |= case.denied & {"tool_choice"}
    can: dict[str, Any] = {}
    for name in case.denied - by_codec:
        can |= DENIED[name]
    made = fit(
        case.request(),
        Capabilities(**can),
        OURS,
        "mine",
        UnsupportedRules(**case.rules),
        unsupported=lambda _: by_codec,
    )
    outcome, named = case.expected()
    if isinstance(made, Unfit):
        # What capabilities deny is judged first: the codec is not asked about a target that is passed over.
        assert made.rule in {case.rules[name] for name in made.parameters}
        assert set(made.parameters) <= case.asked & case.denied
        assert outcome != "drop"
        if made.rule == "next":
            assert outcome == "next"
    else:
        assert outcome == "drop"
        assert set(made.dropped) == named
        for name in case.asked:
            value = getattr(made.request, FIELD.get(name, name)) if name != "vision" else None
            if name == "vision":
                assert (PICTURE in made.request.messages[0].content) == (name not in named)
            else:
                assert value == (UNSET.get(name) if name in named else getattr(EVERYTHING, FIELD.get(name, name)))


@given(cases(), st.sampled_from(["any", "signed", "none"]), st.sampled_from(["", None, "_location"]))
def test_what_was_fitted_fits(case: Case, thinking: str, citations: str | None) -> None:
    can: dict[str, Any] = {
        "thinking_parts": thinking,
        "citations": citations,
        "tool_call_id": ToolCallIdForm(longest=9),
    }
    for name in case.denied - {"tool_choice"}:
        can |= DENIED[name]
    once = fit(EVERYTHING, Capabilities(**can), OURS, "mine", UnsupportedRules(**case.rules))
    if isinstance(once, Fitted):
        again = fit(once.request, Capabilities(**can), OURS, "mine", UnsupportedRules(**case.rules))
        assert again == Fitted(once.request)


@given(
    asked=st.none() | st.integers(1, 100),
    own=st.none() | st.integers(1, 100),
    extra=st.none() | st.integers(1, 100),
    choices=st.integers(1, 4),
    most=st.integers(1, 60),
    others=st.lists(st.none() | st.integers(1, 120), max_size=3),
)
def test_an_answer_is_too_long_by_whoever_has_the_last_word_on_it(
    *, asked: int | None, own: int | None, extra: int | None, choices: int, most: int, others: list[int | None]
) -> None:
    """A wire on which `extra` goes before the request, and the request before the target's own parameters."""

    def written(request: ChatRequest) -> int | None:
        limit = extra or request.max_tokens or own
        return None if limit is None else limit * choices

    made = too_long(ChatRequest("q", max_tokens=asked), most, [most, *others], written)
    wanted = None if extra else asked or own
    mended = wanted is not None and wanted > most and any(other is None or other >= wanted for other in others)
    assert (made is not None) == mended
    if made is not None:
        assert (made.asked, made.most, made.lowered.max_tokens) == (wanted, most, most)
        assert made.judged(UnsupportedRules()) is None
        for rule in ("next", "fail"):
            refused = made.judged(UnsupportedRules(max_tokens=rule))
            assert refused is not None
            assert (refused.parameters, refused.rule) == (("max_tokens",), rule)


def test_an_answer_of_which_the_wire_says_nothing_is_as_long_as_was_asked() -> None:
    made = too_long(ChatRequest("q", max_tokens=9), 4, [4, 9], lambda _: None)
    assert made is not None
    assert made.asked == 9
    assert too_long(ChatRequest("q"), 4, [4, 9], lambda _: None) is None
