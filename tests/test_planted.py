"""Plants known bugs one by one and checks that the test that is to catch each of them does: see `planted/README.md`."""

from __future__ import annotations

import ast
import builtins
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]
PLANTED = ROOT / "tests" / "planted"
SOURCES = ("kernel", "plugins", "providers")
PATCHES = sorted(PLANTED.glob("*.patch"))
ALL = os.environ.get("PENSTOCK_PLANT") == "all"
EVERY_NTH_PATCH = 30
"""Planting one takes a second: an ordinary run plants every thirtieth, always the same; PENSTOCK_PLANT=all, all."""
CHOSEN = PATCHES if ALL else PATCHES[::EVERY_NTH_PATCH]
NAMED = sorted({test for path in CHOSEN for test in re.findall(r"^# test: (\S+)", path.read_text(encoding="utf-8"))})
"""The tests that are to catch them. What is wrong with a patch is for a test to say, so nothing is demanded here."""
PATIENCE = 120.0
"""Seconds for one named test. A planted bug may hang; that is caught too late to be caught."""
PROFILE = """
from hypothesis import Phase, settings
settings.register_profile(
    "planted", derandomize=True, database=None, deadline=None, report_multiple_bugs=False, max_examples=100,
    phases=[Phase.explicit, Phase.generate],
)
"""
"""The same examples each time, and no search for the smallest that fails: any will do."""
OWN_FAULT = re.compile(r"\b(SyntaxError|IndentationError|ImportError|ModuleNotFoundError|NameError)\b")
"""What a patch that is itself broken ends in: any test would fail, and nothing would be proved."""


@attrs.frozen
class Patch:
    """One planted bug: the file, the test that must fail, why it matters, and the sources it changes."""

    path: Path
    test: str
    story: str
    changes: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Patch:
        text = path.read_text(encoding="utf-8")
        head, _, _ = text.partition("\n--- ")
        said = dict(re.findall(r"^# (\w+): (.+)$", head, re.MULTILINE))
        assert said.keys() >= {"test", "story"}, f"{path.name} must begin with '# test: ...' and '# story: ...'"
        changes = tuple(re.findall(r"^\+\+\+ b/(\S+)", text, re.MULTILINE))
        assert changes, f"{path.name} changes nothing"
        assert all(change.startswith(SOURCES) for change in changes), f"{path.name} may change only {SOURCES}"
        return cls(path, said["test"].strip(), said["story"], changes)


@attrs.frozen
class Copy:
    """A copy of the sources and their tests, in which bugs may be planted."""

    root: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join(str(self.root / source) for source in (*SOURCES, "."))
        environment = os.environ | {
            "PYTHONPATH": paths,
            # A patch and its reversal within a second would leave bytecode that is not the source's.
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_CEILING_DIRECTORIES": str(self.root.parent),
        }
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )

    def run_tests(self, tests: Sequence[str], *options: str) -> subprocess.CompletedProcess[str]:
        fixed = ["-q", "-rfE", "--tb=line", "-p", "no:cacheprovider", "-p", "planted_profile"]
        fixed.append("--hypothesis-profile=planted")
        return self.run(sys.executable, "-m", "pytest", *fixed, *options, *tests)

    def apply(self, patch: Patch, *options: str) -> None:
        applied = self.run("git", "apply", "-p1", *options, str(patch.path))
        assert applied.returncode == 0, f"{patch.path.name} no longer applies: plant it anew\n{applied.stderr}"


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    root = tmp_path_factory.mktemp("planted")
    for source in (*SOURCES, "tests"):
        shutil.copytree(ROOT / source, root / source, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "planted_profile.py").write_text(PROFILE, encoding="utf-8")
    made = Copy(root)
    packages = "penstock", "penstock_plugins", "penstock_providers"
    script = f"import {', '.join(packages)}\nprint(*({'.__path__[0], '.join(packages)}.__path__[0]), sep='\\n')"
    imported = made.run(sys.executable, "-c", script)
    assert imported.returncode == 0, imported.stderr
    for place in imported.stdout.split("\n")[:-1]:
        assert Path(place).resolve().is_relative_to(root.resolve()), f"{place} would be tested in place of the copy"
    return made


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted({test.partition("::")[0] for test in NAMED}))
def test_without_the_bugs_every_named_test_passes(copy: Copy, file: str) -> None:
    ran = copy.run_tests([test for test in NAMED if test.startswith(f"{file}::")])
    assert ran.returncode == 0, ran.stdout + ran.stderr


def names_without_a_meaning(source: str) -> set[str]:
    """Names that a module reads and nothing in it gives a value to: what ends in a NameError."""
    read: set[str] = set()
    given = {*dir(builtins), "__file__", "__path__"}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                given.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                given.add(name)
            case ast.alias(name=name, asname=other):
                given.add(other or name.partition(".")[0])
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                given.add(name)
            case ast.MatchMapping(rest=str(name)):
                given.add(name)
            case _:
                pass
    return read - given


@pytest.mark.parametrize("path", PATCHES, ids=[path.stem for path in PATCHES])
def test_a_planted_bug_still_fits_the_source(copy: Copy, path: Path) -> None:
    """One that fits and names what has gone was once found a week later, when its turn came to be planted."""
    patch = Patch.read(path)
    before = {change: (copy.root / change).read_bytes() for change in patch.changes}
    copy.apply(patch)
    try:
        for change in (change for change in patch.changes if change.endswith(".py")):
            unknown = names_without_a_meaning((copy.root / change).read_text(encoding="utf-8"))
            assert not unknown, f"{path.name} names what {change} does not know: {unknown}"
    finally:
        for change, source in before.items():
            (copy.root / change).write_bytes(source)


@pytest.mark.slow
@pytest.mark.parametrize("path", CHOSEN, ids=[path.stem for path in CHOSEN])
def test_a_planted_bug_is_caught(copy: Copy, path: Path) -> None:
    patch = Patch.read(path)
    copy.apply(patch)
    try:
        ran = copy.run_tests([patch.test], "-x")
    finally:
        copy.apply(patch, "--reverse")
    said = ran.stdout + ran.stderr
    assert ran.returncode == 1, f"not caught by {patch.test}: {patch.story}\n{said}"
    failed = [line for line in ran.stdout.splitlines() if line.startswith(f"FAILED {patch.test}")]
    assert failed, f"{patch.test} did not fail by itself\n{said}"
    assert not OWN_FAULT.search("\n".join(failed)), f"the patch is broken, not caught\n{said}"


def test_every_patch_tells_what_it_plants() -> None:
    patches = [Patch.read(path) for path in PATCHES]
    assert patches, f"no patches in {PLANTED}"
    for patch in patches:
        file, _, name = patch.test.partition("::")
        assert name, f"{patch.path.name}: name one test, not a file"
        assert (ROOT / file).is_file(), f"{patch.path.name}: no file {file}"


def test_all_are_planted_where_all_are_asked_for() -> None:
    """The full run once planted a few of them as well: nobody read what it said."""
    environment = os.environ | {"PENSTOCK_PLANT": "all"}
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", __file__]
    listed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    planted = set(re.findall(r"test_a_planted_bug_is_caught\[(.+)\]", listed))
    assert planted == {path.stem for path in PATCHES}
