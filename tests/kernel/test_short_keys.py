"""A key of a few characters, and the name of a target: the one is taken out of errors, the other stays whole."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from worlds import run

import penstock
from penstock._edge import LEAST_OF_A_KEY, without_secret
from penstock.errors import AuthenticationError
from penstock.testing import Reply, ScriptedTransport


def error_of(key: str, target: str, says: str) -> str:
    """What a call says whose provider refuses the key in these words."""
    settings = penstock.Config.from_dict(
        {
            "providers": {"local": {"kind": "openai", "api_key": key, "base_url": "http://127.0.0.1:1/v1"}},
            "targets": {target: {"provider": "local", "model": "m"}},
            "routes": {"default": {"cascade": [{"target": target, "attempts": 1}]}},
        },
        environ={},
    )
    told: list[str] = []

    async def main() -> None:
        upstream = ScriptedTransport([Reply(401, json={"error": {"message": says}})])
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with pytest.raises(AuthenticationError) as caught:
                await kernel.complete("hello")
            told.append(str(caught.value))

    run(main)
    return told[0]


@pytest.mark.parametrize(
    ("key", "target"),
    [("local1", "local"), ("gpu-pw7", "gpu"), ("s3cr3t", "s3"), ("hunter", "hunt"), ("qtest", "q"), ("a-b", "b")],
)
@pytest.mark.parametrize("before", ["", "{}: "])
def test_a_key_that_holds_the_name_of_its_target_is_taken_out(before: str, key: str, target: str) -> None:
    told = error_of(key, target, f"{before.format(target)}Incorrect API key provided: {key}.")
    assert told == f"{target}: Incorrect API key provided: [key]."


@pytest.mark.parametrize(
    ("key", "target", "says", "told"),
    [
        ("ollama", "ollama/llama3", "ollama/llama3 takes no ollama", "ollama/llama3 takes no [key]"),
        ("llama3", "ollama/llama3", "ollama/llama3: no llama3, no xllama3", "ollama/llama3: no [key], no xllama3"),
        ("a/b", "x a/b y", "x a/b y: a/b y, x a/b", "x a/b y: [key] y, x [key]"),
        ("aa", "aa/aa", "aa/aa/aa", "aa/aa/aa"),
        ("ollama", "ollama", "ollama: no", "ollama: no"),
        ("k", "", "a k, k", "a [key], [key]"),
    ],
)
def test_the_name_of_a_target_that_holds_the_key_stays_whole(key: str, target: str, says: str, told: str) -> None:
    assert without_secret(says, key, (), target) == told


texts = st.text("abs3-/ .", max_size=30)


@given(texts, st.text("abs3-/", min_size=1, max_size=LEAST_OF_A_KEY - 1), st.text("abs3-/", max_size=5))
@example("a-b", "a-b", "b")
@example("bba", "a", "a")
def test_what_is_left_of_a_key_is_inside_the_name_of_the_target(text: str, key: str, target: str) -> None:
    assume(not target or key != target)
    told = without_secret(text, key, (), target)
    names = [range(at, at + len(target)) for at in range(len(told)) if target and told.startswith(target, at)]
    for found in re.finditer(rf"(?<![\w-]){re.escape(key)}(?![\w-])", told):
        assert any(found.start() in name and found.end() - 1 in name for name in names)
    if not target:
        assert told.count("[key]") == len(re.findall(rf"(?<![\w-]){re.escape(key)}(?![\w-])", text))
