"""Recorded exchanges for the codec tests: what a provider was asked, and the bytes it answered with.

Not here: what a codec shall make of them (`*.expected.json` beside the recordings, and the tests). Where the
recordings come from, and under which licences, is in `recordings/SOURCES.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from penstock.types import Headers, WireHead, WireResponse

__all__ = ["FOLDER", "RecordedRequest", "RecordedResponse", "Recording", "Source", "recordings"]

FOLDER = Path(__file__).parent / "recordings"


class Source(Struct, frozen=True):
    """The public repository that holds the recording."""

    repo: str
    licence: str
    path: str = ""
    commit: str = ""


class RecordedRequest(Struct, frozen=True):
    """What was sent; `body` is parsed JSON, None where the recorder did not keep it."""

    method: str = "POST"
    host: str = ""
    path: str = ""
    headers: dict[str, str] = {}
    body: Any = None


class RecordedResponse(Struct, frozen=True):
    """What came back: one of a JSON body, the text of an event stream, or other text."""

    status: int
    headers: dict[str, str] = {}
    body: Any = msgspec.UNSET
    sse: str | None = None
    text: str | None = None


class Recording(Struct, frozen=True):
    """One exchange. `features` are the tags the recordings are searched by."""

    id: str
    provider: str
    source: Source
    features: frozenset[str]
    request: RecordedRequest | None
    response: RecordedResponse
    model: str = ""

    @property
    def licence(self) -> str:
        """The licence of the repository that holds the recording."""
        return self.source.licence

    @property
    def name(self) -> str:
        """The id without its provider: the stem of the file."""
        return self.id.partition("/")[2]

    @property
    def streamed(self) -> bool:
        """True where the body is an event stream."""
        return self.response.sse is not None

    @property
    def request_is_whole(self) -> bool:
        """True where the request's body is here as it was sent: nothing elided, nothing cut."""
        cut = {"payload-elided", "request-text-truncated", "body-only"} & self.features
        return self.request is not None and isinstance(self.request.body, dict) and not cut

    def headers(self) -> Headers:
        """The response's headers, names in lower case."""
        return tuple((name.lower(), value) for name, value in self.response.headers.items())

    def head(self) -> WireHead:
        """Status and headers."""
        return WireHead(self.response.status, self.headers())

    def body_bytes(self) -> bytes:
        """The body: JSON encoded again, event streams and other text verbatim in UTF-8."""
        verbatim = self.response.sse if self.response.sse is not None else self.response.text
        if verbatim is not None:
            return verbatim.encode()
        return b"" if self.response.body is msgspec.UNSET else msgspec.json.encode(self.response.body)

    def whole(self) -> WireResponse:
        """Status, headers and body together."""
        return WireResponse(self.response.status, self.headers(), self.body_bytes())

    def expected(self) -> Any:
        """What the vendor's own SDK reads from the same bytes."""
        return msgspec.json.decode((FOLDER / self.provider / f"{self.name}.expected.json").read_bytes())


def recordings(*providers: str) -> list[Recording]:
    """The recordings of these providers, in the order of their names. Fails where a provider has none."""
    found: list[Recording] = []
    for provider in providers:
        files = sorted(FOLDER.glob(f"{provider}/*.json"))
        exchanges = [file for file in files if not file.name.endswith(".expected.json")]
        assert exchanges, f"no recordings of {provider}"
        found += [msgspec.json.decode(file.read_bytes(), type=Recording) for file in exchanges]
    return found
