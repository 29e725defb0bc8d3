"""Configuration that only a plugin understands, known when it is read or when the kernel opens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest
from distributions import PROVIDER_MODULE, installed, write_distribution

from penstock._config import Config, ProviderConfig
from penstock._config_providers import ready_providers
from penstock._discovery import PluginHost
from penstock.abc import Provider
from penstock.errors import ConfigError
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl

KEY = "sk-canary-acme"


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Path]:
    """A provider plugin of kind `acme` is installed."""
    source = PROVIDER_MODULE.replace("{kind}", "acme").replace("{variable}", "ACME_KEY")
    write_distribution(
        tmp_path, "acme-dist", entries={"providers": {"acme": "acme_module"}}, modules={"acme_module": source}
    )
    with installed(tmp_path):
        yield tmp_path


def read(mapping: dict[str, Any], **environ: str) -> Config:
    """The configuration, with no environment but what is given."""
    return Config.from_dict(mapping, environ=environ)


def mistakes_in(mapping: dict[str, Any], **environ: str) -> dict[str, str]:
    """What is wrong, by path."""
    with pytest.raises(ConfigError) as caught:
        read(mapping, **environ)
    return {mistake.path: mistake.says for mistake in caught.value.mistakes}


def opened_mistakes(config: Config, *plugins: object) -> dict[str, str]:
    """What is wrong once the program's plugins are known, by path."""
    with pytest.raises(ConfigError) as caught:
        ready_providers(config, PluginHost(config.plugins, plugins), environ={})
    return {mistake.path: mistake.says for mistake in caught.value.mistakes}


@pytest.mark.usefixtures("acme")
def test_options_are_structured_into_the_plugins_class() -> None:
    config = read({"providers": {"acme": {"api_key": KEY, "region": "eu", "retries": 3}}})
    (ready,) = ready_providers(config, PluginHost(config.plugins)).values()
    assert attrs.asdict(ready.options) == {
        "region": "eu",
        "base_url": "http://127.0.0.1:1",
        "retries": 3,
        "api_secret": "",
    }
    assert ready.secret is not None
    assert ready.secret.reveal() == KEY
    assert ready.spec.name == "acme"


@pytest.mark.usefixtures("acme")
def test_a_providers_table_lies_over_the_plugins_own() -> None:
    config = read(
        {
            "plugins": {"acme": {"region": "eu", "retries": 3}},
            "providers": {"one": {"kind": "acme", "api_key": KEY, "retries": 5}, "acme": {"api_key": KEY}},
        }
    )
    ready = ready_providers(config, PluginHost(config.plugins))
    assert (ready["one"].options.region, ready["one"].options.retries) == ("eu", 5)
    assert (ready["acme"].options.region, ready["acme"].options.retries) == ("eu", 3)


@pytest.mark.usefixtures("acme")
def test_mistakes_in_options_carry_the_path_of_the_table_they_are_in() -> None:
    found = mistakes_in(
        {
            "plugins": {"acme": {"retries": -1, "regoin": "eu"}},
            "providers": {"one": {"kind": "acme", "api_key": KEY, "base_url": 5, "api_secret": ["canary"]}},
        }
    )
    assert set(found) == {
        "plugins.acme.retries",
        "plugins.acme.regoin",
        "providers.one.region",
        "providers.one.base_url",
        "providers.one.api_secret",
    }
    assert "did you mean 'region'" in found["plugins.acme.regoin"]
    assert found["providers.one.region"] == "is missing"
    assert "canary" not in str(found)


@pytest.mark.usefixtures("acme")
def test_a_wrong_secret_option_is_not_shown() -> None:
    found = mistakes_in({"providers": {"acme": {"api_key": KEY, "region": 12345, "api_secret": 67890}}})
    assert "12345" in found["providers.acme.region"]
    assert "67890" not in found["providers.acme.api_secret"]


def test_a_validator_that_repeats_a_secret_is_not_quoted(tmp_path: Path) -> None:
    source = PROVIDER_MODULE.replace("{kind}", "strict").replace("{variable}", "X")
    source = source.replace(
        'api_secret: str = ""', 'api_secret: str = attrs.field(default="a", validator=attrs.validators.in_("ab"))'
    )
    write_distribution(
        tmp_path, "strict", entries={"providers": {"strict": "strict_module"}}, modules={"strict_module": source}
    )
    with installed(tmp_path):
        found = mistakes_in({"providers": {"strict": {"api_key": KEY, "region": "eu", "api_secret": "canary-1"}}})
    assert list(found) == ["providers.strict.api_secret"]
    assert "canary" not in found["providers.strict.api_secret"]


@pytest.mark.usefixtures("acme")
def test_a_third_partys_kind_needs_no_table_where_the_environment_has_its_key() -> None:
    mapping = {"routes": {"default": {"cascade": ["acme/large"]}}, "plugins": {"acme": {"region": "eu"}}}
    assert read(mapping, ACME_KEY=KEY).providers["acme"].secrets[0].reveal() == KEY
    assert "ACME_KEY" in mistakes_in(mapping)["providers.acme.api_key"]


def test_a_broken_plugin_that_is_used_is_a_mistake_that_quotes_it(tmp_path: Path) -> None:
    write_distribution(
        tmp_path,
        "broken-dist",
        entries={"providers": {"broken": "broken_module"}, "plugins": {"audit": "broken_module"}},
        modules={"broken_module": "raise RuntimeError('no such luck')"},
    )
    with installed(tmp_path):
        found = mistakes_in({"providers": {"broken": {"api_key": KEY}}, "plugins": {"audit": {}}})
        assert read({"providers": {"openai": {"api_key": KEY}}}).providers["openai"].kind == "openai"
    assert set(found) == {"providers.broken.kind", "plugins.audit"}
    assert all("RuntimeError: no such luck" in says and "broken-dist 1.0" in says for says in found.values())


@pytest.mark.usefixtures("acme")
def test_what_is_not_allowed_is_no_kind() -> None:
    found = mistakes_in({"plugins": {"allow": ["penstock"]}, "routes": {"r": {"cascade": ["acme/large"]}}})
    assert list(found) == ["routes.r.cascade[0]"]


@pytest.mark.parametrize("switch", [{"discover": "yes"}, {"allow": "acme"}])
def test_where_the_switches_cannot_be_read_no_third_partys_code_runs(tmp_path: Path, switch: dict[str, Any]) -> None:
    source = f"open({str(tmp_path / 'ran')!r}, 'w').close()"
    write_distribution(tmp_path, "spy", entries={"providers": {"spy": "spy_module"}}, modules={"spy_module": source})
    with installed(tmp_path):
        mistakes_in({"plugins": switch, "providers": {"spy": {"api_key": KEY}}})
    assert not (tmp_path / "ran").exists()


def test_a_plugin_without_options_takes_an_empty_table_alone() -> None:
    assert read({"plugins": {"prices": {}}}).plugins.options == {"prices": {}}
    assert "takes no options" in mistakes_in({"plugins": {"prices": {"x": 1}}})["plugins.prices.x"]


def test_a_misspelled_plugin_is_a_mistake_when_read() -> None:
    assert "did you mean 'prices'" in mistakes_in({"plugins": {"pricse": {}}})["plugins.pricse"]


@attrs.frozen
class _MineOptions:
    greeting: str = "hello"


def _open(options: Any, tools: PluginTools) -> AbstractAsyncContextManager[Provider]:
    del options
    spec = PluginHost().provider_spec("openai")
    return spec.open(spec.options(), tools)


class Mine:
    """A plugin that a program hands in."""

    @hookimpl
    def penstock_providers(self) -> list[ProviderSpec]:
        return [
            ProviderSpec(name="mine", open=_open, options=_MineOptions, needs_key=False),
            ProviderSpec(name="keyed", open=_open, key_variable="MINE_KEY"),
        ]


def test_a_kind_that_the_program_brings_along_is_settled_when_the_kernel_opens() -> None:
    config = read({"providers": {"x": {"kind": "mine", "greeting": "hi"}, "y": {"kind": "keyed"}}})
    host = PluginHost(config.plugins, [Mine()])
    ready = ready_providers(config, host, environ={"MINE_KEY": KEY})
    assert ready["x"].options == _MineOptions("hi")
    assert ready["x"].secret is None
    assert ready["y"].options is None
    assert ready["y"].secret is not None
    assert ready["y"].secret.reveal() == KEY


def test_mistakes_about_the_programs_kinds_are_told_when_the_kernel_opens() -> None:
    config = read({"providers": {"x": {"kind": "mine", "greetnig": "hi"}, "y": {"kind": "keyed", "z": 1}}})
    found = opened_mistakes(config, Mine())
    assert set(found) == {"providers.x.greetnig", "providers.y.api_key", "providers.y.z"}
    assert "did you mean 'greeting'" in found["providers.x.greetnig"]


def test_a_kind_that_nobody_brings_is_a_mistake_when_the_kernel_opens() -> None:
    config = read({"providers": {"x": {"kind": "frobnicator", "a": 1}}, "plugins": {"frobnicator": {}}})
    found = opened_mistakes(config, Mine())
    assert set(found) == {"providers.x.kind", "plugins.frobnicator"}
    assert "anthropic" in found["providers.x.kind"]


def test_a_name_made_from_a_known_one_is_no_slip() -> None:
    config = read({"providers": {"x": {"kind": "fake-openai"}, "y": {"kind": "openai2"}}})
    assert {name: each.deferred for name, each in config.providers.items()} == {"x": True, "y": True}
    assert set(opened_mistakes(config)) == {"providers.x.kind", "providers.y.kind"}


def test_opening_asks_nothing_of_the_environment_that_reading_has_settled() -> None:
    config = read({"providers": {"openai": {"base_url": "http://127.0.0.1:1/v1"}}})
    ready = ready_providers(config, PluginHost(), environ={"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://evil"})
    assert ready["openai"].secret is None
    assert ready["openai"].options.base_url == "http://127.0.0.1:1/v1"


def test_a_configuration_made_by_hand_is_taken_as_it_is() -> None:
    config = Config(providers={"openai": ProviderConfig(name="openai", kind="openai", options={"organization": "o"})})
    (ready,) = ready_providers(config, PluginHost(), environ={"OPENAI_API_KEY": KEY}).values()
    assert ready.secret is None
    assert ready.options.organization == "o"


def test_an_options_class_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    source = (
        PROVIDER_MODULE.replace("{kind}", "odd").replace("{variable}", "X").replace("region: str", "region: 'Nowhere'")
    )
    write_distribution(tmp_path, "odd", entries={"providers": {"odd": "odd_module"}}, modules={"odd_module": source})
    with installed(tmp_path):
        found = mistakes_in({"providers": {"odd": {"api_key": KEY, "region": "eu"}}})
    assert list(found) == ["providers.odd"]
