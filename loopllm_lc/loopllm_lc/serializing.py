"""How is a loop written to LangChain's JSON? Settings as plain data, evaluators by arguments or a registered name.

Rule: what cannot be read back is written as a stub that names its class and nothing else; its repr might hold a secret.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from loopllm import Objective
from loopllm.config import LoopConfig
from loopllm.errors import MisuseError
from loopllm.evaluators import (
    CompositeEvaluator,
    JSONSchemaEvaluator,
    LengthEvaluator,
    RegexEvaluator,
    ThresholdEvaluator,
)
from loopllm.evaluators.adapt import BoundEvaluator

_KEY = "loopllm_evaluator"
_BUILT_IN: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (CompositeEvaluator, JSONSchemaEvaluator, LengthEvaluator, RegexEvaluator, ThresholdEvaluator)
}
_TYPES: Mapping[str, type] = {kind.__name__: kind for kind in (str, int, float, bool, list, dict, type(None))}
_registered: dict[str, Any] = {}


def register_evaluator(name: str, evaluator: Any) -> Any:
    """Give an evaluator a name under which loops that use it are serialized, and found again when they are loaded.

    >>> register_evaluator("long-enough", lambda text: len(text) > 3).__name__
    '<lambda>'

    Args:
        name: The name, the same in the process that loads.
        evaluator: What it stands for.

    Returns:
        The evaluator itself.
    """
    _registered[name] = evaluator
    return evaluator


class Unserializable:
    """Stands in JSON for something that cannot be read back.

    Args:
        what: The thing itself; only the name of its class is kept.
    """

    def __init__(self, what: Any) -> None:
        self._name = type(what).__qualname__

    def __repr__(self) -> str:
        return f"a {self._name}: not serializable; see loopllm_lc.register_evaluator"


def dump_config(config: LoopConfig) -> dict[str, Any]:
    """Return the settings that differ from the defaults as plain data."""
    given = {
        name: getattr(config, name) for name in type(config).model_fields if name in config.model_fields_set
    }
    if config.prices is not None:
        given["prices"] = config.prices.model_dump()
    if isinstance(config.objective, Objective):
        given["objective"] = asdict(config.objective)
    return {name: Unserializable(value) if _has_code(value) else value for name, value in given.items()}


def _has_code(value: Any) -> bool:
    return callable(value) or (isinstance(value, Mapping) and any(callable(each) for each in value.values()))


def load_config(data: Any) -> Any:
    """Undo `dump_config`; anything else is returned as it is."""
    return LoopConfig.model_validate(dict(data), strict=False) if isinstance(data, Mapping) else data


def dump_evaluator(evaluator: Any) -> Any:
    """Return an evaluator as plain data, or a stub."""
    source = evaluator.__reduce__()[1][0] if isinstance(evaluator, BoundEvaluator) else evaluator
    if source is None:
        return None
    for name, known in _registered.items():
        if known is source:
            return {_KEY: "registered", "name": name}
    if type(source) not in _BUILT_IN.values():
        return Unserializable(source)
    arguments = {name: _plain(value) for name, value in _arguments(source).items()}
    if any(isinstance(value, Unserializable) for value in arguments.values()):
        return Unserializable(source)
    return {_KEY: type(source).__name__, "arguments": arguments}


class _Shown:
    """Stands in a repr for something of which not everything may be shown."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def shown(thing: Any) -> Any:
    """Return what may stand for an evaluator in a repr: loopllm's own as they are, of any other the name alone.

    >>> from loopllm.evaluators import LengthEvaluator
    >>> shown(len), shown(LengthEvaluator(max_words=3)).max_words
    (len, 3)
    """
    data = dump_evaluator(thing)
    if data is None or (isinstance(data, Mapping) and data[_KEY] in _BUILT_IN):
        return thing
    return _Shown(getattr(thing, "__name__", None) or type(thing).__name__)


def load_evaluator(data: Any) -> Any:
    """Undo `dump_evaluator`; anything else is returned as it is.

    Raises:
        MisuseError: The name is not registered in this process.
    """
    if not isinstance(data, Mapping) or _KEY not in data:
        return data
    kind = data[_KEY]
    if kind == "registered":
        if data["name"] not in _registered:
            raise MisuseError(
                f"no evaluator is registered as {data['name']!r}: call loopllm_lc.register_evaluator first"
            )
        return _registered[data["name"]]
    return _BUILT_IN[kind](**{name: _unplain(value) for name, value in data["arguments"].items()})


def _arguments(evaluator: Any) -> Mapping[str, Any]:
    """Return the constructor's arguments, from how the evaluator pickles or from its attributes."""
    reduced = evaluator.__reduce__()
    if isinstance(reduced[0], functools.partial):
        return {name: value for name, value in reduced[0].keywords.items() if value is not None}
    names = list(inspect.signature(type(evaluator)).parameters)
    return {name: getattr(evaluator, name) for name in names if getattr(evaluator, name, None) is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, type) and value in _TYPES.values():
        return {"type": value.__name__}
    if isinstance(value, Mapping):
        return _plain_all({str(key): _plain(each) for key, each in value.items()}, value)
    if isinstance(value, list | tuple | set | frozenset):
        return _plain_all([_plain(each) for each in value], value)
    return dump_evaluator(value) if isinstance(value, BoundEvaluator) else Unserializable(value)


def _plain_all(parts: Any, value: Any) -> Any:
    each = parts.values() if isinstance(parts, dict) else parts
    return Unserializable(value) if any(isinstance(part, Unserializable) for part in each) else parts


def _unplain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if _KEY in value:
            return load_evaluator(value)
        if value.keys() == {"type"} and value["type"] in _TYPES:
            return _TYPES[value["type"]]
        return {key: _unplain(each) for key, each in value.items()}
    return [_unplain(each) for each in value] if isinstance(value, list) else value
