"""The rows of the figures: their names, the files that measure them, and the environments in which they live."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ENVIRONMENTS", "ROSTER", "Entry", "Environment"]


@dataclass(frozen=True)
class Environment:
    """A peer's own, so that no two argue about versions. All pins are of one day, the newest that there were."""

    name: str
    pins: tuple[str, ...]
    reason: str
    """Of these packages and releases."""


@dataclass(frozen=True)
class Entry:
    """One row."""

    name: str
    """Of its file in `benchmarks.rows`, too."""
    title: str
    environment: str | None = None
    """None: that of this program, where penstock is installed."""
    calls: bool = True
    """False: it makes no call, and stands beside those that do for a part of what they do."""

    @property
    def module(self) -> str:
        return f"benchmarks.rows.{self.name}"


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment("httpx2", ("httpx2==2.16.2", "trio==0.35.0"), "on the loop that penstock runs on"),
        Environment("aiohttp", ("aiohttp==3.14.5",), "its wheel brings the parser in C"),
        Environment("openai", ("openai==3.57.0",), "as it comes: its own choice of HTTP client"),
        Environment("anthropic", ("anthropic==2.14.0",), "as it comes: its own choice of HTTP client"),
        Environment(
            "litellm",
            ("litellm==1.110.2", "fastapi==0.165.0", "orjson==3.13.0", "soundfile==0.14.0"),
            "it brings aiohttp for its transport; a hit of its cache imports the other three, of its extra for proxies",
        ),
        Environment("tensorzero", ("tensorzero==2026.6.0",), "the last release; the gateway in Rust is in its wheel"),
        Environment("pydantic-ai", ("pydantic-ai-slim[openai]==2.68.0",), "slim: the model classes, and one provider"),
        Environment("langchain", ("langchain==1.5.2", "langchain-openai==1.7.4"), "releases that go together"),
    )
}

ROSTER = {
    entry.name: entry
    for entry in (
        Entry("raw", "raw trio socket"),
        Entry("floor", "floor: h11 on a trio socket"),
        Entry("penstock_guards", "penstock, all guards"),
        Entry("penstock_sqlite", "penstock, all guards, SQLite"),
        Entry("penstock_telemetry", "penstock, all guards, telemetry"),
        Entry("sdk_spans", "no call: two spans of the OTel SDK", calls=False),
        Entry("httpx_client", "httpx on trio"),
        Entry("httpx2_client", "httpx2 on trio", "httpx2"),
        Entry("aiohttp_client", "aiohttp", "aiohttp"),
        Entry("tensorzero_embedded", "TensorZero, embedded", "tensorzero"),
        Entry("openai_sdk", "openai SDK", "openai"),
        Entry("anthropic_sdk", "anthropic SDK", "anthropic"),
        Entry("pydantic_ai_fallback", "pydantic-ai, FallbackModel", "pydantic-ai"),
        Entry("langchain_fallbacks", "langchain, fallbacks", "langchain"),
        Entry("litellm_call", "LiteLLM acompletion", "litellm"),
        Entry("litellm_router", "LiteLLM Router", "litellm"),
    )
}
