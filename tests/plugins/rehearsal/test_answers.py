"""What the upstream says where nothing is wrong, on both wires and both fronts."""

from __future__ import annotations

from typing import Any

import pytest
import rehearsing
from rehearsing import Anthropic, Front, OpenAI, Wire, ask, tokens

from penstock_plugins.rehearsal import Upstream

fronts = pytest.mark.parametrize("front", rehearsing.FRONTS)
wires = pytest.mark.parametrize("wire", [OpenAI(), Anthropic()], ids=["openai", "anthropic"])


@fronts
@wires
def test_streamed_and_unstreamed_answers_say_the_same_and_count_it_by_the_stated_rule(front: Front, wire: Wire) -> None:
    prompt = "How deep is the lake in größter Not?"
    whole = ask(front, Upstream(), wire, wire.body(prompt))
    streamed = ask(front, Upstream(), wire, wire.body(prompt, stream=True))
    text = wire.text(whole.json)
    assert text
    assert wire.streamed_text(streamed.objects) == text
    expected = tokens(prompt), tokens(text)
    assert wire.usage(whole.json) == expected
    assert wire.streamed_usage(streamed.objects) == expected


@wires
def test_the_answer_stops_at_max_tokens_and_says_so(wire: Wire) -> None:
    limit: dict[str, Any] = {"max_tokens": 5}
    heard = ask("transport", Upstream(), wire, wire.body("[[words 500]]", **limit))
    assert wire.usage(heard.json)[1] == 5
    assert tokens(wire.text(heard.json)) == 5
    assert b'"length"' in heard.body or b'"max_tokens"' in heard.body
