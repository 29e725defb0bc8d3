"""Secrets: where they are read from, what is no key, and that nothing shows one."""

from __future__ import annotations

import copy
import logging
import os
import pickle
from pathlib import Path
from typing import cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock._secrets import BadSecretError, Secret, open_secret
from penstock.errors import ConfigError

KEY = "sk-canary-0123456789"


def test_a_literal_key_is_the_key() -> None:
    assert open_secret(KEY).reveal() == KEY


def test_a_variable_is_read_from_the_environment_that_was_given() -> None:
    assert open_secret("env:MY_KEY", environ={"MY_KEY": KEY}).reveal() == KEY


def test_without_an_environment_the_process_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_TEST_KEY", KEY)
    assert open_secret("env:PENSTOCK_TEST_KEY").reveal() == KEY


@pytest.mark.parametrize(("environ", "says"), [({}, "is not set"), ({"MY_KEY": ""}, "is empty")])
def test_a_variable_without_a_key_is_named(environ: dict[str, str], says: str) -> None:
    with pytest.raises(BadSecretError, match=f"MY_KEY {says}"):
        open_secret("env:MY_KEY", environ=environ)


def test_a_refreshed_variable_is_read_again() -> None:
    environ = {"MY_KEY": KEY}
    secret = open_secret("env:MY_KEY", environ=environ)
    assert not secret.refresh()
    environ["MY_KEY"] = "sk-second"
    assert secret.refresh()
    assert secret.reveal() == "sk-second"


def test_a_variable_that_is_gone_at_refresh_keeps_the_key_in_use() -> None:
    environ = {"MY_KEY": KEY}
    secret = open_secret("env:MY_KEY", environ=environ)
    del environ["MY_KEY"]
    assert not secret.refresh()
    assert secret.reveal() == KEY


def test_a_file_holds_the_key_and_a_newline(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert open_secret(f"file:{tmp_path / 'key'}").reveal() == KEY


def test_a_relative_file_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    assert open_secret("file:key", folder=tmp_path).reveal() == KEY


def test_a_file_that_changed_is_read_again_without_being_told(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    secret = open_secret(f"file:{file}")
    file.write_text("sk-rotated-and-longer-than-before")
    assert secret.reveal() == "sk-rotated-and-longer-than-before"


def test_a_file_replaced_by_another_of_equal_size_and_time_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1")
    secret = open_secret(f"file:{file}")
    before = file.stat()
    (tmp_path / "new").write_text("sk-2")
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new").replace(file)
    assert secret.reveal() == "sk-2"


def test_after_a_refusal_a_file_is_read_even_if_it_looks_the_same(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1")
    secret = open_secret(f"file:{file}")
    before = file.stat()
    file.write_text("sk-2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert secret.refresh()
    assert secret.reveal() == "sk-2"


@pytest.mark.parametrize("content", ["", "\n", "two words", "sk-\u00e9t\u00e9"])
def test_a_file_rewritten_with_no_key_keeps_the_last_good_one(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    secret = open_secret(f"file:{file}")
    file.write_text(content)
    with caplog.at_level(logging.WARNING, "penstock"):
        assert secret.reveal() == KEY
        assert secret.reveal() == KEY
    assert len(caplog.records) == 1
    assert "stays in use" in caplog.text
    assert KEY not in caplog.text


def test_a_file_that_vanished_keeps_the_last_good_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    secret = open_secret(f"file:{file}")
    file.unlink()
    assert secret.reveal() == KEY
    assert not secret.refresh()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSecretError, match=r"nowhere cannot be read: No such file"):
        open_secret(f"file:{tmp_path / 'nowhere'}")


def test_a_folder_and_a_huge_file_are_no_keys(tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(b"k" * 100_000)
    for path, says in ((tmp_path, "cannot be read"), (tmp_path / "huge", "longer than any key")):
        with pytest.raises(BadSecretError, match=says):
            open_secret(f"file:{path}")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadSecretError, match="is a pipe"):
        open_secret(f"file:{tmp_path / 'pipe'}")


def test_a_callable_is_asked_each_time() -> None:
    keys = iter(["sk-1", "sk-2"])
    secret = open_secret(lambda: next(keys))
    assert [secret.reveal(), secret.reveal()] == ["sk-1", "sk-2"]


def test_a_callable_that_fails_is_told_by_its_exceptions_name_alone() -> None:
    def give() -> str:
        raise RuntimeError(KEY)

    with pytest.raises(ConfigError, match="raised RuntimeError") as caught:
        open_secret(give).reveal()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("given_back", [None, b"bytes", "", "two words"])
def test_a_callable_that_gives_no_key_is_a_mistake(given_back: object) -> None:
    with pytest.raises(ConfigError, match="a callable"):
        open_secret(lambda: given_back).reveal()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (f"{KEY}\n", "line break"),
        (f" {KEY}", "space"),
        (f"{KEY}\tx", "space"),
        (f"{KEY}\u2028", "line break"),
        (f"{KEY}\u00a0", "space"),
        (f"{KEY}\u00e9", "plain ASCII"),
        (f"{KEY}\x00", "plain ASCII"),
        (f"{KEY}\ud800", "plain ASCII"),
        ("", "empty"),
        ("env:", "name of an environment variable"),
        ("file:", "path of a file"),
        ("$OPENAI_API_KEY", '"env:OPENAI_API_KEY"'),
        ("${OPENAI_API_KEY}", '"env:OPENAI_API_KEY"'),
    ],
)
def test_what_cannot_be_a_key_is_told_without_showing_it(key: str, says: str) -> None:
    with pytest.raises(BadSecretError, match=says) as caught:
        open_secret(key, environ={})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("source", [None, 5, True, 1.5, b"sk-bytes", {"env": "X"}])
def test_other_types_are_no_source(source: object) -> None:
    with pytest.raises(BadSecretError, match="a key is a string"):
        open_secret(source)


@attrs.frozen
class _Holder:
    secret: Secret


def test_nothing_that_prints_or_copies_a_secret_shows_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    environ = {"MY_KEY": KEY}
    for source in (KEY, "env:MY_KEY", f"file:{tmp_path / 'key'}", lambda: KEY):
        secret = open_secret(source, environ=environ)
        shown = [repr(secret), str(secret), f"{secret}", f"{secret!s:>40}", repr(_Holder(secret)), repr([secret])]
        shown.append(str(attrs.asdict(_Holder(secret))))
        assert not [text for text in shown if KEY in text]
        assert copy.deepcopy(_Holder(secret)).secret is secret
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret)


def test_a_secret_cannot_be_guessed_by_comparing() -> None:
    secret, key = open_secret(KEY), cast("object", KEY)
    assert secret != key
    assert secret != open_secret(KEY)
    assert secret == copy.copy(secret)


@given(st.text())
def test_any_text_is_a_key_or_a_clear_mistake(text: str) -> None:
    try:
        revealed = open_secret(text, environ={}, folder=Path("/nonexistent")).reveal()
    except BadSecretError:
        return
    assert revealed == text
    revealed.encode("ascii")
    assert len(revealed.split()) == 1
