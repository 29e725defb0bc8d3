"""What is said on one connection, exchange after exchange: plain heads and whole chunks here, all else by h11. Pure.

h11 is the judge of everything unusual. It is brought in late: at the first byte of the response that is not plain it
is made anew and told the request, so that it stands where it would have stood from the beginning.

Not here: the socket, and time (`connection`). Errors are httpx's; what h11 quotes of headers and bodies never gets
into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import h11
import httpx

from penstock._transport.failures import BrokenHttp, HeadCutOff, PeerClosed, sentence
from penstock._transport.plain import CHUNKED, Asked, Head, plain_head, plain_request
from penstock._transport.whole_chunks import WholeChunks

__all__ = ["MAX_INFORMATIONAL", "Conversation"]

MAX_INFORMATIONAL = 8
"""1xx responses before the real one. More are a peer that plays for time."""
_NOT_SENT = frozenset({b"expect", b"upgrade"})
"""A wait for `100 Continue` costs a round trip, and servers that ignore it cost a timeout; and nothing is upgraded."""
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""Without either of them a body ends with the connection."""
_Pause: TypeAlias = h11.NEED_DATA | h11.PAUSED
_THE_END = h11.EndOfMessage()
_LAST_CHUNK = b"0\r\n\r\n"
_ANY_REQUEST = h11.Request(method="POST", target="/", headers=[("host", "any")])
_ANY_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
"""What h11 is told of an exchange whose heads were plain, where it is needed for the body alone."""


class Conversation:
    """Ask; receive until there is a head; receive until the body has ended; end. Then again.

    Law: the head, the body, its end, the errors and whether another exchange may follow are those of h11 alone.
    """

    def __init__(self, *, max_header_bytes: int) -> None:
        self._max_header_bytes = max_header_bytes
        self._begin()

    def _begin(self) -> None:
        self._http: h11.Connection | None = None
        """None: all that was said so far is plain."""
        self._asked: Asked | None = None
        self._informational = 0
        self._has_head = False
        self._ended = False
        self._is_closed = False
        """The peer has closed its side. h11 is told so once it has read all that came before: what it says then is of
        the end, and what it said until then is not."""
        self._buffer = b""
        """What came while h11 was not there to be given it."""
        self._length = self._missing = 0
        """Of a plain body: its bytes, and those of them that have not been handed out."""
        self._failure: httpx.RemoteProtocolError | None = None
        self._chunks: WholeChunks | None = None
        self._whole: Sequence[bytes] = ()
        """What whole chunks of the last read hold: it comes after what h11 was given, and before `_rest`."""
        self._rest = b""
        self._is_h11_ahead = False
        """h11 was given something that has not been asked for yet."""

    @property
    def ended(self) -> bool:
        """Whether the body was read to its end."""
        return self._ended

    @property
    def is_unanswered(self) -> bool:
        """Whether no head is here, nor anything that could become one."""
        return not self._has_head and not self._buffer and (self._http is None or not self._http.trailing_data[0])

    @property
    def at_hand(self) -> int | None:
        """Bytes of the body that are not handed out yet, where all of them are here. None: not all, or nobody knows."""
        all_here = self._has_head and self._http is None and self._chunks is None and len(self._buffer) >= self._missing
        return self._missing if all_here else None

    def ask(self, asked: Asked) -> list[bytes]:
        """What is to be sent. Raises httpx.LocalProtocolError if HTTP/1.1 cannot say it; then nothing may follow."""
        if asked.method == "CONNECT":
            raise httpx.LocalProtocolError("CONNECT is for proxies: it would end HTTP on this connection")
        head = asked.head or plain_request(asked.method, asked.target, asked.headers, len(asked.body))
        if head is not None:
            self._asked = asked
            return [head, asked.body]
        self._http = http = h11.Connection(h11.CLIENT, self._max_header_bytes)
        return _told(http, asked)

    def receive(self, data: bytes) -> None:
        """What a read has brought. Empty: the peer has closed its side."""
        self._is_closed = not data
        if self._chunks is not None:
            self._receive_chunks(self._chunks, data)
        elif self._http is None:
            self._buffer += data
        elif data:
            self._http.receive_data(data)

    def head(self) -> Head | None:
        """The head of the final response; None: more of it has to come. Raises httpx.RemoteProtocolError."""
        if self._http is None:
            data, self._buffer = self._buffer, b""
            if (plain := plain_head(data, self._max_header_bytes)) is not None:
                head, length, begin = plain
                self._has_head = True
                self._asked = None
                if length == CHUNKED:
                    self._chunks = WholeChunks(b"")
                    if begin < len(data):
                        self._receive_chunks(self._chunks, data[begin:])
                else:
                    self._length = self._missing = length
                    self._buffer = data[begin:]
                return head
            self._http = self._judge_of_all(data)
        return self._head_by_h11(self._http)

    def body(self) -> bytes:
        """All that is here of the body: a read may hold many chunks, and the consumer wants them in one piece.

        Empty: more has to come, unless the body has `ended`. Raises httpx.RemoteProtocolError.
        """
        if self._failure is not None:
            raise self._failure
        if self._http is None and self._chunks is None:
            return self._plain_body()
        pieces: list[bytes] = []
        try:
            if self._is_h11_ahead:
                self._read_from_h11(pieces)
            pieces += self._whole
            self._whole = ()
            if self._rest:
                rest, self._rest = self._rest, b""
                if self._http is None and rest == _LAST_CHUNK:
                    self._ended = True
                else:
                    self._judge_of_chunks().receive_data(rest)
                    self._read_from_h11(pieces)
        except httpx.RemoteProtocolError as error:
            if not pieces:
                raise
            # What came before the mistake is handed out first.
            self._failure = error
        return b"".join(pieces)

    def end(self) -> bool:
        """Whether another exchange may follow: both sides are done, willing, and nothing is left unread."""
        if not self._ended or self._buffer or self._is_closed:
            return False
        if (http := self._http) is not None:
            done = http.our_state is h11.DONE and http.their_state is h11.DONE
            if not done or any(http.trailing_data):
                return False
        self._begin()
        return True

    def _judge_of_all(self, data: bytes) -> h11.Connection:
        """h11 as it would be if it had been there from the beginning."""
        http = h11.Connection(h11.CLIENT, self._max_header_bytes)
        if self._asked is not None:
            _told(http, self._asked)
            self._asked = None
        if data:
            http.receive_data(data)
        return http

    def _judge_of_chunks(self) -> h11.Connection:
        """h11 where the body begins. What has come of it so far were whole chunks."""
        if self._http is None:
            self._http = http = h11.Connection(h11.CLIENT, self._max_header_bytes)
            http.send(_ANY_REQUEST)
            http.send(_THE_END)
            http.receive_data(_ANY_CHUNKED_HEAD)
            http.next_event()
        return self._http

    def _head_by_h11(self, http: h11.Connection) -> Head | None:
        while True:
            match self._next_event(http, HeadCutOff):
                case h11.Response() as response:
                    self._has_head = self._is_h11_ahead = True
                    headers = response.headers.raw_items()
                    names = {name.lower() for name, _ in headers}
                    if b"transfer-encoding" in names:
                        self._chunks = WholeChunks(http.trailing_data[0])
                    framed = not _FRAMING.isdisjoint(names)
                    return Head(response.status_code, response.reason, headers, framed, response.http_version)
                case h11.InformationalResponse():
                    self._informational += 1
                    if self._informational > MAX_INFORMATIONAL:
                        raise BrokenHttp(f"more than {MAX_INFORMATIONAL} informational responses")
                case h11.NEED_DATA:
                    return None
                case _:
                    raise BrokenHttp("the server changed the protocol, which nobody had asked for")

    def _receive_chunks(self, chunks: WholeChunks, data: bytes) -> None:
        """To h11 what is for h11."""
        first, self._whole, self._rest = chunks.take(data)
        if first:
            self._judge_of_chunks().receive_data(first)
        self._is_h11_ahead = bool(first) or not data
        if not data:
            http = self._judge_of_chunks()
            if self._rest:
                http.receive_data(self._rest)
                self._rest = b""

    def _plain_body(self) -> bytes:
        data = self._buffer[: self._missing]
        self._buffer = self._buffer[self._missing :]
        self._missing -= len(data)
        self._ended = not self._missing
        if self._is_closed and not self._ended:
            self._failure = PeerClosed(
                "peer closed connection without sending complete message body "
                f"(received {self._length - self._missing} bytes, expected {self._length})"
            )
            if not data:
                raise self._failure
        return data

    def _next_event(self, http: h11.Connection, cut: type[PeerClosed]) -> h11.Event | type[_Pause]:
        """Raises BrokenHttp, or `cut` where the peer has closed too early."""
        event = _event(http, BrokenHttp)
        if event is not h11.NEED_DATA or not self._is_closed:
            return event
        http.receive_data(b"")
        return _event(http, cut)

    def _read_from_h11(self, pieces: list[bytes]) -> None:
        http = self._judge_of_chunks()
        while isinstance(event := self._next_event(http, PeerClosed), h11.Data):
            pieces.append(event.data)
        self._ended = isinstance(event, h11.EndOfMessage)


def _told(http: h11.Connection, asked: Asked) -> list[bytes]:
    """Tells h11 of a request; what it would send."""
    fields = [field for field in asked.headers if field[0].lower() not in _NOT_SENT]
    try:
        event = h11.Request(method=asked.method, target=asked.target, headers=fields)
        pieces = http.send_with_data_passthrough(event) or []
        if asked.body:
            pieces += http.send_with_data_passthrough(h11.Data(data=asked.body)) or []
        return pieces + (http.send_with_data_passthrough(_THE_END) or [])
    except h11.LocalProtocolError as error:
        problem = sentence(error)
    raise httpx.LocalProtocolError(f"the request cannot be said in HTTP/1.1: {problem}")


def _event(http: h11.Connection, failure: type[httpx.RemoteProtocolError]) -> h11.Event | type[_Pause]:
    try:
        return http.next_event()
    except h11.RemoteProtocolError as error:
        problem = sentence(error)
    raise failure(problem)
