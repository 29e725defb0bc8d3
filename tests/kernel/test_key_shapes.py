"""Keys of many vendors, made up at random, are found by their looks; names of all sorts are not."""

from __future__ import annotations

import json
import random
import string
import uuid
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import TypeAlias, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock._key_shapes import looks_like_key, path_without_keys, without_keys
from penstock._secrets import BadSecretError, open_secret
from penstock_providers.openai_chat import DIALECTS

Chance: TypeAlias = random.Random
LETTERS = string.ascii_letters
BASE62 = LETTERS + string.digits
SAFE = BASE62 + "-_"
HEX = "0123456789abcdef"
BASE36 = string.ascii_lowercase + string.digits
OF_EACH = 300
"""Keys of one vendor."""


def some(alphabet: str, length: int) -> Callable[[Chance], str]:
    return lambda chance: "".join(chance.choices(alphabet, k=length))


def behind(start: str, alphabet: str, length: int) -> Callable[[Chance], str]:
    return lambda chance: start + "".join(chance.choices(alphabet, k=length))


BEGUN: dict[str, Callable[[Chance], str]] = {
    "openai": behind("sk-", BASE62, 48),
    "openai, of a project": behind("sk-proj-", SAFE, 156),
    "openai, of a service": behind("sk-svcacct-", SAFE, 74),
    "anthropic": behind("sk-ant-api03-", SAFE, 95),
    "openrouter": behind("sk-or-v1-", HEX, 64),
    "deepseek": behind("sk-", HEX, 32),
    "siliconflow": behind("sk-", string.ascii_lowercase, 48),
    "elevenlabs": behind("sk_", HEX, 48),
    "novita": behind("sk_", SAFE, 43),
    "langfuse": lambda chance: f"sk-lf-{uuid.UUID(int=chance.getrandbits(128))}",
    "stripe": behind("rk_live_", BASE62, 24),
    "groq": behind("gsk_", BASE62, 52),
    "xai": behind("xai-", BASE62, 80),
    "perplexity": behind("pplx-", BASE62, 48),
    "cerebras": behind("csk-", BASE36, 48),
    "nvidia": behind("nvapi-", SAFE, 64),
    "google": behind("AIza", SAFE, 35),
    "google, of a service": behind("AQ.", SAFE, 50),
    "hugging face": behind("hf_", LETTERS, 34),
    "together": behind("tgp_v1_", SAFE, 43),
    "replicate": behind("r8_", BASE62, 37),
    "github": behind("ghp_", BASE62, 36),
    "gitlab": behind("glpat-", SAFE, 20),
    "databricks": behind("dapi", HEX, 32),
    "a token that is JSON inside": lambda chance: f"eyJ{some(SAFE, 33)(chance)}.{some(SAFE, 80)(chance)}",
}
"""What no name begins with and goes on like."""
BARE: dict[str, Callable[[Chance], str]] = {
    "azure": some(HEX, 32),
    "azure, the long ones": some(BASE62, 84),
    "deepgram": some(HEX, 40),
    "together, of before": some(HEX, 64),
    "zhipu": lambda chance: f"{some(HEX, 32)(chance)}.{some(BASE62, 16)(chance)}",
    "cohere": some(BASE62, 40),
    "mistral": some(BASE62, 32),
    "aws": some(BASE62 + "+/", 40),
}
"""Nothing but characters at random."""


def drawn(make: Callable[[Chance], str]) -> list[str]:
    chance = random.Random(20261128)
    return [make(chance) for _ in range(OF_EACH)]


@pytest.mark.parametrize("vendor", [*BEGUN, *BARE])
def test_no_piece_of_a_key_is_left_wherever_it_stands(vendor: str) -> None:
    for key in drawn((BEGUN | BARE)[vendor]):
        assert without_keys(key).replace("[key]", "") == ""
        for around in ("env:{}", 'there is no "{}" here', "Bearer {}", "api_key={}", "({})", "https://h.example/?k={}"):
            told = without_keys(around.format(key))
            assert not any(key[at : at + 9] in told for at in range(len(key) - 8)), told
        assert path_without_keys(key) == "[key]"
        assert "/" in key or path_without_keys(f"/run/secrets/{key}") == "/run/secrets/[key]"


@pytest.mark.parametrize("vendor", BEGUN)
def test_what_begins_as_the_keys_of_a_vendor_is_no_name_and_no_id(vendor: str) -> None:
    for key in drawn(BEGUN[vendor]):
        assert looks_like_key(key)
        assert without_keys(key, ids=True) == "[key]"
        assert without_keys(f"tenants/{key}", ids=True) == "tenants/[key]"


@pytest.mark.parametrize("vendor", [*BEGUN, *BARE])
def test_a_key_in_the_place_of_a_variable_is_not_shown(vendor: str) -> None:
    for key in drawn((BEGUN | BARE)[vendor]):
        for source in (f"env:{key}", f"file:{key}", f"${key}", f"${{{key}}}"):
            try:
                shown = repr(open_secret(source, environ={}))
            except BadSecretError as error:
                shown = str(error)
            assert key not in shown


def listed(value: object) -> Iterator[str]:
    """All names of models in a price list, as it writes them."""
    if isinstance(value, list):
        for each in cast("list[object]", value):
            yield from listed(each)
    elif isinstance(value, dict):
        for key, each in cast("dict[str, object]", value).items():
            if isinstance(each, str) and key in {"id", "equals", "starts_with"}:
                yield each
            else:
                yield from listed(each)


def models() -> list[str]:
    folder = files("penstock_plugins.prices") / "snapshot"
    lists = (json.loads(file.read_text()) for file in folder.iterdir() if file.name.endswith(".json"))
    return sorted({name for each in lists for name in listed(each)})


STARTS = ["", "sk-", "sk_", "pk-", "rk-", "fw_", "xai-", "hf_", "gsk_", "csk-", "pplx-", "nvapi-", "r8_", "sk-proj-"]


@pytest.mark.parametrize("start", STARTS)
def test_the_models_that_there_are_have_names(start: str) -> None:
    assert len(models()) > 1_000
    for name in models():
        assert without_keys(start + name) == start + name
        assert not looks_like_key(start + name)


NAMES = [
    *DIALECTS,
    "xai-europe-production",
    "xai-grok-4-fast-non-reasoning",
    "xai-compatible-gateway",
    "sk-telecom",
    "sk_hynix_local",
    "sk-learn-model-7b",
    "sk-proj-europe-production",
    "pk-gateway",
    "rk-internal",
    "hf_meta-llama_Llama-3_2-11B-Vision-Instruct",
    "fw_llama_v3p1_405b_instruct",
    "gpt-4o-2024-08-06-eu-west-1-fallback",
    "Gpt4oMiniEastUs2Deployment",
    "openai-0f8fad5b-d9cb-469f-a165-70867728950e",
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "worker-3f2b8c1d9e7a",
    "app-7d9f8b6c5d-x2k4j",
    "2026-11-28T23:22:30",
    "customer20261128acme0001",
    "nonexistent20target20name20x",
    "OPENAIAPIKEY20261128PROD",
    "OPENAI_API_KEY_2",
    "antidisestablishmentarianism",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "ft:gpt-4o-mini-2024-07-18:acme::7p4lURel",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_names(name: str) -> None:
    for told in (name, f'there is no "{name}" here', f"/etc/penstock/{name}/openai.key"):
        assert without_keys(told) == told
        assert path_without_keys(told) == told
    assert not looks_like_key(name)


WORDS = ["acme", "team", "search", "Europe", "prod", "eu", "west", "gateway", "local", "Llama", "gpt", "v3p1", "8x22b"]
parts = st.sampled_from(WORDS) | st.integers(0, 20_270_000).map(str)


@given(st.sampled_from(STARTS), st.sampled_from("-_./"), st.lists(parts, min_size=1, max_size=8))
def test_words_and_numbers_with_signs_between_them_are_a_name(start: str, sign: str, words: list[str]) -> None:
    name = start + sign.join(words)
    assert without_keys(name) == name
    assert not looks_like_key(name)


@given(st.from_regex(r"[A-Z_][A-Z0-9_]{0,60}", fullmatch=True))
def test_a_variable_in_capitals_is_named(name: str) -> None:
    with pytest.raises(BadSecretError, match=f"the environment variable {name} is not set"):
        open_secret(f"env:{name}", environ={})


@pytest.mark.parametrize(
    "make", [some(HEX, 24), some(HEX, 32), some(HEX, 64), some(BASE36, 26), some(BASE62, 21), some(BASE62, 28)]
)
def test_where_ids_are_ordinary_they_are_shown(make: Callable[[Chance], str]) -> None:
    for each in drawn(make):
        assert without_keys(each, ids=True) == each
        assert path_without_keys(f"/run/containers/{each}/openai") == f"/run/containers/{each}/openai"
