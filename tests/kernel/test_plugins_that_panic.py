"""Foreign code that raises what is no Exception: a panic of a Rust extension, an exit. Nobody else's call is harmed.

Ctrl-C and cancellations are no faults of foreign code: they go through it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any, NoReturn

import httpx
import pytest
import trio
from acme import PROMPT, THEIRS, PanicException, acme, ask, raising, settings
from worlds import ANSWER, GPT, good, run

import penstock
from penstock import errors
from penstock._events import CallEnded, Shutdown
from penstock.abc import Validator
from penstock.hookspecs import ValidatorSpec, hookimpl
from penstock.testing import FakeCacheStore, Reply, ScriptedTransport

LIMITED = {"budget": {"limits": [{"per": "day", "tokens": 1_000_000}]}}
BREAKS = [PanicException("index out of bounds"), SystemExit(3)]
METHODS = ("encode", "authorize", "decoder", "feed", "close", "completion", "missing", "done", "aside", "unread")
every_break = pytest.mark.parametrize("bug", BREAKS, ids=lambda bug: type(bug).__name__)
either_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def slowly(request: httpx.Request) -> Reply:
    """The neighbour's answer takes its time: it is under way while foreign code breaks."""
    return Reply(json=good(request).json, delay=2.0) if b"neighbour" in request.content else good(request)


async def beside_a_neighbour(kernel: penstock.Kernel, act: Callable[[], Awaitable[None]]) -> None:
    """Acts while another call is under way; that one is answered, and so is one after it."""
    answers: list[str] = []

    async def neighbour() -> None:
        answers.append((await kernel.complete("neighbour", model=GPT)).text)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(neighbour)
        await trio.sleep(1.0)
        await act()
    assert answers == [ANSWER]
    assert (await kernel.complete("after", model=GPT)).text == ANSWER


@every_break
@pytest.mark.parametrize("method", METHODS)
def test_a_codec_that_panics_in_a_stream_ends_its_own_call_alone(method: str, bug: BaseException) -> None:
    async def main() -> None:
        plugin = acme(**{method: raising(bug)})
        async with penstock.open_kernel(
            settings(**LIMITED), transport=ScriptedTransport(slowly), plugins=[plugin]
        ) as kernel:

            async def act() -> None:
                with pytest.raises(errors.CallError, match=f"the codec of {THEIRS} broke"):
                    await ask(kernel, streamed=True, model=THEIRS)

            await beside_a_neighbour(kernel, act)

    run(main)


class Hooks:
    """A plugin whose hooks break."""

    def __init__(self, bug: BaseException) -> None:
        self.bug = bug

    def breaks(self, *_: object) -> NoReturn:
        raise self.bug


class Tokenizer(Hooks):
    @hookimpl
    def penstock_tokenizer(self, model: str) -> Callable[[str], int]:
        del model
        return self.breaks


class Listener(Hooks):
    @hookimpl
    def penstock_event(self, event: penstock.Event) -> None:
        self.breaks(event)


@every_break
@either_way
@pytest.mark.parametrize("kind", [Tokenizer, Listener])
def test_a_hook_that_panics_harms_no_call(kind: type[Hooks], streamed: bool, bug: BaseException) -> None:  # noqa: FBT001 - a parameter of the test
    async def main() -> None:
        async with penstock.open_kernel(
            settings(**LIMITED), transport=ScriptedTransport(slowly), plugins=[acme(), kind(bug)]
        ) as kernel:

            async def act() -> None:
                assert (await ask(kernel, streamed=streamed)).text == ANSWER

            await beside_a_neighbour(kernel, act)

    run(main)


class Broken(Validator):
    """A validator that breaks."""

    def __init__(self, bug: BaseException) -> None:
        self.bug = bug

    def check(self, value: Any) -> Any:
        del value
        raise self.bug


class Validators:
    """A plugin whose validator breaks, or is not even made."""

    def __init__(self, bug: BaseException, *, is_made: bool) -> None:
        self.bug = bug
        self.is_made = is_made

    def make(self, of: object) -> Validator | None:
        if of != "even":
            return None
        if not self.is_made:
            raise self.bug
        return Broken(self.bug)

    @hookimpl
    def penstock_validators(self) -> Sequence[ValidatorSpec]:
        return [ValidatorSpec(name="even", make=self.make)]


@every_break
@either_way
@pytest.mark.parametrize("place", ["make", "check", "function"])
def test_a_validator_that_panics_ends_its_own_call_alone(
    place: str,
    streamed: bool,  # noqa: FBT001 - a parameter of the test
    bug: BaseException,
) -> None:
    validators: list[Any] = [Hooks(bug).breaks] if place == "function" else [("even", "even")]
    expected = errors.UnsendableRequestError if place == "make" else errors.OutputInvalidError

    def answer(request: httpx.Request) -> Reply:
        return good(request, "42") if b'"model":"m"' in request.content else slowly(request)

    async def main() -> None:
        plugins = [acme(), Validators(bug, is_made=place != "make")]
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(answer), plugins=plugins) as kernel:

            async def act() -> None:
                with pytest.raises(expected):
                    if streamed:
                        async with kernel.stream_extract(int, PROMPT, validators=validators, model=THEIRS) as stream:
                            async for _ in stream:
                                pass
                    else:
                        await kernel.extract(int, PROMPT, validators=validators, model=THEIRS)

            await beside_a_neighbour(kernel, act)

    run(main)


class PanickingBody(httpx.AsyncByteStream):
    """A body that breaks, and breaks again where it is closed."""

    def __init__(self, bug: BaseException) -> None:
        self.bug = bug

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"id":'
        raise self.bug

    async def aclose(self) -> None:
        raise self.bug


class PanickingTransport(httpx.AsyncBaseTransport):
    """A program's own transport, on a Rust extension: it breaks where another would connect, or in the body."""

    def __init__(self, bug: BaseException, *, in_body: bool) -> None:
        self.bug = bug
        self.in_body = in_body
        self.others = ScriptedTransport(slowly)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if b'"model":"m"' not in await request.aread():
            return await self.others.handle_async_request(request)
        if not self.in_body:
            raise self.bug
        return httpx.Response(200, stream=PanickingBody(self.bug))


@every_break
@either_way
@pytest.mark.parametrize("in_body", [False, True], ids=["request", "body"])
def test_a_transport_that_panics_fails_its_attempt_alone(
    streamed: bool,  # noqa: FBT001 - a parameter of the test
    in_body: bool,  # noqa: FBT001 - a parameter of the test
    bug: BaseException,
) -> None:
    async def main() -> None:
        upstream = PanickingTransport(bug, in_body=in_body)
        async with penstock.open_kernel(settings(), transport=upstream, plugins=[acme()]) as kernel:

            async def act() -> None:
                assert (await ask(kernel, streamed=streamed)).target == GPT

            await beside_a_neighbour(kernel, act)

    run(main)


@every_break
def test_a_cache_store_that_panics_is_a_miss(bug: BaseException) -> None:
    class Panicking(FakeCacheStore):
        async def get(self, key: str) -> bytes | None:
            del key
            raise bug

    async def main() -> None:
        cache = {"store": "fake", "when": "always"}
        plugins = [acme(), Panicking().plugin()]
        async with penstock.open_kernel(
            settings(cache=cache), transport=ScriptedTransport(slowly), plugins=plugins
        ) as kernel:

            async def act() -> None:
                assert (await ask(kernel, streamed=False)).text == ANSWER

            await beside_a_neighbour(kernel, act)

    run(main)


# What is no fault of it


@pytest.mark.parametrize("method", ["encode", "feed", "completion"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_goes_through_a_codec(method: str) -> None:
    async def main() -> None:
        plugin = acme(**{method: raising(KeyboardInterrupt())})
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            await ask(kernel, streamed=True, model=THEIRS)

    with pytest.raises(KeyboardInterrupt):
        run(main)


class PressedOnce(Hooks):
    """Ctrl-C comes while a listener hears of the call, and not again while the kernel ends."""

    pressed = False

    @hookimpl
    def penstock_event(self, event: penstock.Event) -> None:
        if not self.pressed:
            self.pressed = True
            self.breaks(event)


@pytest.mark.parametrize("kind", [Tokenizer, PressedOnce])
def test_ctrl_c_goes_through_a_hook(kind: type[Hooks]) -> None:
    async def main() -> None:
        plugins = [acme(), kind(KeyboardInterrupt())]
        async with penstock.open_kernel(
            settings(**LIMITED), transport=ScriptedTransport(good), plugins=plugins
        ) as kernel:
            await ask(kernel, streamed=False)

    with pytest.raises(KeyboardInterrupt):
        run(main)


@either_way
def test_ctrl_c_goes_through_a_transport(streamed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async def main() -> None:
        upstream = PanickingTransport(KeyboardInterrupt(), in_body=False)
        async with penstock.open_kernel(settings(), transport=upstream, plugins=[acme()]) as kernel:
            await ask(kernel, streamed=streamed)

    with pytest.raises(KeyboardInterrupt):
        run(main)


class Handler:
    """Ends the program, as the handlers of most do."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        sys.exit(143)

    def method(self, number: int, frame: FrameType | None) -> None:
        self(number, frame)


def exits(*_: object) -> NoReturn:
    sys.exit(143)


HANDLERS: list[Any] = [exits, Handler(), Handler().method, partial(Handler.method, Handler())]


@pytest.mark.parametrize("handler", HANDLERS, ids=["function", "object", "method", "partial"])
@pytest.mark.parametrize("place", ["codec", "listener", "tokenizer", "validator", "transport"])
def test_the_exit_of_a_signal_handler_is_no_fault_of_what_runs_just_then(handler: Any, place: str) -> None:
    def signalled(*_: object) -> Any:
        signal.raise_signal(signal.SIGTERM)

    class Hook:
        @hookimpl
        def penstock_tokenizer(self, model: str) -> Callable[[str], int] | None:
            del model
            return signalled if place == "tokenizer" else None

        @hookimpl
        def penstock_event(self, event: penstock.Event) -> None:
            if place == "listener" and isinstance(event, CallEnded):
                signalled()

    def answer(request: httpx.Request) -> Reply:
        return signalled() if place == "transport" else good(request, "42")

    async def main() -> None:
        plugins = [acme(decode=signalled) if place == "codec" else acme(), Hook()]
        async with penstock.open_kernel(
            settings(**LIMITED), transport=ScriptedTransport(answer), plugins=plugins
        ) as kernel:
            validators: list[Any] = [signalled] if place == "validator" else []
            await kernel.extract(int, PROMPT, validators=validators)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(SystemExit) as ended:
            run(main)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert isinstance(ended.value, SystemExit)
    assert ended.value.code == 143


HEARD: dict[str, type[Any]] = {"listener": CallEnded, "listener at the end": Shutdown}


@pytest.mark.parametrize("place", ["listener", "listener at the end", "validator", "transport"])
def test_a_test_that_fails_where_foreign_code_runs_fails(place: str) -> None:
    def fails(*_: object) -> NoReturn:
        pytest.fail("this was not to run")

    class Hook:
        @hookimpl
        def penstock_event(self, event: penstock.Event) -> None:
            if isinstance(event, HEARD.get(place, ())):
                fails()

    def answer(request: httpx.Request) -> Reply:
        return fails() if place == "transport" else good(request, "42")

    async def main() -> None:
        async with penstock.open_kernel(
            settings(), transport=ScriptedTransport(answer), plugins=[acme(), Hook()]
        ) as kernel:
            await kernel.extract(int, PROMPT, validators=[fails] if place == "validator" else [])

    with pytest.raises(pytest.fail.Exception, match="not to run"):
        run(main)


class PanicsWhenCancelled(httpx.AsyncBaseTransport):
    """Its own task breaks while it is cancelled: what comes out is a group of both."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            raise BaseExceptionGroup("both", [cancelled, PanicException("late")]) from None


@either_way
def test_a_transport_that_panics_while_it_is_cancelled_is_cancelled(streamed: bool) -> None:  # noqa: FBT001 - as above
    async def main() -> None:
        async with penstock.open_kernel(settings(), transport=PanicsWhenCancelled(), plugins=[acme()]) as kernel:
            with trio.move_on_after(1.0) as scope:
                await ask(kernel, streamed=streamed)
            assert scope.cancelled_caught
            assert (await kernel.snapshot()).in_flight == 0

    run(main)
