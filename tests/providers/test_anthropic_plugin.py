"""The Anthropic provider as a plugin: what its entry point offers."""

from __future__ import annotations

import logging
from importlib.metadata import entry_points

import pluggy
import trio
from recorded import recordings

from penstock import hookspecs
from penstock.hookspecs import PluginTools, ProviderSpec
from penstock.testing import check_provider
from penstock.types import Target
from penstock_providers.anthropic_messages import AnthropicMessages, AnthropicOptions


def offered() -> ProviderSpec:
    (entry,) = entry_points(group="penstock.providers.v1", name="anthropic")
    manager = pluggy.PluginManager("penstock")
    manager.add_hookspecs(hookspecs)
    manager.register(entry.load())
    manager.check_pending()
    ((spec,),) = manager.hook.penstock_providers()
    assert isinstance(spec, ProviderSpec)
    return spec


def test_the_entry_point_offers_one_provider() -> None:
    spec = offered()
    assert (spec.name, spec.options) == ("anthropic", AnthropicOptions)
    assert (spec.key_variable, spec.url_variable) == ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
    assert spec.needs_key
    assert spec.api_version == hookspecs.PLUGIN_API


def test_it_keeps_the_laws_of_providers() -> None:
    answers = [recording for recording in recordings("anthropic-messages") if recording.response.status == 200]
    shortest = min((recording for recording in answers if recording.streamed), key=lambda one: len(one.body_bytes()))
    check_provider(
        AnthropicMessages,
        target=Target(name="t", provider="anthropic", model="claude-sonnet-4-20250514"),
        responses=[recording.whole() for recording in answers if not recording.streamed],
        streams=[(shortest.head(), shortest.body_bytes())],
    )


def test_what_it_opens_speaks_to_where_the_options_say() -> None:
    async def opened() -> AnthropicMessages:
        options = AnthropicOptions(base_url="http://127.0.0.1:8080", auth="bearer")
        tools = PluginTools(name="local", wall=lambda: 0.0, logger=logging.getLogger("penstock"))
        async with offered().open(options, tools) as provider:
            assert isinstance(provider, AnthropicMessages)
            return provider

    provider = trio.run(opened)
    assert provider.family == "anthropic-messages"
    assert provider.options.url() == "http://127.0.0.1:8080/v1/messages"
