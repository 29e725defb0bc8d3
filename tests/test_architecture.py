"""The shape of the code, held by tests: what the root holds, what imports what, what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = [ROOT / "kernel", ROOT / "plugins", ROOT / "providers"]
SOURCES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))
PURE = [path for path in SOURCES if "policy" in path.parts or "penstock_providers" in path.parts]


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_the_root_holds_what_the_layout_says() -> None:
    allowed = {"kernel", "plugins", "providers", "tests", "benchmarks", "pyproject.toml", "README.md"}
    allowed |= {"LICENSE", "CHANGELOG.md"}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what is committed cannot be told from what is not")
    tops = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= allowed


@pytest.mark.slow
@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_policy_and_codecs_are_pure(path: Path) -> None:
    forbidden = {"trio", "httpx", "opentelemetry", "time", "random", "threading", "asyncio", "socket", "os"}
    assert not imported(path) & forbidden


@pytest.mark.slow
def test_only_telemetry_imports_opentelemetry() -> None:
    users = [path for path in SOURCES if "opentelemetry" in imported(path)]
    assert {path.parent.relative_to(ROOT).as_posix() for path in users} == {"kernel/penstock/telemetry/_otel"}


def test_providers_and_plugins_use_public_modules_only() -> None:
    for path in SOURCES:
        if not {"penstock_providers", "penstock_plugins"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("penstock."):
                private = [part for part in node.module.split(".") if part.startswith("_")]
                assert not private, f"{path.relative_to(ROOT)} imports {node.module}"


def test_nothing_is_left_unfinished() -> None:
    words = ("TODO", "FIXME", "XXX", "NotImplementedError")
    found = [f"{path.relative_to(ROOT)}: {word}" for path in SOURCES for word in words if word in path.read_text()]
    assert found == []


def test_no_statement_numbers_its_values() -> None:
    """Python 3.12 warns of `?1` where values come in a row, and 3.14 refuses it: the tests on 3.11 would not tell."""
    numbered = re.compile(r"[(, ]\?[0-9]")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and numbered.search(node.value)
        if re.search(r"\b(INSERT INTO|UPDATE|SELECT|DELETE FROM)\b", node.value)
    ]
    assert found == []


def test_importing_penstock_is_light_and_silent() -> None:
    """No thread, no socket, and none of the heavy parts, at `import penstock`."""
    program = (
        "import sys, threading, socket\n"
        "def no(*a, **k): raise SystemExit('a socket at import')\n"
        "socket.socket.connect = no\n"
        "import penstock\n"
        "assert threading.active_count() == 1, 'a thread at import'\n"
        "heavy = {'cattrs', 'sqlite3', 'opentelemetry', 'rich', 'click', 'importlib.metadata'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_public_name_of_the_front_door_exists() -> None:
    import penstock

    for name in dir(penstock):
        assert getattr(penstock, name) is not None or name.startswith("__")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = penstock.nonsense
