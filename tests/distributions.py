"""Distributions as pip would leave them behind: metadata, entry points and modules in a folder on the import path."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PROVIDER_MODULE", "installed", "write_distribution"]

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
