"""What a call may say of the cache, in words and as a value."""

from __future__ import annotations

from typing import Any, cast

import pytest

from penstock.policy.cache_policy import CACHE_WORDS, CachePolicy, cache_policy


@pytest.mark.parametrize("word", sorted(CACHE_WORDS))
def test_every_word_is_a_policy(word: str) -> None:
    assert cache_policy(word) == CACHE_WORDS[word]


def test_no_store_is_never_under_the_name_that_http_gives_it() -> None:
    assert cache_policy("no-store") == cache_policy("never") == CachePolicy(when="never")


def test_a_greatest_age_is_a_number_of_seconds() -> None:
    assert cache_policy("max-age=60") == CachePolicy(max_age=60)
    assert cache_policy("max-age=0.5") == CachePolicy(max_age=0.5)


@pytest.mark.parametrize(
    "word", ["max-age=", "max-age=soon", "max-age=-1", "max-age=nan", "max-age=inf", "sometimes", ""]
)
def test_what_is_no_policy_is_told(word: str) -> None:
    with pytest.raises(ValueError, match=r"max-age|max_age"):
        cache_policy(word)


@pytest.mark.parametrize("max_age", [-1, True, float("nan"), float("inf")])
def test_a_value_is_checked_as_a_word_is(max_age: object) -> None:
    with pytest.raises(ValueError, match="must be a number of seconds"):
        CachePolicy(max_age=cast("Any", max_age))
