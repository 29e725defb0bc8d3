"""The laws of `penstock.abc`, as functions that take makers: run them against your own implementation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import cast, get_args

import attrs
import msgspec

from penstock._config_checks import is_header_name
from penstock.abc import Missing, Provider, StreamDecoder
from penstock.errors import CallError, ProviderError
from penstock.policy.shape import shape_of
from penstock.types import ChatRequest, Chunk, Completion, Target, WireHead, WireResponse

__all__ = ["BrokenLawError", "check_provider"]

SECRET = "sk-the-canary-of-check-provider"  # noqa: S105 - it is looked for in places where no secret may be
STAGES = get_args(Missing)
GARBAGE = (b"", b"{}", b"null", b"[1]", b"\xff\xfe", b"<html>bad gateway</html>", b'{"error": 7}', b'{"error": {}}')

UNREADABLE = b'data: {"\n\n'
"""An event that is none, as it comes of a server that dies in the middle of its last one."""


class BrokenLawError(AssertionError):
    """A law does not hold; the message says which, and where."""


def check_provider(
    make: Callable[[], Provider],
    *,
    target: Target,
    requests: Iterable[ChatRequest] = (ChatRequest("hello"),),
    responses: Iterable[WireResponse] = (),
    streams: Iterable[tuple[WireHead, bytes]] = (),
) -> None:
    """Checks a provider against its laws. `responses` and `streams` are recordings of whole, good answers.

    Raises BrokenLawError where one does not hold.
    """
    _check_idempotency_header(make())
    for request in requests:
        _check_request(make, request, target)
    _check_classify(make())
    for response in responses:
        if make().decode(response) != make().decode(response):
            raise BrokenLawError("decode: equal responses must give equal completions")
    for head, body in streams:
        _check_stream(make, head, body)


def _check_idempotency_header(provider: Provider) -> None:
    named = cast("object", provider.idempotency_header)
    if named is not None and not (isinstance(named, str) and is_header_name(named) and named == named.lower()):
        raise BrokenLawError("idempotency_header: the lower-case name of a header, or None")


def _check_request(make: Callable[[], Provider], request: ChatRequest, target: Target) -> None:
    for stream in (False, True):
        first = make().encode(request, target, stream=stream, now=1_000.0)
        if make().encode(request, target, stream=stream, now=1_000.0) != first:
            raise BrokenLawError("encode: equal arguments must give equal requests")
        authorized = make().authorize(first, SECRET, now=1_000.0)
        if authorized.body != first.body and SECRET.encode() in authorized.body:
            raise BrokenLawError("authorize: a credential belongs in a header, not in the body")
        named = {name.lower() for name, _ in authorized.headers} - {name.lower() for name, _ in target.headers}
        if make().idempotency_header in named:
            raise BrokenLawError("encode: the idempotency key is the kernel's to add")
        if SECRET in repr(authorized):
            raise BrokenLawError("authorize: the repr of a request must not show its credential")
    unsupported = cast("object", make().unsupported(request, target))
    if not isinstance(unsupported, frozenset) or unsupported != make().unsupported(request, target):
        raise BrokenLawError("unsupported: a frozenset of names, equal for equal arguments")
    adapted = cast("object", make().adapted(request, target))
    if not isinstance(adapted, frozenset) or adapted != make().adapted(request, target):
        raise BrokenLawError("adapted: a frozenset of words, equal for equal arguments")
    bound = make().input_bound(request, target)
    if bound is not None and bound < 1:
        raise BrokenLawError("input_bound: every request has at least one token; None says that no bound exists")
    _check_kind(make(), request, target)


def _check_kind(codec: Provider, request: ChatRequest, target: Target) -> None:
    kin = msgspec.structs.replace(target, name="another", model=f"{target.model}-of-another-name")
    if codec.kind(target) is not None and codec.kind(target) == codec.kind(kin):
        for ask in (codec.input_bound, codec.output_bound, codec.unsupported):
            if ask(request, kin) != ask(request, target):
                raise BrokenLawError("kind: of targets of one kind all bounds, and what is unsupported, are the same")
    if shape_of(request) is None or codec.text_kind(target) is None or codec.text_kind(target) != codec.text_kind(kin):
        return
    for one, other in ((target, kin), (kin, target)):
        most, window = codec.input_bound(request, one), codec.capabilities(one.model).context_window
        also = codec.input_bound(request, other)
        if also is None or most is None or (most < (window or math.inf) and also > most):
            raise BrokenLawError("text_kind: of targets of one kind a text's bound is the same, but for their windows")


def _check_classify(provider: Provider) -> None:
    for status in (400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529):
        for body in GARBAGE:
            error = provider.classify(WireResponse(status, (), body), now=1_000.0)
            if not isinstance(error, ProviderError):  # pyright: ignore[reportUnnecessaryIsInstance] - a plugin may
                raise BrokenLawError(f"classify: status {status} gave {type(error).__name__}, not a ProviderError")
    if provider.classify(WireResponse(429, (("retry-after", "7"),), b""), now=1_000.0).retry_after != 7.0:
        raise BrokenLawError("classify: retry-after: 7 on a 429 must be told as 7 seconds")


@attrs.frozen
class _Seen:
    chunks: list[Chunk]
    completion: Completion | None
    error: type[CallError] | None


def _check_stream(make: Callable[[], Provider], head: WireHead, body: bytes) -> None:
    whole = _fed(make().decoder(head), [body])
    if whole.error is not None:
        raise BrokenLawError(f"decoder: a whole recorded stream ended in {whole.error.__name__}")
    for at in range(1, len(body)):
        split = _fed(make().decoder(head), [body[:at], body[at:]])
        if _joined(split) != _joined(whole):
            raise BrokenLawError(f"decoder: split at byte {at}, the stream reads differently")
    _check_missing(make, head, body, whole)
    cut = _fed(make().decoder(head), [body[: len(body) // 2]])
    if cut.error is None:
        raise BrokenLawError("decoder: a stream cut in the middle must not look complete")


def _check_missing(make: Callable[[], Provider], head: WireHead, body: bytes, whole: _Seen) -> None:
    decoder, missing = make().decoder(head), "answer"
    for at in range(len(body)):
        decoder.feed(body[at : at + 1])
        if decoder.done:
            return
        now = str(decoder.missing)
        if now not in STAGES or STAGES.index(now) < STAGES.index(missing):
            raise BrokenLawError(f'missing: "{now}" after "{missing}"; it is one of {", ".join(STAGES)}, in this order')
        if now != missing:
            missing = now
            ended = _fed(make().decoder(head), [body[: at + 1]])
            if _told(ended, missing) != _told(whole, missing):
                raise BrokenLawError(f'missing: "{missing}" at byte {at}, but what comes later changes the answer')
            spoiled = _fed(make().decoder(head), [body[: at + 1] + UNREADABLE])
            if missing != "answer" and spoiled.completion != ended.completion:
                raise BrokenLawError(
                    f'missing: "{missing}" at byte {at}, but what cannot be read after it takes the answer back'
                )


def _told(seen: _Seen, missing: str) -> Completion | None:
    if seen.completion is None or missing == "end":
        return seen.completion
    return msgspec.structs.replace(seen.completion, usage=None)


def _fed(decoder: StreamDecoder, pieces: Iterable[bytes]) -> _Seen:
    chunks: list[Chunk] = []
    try:
        for piece in pieces:
            chunks.extend(decoder.feed(piece))
        chunks.extend(decoder.close() or ())
    except CallError as error:
        return _Seen(chunks, None, type(error))
    return _Seen(chunks, decoder.completion, None)


def _joined(seen: _Seen) -> tuple[object, ...]:
    """What may not depend on how the bytes were split: the whole answer, and the chunks in their order."""
    return seen.completion, seen.error, [repr(chunk) for chunk in seen.chunks]
