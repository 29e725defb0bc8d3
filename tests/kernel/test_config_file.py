"""Files that are no configuration: each ends in one ConfigError that says where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock._config import Config
from penstock._config_file import read_toml
from penstock.errors import ConfigError

ENVIRON = {"OPENAI_API_KEY": "sk-canary"}
GOOD = '[routes.default]\ncascade = ["openai/gpt-4o"]\ntimeout = 180\n'


def written(folder: Path, content: str | bytes) -> Path:
    """A file of that content."""
    file = folder / "penstock.toml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[kernel]\ngrace = \n", r"line 2, column 9"),
        ("[kernel\n", r"line 1, column 8"),
        ("a = 1\nb = [1,\n", r"line 3, column 1, where the file ends"),
        ('a = """never\nended', r"line 2, column 6, where the file ends"),
        ("[kernel]\ngrace = 1\ngrace = 2\n", r"Cannot overwrite a value \(at line 3"),
        ("[kernel]\n[kernel]\n", r"Cannot declare .* twice \(at line 2"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "9" * 10_000, "not TOML"),
        ("a = 2026-13-45\n", "not TOML"),
        (b"a = 1\nb = '\xff'\n", r"not UTF-8: byte 0xff at line 2, column 6"),
        (b"\xff\xfea\x00", r"not UTF-8: byte 0xff at line 1, column 1"),
        (b"\x00" * 100, "line 1, column 1"),
    ],
)
def test_broken_text_is_told_with_its_place(tmp_path: Path, content: str | bytes, says: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ConfigError, match=says) as caught:
        Config.load(file, environ=ENVIRON)
    assert str(caught.value).startswith(f"{file}: ")


def test_every_cut_of_a_good_file_is_a_configuration_or_a_mistake(tmp_path: Path) -> None:
    outcomes = set[bool]()
    for end in range(len(GOOD)):
        file = written(tmp_path, GOOD[:end])
        try:
            Config.load(file, environ=ENVIRON)
            outcomes.add(True)
        except ConfigError:
            outcomes.add(False)
    assert outcomes == {True, False}


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert Config.load(written(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()), environ=ENVIRON).route().timeout == 180


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: there is no such file"):
        Config.load(tmp_path / "nowhere.toml", environ=ENVIRON)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load(tmp_path, environ=ENVIRON)


def test_a_path_that_cannot_be_is_told() -> None:
    with pytest.raises(ConfigError, match="not the path of a file"):
        Config.load("a\0b", environ=ENVIRON)


def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ConfigError, match="Permission denied"):
        Config.load(file, environ=ENVIRON)


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "huge.toml"
    with file.open("wb") as handle:
        handle.truncate(1 << 32)
    with pytest.raises(ConfigError, match="larger than any configuration"):
        Config.load(file, environ=ENVIRON)


def test_mistakes_in_a_file_name_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD.replace("timeout", "timeuot"))
    with pytest.raises(ConfigError) as caught:
        Config.load(file, environ=ENVIRON)
    assert caught.value.source == str(file)
    assert str(caught.value).startswith(f"{file}: routes.default.timeuot: ")


def test_a_date_where_a_number_belongs_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kernel\.grace: <datetime>: must be a number"):
        Config.load(written(tmp_path, "[kernel]\ngrace = 2026-01-01T00:00:00Z\n"), environ=ENVIRON)


@given(st.binary(max_size=200))
def test_any_bytes_are_tables_or_a_mistake(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = written(tmp_path_factory.mktemp("bytes"), content)
    try:
        tables = read_toml(file)
    except ConfigError:
        return
    assert isinstance(tables, dict)
