"""Sealed answers: what comes back is what was sealed, for that key, or nothing."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.entries import Entry
from penstock.policy.sealed import LARGEST, WORTH_COMPRESSING, seal, unseal

KEYS = st.text(max_size=20)
TIMES = st.floats(0, 4e9)
TEXTS = st.binary(max_size=300) | st.binary(min_size=1, max_size=40).map(lambda piece: piece * 200)
ENTRIES = st.builds(Entry, TEXTS, TIMES, TIMES, st.binary(max_size=30))
ENTRY = Entry(b"an answer " * 400, 1_700_000_000.0, 1_700_003_600.0, b"parts")


def sealed(key: str, entry: Entry) -> bytes:
    found = seal(key, entry)
    assert found is not None
    return found


@given(KEYS, ENTRIES)
def test_what_was_sealed_is_read(key: str, entry: Entry) -> None:
    assert unseal(key, sealed(key, entry)) == entry


@given(KEYS, KEYS, ENTRIES)
def test_only_under_its_own_key(key: str, other: str, entry: Entry) -> None:
    assert (unseal(other, sealed(key, entry)) is None) == (key != other)


@given(ENTRIES, st.data())
def test_bytes_that_were_cut_or_changed_are_no_entry(entry: Entry, data: st.DataObject) -> None:
    whole = sealed("k", entry)
    place = data.draw(st.integers(0, len(whole) - 1))
    assert unseal("k", whole[:place]) is None
    flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    assert unseal("k", flipped) is None
    assert unseal("k", whole + b"x") is None


@given(st.binary(max_size=200))
def test_bytes_of_anybody_else_are_no_entry(junk: bytes) -> None:
    assert unseal("k", junk) is None


def test_one_of_another_version_is_no_entry() -> None:
    whole = sealed("k", ENTRY)
    for version in (0, whole[0] + 1, 255):
        assert unseal("k", bytes([version]) + whole[1:]) is None


def test_what_is_worth_it_is_compressed() -> None:
    assert len(sealed("k", ENTRY)) < 200
    short = Entry(b"x" * (WORTH_COMPRESSING - 1), 0.0, 1.0)
    assert len(sealed("k", short)) > WORTH_COMPRESSING
    noise = Entry(zlib.compress(bytes(range(256)) * 99 + b"noise", 9) * 30, 0.0, 1.0)
    assert unseal("k", sealed("k", noise)) == noise


def test_an_answer_larger_than_any_is_not_sealed() -> None:
    assert seal("k", Entry(bytes(LARGEST + 1), 0.0, 1.0)) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_times_that_are_none_are_no_entry(bad: float) -> None:
    assert unseal("k", sealed("k", Entry(b"x", bad, 1.0))) is None
    assert unseal("k", sealed("k", Entry(b"x", 1.0, bad))) is None
