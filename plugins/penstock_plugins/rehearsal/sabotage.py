"""What a fault makes of an exchange: its plan, step by step.

Not here: which fault (`script`), what the response says (`reply`). Pure: the same fault and scene give the same plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from penstock.types import Headers
from penstock_plugins.rehearsal import faults
from penstock_plugins.rehearsal.faults import EventKind, Fault
from penstock_plugins.rehearsal.plan import Close, Connect, Data, End, Hang, Head, Refuse, Reset, Step, Upload, Wait
from penstock_plugins.rehearsal.reply import Scene, make_reply
from penstock_plugins.rehearsal.wire import Reply, sse

__all__ = ["Plan", "error_plan", "make_plan"]

_SPLIT_S = 0.001
"""Between the halves of a character: else the machine may join them again on their way."""
_TRICKLE_S = 0.05
_BROKEN = b'{"type":"content_block_delta","choices":[{"del'


class Plan(Struct, frozen=True):
    """What happens, and whether a provider would charge the input for it."""

    steps: tuple[Step, ...]
    billed: bool = True


class _Group(NamedTuple):
    """The steps of one event."""

    kind: EventKind
    steps: tuple[Step, ...]


def error_plan(reply: Reply, *, bodiless: bool = False) -> Plan:
    """The plan of a request that cannot be understood; `bodiless`: its method is HEAD."""
    body = tuple(Data(event.data) for event in reply.events)
    return Plan((_head(reply, _length(body)), *(() if bodiless else body), End()), billed=False)


def make_plan(fault: Fault | None, scene: Scene) -> Plan:
    """The plan for a request that was understood."""
    match fault:
        case faults.Refused():
            return Plan((Refuse(),), billed=False)
        case faults.ResetConnection(at="before_head", abrupt=abrupt):
            return Plan((*_pause(scene.first_s), Reset() if abrupt else Close()))
        case _:
            pass
    reply = make_reply(fault, scene)
    opening = _opening(fault)
    before = _pause(scene.first_s + sum(scene.chunk_s(number) for number in range(1, reply.chunks_before)))
    if isinstance(fault, faults.SilentBeforeHead):
        before = (*before, _silence(fault.for_s))
    groups = _groups(reply, scene)
    body = tuple(step for group in groups for step in group.steps)
    struck = tuple(_strike(fault, groups, scene))
    length = None if reply.streamed or (End() in struck and _length(struck) != _length(body)) else _length(body)
    # What is refused (4xx) costs nothing; an error of theirs may come after the work was done.
    return Plan((*opening, *before, _head(reply, length), *struck), billed=not 400 <= reply.status < 500)


def _opening(fault: Fault | None) -> tuple[Step, ...]:
    """What is slow before the request was read."""
    match fault:
        case faults.SlowConnect(for_s=for_s):
            return (Connect(for_s),)
        case faults.SlowUpload(for_s=for_s):
            return (Upload(for_s),)
        case _:
            return ()


def _groups(reply: Reply, scene: Scene) -> list[_Group]:
    """One group for each event, with the wait before it."""
    groups: list[_Group] = []
    said = 0
    for event in reply.events:
        said += event.kind == "content"
        waits = reply.streamed and event.kind == "content" and said > 1
        pause = _pause(scene.chunk_s(said)) if waits else ()
        groups.append(_Group(event.kind, (*pause, Data(event.data, event.output_tokens))))
    return groups


def _strike(fault: Fault | None, groups: list[_Group], scene: Scene) -> Iterator[Step]:
    """The steps after the head, as the fault leaves them."""
    left, ending = _cut(fault, groups)
    for group in _altered(fault, left, scene):
        for step in group.steps:
            yield from _paced(fault, step)
    yield ending


def _cut(fault: Fault | None, groups: list[_Group]) -> tuple[list[_Group], Step]:
    """What is left of the body, and how it ends."""
    match fault:
        case faults.CutStream(after_chunks=after, clean=clean):
            return groups[: _place(groups, after)], End() if clean else Close()
        case faults.ResetConnection(at=at, after_chunks=after, abrupt=abrupt):
            kept = 0 if at == "after_head" else _place(groups, after)
            return groups[:kept], Reset() if abrupt else Close()
        case faults.MissingTerminator(finish_reason=told):
            lost = ("end",) if told else ("finish", "usage", "end")
            return [group for group in groups if group.kind not in lost], End()
        case _:
            return groups, End()


def _altered(fault: Fault | None, groups: list[_Group], scene: Scene) -> list[_Group]:
    """The body with something in it that does not belong there."""
    match fault:
        case faults.SilentAfterHead(for_s=for_s):
            return [_Group("ping", (_silence(for_s),)), *groups]
        case faults.LateFirstToken(by_s=by_s):
            return _insert(groups, 0, Wait(by_s))
        case faults.Stall(after_chunks=after, for_s=for_s):
            return _insert(groups, after, _silence(for_s))
        case faults.MalformedChunk(after_chunks=after):
            return _insert(groups, after, Data(sse(_BROKEN) if scene.ask.streamed else _BROKEN))
        case faults.ErrorEvent(after_chunks=after, kind=kind) if scene.ask.streamed:
            error = Data(scene.wire.error_event(kind, scene.stamp))
            return [*groups[: _place(groups, after)], _Group("content", (error,))]
        case faults.DuplicateChunks(kind=kind):
            return [twice for group in groups for twice in _twice(group, repeat=group.kind == kind)]
        case _:
            return groups


def _paced(fault: Fault | None, step: Step) -> Iterator[Step]:
    """A step cut into what the fault lets through at once."""
    if isinstance(step, Data) and isinstance(fault, faults.SplitUtf8):
        yield from _split(step)
    elif isinstance(step, Data) and isinstance(fault, faults.Trickle):
        yield from _trickle(step, fault.bytes_per_s)
    else:
        yield step


def _split(step: Data) -> Iterator[Step]:
    """Cut after the first byte of every character that has several."""
    cuts = [index + 1 for index, byte in enumerate(step.data) if byte >= 0xC0]
    tokens = step.output_tokens
    for start, end in zip([0, *cuts], [*cuts, len(step.data)], strict=True):
        yield Data(step.data[start:end], tokens)
        tokens = 0
        if end < len(step.data):
            yield Wait(_SPLIT_S)


def _trickle(step: Data, bytes_per_s: float) -> Iterator[Step]:
    """The tokens are written with the last byte that says them."""
    size = max(1, int(bytes_per_s * _TRICKLE_S))
    for start in range(0, len(step.data), size):
        piece = step.data[start : start + size]
        yield Wait(len(piece) / bytes_per_s)
        yield Data(piece, step.output_tokens if start + size >= len(step.data) else 0)


def _place(groups: list[_Group], after_chunks: int) -> int:
    """Where so many chunks with content are over; where there are fewer, after the last: the fault strikes anyway."""
    contents = [index for index, group in enumerate(groups) if group.kind == "content"]
    if not contents:
        return max(0, len(groups) - 1)
    return contents[0] if after_chunks == 0 else contents[min(after_chunks, len(contents)) - 1] + 1


def _insert(groups: list[_Group], after_chunks: int, step: Step) -> list[_Group]:
    place = _place(groups, after_chunks)
    return [*groups[:place], _Group("ping", (step,)), *groups[place:]]


def _twice(group: _Group, *, repeat: bool) -> Iterator[_Group]:
    """The copy is the same bytes, generated once and billed once."""
    yield group
    if repeat:
        yield group._replace(steps=tuple(Data(step.data) for step in group.steps if isinstance(step, Data)))


def _silence(for_s: float | None) -> Step:
    return Hang() if for_s is None else Wait(for_s)


def _pause(seconds: float) -> tuple[Step, ...]:
    return (Wait(seconds),) if seconds else ()


def _length(steps: tuple[Step, ...]) -> int:
    return sum(len(step.data) for step in steps if isinstance(step, Data))


def _head(reply: Reply, length: int | None) -> Head:
    framing: Headers = (("transfer-encoding", "chunked"),) if length is None else (("content-length", str(length)),)
    return Head(reply.status, (*reply.headers, *framing))
