"""Whatever type is asked for and however its value is written: what comes back is that value, or an error that says
that it is none.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, TypedDict, Union, cast

import attrs
import msgspec
import pydantic
import pytest
from damaging import Writing
from hypothesis import given, settings
from hypothesis import strategies as st
from soak import SOAK

import penstock
from penstock.errors import OutputInvalidError
from penstock.policy.json_values import is_array, is_object
from penstock.testing import AnsweredKernel
from penstock.types import Completion, Message

# Quotes, comment signs, fences, brackets, tags and words that mean something elsewhere.
WORDS = st.sampled_from(
    """
ok|it's|a, b|x: y|say "hi" to|"so" he said|C:\\tmp|C:\\dir|\\d+\\b|né|{x}|[1]|```|50%|http://a.b/c|// c|/* c */|#4711
true|null|1,000|\\|None|the "best" #1 tool|{"a": 1}|see "docs" // internal|<think>|</think>|"a", "b"|}|]|'|“x”|...
and "card" #4
""".strip()
    .replace("\n", "|")
    .split("|")
)
TEXTS = st.lists(WORDS, max_size=3).map(" ".join) | st.text(
    st.characters(codec="utf-8", exclude_characters="\ufdd0"), max_size=12
)


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Grade(enum.Enum):
    """Words and numbers."""

    TOP = 1
    HALF = 0.5
    NONE = "none"


KINDS: dict[str, tuple[Any, st.SearchStrategy[Any], Any]] = {
    "text": (str, TEXTS, "-"),
    "number": (int, st.integers(-(10**9), 10**9), 7),
    "flag": (bool, st.booleans(), True),
    "maybe": (str | None, TEXTS | st.none(), None),
    "texts": (list[str], st.lists(TEXTS, max_size=3), None),
    "numbers": (list[int], st.lists(st.integers(0, 999), max_size=4), None),
    "choice": (Literal["yes", "no", 3], st.sampled_from(["yes", "no", 3]), "no"),
    "mood": (Mood, st.sampled_from(["good", "bad"]), None),
    "levels": (list[Level], st.lists(st.sampled_from([1, 2]), max_size=2), None),
    "number or text": (int | str, st.integers(0, 99) | TEXTS, 5),
}
GRADES = (Grade, st.sampled_from([1, 0.5, "none"]), None)
"""Not of schemas: those of msgspec have no enum of mixed values."""
EXAMPLES = 300 if SOAK else 12
NUMBERS = itertools.count()
"""Of types: two of one name would be one to the schema."""
NAMES = ("name", "note", "paid", "total", "items")


@dataclasses.dataclass(frozen=True)
class Field:
    name: str
    kind: Any
    values: st.SearchStrategy[Any]
    default: Any
    required: bool


def _struct(name: str, fields: list[Field]) -> Any:
    listed: list[Any] = [
        (each.name, each.kind) if each.required else (each.name, each.kind, each.default) for each in fields
    ]
    return msgspec.defstruct(name, listed, kw_only=True)


def _dataclass(name: str, fields: list[Field]) -> Any:
    listed: list[Any] = [
        (each.name, each.kind) if each.required else (each.name, each.kind, dataclasses.field(default=each.default))
        for each in fields
    ]
    return dataclasses.make_dataclass(name, listed, kw_only=True)


def _attrs(name: str, fields: list[Field]) -> Any:
    return attrs.make_class(
        name,
        {
            each.name: attrs.field(type=each.kind, **({} if each.required else {"default": each.default}))
            for each in fields
        },
        kw_only=True,
    )


def _typed_dict(name: str, fields: list[Field]) -> Any:
    listed: dict[str, Any] = {each.name: each.kind if each.required else NotRequired[each.kind] for each in fields}
    make: Callable[[str, dict[str, Any]], Any] = cast("Any", TypedDict)  # checkers know it as a form only
    return make(name, listed)


def _model(name: str, fields: list[Field]) -> Any:
    listed: dict[str, Any] = {each.name: (each.kind, ... if each.required else each.default) for each in fields}
    return pydantic.create_model(name, **listed)


def _schema(name: str, fields: list[Field]) -> Any:
    return msgspec.json.schema(_struct(name, fields))


MAKERS: dict[str, Callable[[str, list[Field]], Any]] = {
    "struct": _struct,
    "dataclass": _dataclass,
    "attrs": _attrs,
    "mapping": _typed_dict,
    "pydantic": _model,
    "schema": _schema,
}
TAG = "kind"
RULES: dict[str, Any] = dict.fromkeys(MAKERS, Annotated[int, pydantic.Field(ge=0)]) | dict.fromkeys(
    ("struct", "attrs", "schema"), Annotated[int, msgspec.Meta(ge=0)]
)
"""As the library of each says it."""


@dataclasses.dataclass(frozen=True)
class Typed:
    """A type, and what its values are as plain data."""

    kind: Any
    fields: list[Field]
    has_defaults: bool

    def values(self) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries(
            {each.name: each.values for each in self.fields if each.required},
            optional={each.name: each.values for each in self.fields if not each.required},
        )

    def whole(self, value: dict[str, Any]) -> dict[str, Any]:
        defaults = {each.name: each.default for each in self.fields if not each.required and self.has_defaults}
        return {**defaults, **value}


def plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if is_object(value):
        return {name: plain(held) for name, held in value.items()}
    if is_array(value):
        return [plain(each) for each in value]
    if isinstance(value, pydantic.BaseModel):
        return {name: plain(held) for name, held in value.model_dump().items()}
    kind: Any = value.__class__
    if attrs.has(kind):
        return {name: plain(held) for name, held in attrs.asdict(value).items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(held) for name, held in dataclasses.asdict(value).items()}
    return msgspec.to_builtins(value)


@st.composite
def either(draw: st.DrawFn, maker: str) -> tuple[Any, st.SearchStrategy[Any]]:
    """One of several classes, and its values as plain data."""
    kinds: list[Any] = []
    values: list[st.SearchStrategy[Any]] = []
    for at in range(draw(st.integers(2, 3))):
        tag = st.just(f"k{at}")
        fields = [Field(TAG, Literal[f"k{at}"], tag, None, required=True), *draw(fields_of(maker, 0))]
        made = Typed(MAKERS[maker](f"Thing{next(NUMBERS)}", fields), fields, maker != "mapping")
        kinds.append(made.kind)
        values.append(made.values().map(made.whole))
    union: Any = Union
    return union[tuple(kinds)], st.one_of(values)


@st.composite
def fields_of(draw: st.DrawFn, maker: str, depth: int = 1) -> list[Field]:
    fields: list[Field] = []
    depth = 0 if maker == "schema" else depth
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)):
        kind: Any
        if depth and draw(st.integers(0, 4)) == 0:
            kind, values = draw(either(maker))
            many = draw(st.booleans())
            fields.append(
                Field(name, list[kind] if many else kind, st.lists(values, max_size=2) if many else values, None, True)
            )
            continue
        if depth and draw(st.integers(0, 4)) == 0:
            inner = draw(typed(maker, depth - 1))
            many = draw(st.booleans()) and inner.has_defaults is False
            values = inner.values()
            if inner.has_defaults:  # what stands in the whole is what the defaults make of it
                values = values.map(inner.whole)
            inner_kind: Any = inner.kind
            kind = list[inner_kind] if many else inner_kind
            fields.append(Field(name, kind, st.lists(values, max_size=2) if many else values, None, required=True))
            continue
        kinds = [*KINDS.values(), *([GRADES] if maker != "schema" else [])]
        kind, values, default = draw(st.sampled_from(kinds))
        fields.append(
            Field(name, kind, values, default, required=(default is None and kind != str | None) or draw(st.booleans()))
        )
    return fields


@st.composite
def typed(draw: st.DrawFn, maker: str, depth: int = 1) -> Typed:
    fields = draw(fields_of(maker, depth))
    return Typed(MAKERS[maker](f"Thing{next(NUMBERS)}", fields), fields, maker not in ("mapping", "schema"))


def extracted(kind: Any, texts: list[str], finish_reason: Any = "stop") -> list[Any]:
    """The values as plain data, None for what was refused; one call after the other, of one kernel."""
    answers = [Completion(message=Message.assistant(text), finish_reason=finish_reason) for text in texts]

    async def extract(kernel: penstock.Kernel) -> list[Any]:
        found: list[Any] = []
        for _ in texts:
            try:
                found.append(plain((await kernel.extract(kind, "Tell me.", max_repairs=0)).value))
            except OutputInvalidError:
                found.append(None)
        return found

    return AnsweredKernel(answers).run(extract)


DECOYS_BEFORE = (
    "",
    "As of [1], {curly}:\n",
    "For example:\n{other}\n",
    "The shape is {other}. So:\n",
    "{misfit} is wrong:\n",
    "<think>{other}</think>\n",
    "◁think▷{other}◁/think▷",
    "Not {damaged}, but:\n",
    "```json\n{other}\n```\n",
    "Format: {enveloped}\n\n",
    '```json\n{"error": "nothing found"}\n```\n',
    "{misnamed}\n",
)
DECOYS_BEHIND = (
    "",
    "\nIs that all?",
    "\n[2] See above.",
    "\nThe shape was {other}.",
    "\nCorrection:\n{damaged}",
    "\n{other}",
    "\n{misfit}",
    "}",
    "\n```\n",
    "\nNot {cut",
    "\nor:\n```json\n{enveloped}\n```",
    '\n{"error": "nothing found"}',
    "\n\nnull",
    "\n\n{misnamed}",
    "\n\n[{other}]",
)
DAMAGES = ("plain", "fence", "closer lost", "all closers lost", "closed early", "a bracket more", "cut")
DAMAGES_OF_WHAT_IS_REQUIRED = ("envelope", "misnamed")
"""Where nothing is, an object of other names is a value as well: one that has its defaults."""
ENVELOPES = (
    '{"result": %s}',
    '{"reasoning": "It is said so.", "answer": %s}',
    '{"name": "answer", "arguments": %s}',
    '[{"name": "answer", "arguments": %s}]',
    "[%s]",
    '```json\n{"data": %s}\n```',
    '{"status": "failed", "data": %s}',
)
SEPARATORS = ("; ", " ;\n", " and ", " | ", " - ", "\uff0c", "\u3001", ". ", " \u2026 ", "\n")
ESCAPED_BY_NOBODY = re.compile(r"""\\[^"\\/bfnrtu'`_]""")


@st.composite
def told(draw: st.DrawFn, value: dict[str, Any], other: dict[str, Any], *, some_required: bool) -> str:
    """The value, damaged and among what is not meant."""
    damage = draw(st.sampled_from(DAMAGES + DAMAGES_OF_WHAT_IS_REQUIRED * some_required))
    text = draw(damaged(draw(badly_written(value)), value, damage))
    before, behind = draw(st.sampled_from(DECOYS_BEFORE)), draw(st.sampled_from(DECOYS_BEHIND))
    if not some_required:  # whatever is an object fits
        before, behind = (each if "error" not in each and "{misn" not in each else "" for each in (before, behind))
    if damage == "cut":
        behind = ""
    return _decoy(before, other) + text + _decoy(behind, other)


@st.composite
def badly_written(draw: st.DrawFn, value: dict[str, Any]) -> str:
    writing = Writing(draw)
    writing.inner_quotes, writing.whole_fractions = draw(st.booleans()), draw(st.booleans())
    if draw(st.integers(0, 4)) == 0:
        writing.between = draw(st.sampled_from(SEPARATORS))
    text = writing.value(value)
    # Where each of the halves is an escape of JSON, the text says something else.
    if draw(st.integers(0, 4)) == 0 and ESCAPED_BY_NOBODY.search(halved := text.replace("\\\\", "\\")):
        return halved
    return text


@st.composite
def damaged(draw: st.DrawFn, text: str, value: dict[str, Any], damage: str) -> str:
    match damage:
        case "envelope":
            return draw(st.sampled_from(ENVELOPES)).replace("%s", text)
        case "misnamed":
            return _misnamed(value)
        case "fence":
            return f"```json\n{text}\n```"
        case "closer lost":
            return text[:-1]
        case "all closers lost":
            return text.rstrip("}]")
        case "closed early" if ", " in text and not any(", " in held for held in _texts(value)):
            at = draw(st.sampled_from([at for at in range(len(text)) if text.startswith(", ", at)]))
            return f"{text[:at]}}}{text[at:]}"
        case "a bracket more":
            return text + draw(st.sampled_from(["}", "]", "}}"]))
        case "cut":
            return text[: draw(st.integers(2, max(2, len(text))))] + draw(st.sampled_from(["", "???", "…"]))
        case _:
            return text


def _decoy(decoy: str, other: dict[str, Any]) -> str:
    sound = json.dumps(other)
    told = {
        "{other}": sound,
        "{damaged}": sound.replace(":", ": $", 1),
        "{misfit}": json.dumps({**other, next(iter(other), "name"): {"wrong": True}}),
        "{cut": sound[:-2],
        "{enveloped}": f'{{"result": {sound}}}',
        "{misnamed}": _misnamed(other),
    }
    for name, held in told.items():
        decoy = decoy.replace(name, held)
    return decoy


def _misnamed(value: dict[str, Any]) -> str:
    return json.dumps({name.title(): held for name, held in value.items()})


def _texts(value: Any) -> list[str]:
    if is_object(value):
        return [text for held in value.values() for text in _texts(held)]
    if is_array(value):
        return [text for held in value for text in _texts(held)]
    return [value] if isinstance(value, str) else []


AT_ONCE = 8
"""Answers of one type, by one kernel: to open one takes longer than to extract."""


def check(asked: Typed, answers: list[tuple[dict[str, Any], str]], finish_reason: str = "stop") -> list[Any]:
    """That each is the value, or refused."""
    found = extracted(asked.kind, [text for _, text in answers], finish_reason)
    for (value, text), made in zip(answers, found, strict=True):
        assert made is None or same(made, asked.whole(value)), text
    return found


def same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@pytest.mark.parametrize("maker", MAKERS)
@given(data=st.data())
@settings(max_examples=EXAMPLES, deadline=None, derandomize=not SOAK)
def test_what_comes_back_is_the_value_or_an_error_and_never_anything_else(maker: str, data: st.DataObject) -> None:
    asked = data.draw(typed(maker))
    answers: list[tuple[dict[str, Any], str]] = []
    for _ in range(AT_ONCE):
        value, other = data.draw(asked.values()), data.draw(asked.values())
        some_required = any(each.required for each in asked.fields)
        answers.append((value, data.draw(told(value, other, some_required=some_required))))
    check(asked, answers)


@st.composite
def written(draw: st.DrawFn, value: dict[str, Any]) -> str:
    writing = Writing(draw)
    writing.whole_fractions = draw(st.booleans())
    return writing.value(value) if value else "{}"


AROUND = ("{}", "```json\n{}\n```", "Here:\n{}\nIs that all?", "As of [1]:\n{}\n[2] See above.")


@pytest.mark.parametrize("maker", MAKERS)
@given(data=st.data())
@settings(max_examples=EXAMPLES, deadline=None, derandomize=not SOAK)
def test_what_only_the_notation_is_wrong_with_comes_back(maker: str, data: st.DataObject) -> None:
    asked = data.draw(typed(maker))
    answers: list[tuple[dict[str, Any], str]] = []
    for _ in range(AT_ONCE):
        value = data.draw(asked.values())
        around = data.draw(st.sampled_from(AROUND))
        answers.append((value, around.replace("{}", data.draw(written(value)))))
    found = check(asked, answers)
    assert None not in found, answers[found.index(None)]


@pytest.mark.parametrize("maker", MAKERS)
@given(data=st.data())
@settings(max_examples=EXAMPLES, deadline=None, derandomize=not SOAK)
def test_an_answer_cut_by_its_limit_is_the_value_or_an_error(maker: str, data: st.DataObject) -> None:
    asked = data.draw(typed(maker))
    answers: list[tuple[dict[str, Any], str]] = []
    for _ in range(AT_ONCE):
        value = data.draw(asked.values())
        text = json.dumps(value, ensure_ascii=False)
        answers.append((value, text[: data.draw(st.integers(0, len(text)))]))
    check(asked, answers, "length")


@pytest.mark.parametrize("maker", MAKERS)
@given(data=st.data())
@settings(max_examples=EXAMPLES, deadline=None, derandomize=not SOAK)
def test_what_breaks_a_rule_of_its_type_is_none(maker: str, data: st.DataObject) -> None:
    fields = [*data.draw(fields_of(maker)), Field("ruled", RULES[maker], st.integers(-9, 9), None, required=True)]
    asked = Typed(MAKERS[maker](f"Thing{next(NUMBERS)}", fields), fields, maker not in ("mapping", "schema"))
    answers: list[tuple[dict[str, Any], str]] = []
    for _ in range(AT_ONCE):
        value = data.draw(asked.values())
        answers.append((value, data.draw(written(value))))
    for (value, _), made in zip(answers, check(asked, answers), strict=True):
        assert (made is None) == (value["ruled"] < 0)
