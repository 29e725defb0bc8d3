"""Plugins as pip leaves them behind: found, imported only when asked for, and contained when broken."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributions import (
    PRICES_MODULE,
    PROVIDER_MODULE,
    enabled,
    input_price,
    install_prices,
    install_provider,
    installed,
    price_at_vendor,
    write_distribution,
)

from penstock._config import PluginsConfig
from penstock._discovery import PluginHost
from penstock.errors import PluginLoadError
from penstock.hookspecs import ProviderSpec, hookimpl
from penstock.types import Price


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with installed(tmp_path):
        yield tmp_path


def test_penstocks_own_come_through_the_same_entry_points() -> None:
    host = PluginHost()
    assert {"openai", "anthropic"} <= host.kinds()
    assert host.provider_spec("openai").name == "openai"
    assert host.provider_spec("anthropic").key_variable == "ANTHROPIC_API_KEY"
    assert price_at_vendor(host, "gpt-4o") is not None
    assert price_at_vendor(host, "no-such-model") is None
    assert host.problems == ()


def test_a_third_partys_provider_is_found_and_listed(folder: Path) -> None:
    install_provider(folder, "acme")
    host = PluginHost()
    assert host.provider_spec("acme").key_variable == "SOME_KEY"
    (info,) = [info for info in host.list_plugins() if info.name == "acme"]
    assert (info.group, info.distribution, info.version, info.status) == ("providers", "dist-acme", "1.0", "loaded")


def test_the_metadata_of_a_distribution_is_read_once_however_many_plugins_it_offers(folder: Path) -> None:
    class Counted(importlib.metadata.Distribution):
        reads = 0

        def read_text(self, filename: str) -> str | None:
            Counted.reads += 1
            return "Metadata-Version: 2.1\nName: many\nVersion: 3.4\n" if filename == "METADATA" else None

        def locate_file(self, path: object) -> Path:
            return folder / str(path)

    many = Counted()

    def find(group: str) -> list[importlib.metadata.EntryPoint]:
        bare = [importlib.metadata.EntryPoint(f"one-{number}", "some_module", group) for number in range(9)]
        for each in bare:
            vars(each).update(dist=many)
        return bare

    offered = PluginHost(entry_points=find).list_plugins()
    assert {(info.distribution, info.version) for info in offered} == {("many", "3.4")}
    assert len(offered) == 18
    assert Counted.reads == 1


def test_nothing_is_imported_until_it_is_asked_for(folder: Path) -> None:
    install_provider(folder, "acme", module="acme_lazy")
    install_prices(folder, "lazy", prefix="x", price=1)
    host = PluginHost()
    host.list_plugins()
    host.provider_spec("openai")
    price_at_vendor(host, "gpt-4o")
    assert not {"acme_lazy", "module_of_lazy"} & set(sys.modules)
    assert {info.status for info in host.list_plugins() if info.name in {"acme", "lazy"}} == {"installed"}
    host.provider_spec("acme")
    assert "acme_lazy" in sys.modules
    assert "module_of_lazy" not in sys.modules


def test_third_parties_win_over_penstocks_own_prices_and_the_program_over_all(folder: Path) -> None:
    install_prices(folder, "cheap", prefix="gpt-4o", price=7)
    assert input_price(PluginHost(), "gpt-4o") != 7
    host = PluginHost(enabled("cheap"))
    assert input_price(host, "gpt-4o") == 7
    assert input_price(host, "claude-3-haiku-20240307") not in {7, None}

    class Mine:
        @hookimpl
        def penstock_price(self, model: str) -> Price | None:
            return Price(input=9, output=9) if model == "gpt-4o" else None

    host = PluginHost(enabled("cheap"), [Mine()])
    assert [input_price(host, "gpt-4o"), input_price(host, "gpt-4o-mini")] == [9, 7]


def test_an_allow_list_lets_in_by_plugin_or_distribution_and_enables(folder: Path) -> None:
    install_prices(folder, "first", prefix="first", price=1)
    install_prices(folder, "second", prefix="second", price=2)
    install_prices(folder, "third", prefix="third", price=3)
    host = PluginHost(PluginsConfig(allow=("penstock", "first", "Dist_Second")))
    assert [input_price(host, name) for name in ("first", "second", "third")] == [1, 2, None]
    assert {info.name: info.status for info in host.list_plugins()}["third"] == "blocked"


def test_what_is_not_allowed_cannot_be_used(folder: Path) -> None:
    install_provider(folder, "acme")
    for settings in (PluginsConfig(allow=("penstock",)), PluginsConfig(discover=False), PluginsConfig(allow=())):
        host = PluginHost(settings)
        assert "acme" not in host.kinds()
        with pytest.raises(PluginLoadError, match=r"kept out by \[plugins\]"):
            host.provider_spec("acme")
        assert host.provider_spec("openai").name == "openai"
        assert price_at_vendor(host, "gpt-4o") is not None


def test_penstocks_own_names_cannot_be_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    install_provider(folder, "openai", module="false_openai", source="raise RuntimeError('never imported')")
    with caplog.at_level(logging.WARNING, "penstock"):
        host = PluginHost()
    assert host.provider_spec("openai").key_variable == "OPENAI_API_KEY"
    (problem,) = host.problems
    assert "openai (dist-openai 1.0) is not used" in str(problem)
    assert str(problem) in caplog.text
    statuses = {(info.distribution, info.status) for info in host.list_plugins() if info.name == "openai"}
    assert statuses == {("penstock", "loaded"), ("dist-openai", "shadowed")}


def test_of_two_third_parties_with_one_name_neither_is_taken(folder: Path) -> None:
    install_provider(folder, "twin", module="twin_one", dist="dist-one")
    install_provider(folder, "twin", module="twin_two", dist="dist-two")
    host = PluginHost()
    with pytest.raises(PluginLoadError, match="dist-one and dist-two offer a plugin of that name"):
        host.provider_spec("twin")
    chosen = PluginHost(PluginsConfig(allow=("dist-two",)))
    assert chosen.provider_spec("twin").name == "twin"
    assert chosen.problems == ()


def test_a_price_hook_may_take_its_argument_with_a_default_or_not_at_all() -> None:
    class WithDefault:
        @hookimpl
        def penstock_price(self, model: str = "") -> Price | None:
            return Price(input=len(model), output=0) if model == "four" else None

    class Without:
        @hookimpl
        def penstock_price(self) -> Price | None:
            return None

    host = PluginHost(None, [WithDefault(), Without()])
    assert input_price(host, "four") == 4
    assert host.problems == ()


def test_a_price_hook_is_told_where_the_model_is_asked_and_when() -> None:
    class Reseller:
        @hookimpl
        def penstock_price(self, kind: str, base_url: str | None, now: float) -> Price | None:
            return Price(input=int(now), output=1) if (kind, base_url) == ("openai", "https://r.example") else None

    host = PluginHost(None, [Reseller()])
    told = host.price("m", "openai", "https://r.example", 7.0)
    assert told == Price(input=7, output=1, source="plugin Reseller")
    assert host.price("m", "openai", None, 7.0) is None


def test_what_the_program_hands_in_is_registered(folder: Path) -> None:
    install_provider(folder, "acme")
    spec = PluginHost().provider_spec("acme")
    module = types.ModuleType("my_plugin")

    @hookimpl
    def penstock_providers() -> list[ProviderSpec]:
        return [ProviderSpec(name="mine", open=spec.open), ProviderSpec(name="openai", open=spec.open)]

    module.__dict__["penstock_providers"] = penstock_providers
    host = PluginHost(None, [module, module])
    assert host.provider_spec("mine").open is spec.open
    assert host.provider_spec("openai").open is spec.open
    assert "mine" in host.kinds()
    assert [info.name for info in host.list_plugins() if info.group == "program"] == ["my_plugin", "my_plugin"]
    assert host.problems == ()


def test_a_module_that_is_both_provider_and_plugin_is_registered_once(folder: Path) -> None:
    source = (PROVIDER_MODULE + PRICES_MODULE).replace("{kind}", "both").replace("{variable}", "X")
    source = source.replace("{prefix}", "both").replace("{price}", "4")
    entries = {"providers": {"both": "both_module"}, "plugins": {"both": "both_module"}}
    write_distribution(folder, "dist-both", entries=entries, modules={"both_module": source})
    host = PluginHost(enabled("both"))
    assert input_price(host, "both-large") == 4
    assert host.provider_spec("both").name == "both"
    assert host.problems == ()


def test_an_unknown_kind_is_told() -> None:
    with pytest.raises(PluginLoadError, match="no plugin offers a provider named 'nobody'"):
        PluginHost().provider_spec("nobody")
