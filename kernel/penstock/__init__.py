"""penstock: the layer that makes LLM calls dependable.

    import trio, penstock

    async def main():
        async with penstock.open_kernel() as kernel:
            response = await kernel.complete("Say hello.")
            print(response.text, response.cost)

    trio.run(main)

Heavy parts (cattrs, the transport, the entry-point scan) are imported when a kernel is opened, not here.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from penstock.errors import ActorFailedError as ActorFailedError
from penstock.errors import AttemptTimeoutError as AttemptTimeoutError
from penstock.errors import AuthenticationError as AuthenticationError
from penstock.errors import BudgetCutError as BudgetCutError
from penstock.errors import BudgetExceededError as BudgetExceededError
from penstock.errors import CacheStoreError as CacheStoreError
from penstock.errors import CallError as CallError
from penstock.errors import CascadeExhaustedError as CascadeExhaustedError
from penstock.errors import CircuitOpenError as CircuitOpenError
from penstock.errors import CodecFailedError as CodecFailedError
from penstock.errors import ConfigError as ConfigError
from penstock.errors import ConnectError as ConnectError
from penstock.errors import ConnectionLostError as ConnectionLostError
from penstock.errors import ConnectTimeoutError as ConnectTimeoutError
from penstock.errors import ContentFilteredError as ContentFilteredError
from penstock.errors import ContextLengthError as ContextLengthError
from penstock.errors import DeadlineExceededError as DeadlineExceededError
from penstock.errors import FirstTokenTimeoutError as FirstTokenTimeoutError
from penstock.errors import GenerationFailedError as GenerationFailedError
from penstock.errors import IdleTimeoutError as IdleTimeoutError
from penstock.errors import InvalidRequestError as InvalidRequestError
from penstock.errors import KernelClosedError as KernelClosedError
from penstock.errors import KernelError as KernelError
from penstock.errors import LedgerUnavailableError as LedgerUnavailableError
from penstock.errors import MalformedResponseError as MalformedResponseError
from penstock.errors import ModelNotFoundError as ModelNotFoundError
from penstock.errors import NoRouteError as NoRouteError
from penstock.errors import OutputInvalidError as OutputInvalidError
from penstock.errors import OverloadedError as OverloadedError
from penstock.errors import OverloadedLocallyError as OverloadedLocallyError
from penstock.errors import ParameterDemandedError as ParameterDemandedError
from penstock.errors import PenstockError as PenstockError
from penstock.errors import PermissionDeniedError as PermissionDeniedError
from penstock.errors import PluginError as PluginError
from penstock.errors import PluginLoadError as PluginLoadError
from penstock.errors import PluginVersionError as PluginVersionError
from penstock.errors import ProviderError as ProviderError
from penstock.errors import QuotaExhaustedError as QuotaExhaustedError
from penstock.errors import RateLimitedError as RateLimitedError
from penstock.errors import RefusedError as RefusedError
from penstock.errors import RejectedError as RejectedError
from penstock.errors import ServerError as ServerError
from penstock.errors import StreamBrokenError as StreamBrokenError
from penstock.errors import TooSlowError as TooSlowError
from penstock.errors import TotalTimeoutError as TotalTimeoutError
from penstock.errors import TransportError as TransportError
from penstock.errors import UnsendableRequestError as UnsendableRequestError
from penstock.errors import UnsupportedParameterError as UnsupportedParameterError
from penstock.policy.cache_policy import CachePolicy as CachePolicy
from penstock.policy.commit import Commit as Commit
from penstock.types import Attempt as Attempt
from penstock.types import Capabilities as Capabilities
from penstock.types import ChatRequest as ChatRequest
from penstock.types import ChatResponse as ChatResponse
from penstock.types import Chunk as Chunk
from penstock.types import Finished as Finished
from penstock.types import Image as Image
from penstock.types import Message as Message
from penstock.types import OutputSchema as OutputSchema
from penstock.types import ProviderPart as ProviderPart
from penstock.types import Refusal as Refusal
from penstock.types import Restarted as Restarted
from penstock.types import Saved as Saved
from penstock.types import Seam as Seam
from penstock.types import Text as Text
from penstock.types import TextDelta as TextDelta
from penstock.types import Thinking as Thinking
from penstock.types import ThinkingDelta as ThinkingDelta
from penstock.types import Tool as Tool
from penstock.types import ToolCall as ToolCall
from penstock.types import ToolCallDelta as ToolCallDelta
from penstock.types import ToolResult as ToolResult
from penstock.types import Usage as Usage
from penstock.types import UsageUpdate as UsageUpdate

if TYPE_CHECKING:
    from penstock._cache_explanation import CacheExplanation as CacheExplanation
    from penstock._config import Config as Config
    from penstock._events import Event as Event
    from penstock._events import EventStream as EventStream
    from penstock._explanation import Explanation as Explanation
    from penstock._explanation import StageExplanation as StageExplanation
    from penstock._extract import Extracted as Extracted
    from penstock._extract import ExtractStream as ExtractStream
    from penstock._extract import Output as Output
    from penstock._front import Kernel as Kernel
    from penstock._kernel import open_kernel as open_kernel
    from penstock._quotation import Quote as Quote
    from penstock._quotation import Shortfall as Shortfall
    from penstock._quotation import TargetQuote as TargetQuote
    from penstock._snapshot import Health as Health
    from penstock._snapshot import KernelSnapshot as KernelSnapshot
    from penstock._stream import ChatStream as ChatStream
    from penstock.hookspecs import hookimpl as hookimpl

__version__ = "0.1.0"

_LAZY = {
    "CacheExplanation": "penstock._cache_explanation",
    "ChatStream": "penstock._stream",
    "Config": "penstock._config",
    "Event": "penstock._events",
    "EventStream": "penstock._events",
    "Explanation": "penstock._explanation",
    "Health": "penstock._snapshot",
    "ExtractStream": "penstock._extract",
    "Extracted": "penstock._extract",
    "Output": "penstock._extract",
    "Kernel": "penstock._front",
    "KernelSnapshot": "penstock._snapshot",
    "Quote": "penstock._quotation",
    "Shortfall": "penstock._quotation",
    "StageExplanation": "penstock._explanation",
    "TargetQuote": "penstock._quotation",
    "hookimpl": "penstock.hookspecs",
    "open_kernel": "penstock._kernel",
}

logging.getLogger("penstock").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
