"""Heads of HTTP/1.1 in their plain form, written and read without h11. Pure.

h11 is strict and slow: it spends a sixth of the CPU of a whole call on the heads. Nearly all of them are plain, and of
those there is nothing to judge. What is plain is narrower than what HTTP allows and than what h11 takes: whatever is
not is None here, and h11's to judge (`conversation`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from msgspec import Struct

__all__ = ["CHUNKED", "Asked", "Fields", "Head", "Standing", "plain_head", "plain_request"]

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]
"""The header fields of a head, as they are on the wire."""


class Asked(Struct, frozen=True, gc=False):
    """A request as a transport needs it."""

    method: str
    target: bytes
    """Path and query."""
    fields: Fields
    """The header fields, but for those of `own`."""
    body: bytes
    head: bytes | None = None
    """What goes before the body, where that is known already and plain."""
    own: Sequence[bytes] = ()
    """The names of the fields behind these whose values are this request's own."""
    values: Sequence[bytes] = ()
    says_length: bool = True
    """The fields say themselves where the body ends."""

    @property
    def headers(self) -> Fields:
        """All header fields. Where the head is known nobody needs them, as a rule."""
        fields = [*self.fields, *zip(self.own, self.values, strict=True)]
        if not self.says_length:
            fields.append((b"content-length", b"%d" % len(self.body)))
        return fields


CHUNKED = -1
"""The length of a body that comes in chunks."""
_METHODS = frozenset({"GET", "POST"})
"""An answer to HEAD or CONNECT has no body whatever its head says, and nobody asks by the others."""
_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_REQUEST = re.compile(
    rb"[A-Z]+ [\x21-\x7e]+ HTTP/1\.1\r\n(?:" + _TOKEN + rb": [\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*\r\n)+\r\n"
)
_RESPONSE = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n"
    rb"((?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n"
)
"""No line begins with a blank, so none is folded; CR and LF are only where lines end, and NUL is nowhere."""
_FIELD = re.compile(rb"([^:]+):[ \t]*([^\r]*)\r\n")
"""One field of a head that is plain. The blanks behind its value are still there."""
_IN_WORDS = bytes(range(0x21, 0x7F))
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_ODD_IN_REQUESTS = frozenset({b"transfer-encoding", b"connection", b"upgrade", b"expect"})
_SAYS_LENGTH = frozenset({b"content-length", b"transfer-encoding"})
_NO_BODY = frozenset({b"204", b"304"})


class Standing(Struct, frozen=True, gc=False):
    """What all requests to one place say alike. It is judged once: they differ in a few values and their length."""

    method: str
    target: bytes
    fields: Fields
    own: Sequence[bytes]
    """The names of the fields whose values are each request's own. They come behind the others."""
    says_length: bool
    """The fields say themselves where the body ends."""
    head: bytes | None
    """The head, with a place for each such value and for the length; None where it is not plain."""

    @classmethod
    def of(cls, method: str, target: bytes, fields: Fields, own: Sequence[bytes]) -> Standing:
        """For as long as these stay what they are."""
        says_length = any(name.lower() in _SAYS_LENGTH for name, _ in fields)
        some = [*fields, *((name, b"x") for name in own), (b"content-length", b"0")]
        begin, head = plain_request(method, target, fields, 0), None
        if begin is not None and not says_length and plain_request(method, target, some, 0) is not None:
            places = [name.replace(b"%", b"%%") + b": %b\r\n" for name in own]
            head = begin[:-2].replace(b"%", b"%%") + b"".join(places) + b"content-length: %d\r\n\r\n"
        return cls(method, target, fields, own, says_length, head)

    def asked(self, values: Sequence[bytes], body: bytes) -> Asked:
        """One request with these values."""
        head = self.head
        if head is not None:
            for value in values:
                # Letters and digits, nearly always; what is left without all that a word may have is for a closer look.
                if not value.isalnum() and (not value or value.translate(None, _IN_WORDS)):
                    head = None
                    break
            else:
                head %= (*values, len(body))
        return Asked(self.method, self.target, self.fields, body, head, self.own, values, self.says_length)


class Head(NamedTuple):
    """Of a final response. Names are as they were sent; values are without blanks around them."""

    status_code: int
    reason: bytes
    headers: Fields
    is_framed: bool
    """False: neither a length nor a coding says where the body ends, if there is one."""
    http_version: bytes = b"1.1"
    is_encoded: bool = True
    """False: no field speaks of an encoding of the body."""


def plain_request(method: str, target: bytes, headers: Fields, body_length: int) -> bytes | None:
    """The head as h11 would write it, with the host in front. None if anything of it is for h11 to judge."""
    if method not in _METHODS:
        return None
    names = [name.lower() for name, _ in headers]
    if names.count(b"host") != 1 or not _ODD_IN_REQUESTS.isdisjoint(names) or b":" in b"".join(names):
        return None
    lengths = names.count(b"content-length")
    if lengths > 1 or (body_length and not lengths):
        return None
    if lengths and headers[names.index(b"content-length")][1] != b"%d" % body_length:
        return None
    lines = [b": ".join(field) for field in headers]
    if names[0] != b"host":
        lines.insert(0, lines.pop(names.index(b"host")))
    head = b"%b %b HTTP/1.1\r\n%b\r\n\r\n" % (method.encode(), target, b"\r\n".join(lines))
    # As many lines as were meant: a value with a line of its own in it would look as good as the others.
    if head.count(b"\n") != len(lines) + 2 or not _REQUEST.fullmatch(head):
        return None
    return head


def plain_head(data: bytes, max_bytes: int) -> tuple[Head, int, int] | None:
    """The head that `data` begins with, the length of its body or `CHUNKED`, and where the body begins in `data`.

    None if it is not all here, longer than `max_bytes`, or anything of it is for h11 to judge.
    """
    match = _RESPONSE.match(data)
    if match is None or match.end() > max_bytes:
        return None
    status, reason, lines = match.groups()
    length: int | None = None
    is_encoded = False
    headers: list[tuple[bytes, bytes]] = []
    for name, value in _FIELD.findall(lines):
        stripped = value.rstrip(b" \t")
        lowered = name.lower()
        if lowered == b"content-length":
            if length is not None or not _LENGTH.fullmatch(stripped):
                return None
            length = int(stripped)
        elif lowered == b"transfer-encoding":
            if length is not None or stripped != b"chunked":
                return None
            length = CHUNKED
        elif lowered == b"content-encoding":
            is_encoded = True
        elif lowered == b"upgrade" or (lowered == b"connection" and stripped.lower() != b"keep-alive"):
            return None
        headers.append((name, stripped))
    if length is None or status in _NO_BODY:
        return None
    head = Head(int(status), reason or b"", headers, is_framed=True, is_encoded=is_encoded)
    return head, length, match.end()
