"""`penstock plugins`: what is installed, shown with what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import run_command

pytestmark = pytest.mark.slow


def install(folder: Path, name: str, group: str, module: str, source: str | None) -> dict[str, str]:
    """A distribution as pip leaves it; returns the environment in which it is found."""
    information = folder / f"{name}-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
    if source is not None:
        (folder / f"{module}.py").write_text(source)
    return {"PYTHONPATH": str(folder)}


def rows(out: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:]}


def test_what_penstock_brings_is_listed_as_built_in() -> None:
    ended = run_command("plugins")
    assert ended.code == 0
    listed = rows(ended.out)
    assert listed["openai"][0] == "providers"
    assert listed["openai"][1] == "penstock"
    assert listed["openai"][3:] == ["built-in", "ok"]
    assert listed["prices"][0] == "plugins"


def test_a_third_party_that_breaks_is_shown_with_its_reason_and_harms_nobody(tmp_path: Path) -> None:
    environ = install(tmp_path, "acme", "penstock.providers.v1", "acme_wire", "raise RuntimeError('no licence')")
    ended = run_command("plugins", environ=environ)
    listed = rows(ended.out)
    assert ended.code == 0
    assert listed["acme"] == ["providers", "acme", "1.2", "third", "party", "broken"]
    assert listed["openai"][-1] == "ok"
    assert "no licence" in ended.err


@pytest.mark.parametrize("source", ["import sys; sys.exit(3)", None, "def penstock_providers(): return 5"])
def test_strict_exits_with_1_where_anything_is_wrong(tmp_path: Path, source: str | None) -> None:
    environ = install(tmp_path, "acme", "penstock.providers.v1", "acme_wire", source)
    ended = run_command("plugins", "--strict", environ=environ)
    assert ended.code == 1
    assert rows(ended.out)["acme"][-1] == "broken"


def test_a_third_party_that_works_is_ok(tmp_path: Path) -> None:
    source = "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_price(model): return None\n"
    environ = install(tmp_path, "my-prices", "penstock.plugins.v1", "my_prices", source)
    ended = run_command("plugins", environ=environ)
    assert rows(ended.out)["my-prices"] == ["plugins", "my-prices", "1.2", "third", "party", "ok"]


def test_what_the_configuration_keeps_out_is_shown_as_blocked(tmp_path: Path) -> None:
    environ = install(tmp_path, "acme", "penstock.providers.v1", "acme_wire", "raise RuntimeError('imported')")
    config = tmp_path / "penstock.toml"
    config.write_text('[providers.openai]\napi_key = "x"\n[plugins]\ndiscover = false\n')
    ended = run_command("plugins", "--config", str(config), environ=environ)
    assert ended.code == 0
    assert rows(ended.out)["acme"][-1] == "blocked"
    assert "imported" not in ended.err
