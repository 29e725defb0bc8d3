"""Broken plugins: each is reported once, quoted to who asks for it, and harms nobody else."""

from __future__ import annotations

import logging
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

from penstock._discovery import PluginHost
from penstock.errors import PluginLoadError, PluginVersionError
from penstock.hookspecs import hookimpl


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with installed(tmp_path):
        yield tmp_path


BROKEN = {
    "raises": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "no-syntax": ("def (", "SyntaxError"),
    "imports-nothing": ("import module_that_is_not_there", "ModuleNotFoundError"),
    "no-hooks": ("x = 1", "does not fit penstock's hooks: TypeError: it implements none of them"),
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
    install_provider(folder, "bad", module=module, source=source.replace("{kind}", "bad").replace("{variable}", "X"))
    install_provider(folder, "good")
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
    assert price_at_vendor(host, "gpt-4o") is not None


def test_an_entry_point_to_nothing_is_reported(folder: Path) -> None:
    write_distribution(folder, "hollow", entries={"providers": {"hollow": "no_such_module:thing"}}, modules={})
    with pytest.raises(PluginLoadError, match=r"hollow \(hollow 1\.0\) cannot be imported: ModuleNotFoundError"):
        PluginHost().provider_spec("hollow")


def test_a_plugin_for_another_interface_is_told_apart(folder: Path) -> None:
    source = PROVIDER_MODULE.replace("options=Options,", "options=Options, api_version=2,")
    install_provider(folder, "newer", source=source.replace("{kind}", "newer").replace("{variable}", "X"))
    host = PluginHost()
    with pytest.raises(PluginVersionError, match="version 2 of the plugin interface; this penstock has version 1"):
        host.provider_spec("newer")
    assert len(host.problems) == 1


def test_an_interrupt_by_the_user_is_not_swallowed(folder: Path) -> None:
    install_provider(folder, "slow", source="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        PluginHost().provider_spec("slow")


def test_a_price_plugin_that_fails_is_passed_over_and_reported_once(folder: Path) -> None:
    bad_type = PRICES_MODULE.replace("Price(input={price}, output={price})", "5")
    install_prices(folder, "lying", prefix="gpt", price=1, source=bad_type)
    raising = (
        "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_price(model):\n    raise OSError(model)\n"
    )
    install_prices(folder, "raising", prefix="", price=1, source=raising)
    host = PluginHost(enabled("lying", "raising"))
    for number in range(50):
        price_at_vendor(host, f"gpt-{number}")
    assert input_price(host, "gpt-4o") == input_price(PluginHost(), "gpt-4o")
    assert sorted(str(problem).split(":")[0] for problem in host.problems) == [
        "lying (dist-lying 1.0)",
        "raising (dist-raising 1.0)",
    ]


def test_a_broken_price_plugin_leaves_penstocks_own(folder: Path) -> None:
    install_prices(folder, "bad", prefix="x", price=1, source="raise RuntimeError")
    host = PluginHost(enabled("bad"))
    assert price_at_vendor(host, "gpt-4o") is not None
    assert len(host.problems) == 1


def test_a_broken_object_of_the_program_is_reported() -> None:
    class Broken:
        @hookimpl
        def penstock_price(self, model: str, day: str) -> None:
            del model, day

    host = PluginHost(None, [Broken(), object(), 5])
    broken, *strangers = map(str, host.problems)
    assert "Broken (given by the program) does not fit" in broken
    assert ["implements none of them" in stranger for stranger in strangers] == [True, True]
    assert price_at_vendor(host, "gpt-4o") is not None


def test_an_object_of_the_program_that_has_no_hook_is_reported() -> None:
    class Empty:
        """Its author forgot the mark."""

        def penstock_providers(self) -> list[object]:
            return []

    host = PluginHost(enabled(), [Empty()])
    host.load_plugins()
    (problem,) = host.problems
    assert "Empty" in str(problem)
    assert "implements none of them" in str(problem)


def test_damaged_metadata_hides_no_other_plugin(folder: Path) -> None:
    metadata = folder / "damaged-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text("[penstock.providers.v1]\ndamaged = damaged_module\n")
    host = PluginHost()
    assert {"damaged", "openai"} <= host.kinds()
    with pytest.raises(PluginLoadError, match="damaged"):
        host.provider_spec("damaged")
