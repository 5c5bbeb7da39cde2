"""Prompts in the arguments of a call: what hosts hand over, as arguments of Router.decide()."""

from __future__ import annotations

import array
import functools
from collections.abc import Mapping
from typing import Any

__all__ = ["prompt_of"]

_TOKEN_FIELDS = ("prompt_token_ids", "input_ids", "token_ids")
_TEXT_FIELDS = ("prompt", "text", "input")


def _prompt_in(value: Any) -> dict[str, Any] | None:
    """What one argument of a call says about the prompt, as arguments of Router.decide()."""
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, (bytes, bytearray)):
        return {"body": bytes(value)} if value[:1] == b"{" else None
    if isinstance(value, (list, tuple)):
        if value and type(value[0]) is int:
            return {"tokens": value}
        if value and (isinstance(value[0], Mapping) and "role" in value[0]
                      or hasattr(value[0], "role")):
            return {"messages": [_plain(message) for message in value]}
        return None
    if isinstance(value, (array.array, memoryview)) or hasattr(value, "__array_interface__"):
        return {"tokens": value}
    field = value.get if isinstance(value, Mapping) else functools.partial(_attribute, value)
    found = None
    for name in (*_TOKEN_FIELDS, "messages", *_TEXT_FIELDS):
        inner = field(name)
        if inner is not None and not isinstance(inner, Mapping) and (found := _prompt_in(inner)):
            break
    if found and isinstance(model := field("model"), str):
        found["model"] = model
    return found


def _attribute(value: Any, name: str) -> Any:
    return getattr(value, name, None)


def _plain(message: Any) -> Any:
    """A chat message as a dict; models of pydantic become one."""
    dump = getattr(message, "model_dump", None)
    if dump is not None:
        return dump(exclude_none=True)
    return message if isinstance(message, Mapping) else vars(message)


def prompt_of(args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of Router.decide() for a call of a deployment: the first argument that is a text,
    token ids, chat messages, a JSON body, or an object or dict that holds one of these under the
    names of the OpenAI API. Empty where no argument does: then load alone decides."""
    for value in (*args, *kwargs.values()):
        found = _prompt_in(value)
        if found:
            return found
    return {}
