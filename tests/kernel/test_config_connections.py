"""`ca_file`, `trust_env` and `http2` of a provider: what they may be, and who is told of them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from worlds import ANSWER, GPT, config, good, run

import penstock
from penstock import Config
from penstock._config import ProviderConfig
from penstock._config_providers import ready_providers
from penstock._discovery import PluginHost
from penstock.abc import Provider
from penstock.errors import ConfigError
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl
from penstock.testing import ScriptedTransport
from penstock.testing.chaos import Chaos
from penstock_providers.openai_chat import OpenAIChat

KEY = "sk-canary-connections"
REVOKED = """-----BEGIN X509 CRL-----
MIGUMDswCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EXDTI2MTEyNjIzNTY1NFoY
DzIwNTEwNzE4MjM1NjU0WjAKBggqhkjOPQQDAgNJADBGAiEAkAJ7TnUSqXIENUuQ
3l0gqApB1xkBLQcSavSIUlGZtusCIQCeMWB/W707IIRVqmwwEVpY6QWqjnP5Pr8L
p79oo15R+g==
-----END X509 CRL-----
"""
"""A list of revoked certificates, of an authority made for it: PEM, and no certificate."""


NO_BASE64 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


def read(**table: Any) -> ProviderConfig:
    mapping = {"providers": {"openai": {"api_key": KEY, **table}}}
    return Config.from_dict(mapping, environ={}).providers["openai"]


def mistakes_in(mapping: dict[str, Any], *, source: Path | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(mapping, environ={}, source=source)
    return {mistake.path: mistake.says for mistake in caught.value.mistakes}


def mistake(key: str, value: object) -> str:
    """What is wrong with the value, which must be the only mistake."""
    found = mistakes_in({"providers": {"openai": {"api_key": KEY, key: value}}})
    assert list(found) == [f"providers.openai.{key}"]
    return found[f"providers.openai.{key}"]


def test_where_nothing_is_said_the_environment_is_trusted_and_http1_is_spoken() -> None:
    provider = read()
    assert (provider.ca_file, provider.trust_env, provider.http2) == (None, True, False)


def test_what_is_said_is_read(certificates: Path) -> None:
    provider = read(ca_file=str(certificates), trust_env=False, http2=True)
    assert (provider.ca_file, provider.trust_env, provider.http2) == (certificates, False, True)


def test_a_relative_path_begins_at_the_configuration(certificates: Path) -> None:
    file = certificates.parent / "penstock.toml"
    file.write_text(f'[providers.openai]\napi_key = "{KEY}"\nca_file = "ca.pem"\n', encoding="utf-8")
    assert Config.load(file, environ={}).providers["openai"].ca_file == certificates


@pytest.mark.parametrize("key", ["trust_env", "http2"])
@pytest.mark.parametrize("value", ["yes", 1, [], {}])
def test_a_switch_is_true_or_false(key: str, value: object) -> None:
    assert "must be true or false" in mistake(key, value)


@pytest.mark.parametrize("value", [True, 5, ["ca.pem"], {"path": "ca.pem"}])
def test_the_file_is_a_path(value: object) -> None:
    assert "must be a string" in mistake("ca_file", value)


def test_a_file_that_is_not_there_is_named() -> None:
    assert mistake("ca_file", "/nowhere/ca.pem") == "the file /nowhere/ca.pem cannot be read: No such file or directory"


@pytest.mark.parametrize("path", ["a\0b", "x" * 5_000])
def test_what_is_no_path_cannot_be_read(path: str) -> None:
    assert "cannot be read" in mistake("ca_file", path)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert mistake("ca_file", str(tmp_path)) == f"{tmp_path} is not a file"
    assert "is not a file" in mistake("ca_file", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in mistake("ca_file", str(tmp_path / "pipe"))


@pytest.mark.parametrize("content", ["", "no certificate\n", NO_BASE64, REVOKED])
def test_a_file_without_certificate_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content, encoding="utf-8")
    assert mistake("ca_file", str(file)) == f"the file {file} holds no certificate in PEM form"


def test_a_key_in_place_of_a_certificate_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_pem.write_to_path(file)
    assert mistake("ca_file", str(file)) == f"the file {file} holds no certificate in PEM form"


def test_http2_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)  # as where it is not installed
    assert "pip install 'penstock[http2]'" in mistake("http2", value=True)
    assert read(http2=False).http2 is False


def test_all_mistakes_about_connections_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    tables = {
        "one": {"kind": "openai", "api_key": KEY, "ca_file": "/nowhere", "http2": True, "trust_env": 1},
        "two": {"kind": "openai", "api_key": KEY, "ca_file": 5, "max_connections": 0},
    }
    assert set(mistakes_in({"providers": tables})) == {
        "providers.one.ca_file",
        "providers.one.http2",
        "providers.one.trust_env",
        "providers.two.ca_file",
        "providers.two.max_connections",
    }


@pytest.mark.parametrize(("key", "near"), [("ca_files", "ca_file"), ("trustenv", "trust_env"), ("http_2", "http2")])
def test_a_slip_is_told_with_what_was_meant(key: str, near: str) -> None:
    assert f"did you mean {near!r}" in mistake(key, value=True)


# When the kernel opens


def test_a_file_that_has_gone_since_it_was_read_is_a_mistake_when_the_kernel_opens(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    settings = config(providers={"openai": {"api_key": KEY, "ca_file": str(file)}})
    file.unlink()

    async def main() -> None:
        with pytest.raises(ConfigError) as caught:
            async with penstock.open_kernel(settings):
                pass
        assert [each.path for each in caught.value.mistakes] == ["providers.openai.ca_file"]

    run(main)


def test_settings_made_by_hand_are_checked_when_the_kernel_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    table = config().providers["openai"]
    by_hand = attrs.evolve(table, ca_file=Path("/nowhere"), http2=True)
    settings = attrs.evolve(config(), providers={"openai": by_hand}, routes={})

    async def main() -> None:
        with pytest.raises(ConfigError) as caught:
            async with penstock.open_kernel(settings):
                pass
        assert {each.path for each in caught.value.mistakes} == {"providers.openai.ca_file", "providers.openai.http2"}

    run(main)


def test_with_a_transport_handed_in_they_mean_nothing_which_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    tables = {
        "openai": {"api_key": KEY, "ca_file": str(file), "http2": True},
        "anthropic": {"api_key": KEY, "trust_env": False},
    }
    settings = config(providers=tables)
    file.unlink()

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            for _ in range(3):
                assert (await kernel.complete("hello", model=GPT)).text == ANSWER

    with caplog.at_level(logging.WARNING, logger="penstock"):
        run(main)
    [record] = caplog.records
    for path in ("providers.openai.ca_file", "providers.openai.http2", "providers.anthropic.trust_env"):
        assert path in record.getMessage()
    assert "max_connections" not in record.getMessage()


def test_nothing_is_said_of_settings_that_nobody_made(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        tables = {"openai": {"api_key": KEY, "trust_env": True, "http2": False}}
        async with penstock.open_kernel(config(providers=tables), transport=ScriptedTransport(good)) as kernel:
            await kernel.complete("hello")

    with caplog.at_level(logging.WARNING, logger="penstock"):
        run(main)
    assert not caplog.records


def test_tests_of_apps_need_neither_the_certificates_nor_the_package(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)

    async def app(kernel: penstock.Kernel) -> str:
        return (await kernel.complete("hello")).target

    table = {"ca_file": "/nowhere/ca.pem", "http2": True, "trust_env": False}
    tables = {"providers": {"openai": table}, "routes": {"default": {"cascade": [GPT]}}}
    with caplog.at_level(logging.WARNING, logger="penstock"):
        assert Chaos(seed=1).against(tables).run(app) == GPT
    assert not caplog.records


# Plugins that have options of these names


@attrs.frozen
class _Options:
    ca_file: str = "the plugin's own"
    http2: bool = False
    base_url: str = "http://127.0.0.1:1"


class Plugin:
    @hookimpl
    def penstock_providers(self) -> Sequence[ProviderSpec]:
        return [ProviderSpec(name="acme", open=self.open, options=_Options, needs_key=False)]

    def open(self, _options: object, _tools: PluginTools) -> AbstractAsyncContextManager[Provider]:
        return nullcontext(OpenAIChat())


def ready(mapping: dict[str, Any]) -> tuple[ProviderConfig, _Options]:
    settings = Config.from_dict(mapping, environ={})
    (found,) = ready_providers(settings, PluginHost(settings.plugins, [Plugin()])).values()
    assert isinstance(found.options, _Options)
    return found.config, found.options


def test_a_plugin_with_options_of_these_names_is_told_what_the_kernel_is_told(certificates: Path) -> None:
    provider, options = ready(
        {"providers": {"acme": {"ca_file": str(certificates), "http2": True, "trust_env": False}}}
    )
    assert (provider.ca_file, provider.http2, provider.trust_env) == (certificates, True, False)
    assert (options.ca_file, options.http2) == (str(certificates), True)


def test_a_plugin_is_told_the_path_as_the_kernel_takes_it(certificates: Path) -> None:
    mapping = {"providers": {"acme": {"ca_file": "ca.pem"}}}
    settings = Config.from_dict(mapping, environ={}, source=certificates.parent / "penstock.toml")
    (found,) = ready_providers(settings, PluginHost(settings.plugins, [Plugin()])).values()
    assert found.options.ca_file == str(certificates)


def test_what_a_plugins_own_table_says_is_for_the_plugin_alone() -> None:
    provider, options = ready({"providers": {"acme": {}}, "plugins": {"acme": {"ca_file": "other", "http2": True}}})
    assert (provider.ca_file, provider.http2) == (None, False)
    assert (options.ca_file, options.http2) == ("other", True)


def test_a_plugin_without_such_options_is_not_bothered(certificates: Path) -> None:
    provider = read(ca_file=str(certificates), trust_env=True, http2=False)
    assert provider.ca_file == certificates
    found = mistakes_in(
        {"plugins": {"openai": {"ca_file": str(certificates)}}, "providers": {"openai": {"api_key": KEY}}}
    )
    assert list(found) == ["plugins.openai.ca_file"]
