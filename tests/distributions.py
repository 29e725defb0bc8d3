"""Distributions as pip would leave them behind: metadata, entry points and modules in a folder on the import path."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock._config import PluginsConfig
from penstock._discovery import PluginHost
from penstock.types import Price
from penstock_plugins import prices

__all__ = [
    "PRICES_MODULE",
    "PROVIDER_MODULE",
    "enabled",
    "input_price",
    "install_prices",
    "install_provider",
    "installed",
    "price_at_vendor",
    "prices_read_anew",
    "prices_without_the_package",
    "write_distribution",
]

PROVIDER_MODULE = """
from contextlib import asynccontextmanager
import attrs
from penstock.hookspecs import ProviderSpec, hookimpl

@attrs.frozen
class Options:
    region: str
    base_url: str = "http://127.0.0.1:1"
    retries: int = attrs.field(default=1, validator=attrs.validators.ge(0))
    api_secret: str = ""

@asynccontextmanager
async def open_it(options, tools):
    yield None

@hookimpl
def penstock_providers():
    return [ProviderSpec(name="{kind}", open=open_it, options=Options, key_variable="{variable}")]
"""

PRICES_MODULE = """
from penstock.hookspecs import hookimpl
from penstock.types import Price

@hookimpl
def penstock_price(model):
    return Price(input={price}, output={price}) if model.startswith("{prefix}") else None
"""


def write_distribution(
    folder: Path,
    name: str,
    *,
    entries: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str],
    version: str = "1.0",
) -> None:
    """Writes one. `entries` maps the group's short name to names and values; `modules` names to source."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    sections = (
        f"[penstock.{group}.v1]\n" + "".join(f"{entry} = {value}\n" for entry, value in values.items())
        for group, values in entries.items()
    )
    (metadata / "entry_points.txt").write_text("\n".join(sections))
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(textwrap.dedent(source))


@contextmanager
def installed(folder: Path) -> Generator[None]:
    """The folder is on the import path; its modules are forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def install_provider(folder: Path, kind: str, *, module: str | None = None, dist: str = "", source: str = "") -> None:
    """Installs a provider plugin."""
    module = module or f"module_of_{kind.replace('-', '_')}"
    source = source or PROVIDER_MODULE.replace("{kind}", kind).replace("{variable}", "SOME_KEY")
    write_distribution(folder, dist or f"dist-{kind}", entries={"providers": {kind: module}}, modules={module: source})


def install_prices(folder: Path, name: str, *, prefix: str, price: int, source: str = PRICES_MODULE) -> None:
    """Installs a price plugin."""
    module = f"module_of_{name}"
    source = source.replace("{prefix}", prefix).replace("{price}", str(price))
    write_distribution(folder, f"dist-{name}", entries={"plugins": {name: module}}, modules={module: source})


@contextmanager
def prices_without_the_package(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """As it is where genai-prices is not installed."""

    def nowhere(_name: str) -> None:
        return None

    monkeypatch.setattr(prices, "find_spec", nowhere)
    with prices_read_anew():
        yield


@contextmanager
def prices_read_anew() -> Generator[None]:
    """The package is looked for within, and once more afterwards."""
    prices.installed_list.cache_clear()
    try:
        yield
    finally:
        prices.installed_list.cache_clear()


def enabled(*names: str) -> PluginsConfig:
    """A configuration that names these plugins."""
    return PluginsConfig(options={name: {} for name in names})


def price_at_vendor(host: PluginHost, model: str) -> Price | None:
    """The price of the model at the vendor that sells it."""
    return host.price(model, "anthropic" if model.startswith("claude") else "openai", None, 1_800_000_000.0)


def input_price(host: PluginHost, model: str) -> int | None:
    """What a million input tokens cost, in nano-USD."""
    price = price_at_vendor(host, model)
    return None if price is None else price.input
