"""Keys in a configuration: where they come from, who is sent them, and that printing shows none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import attrs
import pytest

from penstock._config import Config

OPENAI, ANTHROPIC = "sk-canary-openai", "sk-canary-anthropic"
ENVIRON = {"OPENAI_API_KEY": OPENAI, "ANTHROPIC_API_KEY": ANTHROPIC}
TABLES: dict[str, Any] = {
    "providers": {
        "anthropic": {"api_key": "env:ANTHROPIC_API_KEY"},
        "local": {"kind": "openai", "base_url": "http://127.0.0.1:8080/v1"},
    },
    "routes": {"default": {"cascade": ["anthropic/a", "openai/b", "local/c"]}},
}


def test_keys_come_from_where_the_table_says() -> None:
    whole = Config.from_dict(TABLES, environ=ENVIRON)
    assert [secret.reveal() for secret in whole.providers["anthropic"].secrets] == [ANTHROPIC]
    assert [secret.reveal() for secret in whole.providers["openai"].secrets] == [OPENAI]


def test_an_own_address_of_another_name_is_not_sent_the_environments_key() -> None:
    whole = Config.from_dict(TABLES, environ=ENVIRON)
    assert whole.providers["local"].secrets == ()


def test_the_provider_of_the_kinds_name_takes_the_environments_key_wherever_it_is() -> None:
    config = Config.from_dict({"providers": {"openai": {"base_url": "https://gateway.example/v1"}}}, environ=ENVIRON)
    assert [secret.reveal() for secret in config.providers["openai"].secrets] == [OPENAI]


def test_a_provider_at_an_own_address_needs_no_key() -> None:
    config = Config.from_dict({"providers": {"openai": {"base_url": "http://localhost:1/v1"}}}, environ={})
    assert config.providers["openai"].secrets == ()


def test_the_environment_may_move_a_provider() -> None:
    environ = {**ENVIRON, "OPENAI_BASE_URL": "http://localhost:9/v1"}
    mapping = {"routes": {"default": {"cascade": ["openai/gpt-4o"]}}}
    assert Config.from_dict(mapping, environ=environ).providers["openai"].options["base_url"] == "http://localhost:9/v1"
    here = {"providers": {"openai": {"base_url": "http://localhost:1/v1"}}}
    assert Config.from_dict(here, environ=environ).providers["openai"].options["base_url"] == "http://localhost:1/v1"


def test_a_list_of_keys_uses_its_first_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "penstock"):
        config = Config.from_dict({"providers": {"openai": {"api_key": [OPENAI, "sk-second"]}}}, environ={})
    assert [secret.reveal() for secret in config.providers["openai"].secrets] == [OPENAI]
    assert "first of 2 keys" in caplog.text
    assert OPENAI not in caplog.text


def test_a_callable_may_give_the_key() -> None:
    config = Config.from_dict({"providers": {"openai": {"api_key": lambda: OPENAI}}}, environ={})
    assert config.providers["openai"].secrets[0].reveal() == OPENAI


def test_a_key_file_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(OPENAI)
    (tmp_path / "penstock.toml").write_text('[providers.openai]\napi_key = "file:key"\n')
    assert Config.load(str(tmp_path / "penstock.toml"), environ={}).providers["openai"].secrets[0].reveal() == OPENAI


def test_printing_a_configuration_shows_nothing_secret() -> None:
    mapping: dict[str, Any] = {
        "providers": {"openai": {"api_key": OPENAI, "organization": "org-canary"}},
        "targets": {
            "t": {
                "provider": "openai",
                "model": "m",
                "headers": {"Authorization": f"Bearer {ANTHROPIC}"},
                "params": {"user": "canary-user"},
            }
        },
        "defaults": {"headers": {"x-api-key": ANTHROPIC}},
    }
    config = Config.from_dict(mapping, environ={})
    shown = repr(config) + str(config) + f"{config}"
    assert "canary" not in shown
    assert "authorization" in shown
    assert "canary" not in str(attrs.asdict(config, filter=lambda field, _: field.name == "secrets"))
