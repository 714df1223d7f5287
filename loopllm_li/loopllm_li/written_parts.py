"""How are the parts of a component written down? With all that tells two of them apart, and without any key.

Rule: what is written goes into caches, which serve the old result to a part that is written alike, and into logs.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import re
from collections.abc import Mapping
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from llama_index.core.llms import LLM
from llama_index.core.schema import BaseComponent

_SECRET = re.compile(
    r"(?:^|[_-])(?:api_?key|secret|password|token|credentials?|authorization|headers)(?:$|[_-])",
    re.IGNORECASE,
)
_DEEPEST = 12  # parts of parts that are told apart
_CODE = (FunctionType, CodeType)
_OF_THE_PROCESS = (ModuleType, logging.Logger)  # hold more than their owner's settings


def written_llm(llm: LLM) -> dict[str, Any]:
    """Return an LLM as it writes itself, without keys at any depth: itself it leaves out its own, and only those."""
    written: dict[str, Any] = _without_keys(llm.to_dict())
    return written


def identity_of(part: Any) -> str:
    """Return which evaluator this is, the same in every process: its name, and a digest of its settings.

    Those of a function are its code and what it closes over: many a lambda has the same name.

    >>> from loopllm.evaluators import LengthEvaluator
    >>> identity_of(LengthEvaluator(min_words=5)) == identity_of(LengthEvaluator(min_words=5))
    True
    >>> identity_of(LengthEvaluator(min_words=5)) == identity_of(LengthEvaluator(min_words=50))
    False
    """
    is_named = hasattr(part, "__qualname__")
    if is_named and not isinstance(part, MethodType | FunctionType):
        return _name(part)
    digest = hashlib.sha256(_told(part).encode()).hexdigest()
    return f"{_name(part if is_named else type(part))} {digest[:16]}"


def _without_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_keys(each) for name, each in value.items() if not _SECRET.search(str(name))}
    return [_without_keys(each) for each in value] if isinstance(value, list) else value


def _told(part: Any, around: tuple[Any, ...] = ()) -> str:
    if part is None or isinstance(part, str | bytes | int | float | complex | re.Pattern):
        return repr(part)
    if inspect.ismethod(part):
        part = (part.__func__, part.__self__)
    if hasattr(part, "__qualname__") and not isinstance(part, _CODE):
        return _name(part)
    if len(around) == _DEEPEST or any(part is each for each in around) or isinstance(part, _OF_THE_PROCESS):
        return _name(type(part))
    if isinstance(part, BaseComponent):  # their clients change with every call
        part = _without_keys(part.to_dict())
    return _told_parts(part, (*around, part))


def _told_parts(part: Any, around: tuple[Any, ...]) -> str:
    if isinstance(part, Mapping):
        pairs = (f"{_told(name, around)}: {_told(each, around)}" for name, each in part.items())
        return f"{{{', '.join(sorted(pairs))}}}"
    if isinstance(part, list | tuple):
        return f"[{', '.join(_told(each, around) for each in part)}]"
    if isinstance(part, set | frozenset):
        return f"{{{', '.join(sorted(_told(each, around) for each in part))}}}"
    kind = part if isinstance(part, FunctionType) else type(part)
    return f"{_name(kind)}{_told_parts(_settings_of(part), around)}"


def _settings_of(part: Any) -> dict[str, Any]:
    if isinstance(part, functools.partial):
        return {"func": part.func, "args": part.args, "keywords": part.keywords}
    if isinstance(part, FunctionType):
        cells = [cell for cell in part.__closure__ or () if cell != CellType()]  # an empty one holds nothing
        around = [cell.cell_contents for cell in cells]
        defaults = (part.__defaults__, part.__kwdefaults__)
        return {"code": part.__code__, "defaults": defaults, "around": around}
    if isinstance(part, CodeType):
        return {"code": part.co_code, "constants": part.co_consts, "names": part.co_names}
    slots = [name for base in type(part).__mro__ for name in getattr(base, "__slots__", ())]
    held = {name: getattr(part, name) for name in slots if name != "__weakref__" and hasattr(part, name)}
    return {**held, **getattr(part, "__dict__", {})}


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
