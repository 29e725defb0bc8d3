"""What is wrong with a question, a configuration or a plugin is said at the door: what, where, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from distributions import installed, write_distribution
from worlds import ANSWER, GPT, KEY, config, good, run

import penstock
from penstock import errors
from penstock.testing import ScriptedTransport
from penstock.types import OutputSchema

USER = penstock.Message.user("hello")
WRONG_CALLS: dict[str, tuple[Any, dict[str, Any], type[errors.PenstockError], str]] = {
    "unknown route": (
        "hi",
        {"route": "defualt"},
        errors.NoRouteError,
        "no route named 'defualt'; did you mean 'default'",
    ),
    "unknown target": ("hi", {"model": "sonet"}, errors.NoRouteError, "no target named 'sonet'; did you mean 'sonnet'"),
    "unknown provider": ("hi", {"model": "opnai/gpt"}, errors.NoRouteError, "'opnai'.*did you mean 'openai'"),
    "a model without its provider": (
        "hi",
        {"model": "gpt-4o"},
        errors.NoRouteError,
        "name a provider and its model: anthropic/..., openai/...",
    ),
    "half a model": ("hi", {"model": "openai/"}, errors.NoRouteError, "no target named 'openai/'"),
    "no model": ("hi", {"model": ""}, errors.NoRouteError, "no target named ''"),
    "model of a type": ("hi", {"model": 7}, errors.UnsendableRequestError, "model is of type int; it must be a str"),
    "route of a type": ("hi", {"route": 7}, errors.ConfigError, "route: is of type int"),
    "model and route": ("hi", {"model": GPT, "route": "default"}, errors.ConfigError, "are both given"),
    "unknown cache word": ("hi", {"cache": "maybe"}, errors.ConfigError, "cache: 'maybe'.*valid: always"),
    "unknown commit policy": (
        "hi",
        {"commit": "hole"},
        errors.ConfigError,
        "commit: .hole. is no commit policy; did you mean .whole..* valid: .*buffer, continue",
    ),
    "commit of a type": ("hi", {"commit": 400}, errors.ConfigError, "commit: 400 is no commit policy"),
    "priority": ("hi", {"priority": 1}, errors.ConfigError, "priority: is not available in this version"),
    "account with a hole": ("hi", {"account": "team//x"}, errors.ConfigError, "account: 'team//x' is not the path"),
    "account of a type": ("hi", {"account": 7}, errors.ConfigError, "account: is of type int"),
    "timeout of zero": ("hi", {"timeout": 0}, errors.UnsendableRequestError, "timeout is 0; it must be more than 0 s"),
    "timeout that is none": ("hi", {"timeout": float("nan")}, errors.UnsendableRequestError, "timeout is nan"),
    "timeout of a type": ("hi", {"timeout": "5"}, errors.UnsendableRequestError, "timeout is of type str"),
    "no messages": ([], {}, errors.UnsendableRequestError, "messages is empty; give at least one user message"),
    "only a system message": ([penstock.Message.system("be")], {}, errors.UnsendableRequestError, "messages is empty"),
    "nothing": (None, {}, errors.UnsendableRequestError, "messages: NoneType given; give a str or a list"),
    "a number": (5, {}, errors.UnsendableRequestError, "messages: int given"),
    "a message without content": (
        [{"role": "user"}],
        {},
        errors.UnsendableRequestError,
        r"messages\[0\] \(user\) is empty",
    ),
    "an unknown role": (
        [{"role": "usr", "content": "x"}],
        {},
        errors.UnsendableRequestError,
        r"messages\[0\]: role is 'usr'",
    ),
    "a part of no shape": (
        [{"role": "user", "content": [{"type": "audio"}]}],
        {},
        errors.UnsendableRequestError,
        r"messages\[0\], part 0: no part of type 'audio'",
    ),
    "a tool result without its call": (
        [USER, penstock.ToolResult("call_9", "x")],
        {},
        errors.UnsendableRequestError,
        r"messages\[1\]: a tool result for 'call_9', but no earlier message holds that call",
    ),
    "an image of another sort": (
        [penstock.Message.user([penstock.Image(data=b"x", media_type="image/tiff")])],
        {},
        errors.UnsendableRequestError,
        r"messages\[0\]: an image of media_type 'image/tiff'; valid are",
    ),
    "an image from this disk": (
        [penstock.Message.user([penstock.Image(url="file:///etc/passwd")])],
        {},
        errors.UnsendableRequestError,
        r"messages\[0\]: an image's url must begin with https://",
    ),
    "an image of nothing": (
        [penstock.Message.user([penstock.Image(data=b"", media_type="image/png")])],
        {},
        errors.UnsendableRequestError,
        "an image's data is empty",
    ),
    "an image that is both": (
        [penstock.Message.user([penstock.Image(url="https://x/y.png", data=b"x", media_type="image/png")])],
        {},
        errors.UnsendableRequestError,
        "needs either a url or data",
    ),
    "text among messages": (["hello"], {}, errors.UnsendableRequestError, r"messages\[0\]: str is not a message"),
    "half a character in a message": (
        "a\ud800b",
        {},
        errors.UnsendableRequestError,
        r"messages\[0\] holds half a char",
    ),
    "half a character in the model": (
        "hi",
        {"model": "openai/\ud800"},
        errors.UnsendableRequestError,
        "model holds half a character",
    ),
    "half a character in the account": (
        "hi",
        {"account": "team/a\ud800"},
        errors.ConfigError,
        "account: .*holds half a character",
    ),
    "half a character in the metadata": (
        "hi",
        {"metadata": {"who": "a\ud800"}},
        errors.ConfigError,
        "metadata: holds half a character",
    ),
    "half a character in the system": (
        "hi",
        {"system": "\udfff"},
        errors.UnsendableRequestError,
        "system holds half a",
    ),
    "half a character in arguments": (
        [
            USER,
            penstock.Message.assistant([penstock.ToolCall("c", "f", {"a": "\ud800"})]),
            penstock.ToolResult("c", "x"),
        ],
        {},
        errors.UnsendableRequestError,
        r"messages\[1\] holds half a character",
    ),
    "a tool that JSON cannot say": (
        "hi",
        {"tools": [penstock.Tool("f", "d", {"a": object()})]},
        errors.UnsendableRequestError,
        r"tools\[0\] \('f'\) holds something that JSON cannot carry",
    ),
    "extra that JSON cannot say": (
        penstock.ChatRequest("hi", extra={"openai": {"a": object()}}),
        {},
        errors.UnsendableRequestError,
        "extra holds something that JSON cannot carry",
    ),
    "a schema that JSON cannot say": (
        penstock.ChatRequest("hi", output=OutputSchema({"a": object()})),
        {},
        errors.UnsendableRequestError,
        "output holds something that JSON cannot carry",
    ),
    "two tools of one name": (
        "hi",
        {"tools": [penstock.Tool("f"), penstock.Tool("f")]},
        errors.UnsendableRequestError,
        "two tools are named 'f'",
    ),
    "a tool of no shape": (
        "hi",
        {"tools": [{"name": "f"}]},
        errors.UnsendableRequestError,
        r"tools\[0\]: a tool is a Tool",
    ),
    "max_tokens of zero": (
        "hi",
        {"max_tokens": 0},
        errors.UnsendableRequestError,
        "max_tokens is 0; it must be at least 1",
    ),
    "max_tokens that no model writes": (
        "hi",
        {"max_tokens": 10**9 + 1},
        errors.UnsendableRequestError,
        "max_tokens is above 1000000000, which no model writes",
    ),
    "thinking that no model writes": (
        "hi",
        {"thinking": 10**30},
        errors.UnsendableRequestError,
        "thinking is above 1000000000 tokens",
    ),
    "max_tokens of a type": ("hi", {"max_tokens": "9"}, errors.UnsendableRequestError, "max_tokens is of type str"),
    "max_tokens that is no whole number": (
        "hi",
        {"max_tokens": 9.5},
        errors.UnsendableRequestError,
        "max_tokens is of type f",
    ),
    "temperature of a type": (
        "hi",
        {"temperature": "hot"},
        errors.UnsendableRequestError,
        "temperature is of type str",
    ),
    "temperature that is none": (
        "hi",
        {"temperature": float("inf")},
        errors.UnsendableRequestError,
        "temperature is inf",
    ),
    "thinking without a word": (
        "hi",
        {"thinking": "much"},
        errors.UnsendableRequestError,
        "thinking is 'much'; valid are",
    ),
    "thinking of a type": ("hi", {"thinking": 2.5}, errors.UnsendableRequestError, "thinking is of type float"),
}
TARGETS = {"sonnet": {"provider": "anthropic", "model": "claude-sonnet-4-20250514"}}


@pytest.mark.parametrize("limited", [False, True], ids=["free", "limited"])
@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_wrong_call_is_refused_by_complete_and_stream_and_costs_nothing(name: str, limited: bool) -> None:  # noqa: FBT001
    asked, options, kind, says = WRONG_CALLS[name]
    tables: dict[str, Any] = {"budget": {"limits": [{"per": "day", "tokens": 10**6}]}} if limited else {}

    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(config(targets=TARGETS, **tables), transport=upstream) as kernel:
            with pytest.raises(kind, match=says):
                await kernel.complete(asked, **options)
            with pytest.raises(kind, match=says):
                async with kernel.stream(asked, **options) as stream:
                    await anext(stream)
            assert upstream.requests == []
            snapshot = await kernel.snapshot()
            assert snapshot.in_flight == 0
            assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())
            assert (await kernel.complete("hello")).text == ANSWER, "and the kernel goes on"

    run(main)


def test_every_reason_is_told_at_once() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(errors.UnsendableRequestError) as caught:
                await kernel.complete([penstock.ToolResult("c", "x")], max_tokens=0, temperature=-1.0)
            for word in ("max_tokens is 0", "temperature is -1.0", "'c'"):
                assert word in str(caught.value)
            assert isinstance(caught.value, errors.RejectedError)
            assert isinstance(caught.value, errors.InvalidRequestError)

    run(main)


# Configuration

GOOD = f'[providers.openai]\napi_key = "{KEY}"\n[routes.default]\ncascade = ["openai/gpt-4o"]\n'
WRONG_FILES = {
    "a mistyped key": (GOOD + "[kernel]\ngrase = 3\n", "kernel.grase.*did you mean 'grace'"),
    "a mistyped table": (GOOD + "[kernal]\n", "kernal.*did you mean 'kernel'"),
    "a limit of zero places": (GOOD + "[kernel]\nmax_in_flight = 0\n", "kernel.max_in_flight: .*must be at least 1"),
    "a timeout of zero": (GOOD + "[kernel]\ntimeout = 0\n", "kernel.timeout: .*must be more than 0"),
    "attempts of zero": (
        GOOD.replace('["openai/gpt-4o"]', '[{ target = "openai/gpt-4o", attempts = 0 }]'),
        r"routes.default.cascade\[0\].attempts: .*at least 1",
    ),
    "a budget that limits nothing": (GOOD + '[budget]\nlimits = [{ per = "day" }]\n', r"budget.limits\[0\]"),
    "a budget below zero": (GOOD + '[budget]\nlimits = [{ per = "day", usd = -1 }]\n', r"budget.limits\[0\].usd"),
    "a budget of zero": (GOOD + '[budget]\nlimits = [{ per = "day", usd = 0 }]\n', "usd must be more than 0"),
    "tokens of zero": (GOOD + '[budget]\nlimits = [{ per = "day", tokens = 0 }]\n', "tokens must be"),
    "an empty cascade": (GOOD.replace('["openai/gpt-4o"]', "[]"), "routes.default.cascade"),
    "a cascade to nowhere": (
        GOOD.replace("openai/gpt-4o", "opnai/gpt-4o"),
        r"routes.default.cascade\[0\].*did you mean 'openai'",
    ),
    "a truncated file": (GOOD[:-12], "this is not TOML: .*where the file ends"),
    "half a string": (GOOD[:24], "this is not TOML: .*where the file ends"),
    "a value of another type": (GOOD + '[kernel]\ngrace = "ten"\n', "kernel.grace"),
    "no key": (
        "[providers.openai]\n" + GOOD.split("\n", 2)[2],
        "providers.openai.api_key: the key is missing: set OPENAI_API_KEY",
    ),
    "a variable that is not set": (
        GOOD.replace(KEY, "env:NOWHERE_KEY"),
        "the environment variable NOWHERE_KEY is not set",
    ),
    "a file that is not there": (GOOD.replace(KEY, "file:nowhere.key"), "nowhere.key cannot be read"),
    "a kind that nobody offers": (
        GOOD.replace("[providers.openai]", '[providers.openai]\nkind = "opnai"'),
        "providers.openai.kind: .*did you mean 'openai'",
    ),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_refused_by_open_kernel_with_its_name_and_the_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    text, says = WRONG_FILES[name]
    file = tmp_path / "penstock.toml"
    file.write_text(text, encoding="utf-8")

    async def main() -> None:
        with pytest.raises(errors.ConfigError, match=says) as caught:
            async with penstock.open_kernel(file, transport=ScriptedTransport(good)):
                raise AssertionError("never reached")
        assert str(file) in str(caught.value)
        assert KEY not in str(caught.value)

    run(main)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(errors.ConfigError, match=r"nowhere\.toml"):
            async with penstock.open_kernel(tmp_path / "nowhere.toml"):
                raise AssertionError("never reached")

    run(main)


def test_without_a_configuration_and_without_keys_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PENSTOCK_CONFIG", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    async def main() -> None:
        with pytest.raises(errors.ConfigError, match="OPENAI_API_KEY"):
            async with penstock.open_kernel():
                raise AssertionError("never reached")

    run(main)


# Plugins


def test_a_plugin_that_raises_at_import_is_named_and_the_others_work(tmp_path: Path) -> None:
    write_distribution(
        tmp_path,
        "acme-dist",
        entries={"providers": {"acme": "acme_broken"}},
        modules={"acme_broken": "raise RuntimeError('no license found')\n"},
    )

    async def main() -> None:
        settings = penstock.Config.from_dict(
            {"providers": {"openai": {"api_key": KEY}}, "routes": {"default": {"cascade": [GPT]}}}, environ={}
        )
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            assert (await kernel.complete("hello")).text == ANSWER
        with pytest.raises(errors.ConfigError, match=r"providers.acme.kind: .*acme-dist.*no license found"):
            mapping: dict[str, Any] = {
                "providers": {"acme": dict[str, Any]()},
                "routes": {"default": {"cascade": ["acme/m"]}},
            }
            async with penstock.open_kernel(penstock.Config.from_dict(mapping, environ={})):
                raise AssertionError("never reached")

    with installed(tmp_path):
        run(main)


@pytest.mark.parametrize("plugins", [5, None, "acme", object()], ids=repr)
def test_plugins_that_are_no_list_are_a_sentence(plugins: Any) -> None:
    async def main() -> None:
        with pytest.raises(errors.ConfigError, match=r"plugins: .* given; give a list"):
            penstock.open_kernel(config(), plugins=plugins)

    run(main)


@pytest.mark.parametrize("scope", [5, None, b"target:openai/gpt-4o"], ids=repr)
def test_a_scope_that_is_no_text_is_a_sentence(scope: Any) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            for act in (kernel.breakers.isolate, kernel.breakers.close):
                with pytest.raises(errors.ConfigError, match="scope: is of type"):
                    await act(scope)

    run(main)


@pytest.mark.parametrize("schema", [{"title": "\ud800"}, {"a": {"b": object()}}], ids=["half a character", "an object"])
def test_a_schema_that_cannot_be_sent_is_a_sentence(schema: Any) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(errors.UnsendableRequestError, match="output: "):
                await kernel.extract(schema, "hello")

    run(main)


@pytest.mark.parametrize("tools", [5, "look", {"name": "look"}], ids=repr)
def test_tools_that_are_no_list_are_a_sentence(tools: Any) -> None:
    with pytest.raises(errors.UnsendableRequestError, match=r"tools: .* given; give a list"):
        penstock.ChatRequest("hello", tools=tools)


def test_what_is_no_plugin_at_all_is_a_problem_that_is_told_and_harms_nobody() -> None:
    async def main() -> None:
        plugins: list[object] = [object(), 7, None]
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good), plugins=plugins) as kernel:
            assert (await kernel.complete("hello")).text == ANSWER
            await trio.lowlevel.checkpoint()

    run(main)


@pytest.mark.parametrize("metadata", [5, 0, [], "team=search", [("team", "search")]], ids=repr)
def test_metadata_that_is_no_mapping_is_a_sentence_wherever_it_is_given(metadata: Any) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport([])) as kernel:
            says = f"metadata: is of type {type(metadata).__name__}; it must be a mapping of names to values"
            with pytest.raises(errors.ConfigError, match=says):
                await kernel.complete("hello", metadata=metadata)
            with pytest.raises(errors.ConfigError, match=says):
                async with kernel.stream("hello", metadata=metadata):
                    pass
            with pytest.raises(errors.ConfigError, match=says):
                kernel.explain("hello", metadata=metadata)
            with pytest.raises(errors.ConfigError, match=says):
                kernel.quote("hello", metadata=metadata)
            with pytest.raises(errors.ConfigError, match=says):
                kernel.with_options(metadata=metadata)

    run(main)


@pytest.mark.parametrize("size", [-1, 0, 2**70, 10**5000, 1.5, "x", True, None], ids=lambda size: type(size).__name__)
def test_a_listener_keeps_a_number_of_events(size: Any) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport([])) as kernel:
            with pytest.raises(errors.ConfigError, match=r"size: it is .*; it must be a number of events, at least 1"):
                kernel.events(size=size)

    run(main)


@pytest.mark.parametrize("cache", [None, {"store": "memory"}], ids=["no cache", "a cache"])
@pytest.mark.parametrize(
    ("account", "says"), [("a//b", "is not the path of an account"), ("\ud800", "half a character"), (5, "be a str")]
)
def test_only_the_path_of_an_account_is_purged(account: Any, says: str, cache: dict[str, Any] | None) -> None:
    settings = config() if cache is None else config(cache=cache)

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=ScriptedTransport([])) as kernel:
            with pytest.raises(errors.ConfigError, match=f"account: .*{says}"):
                await kernel.cache.purge(account)

    run(main)


@pytest.mark.parametrize("given", [{}, 5, [], b"penstock.toml"], ids=repr)
def test_what_is_no_configuration_and_no_path_of_one_is_told_what_makes_one(given: Any) -> None:
    says = f"not from a {type(given).__name__}; Config.from_dict"

    async def main() -> None:
        with pytest.raises(errors.ConfigError, match=says):
            async with penstock.open_kernel(given, transport=ScriptedTransport([])):
                pass
        async with penstock.open_kernel(config(), transport=ScriptedTransport([])) as kernel:
            with pytest.raises(errors.ConfigError, match=says):
                await kernel.reload(given)

    run(main)
