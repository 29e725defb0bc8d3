"""A provider from outside, installed by pip beside penstock's own wheel into a fresh environment, and used there."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCES = ("kernel", "plugins", "providers", "pyproject.toml", "README.md", "LICENSE")
NO_INDEX = ("No matching distribution found", "Could not find a version", "Failed to establish", "ConnectionError")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command that must see nothing of this checkout but what is installed."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=600
    )


def installed_into(folder: Path) -> Path:
    """The Python of a fresh environment that holds penstock's wheel and the provider's."""
    # A copy: building leaves files behind, and neither checkout nor tests are the place for them.
    source = folder / "penstock"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, source / name)
    acme = folder / "acme"
    shutil.copytree(HERE, acme, ignore=shutil.ignore_patterns("__pycache__", "test_*", "use_it.py"))
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = run(python, "-m", "pip", "install", "--disable-pip-version-check", source, acme, cwd=folder)
    if pip.returncode != 0 and any(sign in pip.stderr for sign in NO_INDEX):
        pytest.skip(f"pip has no index to install from: {pip.stderr.strip().splitlines()[-1]}")
    assert pip.returncode == 0, pip.stderr
    return python


@pytest.mark.slow
def test_a_provider_from_outside_works_in_an_environment_of_its_own(tmp_path: Path) -> None:
    python = installed_into(tmp_path)
    script = shutil.copy2(HERE / "use_it.py", tmp_path / "use_it.py")
    used = run(python, "-W", "error", script, cwd=tmp_path)
    assert used.returncode == 0, used.stderr
    lines = used.stdout.splitlines()
    assert [line for line in lines if line.startswith("from ") and str(tmp_path / "venv") not in line] == []
    assert "plugin providers acme acme-penstock 2.3.0" in lines
    assert "plugin plugins acme-prices acme-penstock 2.3.0" in lines
    assert any(line.startswith("plugin providers openai penstock ") for line in lines)
    assert lines[-3:] == ["codec ok", "mistakes ok", "kernel ok"]
    assert "canary" not in used.stdout + used.stderr
