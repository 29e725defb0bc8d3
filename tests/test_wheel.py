"""The wheel as its users get it: built, installed into a fresh environment, every entry point loaded there."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOAD_EVERYTHING = """
from importlib.metadata import distribution, entry_points
import penstock, penstock_plugins, penstock_providers
assert "site-packages" in penstock.__file__, penstock.__file__
loaded = [entry.name for entry in distribution("penstock").entry_points if entry.load() is not None]
print(*sorted(loaded))
"""


def command(*words: str | Path) -> str:
    """Runs a command; its output, or the test fails with all it said."""
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode and "No matching distribution" in built.stderr:
        pytest.skip("pip reaches no package index here, so the wheel cannot be built")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("penstock-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "penstock",
        "penstock_plugins",
        "penstock_providers",
    }
    for package in ("penstock", "penstock_plugins", "penstock_providers"):
        assert f"{package}/py.typed" in names
    assert "penstock_plugins/ledgers/redis_ledger/book.lua" in names
    for file in ("index.json", "openai.json", "LICENSE"):
        assert f"penstock_plugins/prices/snapshot/{file}" in names
    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / "fresh" / "bin" / "python"
    command(python, "-m", "pip", "install", "-q", f"{wheel}[cli]", "pytest")
    loaded = command(python, "-I", "-c", LOAD_EVERYTHING).split()
    assert {"openai", "anthropic", "prices", "penstock"} <= set(loaded)
    assert "penstock" in command(tmp_path / "fresh" / "bin" / "penstock", "--version")
    priced = "from penstock_plugins.prices import penstock_price as p; print(p('gpt-4o', 'openai', None, 1.8e9).source)"
    assert command(python, "-I", "-c", priced).startswith("snapshot 20"), "nothing but the wheel is needed for a price"
    without_extra = "import penstock, penstock._kernel, penstock.testing"
    command(python, "-I", "-c", without_extra)
