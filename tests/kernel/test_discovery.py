"""Plugins as pip leaves them behind: found, imported only when asked for, and contained when broken."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributions import PROVIDER_MODULE, installed, write_distribution

from penstock._config import PluginsConfig
from penstock._discovery import PluginHost
from penstock.errors import PluginLoadError, PluginVersionError
from penstock.hookspecs import ProviderSpec, hookimpl
from penstock.types import Price

PRICES = """
from penstock.hookspecs import hookimpl
from penstock.types import Price

@hookimpl
def penstock_price(model):
    return Price(input={price}, output={price}) if model.startswith("{prefix}") else None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with installed(tmp_path):
        yield tmp_path


def provider(folder: Path, kind: str, *, module: str | None = None, dist: str = "", source: str = "") -> None:
    """Installs a provider plugin."""
    module = module or f"module_of_{kind.replace('-', '_')}"
    source = source or PROVIDER_MODULE.replace("{kind}", kind).replace("{variable}", "SOME_KEY")
    write_distribution(folder, dist or f"dist-{kind}", entries={"providers": {kind: module}}, modules={module: source})


def prices(folder: Path, name: str, *, prefix: str, price: int, source: str = PRICES) -> None:
    """Installs a price plugin."""
    module = f"module_of_{name}"
    source = source.replace("{prefix}", prefix).replace("{price}", str(price))
    write_distribution(folder, f"dist-{name}", entries={"plugins": {name: module}}, modules={module: source})


def enabled(*names: str) -> PluginsConfig:
    """A configuration that names these plugins."""
    return PluginsConfig(options={name: {} for name in names})


def input_price(host: PluginHost, model: str) -> int | None:
    """What a million input tokens cost, in nano-USD."""
    price = host.price(model)
    return None if price is None else price.input


def test_penstocks_own_come_through_the_same_entry_points() -> None:
    host = PluginHost()
    assert {"openai", "anthropic"} <= host.kinds()
    assert host.provider_spec("openai").name == "openai"
    assert host.provider_spec("anthropic").key_variable == "ANTHROPIC_API_KEY"
    assert host.price("gpt-4o") is not None
    assert host.price("no-such-model") is None
    assert host.problems == ()


def test_a_third_partys_provider_is_found_and_listed(folder: Path) -> None:
    provider(folder, "acme")
    host = PluginHost()
    assert host.provider_spec("acme").key_variable == "SOME_KEY"
    (info,) = [info for info in host.list_plugins() if info.name == "acme"]
    assert (info.group, info.distribution, info.version, info.status) == ("providers", "dist-acme", "1.0", "loaded")


def test_nothing_is_imported_until_it_is_asked_for(folder: Path) -> None:
    provider(folder, "acme", module="acme_lazy")
    prices(folder, "lazy", prefix="x", price=1)
    host = PluginHost()
    host.list_plugins()
    host.provider_spec("openai")
    host.price("gpt-4o")
    assert not {"acme_lazy", "module_of_lazy"} & set(sys.modules)
    assert {info.status for info in host.list_plugins() if info.name in {"acme", "lazy"}} == {"installed"}
    host.provider_spec("acme")
    assert "acme_lazy" in sys.modules
    assert "module_of_lazy" not in sys.modules


def test_third_parties_win_over_penstocks_own_prices_and_the_program_over_all(folder: Path) -> None:
    prices(folder, "cheap", prefix="gpt-4o", price=7)
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
    prices(folder, "first", prefix="first", price=1)
    prices(folder, "second", prefix="second", price=2)
    prices(folder, "third", prefix="third", price=3)
    host = PluginHost(PluginsConfig(allow=("penstock", "first", "Dist_Second")))
    assert [input_price(host, name) for name in ("first", "second", "third")] == [1, 2, None]
    assert {info.name: info.status for info in host.list_plugins()}["third"] == "blocked"


def test_what_is_not_allowed_cannot_be_used(folder: Path) -> None:
    provider(folder, "acme")
    for settings in (PluginsConfig(allow=("penstock",)), PluginsConfig(discover=False), PluginsConfig(allow=())):
        host = PluginHost(settings)
        assert "acme" not in host.kinds()
        with pytest.raises(PluginLoadError, match=r"kept out by \[plugins\]"):
            host.provider_spec("acme")
        assert host.provider_spec("openai").name == "openai"
        assert host.price("gpt-4o") is not None


BROKEN = {
    "raises": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "no-syntax": ("def (", "SyntaxError"),
    "imports-nothing": ("import module_that_is_not_there", "ModuleNotFoundError"),
    "no-hooks": ("x = 1", "offers no provider of that name"),
    "other-name": (PROVIDER_MODULE.replace("{kind}", "somebody"), "it offers: somebody"),
    "hook-raises": (
        "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_providers():\n    return 1 / 0\n",
        "penstock_providers failed: ZeroDivisionError",
    ),
    "no-list": (
        "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_providers():\n    return None\n",
        "returned no list",
    ),
    "no-spec": (
        "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_providers():\n    return ['acme']\n",
        "returned str, not a ProviderSpec",
    ),
    "wrong-arguments": (
        "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_providers(config):\n    return []\n",
        "does not fit penstock's hooks",
    ),
    "unknown-hook": (
        "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_provider():\n    return []\n",
        "unknown hook 'penstock_provider'",
    ),
    "wrapper": (
        "from penstock.hookspecs import hookimpl as h\n@h(wrapper=True)\ndef penstock_providers():\n    yield\n",
        "is a wrapper",
    ),
    "options-no-class": (PROVIDER_MODULE.replace("options=Options", "options=dict"), "are no attrs class"),
    "evil-text": (
        "class E(Exception):\n    def __str__(self): raise RuntimeError('again')\nraise E\n",
        "cannot be imported: E",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_reported_and_the_rest_works(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, says = BROKEN[name]
    module = f"broken_{name.replace('-', '_')}"
    provider(folder, "bad", module=module, source=source.replace("{kind}", "bad").replace("{variable}", "X"))
    provider(folder, "good")
    host = PluginHost()
    with caplog.at_level(logging.WARNING, "penstock"):
        for _ in range(2):
            with pytest.raises(PluginLoadError) as caught:
                host.provider_spec("bad")
            assert says in str(caught.value)
            assert "bad (dist-bad 1.0)" in str(caught.value)
    assert len(host.problems) == len(caplog.records) == 1
    assert {info.name: info.status for info in host.list_plugins()}["bad"] == "broken"
    assert host.provider_spec("good").name == "good"
    assert host.provider_spec("openai").name == "openai"
    assert host.price("gpt-4o") is not None


def test_an_entry_point_to_nothing_is_reported(folder: Path) -> None:
    write_distribution(folder, "hollow", entries={"providers": {"hollow": "no_such_module:thing"}}, modules={})
    with pytest.raises(PluginLoadError, match=r"hollow \(hollow 1\.0\) cannot be imported: ModuleNotFoundError"):
        PluginHost().provider_spec("hollow")


def test_a_plugin_for_another_interface_is_told_apart(folder: Path) -> None:
    source = PROVIDER_MODULE.replace("options=Options,", "options=Options, api_version=2,")
    provider(folder, "newer", source=source.replace("{kind}", "newer").replace("{variable}", "X"))
    host = PluginHost()
    with pytest.raises(PluginVersionError, match="version 2 of the plugin interface; this penstock has version 1"):
        host.provider_spec("newer")
    assert len(host.problems) == 1


def test_an_interrupt_by_the_user_is_not_swallowed(folder: Path) -> None:
    provider(folder, "slow", source="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        PluginHost().provider_spec("slow")


def test_penstocks_own_names_cannot_be_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    provider(folder, "openai", module="false_openai", source="raise RuntimeError('never imported')")
    with caplog.at_level(logging.WARNING, "penstock"):
        host = PluginHost()
    assert host.provider_spec("openai").key_variable == "OPENAI_API_KEY"
    (problem,) = host.problems
    assert "openai (dist-openai 1.0) is not used" in str(problem)
    assert str(problem) in caplog.text
    statuses = {(info.distribution, info.status) for info in host.list_plugins() if info.name == "openai"}
    assert statuses == {("penstock", "loaded"), ("dist-openai", "shadowed")}


def test_of_two_third_parties_with_one_name_neither_is_taken(folder: Path) -> None:
    provider(folder, "twin", module="twin_one", dist="dist-one")
    provider(folder, "twin", module="twin_two", dist="dist-two")
    host = PluginHost()
    with pytest.raises(PluginLoadError, match="dist-one and dist-two offer a plugin of that name"):
        host.provider_spec("twin")
    chosen = PluginHost(PluginsConfig(allow=("dist-two",)))
    assert chosen.provider_spec("twin").name == "twin"
    assert chosen.problems == ()


def test_a_price_plugin_that_fails_is_passed_over_and_reported_once(folder: Path) -> None:
    bad_type = PRICES.replace("Price(input={price}, output={price})", "5")
    prices(folder, "lying", prefix="gpt", price=1, source=bad_type)
    raising = (
        "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_price(model):\n    raise OSError(model)\n"
    )
    prices(folder, "raising", prefix="", price=1, source=raising)
    host = PluginHost(enabled("lying", "raising"))
    for number in range(50):
        host.price(f"gpt-{number}")
    assert input_price(host, "gpt-4o") == input_price(PluginHost(), "gpt-4o")
    assert sorted(str(problem).split(":")[0] for problem in host.problems) == [
        "lying (dist-lying 1.0)",
        "raising (dist-raising 1.0)",
    ]


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


def test_a_broken_price_plugin_leaves_penstocks_own(folder: Path) -> None:
    prices(folder, "bad", prefix="x", price=1, source="raise RuntimeError")
    host = PluginHost(enabled("bad"))
    assert host.price("gpt-4o") is not None
    assert len(host.problems) == 1


def test_what_the_program_hands_in_is_registered(folder: Path) -> None:
    provider(folder, "acme")
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


def test_a_broken_object_of_the_program_is_reported() -> None:
    class Broken:
        @hookimpl
        def penstock_price(self, model: str, day: str) -> None:
            del model, day

    host = PluginHost(None, [Broken(), object(), 5])
    (problem,) = host.problems
    assert "Broken (given by the program) does not fit" in str(problem)
    assert host.price("gpt-4o") is not None


def test_a_module_that_is_both_provider_and_plugin_is_registered_once(folder: Path) -> None:
    source = (PROVIDER_MODULE + PRICES).replace("{kind}", "both").replace("{variable}", "X")
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


def test_damaged_metadata_hides_no_other_plugin(folder: Path) -> None:
    metadata = folder / "damaged-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text("[penstock.providers.v1]\ndamaged = damaged_module\n")
    host = PluginHost()
    assert {"damaged", "openai"} <= host.kinds()
    with pytest.raises(PluginLoadError, match="damaged"):
        host.provider_spec("damaged")
