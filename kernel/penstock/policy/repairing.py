"""What becomes of an answer that is not valid: asked again, asked of another target, given more room, or the end.

And what is asked then: the schema, the last output, what is wrong with it. Never more, however often that happens.
Not here: what is valid (`json_finding`, validators).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import attrs
import msgspec
from msgspec import Struct

from penstock.policy.json_values import Flaw
from penstock.types import MOST_TOKENS, ChatRequest, Message

__all__ = [
    "LONGEST_QUOTED",
    "Fault",
    "GiveUp",
    "MoreRoom",
    "Next",
    "Reask",
    "Repairs",
    "longest_reasked",
    "more_room",
    "reasked",
    "room_at",
    "roomier",
    "told_in_words",
]

ESCALATE_AFTER = 2
"""Invalid answers of one target, after which another is asked."""
LONGEST_PATH = 200
LONGEST_SENTENCE = 500
"""Characters of what is wrong, and where: both may hold the model's own words, and a validator's are anybody's."""
MOST_TOLD = 20
LONGEST_QUOTED = 12_000
"""Characters of the last output that are sent back: beginning and end where it is longer."""
MOST_LEFT_OUT = 10**15
"""Characters of an output that nobody has ever had."""

Kind: TypeAlias = Literal["damaged", "misfit", "empty", "length"]


@attrs.frozen
class Fault:
    """What is wrong with an answer."""

    kind: Kind
    """`damaged`: it cannot be read in one way. `misfit`: it says something else than it should. `length`: it was cut by
    its limit. `empty`: it says nothing."""
    says: str
    output: str = ""
    flaws: tuple[Flaw, ...] = ()
    says_all: bool = False
    """All that is asked for stands in the output: but its notation is wrong."""


@attrs.frozen
class Reask:
    """The same target, or whoever comes next in the cascade, is told what was wrong."""

    name: ClassVar = "reask"


@attrs.frozen
class Next:
    """Another target is asked, from the start."""

    name: ClassVar = "next"


@attrs.frozen
class MoreRoom:
    """The same again, with a higher limit."""

    name: ClassVar = "more_room"
    max_tokens: int


@attrs.frozen
class GiveUp:
    """That is the end."""

    says: str


Step: TypeAlias = Reask | Next | MoreRoom | GiveUp


class Repairs(Struct):
    """Those of one call.

    Laws: no more than `most` steps go on; a target is not asked again once it gave `escalate_after` invalid answers,
    where another is left; a limit that was too low is never given again.
    """

    most: int
    escalate_after: int = ESCALATE_AFTER
    made: int = 0
    by_target: dict[str, int] = {}

    def step(
        self,
        target: str,
        fault: Fault,
        *,
        others_left: bool,
        limit: int | None = None,
        most_output: int | None = None,
    ) -> Step:
        """What follows an invalid answer. `limit`: the tokens it could take at most; `most_output`: and might have."""
        if self.made >= self.most:
            return GiveUp(f"after {self.made} repairs" if self.made else "and no repair is allowed")
        self.by_target[target] = invalid = self.by_target.get(target, 0) + 1
        if fault.kind == "length":
            room = None if limit is None else more_room(limit, most_output)
            if room is not None and limit is not None and room > limit:
                self.made += 1
                return MoreRoom(room)
            if not others_left:
                return GiveUp("there is no more room for it")
            self.made += 1
            return Next()
        self.made += 1
        return Next() if others_left and invalid >= self.escalate_after else Reask()


def more_room(limit: int, most_output: int | None) -> int:
    """What an answer is given that was cut at `limit`: twice as much, and no more than its model can write."""
    return room_at(limit * 2, MOST_TOKENS if most_output is None else most_output)


def room_at(room: int, most_output: int | None) -> int:
    """What of a room is asked of another target: no more than its model can write, which vendors answer with a 400."""
    return room if most_output is None else min(room, most_output)


def reasked(request: ChatRequest, fault: Fault, schema: Mapping[str, Any]) -> ChatRequest:
    """The request that mends an answer: of constant size beside what was asked at first.

    What was asked is left out only where all that a right answer says is quoted, in full: who is shown a part of it, or
    something with gaps, would leave out the rest or make it up. Nothing of earlier repairs is kept.
    """
    if fault.kind == "empty":
        return request
    told = [
        f"- {_shortened(flaw.path, LONGEST_PATH)}: {_shortened(flaw.says, LONGEST_SENTENCE)}"
        for flaw in fault.flaws[:MOST_TOLD]
    ]
    wrong = "\n".join(told) or f"- {_shortened(fault.says, LONGEST_SENTENCE)}"
    is_quoted = fault.says_all and len(fault.output) <= LONGEST_QUOTED
    before: Sequence[Message] = () if is_quoted else request.messages
    # Halves of characters are escaped, as JSON does: no wire carries them, and a model may have written one.
    says = _asks_for_mending(wrong, schema, _quoted(fault.output)).encode(errors="backslashreplace").decode()
    return msgspec.structs.replace(request, messages=(*before, Message.user(says)))


def longest_reasked(request: ChatRequest, schema: Mapping[str, Any], character: str) -> ChatRequest:
    """What `reasked` makes at most of the request, whatever was answered, in a text of that character alone."""
    path = _shortened(character * (LONGEST_PATH + 1), LONGEST_PATH)
    sentence = _shortened(character * (LONGEST_SENTENCE + 1), LONGEST_SENTENCE)
    quoted = f"{character * LONGEST_QUOTED}{_left_out(MOST_LEFT_OUT)}"
    says = _asks_for_mending("\n".join([f"- {path}: {sentence}"] * MOST_TOLD), schema, quoted)
    return msgspec.structs.replace(request, messages=(*request.messages, Message.user(says)))


def _asks_for_mending(wrong: str, schema: Mapping[str, Any], quoted: str) -> str:
    return (
        "The JSON below is not valid.\n" + wrong + "\n\n"
        f"It must fit this JSON Schema:\n{_compact(schema)}\n\n"
        f"The JSON:\n{quoted}\n\n"
        "Answer with the corrected JSON alone, whole, without any other text."
    )


def roomier(request: ChatRequest, max_tokens: int) -> ChatRequest:
    """The same request with a higher limit."""
    return msgspec.structs.replace(request, max_tokens=max_tokens)


def told_in_words(request: ChatRequest, schema: Mapping[str, Any]) -> ChatRequest:
    """The request, with the schema in its system prompt: for targets that take it in no other way."""
    says = (
        "Answer with one JSON value that fits the JSON Schema below, and with nothing else: no prose, no code fence.\n"
        f"{_compact(schema)}"
    )
    given = request.system
    text = given if isinstance(given, str) else given.text if given is not None else ""
    return msgspec.structs.replace(request, system=f"{text}\n\n{says}" if text else says)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}[...]{text[-most // 2 :]}"


def _compact(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _quoted(output: str) -> str:
    if len(output) <= LONGEST_QUOTED:
        return output
    half = LONGEST_QUOTED // 2
    return f"{output[:half]}{_left_out(len(output) - LONGEST_QUOTED)}{output[-half:]}"


def _left_out(characters: int) -> str:
    return f"\n[{characters} characters left out]\n"
