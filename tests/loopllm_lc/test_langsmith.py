"""What LangSmith's own client sends of a loop: over HTTP to a server that keeps it, and as OpenTelemetry spans."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.tracers import LangChainTracer
from langsmith import Client
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from loopllm_lc import LoopedChatModel, LoopedRunnable


class Backend(ThreadingHTTPServer):
    """Keeps the runs that are posted to it, with what later patches change of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keeping)
        self.runs: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()

    def keep(self, run: dict[str, Any]) -> None:
        with self.lock:
            known = self.runs.setdefault(run["id"], {})
            known.update({name: value for name, value in run.items() if value is not None})


class _Keeping(BaseHTTPRequestHandler):
    server: Backend

    def _answer(self, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self.server.keep(self._body())
        self._answer({})

    def do_PATCH(self) -> None:
        self.server.keep({"id": self.path.rsplit("/", maxsplit=1)[1], **self._body()})
        self._answer({})

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture
def backend() -> Iterator[Backend]:
    server = Backend()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def traced_by(backend: Backend) -> tuple[LangChainTracer, Client]:
    client = Client(
        api_url=f"http://127.0.0.1:{backend.server_port}", api_key="ls-secret", auto_batch_tracing=False
    )
    return LangChainTracer(client=client), client


def tokens_of(run: dict[str, Any]) -> int:
    message = run["outputs"]["generations"][0][0]["message"]
    return int(message["kwargs"]["usage_metadata"]["total_tokens"])


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
async def test_iterations_are_child_runs_with_their_scores_and_only_models_count_tokens(
    scripted: Any, says_yes: Any, backend: Backend, how: str
) -> None:
    """T21: LangSmith adds up what the runs below a run report."""
    tracer, client = traced_by(backend)
    looped = LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes)
    config: Any = {"callbacks": [tracer]}
    if how == "invoke":
        looped.invoke("Agree.", config)
    elif how == "ainvoke":
        await looped.ainvoke("Agree.", config)
    else:
        list(looped.stream("Agree.", config))
    tracer.wait_for_futures()
    client.flush()
    runs = list(backend.runs.values())
    (root,) = [run for run in runs if not run.get("parent_run_id")]
    assert (root["name"], root["extra"]["metadata"]["loopllm"]["trajectory"]) == (
        "LoopedRunnable",
        [0.2, 1.0],
    )
    assert {run["parent_run_id"] for run in runs if run is not root} == {root["id"]}
    judged = [run["extra"]["metadata"] for run in runs if run["name"] == "evaluate"]
    assert [(each["loopllm_iteration"], each["loopllm_score"]) for each in judged] == [(1, 0.2), (2, 1.0)]
    counted = [run for run in runs if "usage_metadata" in run["extra"].get("metadata", {})]
    assert {run["run_type"] for run in counted} <= {"llm"}
    assert sum(tokens_of(run) for run in runs if run["run_type"] == "llm") == 30


def test_a_looped_chat_models_tokens_are_reported_by_one_run(
    scripted: Any, says_yes: Any, backend: Backend
) -> None:
    """T21."""
    tracer, client = traced_by(backend)
    model = LoopedChatModel(bound=scripted("no", "yes"), evaluator=says_yes)
    model.invoke("Agree.", {"callbacks": [tracer]})
    tracer.wait_for_futures()
    client.flush()
    counted = [run for run in backend.runs.values() if run["run_type"] == "llm"]
    assert [tokens_of(run) for run in counted] == [30]
    assert counted[0]["extra"]["metadata"]["loopllm"]["iterations"] == 2


def test_as_opentelemetry_spans_drafts_and_evaluations_stand_below_the_loop_and_tokens_on_model_spans(
    scripted: Any, says_yes: Any
) -> None:
    """T21: LangSmith's exporter repeats the usage of a message on every chain that returns one; `llm` spans have it once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    address = "http://127.0.0.1:9"  # nothing is sent there in this mode
    client = Client(api_url=address, api_key="ls-secret", tracing_mode="otel", otel_tracer_provider=provider)
    tracer = LangChainTracer(client=client)
    LoopedRunnable(bound=scripted("no", "yes"), evaluator=says_yes).invoke("Agree.", {"callbacks": [tracer]})
    tracer.wait_for_futures()
    client.flush()
    spans: Any = exporter.get_finished_spans()
    (root,) = [span for span in spans if span.parent is None]
    assert root.name == "LoopedRunnable"
    assert {span.parent.span_id for span in spans if span is not root} == {root.context.span_id}
    scores = [
        span.attributes["langsmith.metadata.loopllm_score"] for span in spans if span.name == "evaluate"
    ]
    assert scores == [0.2, 1.0]
    models = [span for span in spans if span.attributes["langsmith.span.kind"] == "llm"]
    assert sum(span.attributes["gen_ai.usage.total_tokens"] for span in models) == 30
