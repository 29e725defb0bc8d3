"""A provider that is known by its dialect is configured with its name and a key; one of one's own with a row."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from dialect_exchanges import SERVER
from distributions import installed, write_distribution
from worlds import openai_body, run

import penstock
from penstock._default_models import DEFAULT_MODELS, OTHER_MODELS
from penstock._discovery import PluginHost
from penstock.errors import ConfigError
from penstock.testing import Reply, ScriptedTransport
from penstock.testing.chaos import Chaos
from penstock_plugins.prices import penstock_price
from penstock_providers.openai_chat import DIALECTS, Dialect, DialectPlugin, ThinkingForm
from penstock_providers.openai_chat.plugins import __getattr__ as plugin_of

ROOT = Path(__file__).parents[2]
NAMES = sorted(DIALECTS)
NOW = 1_796_000_000.0
ACME = Dialect(
    name="acme-chat",
    title="Acme",
    base_url="https://api.acme.example/chat/v2",
    key_variable="ACME_CHAT_KEY",
    limit="max_completion_tokens",
    seed="random_seed",
    thinking=ThinkingForm(level=("reasoning", "effort")),
)

ACME_MODULE = """
from penstock_providers.openai_chat import Dialect, DialectPlugin
plugin = DialectPlugin(
    Dialect(name="acme-chat", title="Acme", base_url="https://api.acme.example/v2", key_variable="ACME_CHAT_KEY")
)
"""


def asked(upstream: ScriptedTransport) -> tuple[str, dict[str, str], dict[str, Any]]:
    (request,) = upstream.requests
    return str(request.url), dict(request.headers), json.loads(request.content)


def test_each_dialect_is_a_kind_of_provider_and_nothing_else_is() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["penstock.providers.v1"]
    ours = {name: place for name, place in points.items() if "openai_chat.plugins:" in place}
    assert ours == {name: f"penstock_providers.openai_chat.plugins:{name}" for name in NAMES}
    assert set(NAMES) <= PluginHost().kinds()
    with pytest.raises(AttributeError, match="no dialect named 'acme'"):
        plugin_of("acme")


def test_a_kind_says_where_its_key_lies_and_whether_it_needs_one() -> None:
    host = PluginHost()
    for name, row in DIALECTS.items():
        spec = host.provider_spec(name)
        assert (spec.name, spec.key_variable, spec.url_variable) == (name, row.key_variable, row.url_variable)
        assert spec.needs_key is (name not in {"llamacpp", "lmstudio", "ollama", "vllm"})


def test_a_name_and_a_key_are_all_that_is_configured() -> None:
    environ = {row.key_variable: f"sk-{name}" for name, row in DIALECTS.items() if row.key_variable}
    assert len(environ) == len(DIALECTS)
    environ["AZURE_OPENAI_ENDPOINT"] = SERVER
    cascade = [f"{name}/a-model" for name in NAMES]
    config = penstock.Config.from_dict({"routes": {"default": {"cascade": cascade}}}, environ=environ)

    async def main() -> None:
        upstream = ScriptedTransport([Reply(json=openai_body()) for _ in NAMES])
        async with penstock.open_kernel(config, transport=upstream) as kernel:
            for name in NAMES:
                response = await kernel.complete("q", model=f"{name}/a-model", max_tokens=9)
                assert response.target == f"{name}/a-model"
        for name, request in zip(NAMES, upstream.requests, strict=True):
            row = DIALECTS[name]
            assert str(request.url) == f"{row.base_url or f'{SERVER}/openai/v1'}/chat/completions"
            header, key = ("api-key", "sk-azure") if name == "azure" else ("authorization", f"Bearer sk-{name}")
            assert request.headers[header] == key
            limit = "max_completion_tokens" if name == "cerebras" else "max_tokens"
            assert json.loads(request.content)[limit] == 9

    run(main)


def test_without_a_key_it_is_said_which_to_set_or_none_is_needed() -> None:
    tables: dict[str, dict[str, object]] = {"providers": {name: {} for name in NAMES if name != "azure"}}
    with pytest.raises(ConfigError) as caught:
        penstock.Config.from_dict(tables, environ={})
    said = str(caught.value)
    for name in tables["providers"]:
        row = DIALECTS[name]
        assert (f"providers.{name}.api_key: the key is missing: set {row.key_variable} in the" in said) is row.needs_key


def test_azure_says_that_its_address_is_missing() -> None:
    with pytest.raises(ConfigError, match="base_url"):
        penstock.Config.from_dict({"providers": {"azure": {"api_key": "k"}}}, environ={})


def test_a_setting_that_is_none_of_a_dialects_is_a_mistake() -> None:
    for name, setting in (("groq", "api_version"), ("groq", "azure"), ("azure", "organization")):
        tables = {"providers": {name: {"api_key": "k", "base_url": SERVER, setting: "x"}}}
        with pytest.raises(ConfigError, match=rf"{name}\.{setting}: is unknown"):
            penstock.Config.from_dict(tables, environ={})


def test_a_second_provider_of_a_kind_is_the_same_dialect_with_a_key_of_its_own() -> None:
    tables = {
        "providers": {"eu": {"kind": "mistral", "base_url": "https://eu.example/v1", "api_key": "sk-eu"}},
        "routes": {"default": {"cascade": ["eu/mistral-large-latest"]}},
    }

    async def main() -> None:
        upstream = ScriptedTransport([Reply(json=openai_body())])
        config = penstock.Config.from_dict(tables, environ={"MISTRAL_API_KEY": "sk-first"})
        async with penstock.open_kernel(config, transport=upstream) as kernel:
            await kernel.complete(penstock.ChatRequest("q", seed=7))
        url, headers, body = asked(upstream)
        assert (url, headers["authorization"]) == ("https://eu.example/v1/chat/completions", "Bearer sk-eu")
        assert body["random_seed"] == 7

    run(main)


def test_a_row_of_ones_own_is_a_provider_that_a_program_hands_in() -> None:
    tables = {
        "providers": {"acme-chat": {"api_key": "sk-acme"}},
        "routes": {"default": {"cascade": ["acme-chat/one"]}},
    }

    async def main() -> None:
        upstream = ScriptedTransport([Reply(json=openai_body())])
        config = penstock.Config.from_dict(tables, environ={})
        async with penstock.open_kernel(config, transport=upstream, plugins=[DialectPlugin(ACME)]) as kernel:
            request = penstock.ChatRequest("q", seed=7, max_tokens=5, thinking="low", extra={"acme-chat": {"tier": 1}})
            await kernel.complete(request)
        url, headers, body = asked(upstream)
        assert (url, headers["authorization"]) == (f"{ACME.base_url}/chat/completions", "Bearer sk-acme")
        assert body["max_completion_tokens"] == 5
        assert body["random_seed"] == 7
        assert body["reasoning"] == {"effort": "low"}
        assert body["tier"] == 1

    run(main)


def test_a_row_of_ones_own_is_a_provider_that_is_installed(tmp_path: Path) -> None:
    write_distribution(
        tmp_path,
        "acme-chat",
        entries={"providers": {"acme-chat": "acme_chat:plugin"}},
        modules={"acme_chat": ACME_MODULE},
    )
    with installed(tmp_path):
        host = PluginHost()
        assert host.provider_spec("acme-chat").key_variable == "ACME_CHAT_KEY"
        environ = {"ACME_CHAT_KEY": "sk-acme"}
        tables = {"routes": {"default": {"cascade": ["acme-chat/one"]}}}
        config = penstock.Config.from_dict(tables, environ=environ)
        assert [secret.reveal() for secret in config.providers["acme-chat"].secrets] == ["sk-acme"]


@pytest.mark.parametrize("models", OTHER_MODELS, ids=[models.provider for models in OTHER_MODELS])
def test_a_key_of_a_dialect_alone_is_enough(models: Any) -> None:
    environ = {models.key_variable: "sk-canary"}
    cascade = [stage.target for stage in penstock.Config.from_environment(environ).route().stages]
    assert cascade == [f"{models.provider}/{models.strong}", f"{models.provider}/{models.cheap}"]
    assert DIALECTS[models.provider].key_variable == models.key_variable
    for model in (models.strong, models.cheap):
        assert penstock_price(model, models.provider, DIALECTS[models.provider].base_url, NOW) is not None


def test_a_key_that_lies_about_sends_nothing_to_one_more_vendor() -> None:
    environ = {models.key_variable: "sk-canary" for models in (*DEFAULT_MODELS, *OTHER_MODELS)}
    environ["HF_TOKEN"] = "hf-canary"
    assert set(penstock.Config.from_environment(environ).providers) == {"anthropic", "openai"}
    with pytest.raises(ConfigError, match="GROQ_API_KEY"):
        penstock.Config.from_environment({"HF_TOKEN": "hf-canary"})


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("azure", "gpt-4o"),
        ("cerebras", "gpt-oss-120b"),
        ("deepseek", "deepseek-v4-flash"),
        ("groq", "openai/gpt-oss-20b"),
        ("mistral", "mistral-small-latest"),
        ("moonshot", "kimi-k2.5"),
        ("openrouter", "anthropic/claude-haiku-4.5"),
        ("perplexity", "sonar"),
        ("together", "openai/gpt-oss-120b"),
        ("xai", "grok-4.3"),
        ("zai", "glm-4.7"),
    ],
)
def test_a_kind_has_its_own_prices_at_its_address_and_on_this_machine(kind: str, model: str) -> None:
    address = DIALECTS[kind].base_url or "https://acme.openai.azure.com"
    there = penstock_price(model, kind, address, NOW)
    assert there is not None
    assert penstock_price(model, kind, "http://127.0.0.1:8080/v1", NOW) == there
    assert penstock_price(model, kind, "https://gateway.example/v1", NOW) is None


def test_what_runs_at_home_has_no_price_but_the_one_it_is_given() -> None:
    for kind in ("llamacpp", "lmstudio", "ollama", "vllm"):
        assert penstock_price("gpt-4o", kind, DIALECTS[kind].base_url, NOW) is None


@pytest.mark.parametrize("name", ["deepseek", "groq"])
def test_a_provider_known_by_its_dialect_can_be_rehearsed(name: str) -> None:
    async def ask(kernel: penstock.Kernel) -> str:
        return (await kernel.complete("q")).text

    plan = Chaos(seed=7).at(f"{name}/a-model", "rate_limit", first=1)
    rehearsal = plan.against({"routes": {"default": {"cascade": [{"target": f"{name}/a-model", "attempts": 2}]}}})
    assert rehearsal.run(ask)
    assert rehearsal.ledger.fault("rate-limit") == 1
