"""The edge to foreign code: whatever a transport or a codec may raise, translated once into one of ours.

What foreign exceptions say may quote headers, prompts and answers: it goes no further where nobody can vouch for it.
Then the place in the code and its traceback remain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import TypeAlias, cast

import h11
import httpx

from penstock._config_mistakes import is_secret
from penstock._foreign import interruptible, let_through
from penstock._transport import BrokenHttp, GivenUp, HeadCutOff, ReusedConnectionClosed
from penstock._transport.failures import sentence
from penstock.errors import (
    CallError,
    CodecFailedError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    IdleTimeoutError,
    MalformedResponseError,
    ProviderError,
    TotalTimeoutError,
    UnsendableRequestError,
)

__all__ = ["broken_codec", "broken_transport", "discreet", "named", "translated", "without_secret"]

Headers: TypeAlias = Sequence[tuple[str, str]]
"""Names and values."""
LEAST_OF_A_KEY = 8
"""Characters: the beginning of a key that a shortened quotation may end in. Fewer tell nothing; and a key that
has fewer ("test", "any") is found as a word of its own alone, for it is a part of others.
"""


def broken_transport(error: BaseException, target: str, *, in_body: bool = False) -> CallError:
    """Our error for what a transport raised, with its cause where what that says can be vouched for."""
    ours = translated(error, target, in_body=in_body)
    if ours is error:
        return ours
    if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ProtocolError):
        ours.__cause__ = error
        return ours
    # Words of protocol errors quote the bytes they stumbled over; those of anything else can hold anything.
    return ours.with_traceback(error.__traceback__)


def broken_codec(target: str, bug: BaseException | str) -> CodecFailedError:
    """Our error for a bug in a codec: where it broke, with the traceback, without its words."""
    if isinstance(bug, str):
        return CodecFailedError(f"the codec of {target} broke ({bug}): a bug in the provider plugin")
    says = f"the codec of {target} broke ({named(bug)}): a bug in the provider plugin"
    return CodecFailedError(says).with_traceback(bug.__traceback__)


def named(bug: BaseException) -> str:
    """What foreign code raised, and where in it, without its words."""
    at = bug.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    code = at.tb_frame.f_code if at else None
    where = f" in {code.co_name}, {PurePath(code.co_filename).name} line {at.tb_lineno}" if at and code else ""
    return f"{type(bug).__name__}{where}"


@interruptible
def discreet(error: CallError, secret: str | None, target: str, headers: Headers = ()) -> CallError:
    """The error fit to be shown: it names its target, holds no credential (providers quote them), none of the `headers`
    that are configured for the target, and no false hint.
    """
    try:
        return _discreet(error, secret, target, headers)
    except BaseException as bug:  # noqa: BLE001 - a plugin's own class of error: even to read its fields is to call it
        let_through(bug)
        return broken_codec(target, bug)


def _discreet(error: CallError, secret: str | None, target: str, headers: Headers) -> CallError:
    hint: object = error.retry_after
    if not (isinstance(hint, int | float) and 0 <= hint < math.inf):
        error.retry_after = None
    _without_nonsense(error)
    words = str(error)
    if without_secret(target, secret, headers, target) not in without_secret(words, secret, headers, target):
        # Codecs do not know their target's name; and where it was but a piece of the key, it is about to go.
        error.args = (f"{target}: {words}",)
    if secret or headers:
        error.args = tuple(
            without_secret(each, secret, headers, target) if isinstance(each, str) else each for each in error.args
        )
        if notes := _notes(error):
            error.__notes__ = [without_secret(note, secret, headers, target) for note in notes]
        if isinstance(error, ProviderError):
            error.code = error.code and without_secret(error.code, secret, headers)
        error.request_id = error.request_id and without_secret(error.request_id, secret, headers)
        if _quotes(error.__cause__, secret, headers) or _quotes(error.__context__, secret, headers):
            error.__cause__ = error.__context__ = None
    return error


def _without_nonsense(error: CallError) -> None:
    """What is of another kind than it is to be, is not known."""
    name = cast("object", error.request_id)
    if not isinstance(name, str | None):
        error.request_id = None
    if isinstance(error, ProviderError):
        status, code = cast("object", error.status), cast("object", error.code)
        if not isinstance(status, int | None):
            error.status = None
        if not isinstance(code, str | None):
            error.code = None


def without_secret(text: str, secret: str | None, headers: Headers = (), target: str = "") -> str:
    """The text without the secret, and without any longer beginning of it: quotations get shortened. The same of what
    stands in headers: of a word of one whose name says that it is secret, of others the value as a whole.

    The name of the `target` stays whole where a short secret ("ollama") is a word of it.
    """
    text = _without(text, secret, target)
    for name, value in headers:
        if is_secret(name):
            for word in value.split():
                text = _without(text, word if len(word) >= LEAST_OF_A_KEY else None)
        elif len(value) >= LEAST_OF_A_KEY:
            text = text.replace(value, "[header]")
    return text


def _without(text: str, secret: str | None, target: str = "") -> str:
    if not secret or secret[:LEAST_OF_A_KEY] not in text:
        return text
    if len(secret) < LEAST_OF_A_KEY:
        word = rf"(?<![\w-]){re.escape(secret)}(?![\w-])"
        return re.sub(word, lambda found: found[0] if _is_within(target, found) else "[key]", text)
    for end in range(len(secret), LEAST_OF_A_KEY - 1, -1):
        text = text.replace(secret[:end], "[key]")
    return text


def _is_within(target: str, found: re.Match[str]) -> bool:
    """Whether what was found is a piece of the target's name, and not the name a piece of it."""
    length = len(target)
    # Only a name that holds all of it fits in between.
    return bool(target) and target in found.string[max(found.end() - length, 0) : found.start() + length]


def _quotes(error: BaseException | None, secret: str | None, headers: Headers) -> bool:
    while error is not None:
        says = f"{error} {error.args!r} {_notes(error)}"
        if without_secret(says, secret, headers) != says:
            return True
        error = error.__cause__ or error.__context__
    return False


def _notes(error: BaseException) -> list[str]:
    """What was added to it, as a traceback shows it."""
    return list(map(str, getattr(error, "__notes__", ())))


def translated(error: BaseException, target: str, *, in_body: bool = False) -> CallError:  # noqa: C901, PLR0912 - one for each
    """Our error for what a transport raised while it talked to `target`; `in_body`: once the head had come."""
    match error:
        case ReusedConnectionClosed():
            return ConnectionLostError(f"{target}: an idle connection had been closed by the server", reused=True)
        case GivenUp():
            return TotalTimeoutError(f"{target} did not answer in time")
        case httpx.ConnectTimeout():
            return ConnectTimeoutError(f"no connection to {target} within the connect timeout")
        case httpx.ConnectError() | httpx.ProxyError():
            return ConnectError(f"no connection to {target}: {_words(error)}")
        case httpx.WriteTimeout():
            return IdleTimeoutError(f"{target} did not take the request within the write timeout")
        case httpx.TimeoutException():
            return IdleTimeoutError(f"{target} fell silent")
        case HeadCutOff():
            return ConnectionLostError(
                f"the connection to {target} was lost: the server hung up before a whole HTTP/1.1 head had come;"
                " is it an HTTP server that listens there?"
            )
        case httpx.RemoteProtocolError() if isinstance(error, BrokenHttp) or (not in_body and _is_of_h11(error)):
            return MalformedResponseError(f"{target} does not speak HTTP/1.1 as it should: {sentence(error)}")
        case httpx.DecodingError():
            return MalformedResponseError(f"{target} sent a body that cannot be decompressed: {_words(error)}")
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError() | httpx.InvalidURL():
            return UnsendableRequestError(f"{target}: the request cannot be sent over HTTP ({type(error).__name__})")
        case httpx.TransportError():
            return ConnectionLostError(f"the connection to {target} was lost: {_words(error)}")
        case CallError():
            return error
        case _:
            return ConnectionLostError(f"the transport to {target} broke ({type(error).__name__})")


def _is_of_h11(error: BaseException | None) -> bool:
    """True where the parser of HTTP is behind it. httpx's stock transport has one class for a head that is none and for
    a connection that ended before one came; that the latter has no such cause is all that tells them apart. Of a body
    that broke nothing does, and nothing needs to: both are the rest of an answer that does not come.
    """
    while error is not None and not isinstance(error, h11.RemoteProtocolError):
        error = error.__cause__ or error.__context__  # its pool says `from None`
    return error is not None


def _words(error: Exception) -> str:
    said = sentence(error) if isinstance(error, httpx.ProtocolError) else str(error)[:200]
    return said or type(error).__name__
