"""Kernels whose providers answer from a list: what the pytest fixture `penstock_kernel` makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

from penstock._config import Config
from penstock.abc import Provider
from penstock.hookspecs import PluginTools, ProviderSpec
from penstock.testing._answering import AnsweringTransport, ScriptCodec
from penstock.testing._answers import Asked, GivenAnswer, Script
from penstock.testing._keyless import keyless
from penstock.testing._staged import StagedKernel
from penstock.testing._understudy import one_voice
from penstock.types import ChatRequest

__all__ = ["AnsweredKernel", "PenstockKernel"]

ONE_TARGET: dict[str, Any] = {"providers": {"test": {}}, "routes": {"default": {"cascade": ["test/model"]}}}


class AnsweredKernel(StagedKernel):
    """A kernel whose providers answer from a list, one answer to each attempt, in the order the attempts are made.

    An answer is a text, a Message, a ToolCall or a list of parts, a Completion or ChatResponse; an error of
    `penstock.errors` that a provider or a connection can have, met as if it had come from there (`retry_after` is
    seconds; a timeout comes at once); any other exception, raised by the transport; `Silence()`; or a function of the
    ChatRequest that returns one of these, which may be async and wait. A function in place of the list answers every
    attempt. `config` is the app's own (see `keyless`); without one there is one target, `test/model`, three attempts.

    The targets keep their real codec's limits and refusals; only the wire is another. An attempt for which no answer is
    left fails its call, and the end of `run` or of the block raises OutOfAnswersError, an AssertionError. Answers that
    nobody asked for are told by `check_all_asked`, which the fixture calls at the end of its test, but where
    `all_asked` is False.
    """

    def __init__(
        self,
        answers: Sequence[GivenAnswer] | Callable[[ChatRequest], object],
        *,
        config: Config | str | Path | Mapping[str, Any] | None = None,
        plugins: Sequence[object] = (),
        seed: int = 0,
        all_asked: bool = True,
    ) -> None:
        self._script = Script(answers)
        self._all_asked = all_asked
        self._told = False
        codec = ScriptCodec(self._script)
        opened = keyless(ONE_TARGET if config is None else config)
        voices = [_test_provider(codec)] if config is None else one_voice(codec, opened, plugins)
        super().__init__(opened, AnsweringTransport(self._script), [*voices, *plugins], seed=seed)

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Every attempt that reached a provider, in order: `.target`, `.streamed`, `.request`."""
        return tuple(self._script.asked)

    @property
    def requests(self) -> tuple[ChatRequest, ...]:
        """What each attempt asked."""
        return tuple(asked.request for asked in self._script.asked)

    @property
    def answers_left(self) -> int:
        """How many of the answers nobody asked for."""
        return self._script.left

    def check(self) -> None:
        """Raises OutOfAnswersError, or what a function among the answers raised. Once."""
        if self._script.failure is not None and not self._told:
            self._told = True
            raise self._script.failure

    def check_all_asked(self) -> None:
        """Raises UnusedAnswersError, an AssertionError, where answers are left and `all_asked` was not False."""
        if self._all_asked:
            self._script.check_all_asked()


class PenstockKernel:
    """What the fixture `penstock_kernel` is: makes kernels that answer from a list, for one test."""

    def __init__(self) -> None:
        self.made: list[AnsweredKernel] = []

    def __call__(
        self,
        answers: Sequence[GivenAnswer] | Callable[[ChatRequest], object],
        *,
        config: Config | str | Path | Mapping[str, Any] | None = None,
        plugins: Sequence[object] = (),
        seed: int = 0,
        all_asked: bool = True,
    ) -> AnsweredKernel:
        """A kernel to be opened once: see AnsweredKernel. `all_asked=False`: answers may be left in the end."""
        self.made.append(AnsweredKernel(answers, config=config, plugins=plugins, seed=seed, all_asked=all_asked))
        return self.made[-1]

    @property
    def requests(self) -> tuple[ChatRequest, ...]:
        """What was asked of all kernels of the test, in the order they were made."""
        return tuple(request for made in self.made for request in made.requests)

    def check(self) -> None:
        """Raises what a test did not hear yet, where its app opened the kernel by itself."""
        for made in self.made:
            made.check()

    def check_all_asked(self) -> None:
        """Raises UnusedAnswersError where answers are left; for a test that passed."""
        for made in self.made:
            made.check_all_asked()


def _test_provider(codec: Provider) -> ProviderSpec:
    def opened(options: object, tools: PluginTools) -> AbstractAsyncContextManager[Provider]:
        del options, tools
        return nullcontext(codec)

    return ProviderSpec(name="test", open=opened, needs_key=False)
