"""Configuration by the environment alone: a file's name, or keys."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from distributions import price_at_vendor

from penstock._config import Config
from penstock._default_models import DEFAULT_MODELS
from penstock._discovery import PluginHost
from penstock.errors import ConfigError

OPENAI = {"OPENAI_API_KEY": "sk-canary-openai"}
ANTHROPIC = {"ANTHROPIC_API_KEY": "sk-canary-anthropic"}


def _cascade(environ: dict[str, str]) -> list[str]:
    return [stage.target for stage in Config.from_environment(environ).route().stages]


def test_one_key_makes_a_cascade_of_that_providers_strong_and_cheap_models() -> None:
    for environ, provider in ((OPENAI, "openai"), (ANTHROPIC, "anthropic")):
        strong, cheap = _cascade(environ)
        assert strong.startswith(f"{provider}/")
        assert cheap.startswith(f"{provider}/")
        assert strong != cheap


def test_two_keys_put_the_other_providers_strong_model_before_the_cheap_ones() -> None:
    providers = [target.partition("/")[0] for target in _cascade({**OPENAI, **ANTHROPIC})]
    assert providers == ["anthropic", "openai", "anthropic", "openai"]


def test_the_keys_reach_their_providers_and_nobody_else() -> None:
    config = Config.from_environment({**OPENAI, **ANTHROPIC})
    keys = {name: [secret.reveal() for secret in provider.secrets] for name, provider in config.providers.items()}
    assert keys == {"openai": ["sk-canary-openai"], "anthropic": ["sk-canary-anthropic"]}


def test_the_sdks_address_variables_are_honoured() -> None:
    environ = {
        **OPENAI,
        "OPENAI_BASE_URL": "http://localhost:1/v1",
        **ANTHROPIC,
        "ANTHROPIC_BASE_URL": "http://[::1]:2",
    }
    providers = Config.from_environment(environ).providers
    assert providers["openai"].options == {"base_url": "http://localhost:1/v1"}
    assert providers["anthropic"].options == {"base_url": "http://[::1]:2"}


def test_what_was_chosen_is_logged_once_without_keys(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "penstock"):
        Config.from_environment(OPENAI)
    assert len(caplog.records) == 1
    assert "openai/" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_BASE_URL": "http://localhost:1"}])
def test_no_key_at_all_says_what_to_set(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_environment(environ)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PENSTOCK_CONFIG"):
        assert name in str(caught.value)


def test_a_key_with_a_line_break_is_a_mistake_that_does_not_show_it() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds a space or a line break") as caught:
        Config.from_environment({"OPENAI_API_KEY": "sk-canary\n"})
    assert "canary" not in str(caught.value)


def test_a_file_goes_before_keys(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[routes.mine]\ncascade = ["openai/gpt-4o"]\n')
    config = Config.from_environment({**OPENAI, "PENSTOCK_CONFIG": str(file)})
    assert list(config.routes) == ["mine"]
    assert config.source == file


def test_a_file_that_is_not_there_is_a_mistake_even_with_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        Config.from_environment({**OPENAI, "PENSTOCK_CONFIG": str(tmp_path / "none.toml")})


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PENSTOCK_CONFIG", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-openai")
    assert list(Config.from_environment().providers) == ["openai"]


def test_every_default_model_has_a_known_price() -> None:
    host = PluginHost()
    for models in DEFAULT_MODELS:
        for model in (models.strong, models.cheap):
            assert price_at_vendor(host, model) is not None, model
