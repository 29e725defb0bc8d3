"""One call whose answer is to become a value: how it is asked, what came of it, what is asked next.

Not here: how JSON is found and mended (`policy.json_finding`), what follows an invalid answer (`policy.repairing`), the
walk through the cascade (`_call`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Literal

import attrs
import msgspec
from msgspec import Struct

from penstock._asked import Call
from penstock._attempt import AttemptRun
from penstock._foreign import interruptible, let_through
from penstock._live_target import LiveTarget
from penstock._outputs import Wanted
from penstock._request import with_output
from penstock._text_size import output_bytes
from penstock._validator import InvalidValueError
from penstock.errors import (
    CallError,
    ContentFilteredError,
    InvalidRequestError,
    OutputInvalidError,
    RefusedError,
)
from penstock.policy.json_complete import begins_another, says_all
from penstock.policy.json_finding import Found, NotFound, find_json, is_itself
from penstock.policy.json_other_calls import OtherTools
from penstock.policy.json_scalars import may_go_on
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Flaw, frozen
from penstock.policy.refused_ways import Way, refused_way
from penstock.policy.repairing import (
    LONGEST_QUOTED,
    Fault,
    GiveUp,
    MoreRoom,
    Next,
    Repairs,
    Step,
    reasked,
    room_at,
    roomier,
    told_in_words,
)
from penstock.policy.schema_rules import MOST_FLAWS
from penstock.policy.schema_shaping import WRAPPER, Shaped, asks_for_object, unshaped
from penstock.policy.shown_paths import shown_path
from penstock.types import ChatRequest, Completion, Message, OutputSchema, Text, Tool

__all__ = ["Extraction"]

"""`object`: in words, in a mode that lets the model say nothing but a JSON object."""
MOST_TARGETS = 256
"""Whose ways are kept with a type; a reload brings others."""
CUT = frozenset({"closed", "completed", "lines"})
"""Repairs that an answer cut by its limit may not have: what they put right may be the cut itself."""


@attrs.define(eq=False)
class _Asking:
    """How a stage is asked."""

    way: Way
    shaped: Shaped | None = None
    check: SchemaCheck | None = None
    """Of the schema as it is sent, where that is another."""
    output: OutputSchema | None = None
    """What is said in a native mode: the same in all calls."""


class Extraction(Struct, eq=False):
    """That of one call."""

    call: Call
    wanted: Wanted
    others_left: Callable[[int], bool]
    repairs: Repairs | None = None
    """Made when the first answer is not valid."""
    value: Any = None
    called_tools: bool = False
    fault: Fault | None = None
    """What the next attempt is to mend."""
    room: int | None = None
    """What the next attempt is given, as far as its model can write that much. None: what was asked for."""
    askings: dict[int, _Asking] = {}
    last_invalid: OutputInvalidError | None = None
    """Of the last answer that came and was none."""
    _said: dict[tuple[int, int], tuple[_Asking, ChatRequest, ChatRequest]] = {}
    """What was asked at first: of all targets that are asked alike the very same, and so counted once. By what it was
    made of, which is kept beside it, and by its identity."""

    @property
    def repairing(self) -> bool:
        """True where the next attempt is not what was asked at first: its answer is no answer to that."""
        return self.fault is not None or self.room is not None

    # Asking

    def shaped(self, stage: int, target: LiveTarget, request: ChatRequest) -> ChatRequest:
        """The request as the target is asked it now."""
        if self.fault is not None:
            request = reasked(request, self.fault, self.wanted.ready.schema)
        if self.room is not None:
            request = roomier(request, room_at(self.room, target.capabilities.max_output))
        return self.first_asked(stage, target, request)

    def first_asked(self, stage: int, target: LiveTarget, request: ChatRequest) -> ChatRequest:
        """The request as the target is asked it before anything has to be mended."""
        asking = self.askings.get(stage)
        if asking is None:
            asking = self.askings[stage] = self._known_or_chosen(target, request)
        if self.repairing:
            return self._saying(asking, request)
        made_of = id(asking), id(request)
        known = self._said.get(made_of)
        if known is None:
            known = self._said[made_of] = asking, request, self._saying(asking, request)
        return known[2]

    def _known_or_chosen(self, target: LiveTarget, request: ChatRequest) -> _Asking:
        """Of plain requests the same target takes the same: its codec is asked once."""
        plain = not (request.tools or request.extra or request.thinking is not None)
        known = self.wanted.ready.askings
        before: _Asking | None = known.get(target) if plain else None
        if before is not None:
            return before
        asking = self._chosen(target, request, self.wanted.ready.refused_by(target))
        if plain and len(known) < MOST_TARGETS:
            known[target] = asking
        return asking

    def each_way(self, target: LiveTarget, request: ChatRequest) -> Iterator[ChatRequest]:
        """The request as the target is asked it now, and as it would be if it refused that, to the last of the ways."""
        refused = set(self.wanted.ready.refused_by(target))
        asking = self._chosen(target, request, refused)
        while asking.way != "words":
            yield self._saying(asking, request)
            refused.add(asking.way)
            asking = self._chosen(target, request, refused)
        yield self._saying(asking, request)

    def _chosen(self, target: LiveTarget, request: ChatRequest, refused: Collection[Way]) -> _Asking:
        """The first way that the target takes, and has not refused."""
        ready = self.wanted.ready
        if not ready.schema:
            return self._asking("words")
        if "native" not in refused and target.capabilities.json_schema is not False:
            shaped = ready.shaped(target.capabilities.schema_limits)
            if isinstance(shaped, Shaped):
                asking = self._asking("native", shaped)
                if not self._cannot(target, self._saying(asking, request), "schema"):
                    return asking
        if "tool" not in refused and target.capabilities.tools and not request.tools and not _thinks(request):
            for way in self._tool_ways(target, refused):
                asking = self._asking(way, ready.parameters)
                if not self._cannot(target, self._saying(asking, request), "tool_choice", "parallel_tool_calls"):
                    return asking
        if (
            "object" not in refused
            and target.capabilities.json_object
            and asks_for_object(ready.schema)
            and not request.tools  # who may say nothing but an object may not call them
        ):
            return self._asking("object")
        return self._asking("words")

    def _asking(self, way: Way, shaped: Shaped | None = None) -> _Asking:
        """One for all targets that are asked so."""
        ready = self.wanted.ready
        known: _Asking | None = ready.ways.get((way, id(shaped)))
        if known is None:
            check = None if shaped is None else ready.check_of(shaped)
            output = OutputSchema(shaped.schema, ready.name) if shaped is not None and way == "native" else None
            known = ready.ways[way, id(shaped)] = _Asking(way, shaped, check, output)
        return known

    @staticmethod
    def _tool_ways(target: LiveTarget, refused: Collection[Way]) -> Sequence[Way]:
        """Called once, and said so where the target takes that: two calls with different values are no answer."""
        alone = target.capabilities.parallel_tool_calls and "tool alone" not in refused
        return ("tool alone", "tool") if alone else ("tool",)

    @staticmethod
    @interruptible
    def _cannot(target: LiveTarget, request: ChatRequest, *parameters: str) -> bool:
        try:
            return not target.provider.codec.unsupported(request, target.wire).isdisjoint(parameters)
        except BaseException as error:  # noqa: BLE001 - foreign code; the attempt will meet the same, and say what it is
            let_through(error)
            return False

    def _saying(self, asking: _Asking, request: ChatRequest) -> ChatRequest:
        if asking.output is not None:
            return with_output(request, asking.output)
        ready = self.wanted.ready
        match asking.way, asking.shaped:
            case "tool" | "tool alone" as way, Shaped() as shaped:
                tool = Tool(ready.name, "Gives the answer.", shaped.schema)
                return msgspec.structs.replace(
                    request,
                    tools=(tool,),
                    tool_choice=ready.name,
                    parallel_tool_calls=False if way == "tool alone" else None,
                )
            case "object", _:
                return msgspec.structs.replace(
                    told_in_words(request, ready.schema), output=OutputSchema(name=ready.name)
                )
            case _:
                return told_in_words(request, ready.schema) if ready.schema else request

    def degrade(self, stage: int, error: InvalidRequestError) -> bool:
        """The target refused the request: True where that was for the way it was asked, and there is another."""
        asking = self.askings.get(stage)
        closed = None if asking is None else refused_way(asking.way, str(error), error.code)
        if closed is None:
            return False
        del self.askings[stage]
        self.wanted.ready.refuse(self.call.targets[stage], closed)
        return True

    def ask_in_words(self, stage: int) -> bool:
        """The target's server took nothing of what its model wrote: True where this call asks for words instead.

        They are read and mended here. Only where no other target is left: they are the weakest way.
        """
        asking = self.askings.get(stage)
        if asking is None or asking.way == "words" or self.others_left(stage):
            return False
        self.askings[stage] = self._asking("words")
        return True

    # Judging

    def judged(self, attempt: AttemptRun, completion: Completion) -> CallError | None:
        """Why the answer is none; None where it is, and `value` is there."""
        match completion.finish_reason:
            case "content_filter":
                return ContentFilteredError("the provider's content filter ended the answer", status=200)
            case "refusal":
                return RefusedError("the model refused to answer", status=200)
            case _:
                return self._judged(attempt.stage, completion)

    def _judged(self, stage: int, completion: Completion) -> OutputInvalidError | None:
        asking = self.askings.get(stage) or _Asking("words")
        written = self._written(asking, completion.message)
        if written is None:
            self.called_tools = True
            return None
        fault = self._read_one(asking, written, completion.finish_reason)
        if fault is None:
            return None
        error = OutputInvalidError(
            _message(self.call.targets[stage].name, fault, self.wanted.ready.names),
            paths=[flaw.path for flaw in fault.flaws],
            last_output=fault.output,
        )
        error.fault = fault
        self.last_invalid = error
        return error

    def take_stored(self, message: Message) -> bool:
        """True where a stored answer becomes a value: `value`. It may be one that nobody has checked, or for another
        type.
        """
        for asking in (*self.askings.values(), _Asking("words")):
            written = self._written(asking, message)
            if written is not None and self._read_one(asking, written, "stop") is None:
                return True
        return False

    def _written(self, asking: _Asking, message: Message) -> list[str] | None:
        """What the model wrote as the value, the same once; None where it called tools of the caller's instead."""
        content = message.content
        if len(content) == 1 and type(content[0]) is Text:  # nearly always
            return [content[0].text]
        calls, own = message.tool_calls, dict[Any, str]()
        for call in calls if asking.way in ("tool", "tool alone") else ():
            if call.name == self.wanted.ready.name:
                text = call.raw_arguments or msgspec.json.encode(call.arguments).decode()
                own.setdefault(_same_where_equal(text), text)
        if own:
            return list(own.values())
        return None if calls and self.call.request.tools else [message.text]

    def _read_one(self, asking: _Asking, written: Sequence[str], finish_reason: str) -> Fault | None:
        """The same, of what may have been said several times: which was meant nobody knows."""
        if len(written) == 1:
            return self._read(asking, written[0], finish_reason)
        said = "\n".join(written)
        if finish_reason == "length":
            return Fault("length", "the answer is cut: it reached max_tokens", said)
        return Fault("misfit", f"{len(written)} different values were given, and one is asked for", said)

    def _read(self, asking: _Asking, written: str, finish_reason: str) -> Fault | None:
        """Reads and builds the value; what is wrong where that cannot be done."""
        cut = finish_reason == "length"
        found = self._found(asking, written)
        if isinstance(found, NotFound) or (cut and not self._is_whole(found, written)):
            if cut:
                return Fault("length", "the answer is cut: it reached max_tokens", written)
            if not written.strip():
                return Fault("empty", "the answer is empty")
            assert isinstance(found, NotFound)
            kind: Literal["damaged", "misfit"] = "damaged" if found.reason == "damaged" else "misfit"
            return Fault(kind, found.says, written, found.flaws)
        try:
            self.value = self.wanted.built(found.value)
        except InvalidValueError as no:
            return Fault("misfit", str(no), written, no.flaws[:MOST_FLAWS] or (Flaw("$", str(no)),))
        return None

    def _is_whole(self, found: Found, written: str) -> bool:
        """Of an answer cut by its limit. False where the cut may have been put right, as for `12`, which may have
        become 1250, and for a word that another of the schema's begins with: nothing around them says where they end.
        Nor is a draft whole, where the last line announces another.
        """
        if not CUT.isdisjoint(found.repairs) or begins_another(written):
            return False
        last = written.rstrip()[-1:]
        return not (last.isalnum() or last == ".") or not may_go_on(found.value, self.wanted.ready.schema)

    def _found(self, asking: _Asking, written: str) -> Found | NotFound:
        ready, tools = self.wanted.ready, self.call.request.tools
        others = OtherTools([tool.name for tool in tools]) if tools else None
        if asking.shaped is not None and asking.check is not None:
            sent = find_json(written, asking.check, tool=ready.name, others=others)
            if isinstance(sent, Found):
                value = unshaped(sent.value, ready.check, asking.shaped)
                flaws = ready.check.flaws(value)
                if not flaws and is_itself(value, ready.check, ready.name):
                    return Found(value, sent.repairs)
                # What was taken out of its wrapper may wrap the value once more: the type's own schema says so, but
                # where it has that name itself, and one of them was meant.
                if flaws or WRAPPER in ready.check.names:
                    return NotFound("misfit", "the value does not fit the schema", flaws)
        return find_json(written, ready.check, tool=ready.name, others=others)

    # Going on

    def after(self, attempt: AttemptRun, error: OutputInvalidError, *, capped: bool) -> Step:
        """What follows an invalid answer; from then on `shaped` asks for that. `capped`: the budget had cut it."""
        fault, stage = error.fault, attempt.stage
        assert isinstance(fault, Fault)
        completion = attempt.completion
        limit = attempt.request.max_tokens
        if limit is None and completion is not None:
            # Where none was asked for: what came is as much as there was room for, whatever the usage says of it. A
            # token is a byte at least, and room is doubled.
            told = 0 if completion.usage is None else completion.usage.output_tokens
            limit = max(told, -(-output_bytes(completion.message) // 2)) or None
        self.repairs = self.repairs or Repairs(self.wanted.max_repairs)
        step = self.repairs.step(
            attempt.target.name,
            fault,
            others_left=self.others_left(stage),
            limit=None if capped else limit,
            most_output=attempt.target.capabilities.max_output,
        )
        match step:
            case GiveUp():
                pass
            case MoreRoom(max_tokens=room):
                self.room = room
            case Next():
                self.fault = self.room = None
            case _:
                self.fault = self._with_all_it_says(fault, stage)  # in the room that there is: less was too little
        return step

    def _with_all_it_says(self, fault: Fault, stage: int) -> Fault:
        """The fault; and whether the answer says all that is asked for, where it can be quoted in full."""
        if fault.kind != "damaged" or len(fault.output) > LONGEST_QUOTED:
            return fault
        ready, asking = self.wanted.ready, self.askings.get(stage)
        checks = [ready.check] if asking is None or asking.check is None else [asking.check, ready.check]
        return attrs.evolve(fault, says_all=any(says_all(fault.output, check, ready.name) for check in checks))


def _thinks(request: ChatRequest) -> bool:
    """Forced tools and thinking exclude one another."""
    return request.thinking not in (None, "off")


def _same_where_equal(text: str) -> Any:
    """Equal for texts of the same value."""
    try:
        return frozen(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        return text


def _message(target: str, fault: Fault, names: Collection[str]) -> str:
    """Without a word of the model's: of properties, those that the schema names."""
    what = {
        "damaged": "is no readable JSON",
        "misfit": "does not fit what was asked for",
        "empty": "is empty",
        "length": "was cut: it reached max_tokens",
    }[fault.kind]
    where = ", ".join(dict.fromkeys(shown_path(flaw.path, names) for flaw in fault.flaws[:5]))
    return f"{target}: the answer {what}" + (f" (at {where})" if where else "")
