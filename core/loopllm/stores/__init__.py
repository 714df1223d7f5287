"""Stores of what was learned: `PriorStore` is the port, `open_store` finds a store by its address."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from loopllm.errors import MisuseError
from loopllm.stores.base import Counters, PriorStore

if TYPE_CHECKING:
    from loopllm.stores.json_file import Durability, JsonFileStore
    from loopllm.stores.memory import MemoryStore

__all__ = ["Counters", "Durability", "JsonFileStore", "MemoryStore", "PriorStore", "loaders", "open_store"]


def open_store(address: str | os.PathLike[str]) -> PriorStore:
    """Open the store at an address.

    Args:
        address: `"memory://"`, a path, or `"file:///absolute/path.json"`.

    Raises:
        MisuseError: It is no address, or no store of this version has such a one.

    >>> open_store("memory://")
    MemoryStore(0 keys)
    """
    if not isinstance(address, str | os.PathLike):
        kind = type(address).__name__
        raise MisuseError(f"an address must be a path or a URL, got {kind}; pass a store as store=...")
    text = os.fspath(address)
    scheme = text.split("://", 1)[0] if isinstance(address, str) and "://" in text else ""
    if scheme not in loaders:
        # Only the scheme is told: the rest of an address may hold a password.
        raise MisuseError(
            f"no store for {scheme}:// addresses: this version has memory and JSON files. "
            'Give a path such as "priors.json", "file:///absolute/path.json" or "memory://"'
        )
    return loaders[scheme](text)


def _open_path(path: str) -> PriorStore:
    from loopllm.stores.json_file import JsonFileStore

    if not path:
        raise MisuseError('the path of a store is empty: give one such as "priors.json"')
    return JsonFileStore(path)


def _open_file_url(url: str) -> PriorStore:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"} or not parts.path:
        raise MisuseError(
            f"{url!r} names no file of this machine: write three slashes, file:///absolute/path.json"
        )
    if "?" in url or "#" in url:
        raise MisuseError(f"{url!r} has more than a path: in the name of a file write ? as %3F and # as %23")
    return _open_path(unquote(parts.path))


def _open_memory(_: str) -> PriorStore:
    from loopllm.stores.memory import MemoryStore

    return MemoryStore()


loaders: dict[str, Callable[[str], PriorStore]] = {
    "": _open_path,
    "file": _open_file_url,
    "memory": _open_memory,
}
"""What opens an address, by its scheme (`""`: a path); an entry here opens a store of your own."""

_homes = {"JsonFileStore": "json_file", "Durability": "json_file", "MemoryStore": "memory"}


def __getattr__(name: str) -> Any:
    """Import a store when it is first asked for, so that `import loopllm` stays light."""
    if name not in _homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_homes[name]}"), name)
