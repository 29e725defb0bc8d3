"""A dialect of Chat Completions as data: what differs at one provider from what OpenAI made of it.

What a row says of requests is what is sent. Reading needs no row: reasoning, usage and tool calls are taken from
wherever a server puts them. What was seen of that is written down all the same, for people and for the tests, which
hold it against every recording of the provider.

Not here: the rows (`hosted`, `clouds`, `gateways`, `local`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import attrs

from penstock.types import ToolCallIdForm

__all__ = ["GENERIC", "NOTHING_SEEN", "OPENAI", "Dialect", "LimitField", "ReasoningBack", "Seen", "ThinkingForm"]

LimitField: TypeAlias = Literal["max_tokens", "max_completion_tokens"]
ReasoningBack: TypeAlias = Literal["as it came", "reasoning_content", "reasoning", "content", "in the text"]
UsagePlace: TypeAlias = Literal["along", "with the end", "after the end", "x_groq"]
ErrorShape: TypeAlias = Literal["object", "flat", "text"]
Reset: TypeAlias = Literal["duration", "seconds"]


@attrs.frozen(kw_only=True)
class ThinkingForm:
    """How a request asks to think, or not to. Paths lead to a field of the body."""

    level: tuple[str, ...] = ("reasoning_effort",)
    """The field that takes "low", "medium" or "high". Empty: there are no levels."""
    words: Mapping[str, str] = {}
    """What the provider calls a level, where it has another word for it."""
    budget: tuple[str, ...] = ()
    """The field that takes a number of tokens. Empty: a level stands in for them."""
    on: Mapping[str, Any] = {}
    """Fields that go with every wish to think."""
    off: Mapping[str, Any] | None = None
    """Fields that switch it off. None: as little as the model is known to take, else it cannot be asked for."""


@attrs.frozen(kw_only=True)
class Seen:
    """What answers were seen to look like, in all recordings of the provider together; documented, where none is.

    All names in the order of the alphabet.
    """

    reasoning: tuple[str, ...] = ()
    """The fields of a message or a delta that reasoning came in."""
    usage: tuple[UsagePlace, ...] = ()
    """Where usage came in streams: along with every chunk, with the reason for the end, in a chunk after it, or in
    Groq's own object."""
    calls: Literal["whole", "in pieces", ""] = ""
    """How streams brought tool calls: each in one delta, or its arguments bit by bit."""
    cached: tuple[str, ...] = ()
    """The fields of usage that count cached tokens."""
    reasoning_beside: bool = False
    """`completion_tokens` leaves reasoning out."""
    finish: tuple[str, ...] = ()
    """Every `finish_reason` that came."""
    errors: tuple[ErrorShape, ...] = ()
    """The envelope of errors: `error` is an object, all is flat beside one another, or `error` is a text."""
    request_ids: tuple[str, ...] = ()
    """The headers that name the exchange."""
    resets: tuple[Reset, ...] = ()
    """How headers write when a rate limit is there again."""
    sources: tuple[str, ...] = ()
    """Fields beside the choices that tell what an answer was drawn from."""


NOTHING_SEEN = Seen()


@attrs.frozen(kw_only=True)
class Dialect:
    """One provider. The defaults are what a server is taken for of which nothing is known."""

    name: str
    """The provider's `kind` in configuration."""
    title: str
    base_url: str | None = None
    """None: each customer has another, so configuration must name it."""
    hosts: tuple[str, ...] = ()
    """Other hosts of the provider. At these, and at its own, the kind `openai` speaks the dialect too."""
    key_variable: str | None = None
    url_variable: str | None = None
    needs_key: bool = True
    key_header: Literal["authorization", "api-key"] = "authorization"
    deployments: bool = False
    """The path names the deployment, and the query the version of the API."""
    openai_models: bool = False
    """What is called as a model of OpenAI's is that model. False: a server may call its own so, and the limits of
    OpenAI's say nothing of it."""
    limit: LimitField | None = None
    """The field of the output limit. None: the one that the model takes at OpenAI."""
    least_output: int = 1
    """Output tokens the provider may give, however few are asked for."""
    stream_options: bool = True
    """Usage in streams is asked for with `stream_options`. False: it comes unasked, and the field may be refused."""
    seed: Literal["seed", "random_seed"] = "seed"
    forced_tool: Literal["required", "any"] = "required"
    """The `tool_choice` that demands some tool."""
    forces_while_thinking: bool = True
    """False: a tool can be demanded only where the model does not think."""
    thinks_always: Mapping[str, bool] = {}
    """Models, by how their names begin, whose thinking cannot be switched off, and refuse to be asked. True: some tool
    can be demanded of it all the same, though no certain one."""
    tools: bool = True
    vision: bool = True
    json_schema: bool | None = None
    """None: that depends on the model."""
    json_object: bool = False
    """Every model takes the wish for a JSON object without a schema. False: that depends on the model, on the rest of
    the request, or nobody knows."""
    thinking: ThinkingForm = ThinkingForm()
    reasoning_back: ReasoningBack | None = "as it came"
    """Where reasoning goes back with the message it belongs to. `content`: as parts of it. `in the text`: before what
    it says, as the model writes it. None: it is refused."""
    wants_reasoning: bool = False
    """A message with calls is refused without reasoning. Where there is none a blank stands for it: a conversation may
    come from elsewhere."""
    user_after_tool: bool = True
    """Somebody else than the assistant may speak right after a tool."""
    names: bool = True
    """Who speaks may have a name."""
    tool_call_id: ToolCallIdForm | None = None
    """The ids it takes. None: those that OpenAI takes."""
    prefill: Mapping[str, Any] | None = None
    """What marks the last message of the assistant as a beginning to go on from. None: there is no such thing, or it
    depends on the model."""
    seen: Seen = NOTHING_SEEN
    recordings: str | None = None
    """The recordings all of this was verified on. None: it is from documentation alone."""
    sources: Mapping[str, str] = {}
    """Where each value comes from: the recording that shows it, or the page that says so."""

    @property
    def verified(self) -> bool:
        """True where recordings of the provider were read with it."""
        return self.recordings is not None

    @property
    def known_hosts(self) -> frozenset[str]:
        """The hosts that are this provider and nobody else: not those of one's own machine."""
        own = urlsplit(self.base_url or "").hostname
        return frozenset(host for host in (own, *self.hosts) if host and host != "localhost")


GENERIC = Dialect(name="openai", title="an unknown server")
"""Of a server that no row knows."""

OPENAI = Dialect(
    name="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    key_variable="OPENAI_API_KEY",
    url_variable="OPENAI_BASE_URL",
    openai_models=True,
    reasoning_back=None,
)
"""The wire as its maker speaks it. It shows no reasoning, and takes none."""
