"""The recordings of every dialect, and codecs to hold against them."""

from __future__ import annotations

from typing import Any

from plain_reading import asked_body
from recorded import Recording, recordings

from penstock_providers.openai_chat import DIALECTS, Dialect, OpenAIChat
from penstock_providers.openai_chat._options import options_of

__all__ = [
    "ANSWERED",
    "ASKED",
    "BY_FOLDER",
    "FAILED",
    "FAILING_STREAMS",
    "STREAMED",
    "VERIFIED",
    "codec_of",
    "exchanges_of",
]

VERIFIED = tuple(row for row in DIALECTS.values() if row.recordings)
BY_FOLDER = {row.recordings: row for row in VERIFIED}
SERVER = "https://server.example"


def exchanges_of(dialect: Dialect) -> list[Recording]:
    """Its recordings."""
    return recordings(dialect.recordings) if dialect.recordings else []


def codec_of(dialect: Dialect, **options: Any) -> OpenAIChat:
    """Its codec, at its own address where it has one."""
    if dialect.base_url is None:
        options = {"base_url": SERVER} | options
    return OpenAIChat(options_of(dialect)(**options), dialect)


EXCHANGES = [exchange for row in VERIFIED for exchange in exchanges_of(row)]
FAILED = [exchange for exchange in EXCHANGES if exchange.response.status >= 400]
FAILING_STREAMS = {
    "groq/pydantic-ai--test_groq-test_tool_use_failed_error_streaming--0",
    "openrouter/pydantic-ai--test_openrouter-test_openrouter_stream_error--0",
}
"""Those that begin with a 200 and end in an error."""
ANSWERED = [exchange for exchange in EXCHANGES if exchange.response.status < 400 and exchange.id not in FAILING_STREAMS]
STREAMED = [exchange for exchange in ANSWERED if exchange.streamed]
ASKED = [exchange for exchange in ANSWERED if asked_body(exchange)]
"""Those of which it is known what was asked."""
