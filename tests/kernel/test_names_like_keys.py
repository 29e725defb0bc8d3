"""Names that begin as keys do, or hold ids, are names: they work, mistakes name them, and none of those gets lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock import Config
from penstock.errors import ConfigError, ConfigMistake

PROVIDERS = {"openai": {"api_key": "k"}, "xai": {"api_key": "k"}}
KEYS = ("sk-proj-Ab3dEf6hIj9lMn2pQr5t", "sk-proj-Zy8xWv5uTs2rQp9oNm6l")


def mistakes(**tables: Any) -> tuple[ConfigMistake, ...]:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict({"providers": PROVIDERS, **tables}, environ={})
    return caught.value.mistakes


@pytest.mark.parametrize(
    "name",
    ["xai-europe-production", "sk-telecom", "sk_hynix_local", "pk-gateway", "rk-internal", "sk-learn-model-7b"],
)
def test_a_name_that_begins_as_keys_do_is_one(name: str) -> None:
    provider = {"kind": "openai", "api_key": "k", "base_url": "http://127.0.0.1:1/v1"}
    targets = {name: {"provider": name, "model": "m"}}
    config = Config.from_dict(
        {"providers": {name: provider}, "targets": targets, "routes": {name: {"cascade": [name]}}}, environ={}
    )
    assert config.resolve_target(name).provider == name


def test_a_kind_may_begin_so_too_and_come_with_the_program() -> None:
    providers = {"x": {"kind": "xai-compatible-gateway", "api_key": "k"}}
    assert Config.from_dict({"providers": providers}, environ={}).providers["x"].kind == "xai-compatible-gateway"


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_no_name_of_a_provider_and_no_kind(key: str) -> None:
    (first,) = mistakes(providers={key: {"kind": "openai", "api_key": "k"}})
    assert str(first).startswith('providers."[key]": this is no name, but looks like a key')
    (second,) = mistakes(providers={"x": {"kind": key, "api_key": "k"}})
    assert "kind is a name, and this looks like a key" in str(second)


def test_each_of_two_targets_is_told_its_mistake() -> None:
    names = ("xai-grok-4-fast-reasoning", "xai-grok-4-fast-non-reasoning")
    found = mistakes(targets={name: {"provider": "xai", "model": "m", "timeouts": {"totl": 9}} for name in names})
    assert [each.path for each in found] == [f"targets.{name}.timeouts.totl" for name in names]


@pytest.mark.parametrize(
    "names",
    [
        ("0f8fad5bd9cb469fa16570867728950e", "7c9e6679742540de944be07fc1f90ae7"),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
        ("customer20261128acme0001", "customer20261128acme0002"),
        ("01HXYZ7K3M9QWERTY2B4N6P8R0", "01HXYZ7K3M9QWERTY2B4N6P8R1"),
        ("user_2abCdEfGhIjKlMnOpQrStUvWxYz", "user_2zyXwVuTsRqPoNmLkJiHgFeDcBa"),
    ],
)
def test_accounts_are_told_by_their_ids(names: tuple[str, str]) -> None:
    found = mistakes(accounts={name: {"limits": [{"per": "day", "usd": -1}]} for name in names})
    assert [each.path for each in found] == [f"accounts.{name}.limits[0].usd" for name in names]


@pytest.mark.parametrize("names", ["token:main token:spare", "alice:a@b.example bob:a@b.example"])
def test_accounts_with_signs_in_their_names_are_told_as_well(names: str) -> None:
    found = mistakes(accounts={name: {"limits": [{"per": "day", "usd": -1}]} for name in names.split()})
    assert [each.path for each in found] == [f'accounts."{name}".limits[0].usd' for name in names.split()]


@pytest.mark.parametrize("section", ["targets", "accounts"])
@pytest.mark.parametrize(
    "names", [KEYS, tuple(f"{'a-very-long-name-' * 5}{number}" for number in range(2))], ids=["keys", "long"]
)
def test_of_two_places_that_are_shown_alike_each_mistake_is_told(section: str, names: tuple[str, ...]) -> None:
    wrong: dict[str, Any] = {"timeouts": {"totl": 9}, "provider": "xai", "model": "m"}
    if section == "accounts":
        wrong = {"limits": [{"per": "day", "usd": -1}]}
    found = mistakes(**{section: dict.fromkeys(names, wrong)})
    assert len(found) == 2
    assert found[0].path == found[1].path
    assert type(found[0].path) is str
    assert not any(key in f"{each} {each!r}" for each in found for key in KEYS)


def test_a_target_that_is_not_there_is_named() -> None:
    targets = {"xai-grok-4-fast-reasoning": {"provider": "xai", "model": "m"}}
    (only,) = mistakes(targets=targets, routes={"default": {"cascade": ["xai-grok-4-fast-reasonin"]}})
    assert only.says.startswith('"xai-grok-4-fast-reasonin": there is no target of that name')


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("env:sk_company_openai", "the environment variable sk_company_openai is not set"),
        ("env:OPENAIAPIKEY20261128PROD", "the environment variable OPENAIAPIKEY20261128PROD is not set"),
        ("$OPENAIAPIKEY20261128PROD", 'say "env:OPENAIAPIKEY20261128PROD"'),
        (
            "file:/run/containers/3f2b8c1d9e7a4f60b5c2d1e0/openai",
            "the file /run/containers/3f2b8c1d9e7a4f60b5c2d1e0/openai cannot be read: No such file or directory",
        ),
    ],
)
def test_where_a_key_should_have_come_from_is_told(source: str, says: str) -> None:
    (only,) = mistakes(providers={"openai": {"api_key": source}})
    assert only.path == "providers.openai.api_key"
    assert only.says.endswith(says)


def test_a_file_of_certificates_is_told_by_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "3f2b8c1d9e7a4f60b5c2d1e0" / "ca.pem"
    (only,) = mistakes(providers={"openai": {"api_key": "k", "ca_file": str(file)}})
    assert str(file) in only.says
