"""Prompts in the arguments of a call: what hosts hand over, as arguments of Router.decide()."""

from __future__ import annotations

import array
import functools
from collections.abc import Mapping
from typing import Any

__all__ = ["prompt_of"]

_FIELDS = ("prompt_token_ids", "input_ids", "token_ids", "messages", "prompt", "text", "input")


def prompt_of(args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Router.decide() for a call of a deployment: the first argument that is a text,
    token ids, chat messages, a JSON body, or an object or dict that holds one of these under the
    names of the OpenAI API. Empty where no argument does: then load alone decides."""
    for value in (*args, *kwargs.values()):
        found = _prompt(value) or _prompt_inside(value)
        if found:
            return found
    return {}


def _prompt(value: Any) -> dict[str, Any] | None:
    """What a value that is a prompt itself says."""
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, (bytes, bytearray)):
        return {"body": bytes(value)} if value[:1] == b"{" else None
    if isinstance(value, (list, tuple)):
        if value and type(value[0]) is int:
            return {"tokens": value}
        if value and all(_is_message(one) for one in value):
            return {"messages": [_plain(message) for message in value]}
        return None
    if isinstance(value, (array.array, memoryview)) or hasattr(value, "__array_interface__"):
        return {"tokens": value}
    return None


def _prompt_inside(value: Any) -> dict[str, Any] | None:
    """What a request object or a dict holds; no deeper."""
    if value is None or isinstance(value, (str, bytes, bytearray, list, tuple, int, float)):
        return None
    field = value.get if isinstance(value, Mapping) else functools.partial(_attribute, value)
    for name in _FIELDS:
        found = _prompt(field(name))
        if found:
            if isinstance(model := field("model"), str):
                found["model"] = model
            return found
    return None


def _attribute(value: Any, name: str) -> Any:
    return getattr(value, name, None)


def _is_message(value: Any) -> bool:
    return "role" in value if isinstance(value, Mapping) else hasattr(value, "role")


def _plain(message: Any) -> Any:
    """A chat message as a dict; models of pydantic become one."""
    dump = getattr(message, "model_dump", None)
    if dump is not None:
        return dump(exclude_none=True)
    return message if isinstance(message, Mapping) else vars(message)
