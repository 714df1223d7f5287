import asyncio
import copy
import json
import logging
import pickle
import socket
import threading
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import SecretStr

from loopllm.errors import CallTimeoutError, MisuseError, ProviderError
from loopllm.providers.base import Provider, StreamingProvider
from loopllm.providers.ollama import OllamaProvider
from loopllm.providers.openai_compatible import OpenAICompatibleProvider
from loopllm.results import Usage

KEY = "sk-very-secret-1234"
REPLY = {
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "cost": 0.0003},
}
EVENTS = [
    b": keep-alive comment\n\n",
    b'data: {"choices":[{"delta":{"role":"assistant","content":"Hel"}}]}\n\n',
    'data: {"choices":[{"delta":{"content":"lo é\u2028"}}]}\r\n\r\n'.encode(),
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\ndata: [DONE]\n\n',
]


def provider_of(server: Any, **kwargs: Any) -> Any:
    return OpenAICompatibleProvider(f"{server.url}/v1", api_key=KEY, model="gpt-4o-mini", **kwargs)


async def both(provider: Any, prompt: str = "hi", **kwargs: Any) -> Any:
    """Ask blocking and awaiting; return both outcomes, errors included."""
    outcomes = []
    try:
        outcomes.append(await asyncio.to_thread(provider.complete, prompt, **kwargs))
    except ProviderError as error:
        outcomes.append(error)
    try:
        outcomes.append(await provider.acomplete(prompt, **kwargs))
    except ProviderError as error:
        outcomes.append(error)
    await provider.aclose()
    return outcomes


async def test_a_reply_is_read_with_usage_cost_finish_reason_and_latency(server: Any) -> None:
    server.reply(REPLY)
    for reply in await both(provider_of(server)):
        assert reply.content == "Hello."
        assert reply.usage == Usage(7, 2, 0.0003)
        assert (reply.finish_reason, reply.model) == ("stop", "gpt-4o-mini-2024-07-18")
        assert reply.latency_ms > 0


def test_the_request_is_an_openai_chat_completion_with_the_key_as_bearer_token(server: Any) -> None:
    server.reply(REPLY)
    with provider_of(
        server, temperature=0.2, max_tokens=9, default_params={"top_p": 0.5, "max_tokens": None}
    ) as it:
        it.complete("hi")
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.2,
        "top_p": 0.5,
    }


def test_a_message_list_is_sent_as_it_is_and_a_named_model_wins(server: Any) -> None:
    server.reply(REPLY)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    with provider_of(server) as provider:
        provider.complete(messages, model="other")
    assert server.requests[0][2] == {"model": "other", "messages": messages}


async def test_streams_give_the_text_in_pieces_and_then_usage_and_finish_reason(server: Any) -> None:
    server.pieces(*EVENTS)
    async with provider_of(server) as provider:
        chunks = await asyncio.to_thread(lambda: list(provider.stream("hi", timeout=5)))
        achunks = [chunk async for chunk in provider.astream("hi", timeout=5)]
    assert chunks == achunks
    assert [chunk.text for chunk in chunks] == ["Hel", "lo é\u2028", ""]
    assert (chunks[-1].usage, chunks[-1].finish_reason) == (Usage(7, 2), "stop")
    assert server.requests[0][2]["stream_options"] == {"include_usage": True}


async def test_a_stream_that_breaks_off_is_a_transient_failure(server: Any) -> None:
    server.pieces(*EVENTS[:2])
    provider = provider_of(server)
    with pytest.raises(ProviderError, match="broke off") as caught:
        list(provider.stream("hi"))
    assert caught.value.transient
    with pytest.raises(ProviderError, match="broke off"):
        [chunk async for chunk in provider.astream("hi")]
    await provider.aclose()


def test_a_failure_inside_a_stream_is_raised_with_its_status(server: Any) -> None:
    server.pieces(EVENTS[1], b'data: {"error":{"code":429,"message":"slow down"}}\n\n')
    with provider_of(server) as provider, pytest.raises(ProviderError, match="slow down") as caught:
        list(provider.stream("hi"))
    assert (caught.value.status, caught.value.transient) == (429, True)


def test_a_failure_that_is_the_whole_reply_is_raised_also_in_a_stream(server: Any) -> None:
    failure = b'{"object":"error","message":"too many tokens","type":"BadRequestError","code":400}'
    server.pieces(b"data: " + failure + b"\n\ndata: [DONE]\n\n")
    with provider_of(server) as provider, pytest.raises(ProviderError, match="400: too many tokens"):
        list(provider.stream("hi"))
    server.reply(json.loads(failure))
    with provider_of(server) as provider, pytest.raises(ProviderError, match="400: too many tokens"):
        provider.complete("hi")


async def test_a_server_that_moved_is_not_followed_and_the_failure_says_where_it_is(server: Any) -> None:
    server.answer = lambda handler: handler.send(b"", 307, location="https://new.example/v2?token=x")
    for error in await both(provider_of(server)):
        assert str(error) == (
            "the model server answered 307: moved to https://new.example/v2; "
            "set base_url to where the server's API is now"
        )
        assert not error.transient
    assert len(server.requests) == 2


async def test_the_query_of_an_address_is_sent_behind_the_path_and_not_shown(server: Any) -> None:
    address = f"{server.url}/openai/deployments/d/?api-version=2024-06-01"
    provider = OpenAICompatibleProvider(address, headers={"api-key": KEY}, model="gpt")
    server.reply({"choices": [{"message": {"content": "Hi"}}]})
    assert [reply.content for reply in await both(provider)] == ["Hi", "Hi"]
    assert {path for path, *_ in server.requests} == {
        "/openai/deployments/d/chat/completions?api-version=2024-06-01"
    }
    assert "api-version" not in repr(provider)


async def test_leaving_a_stream_early_closes_its_connection(server: Any) -> None:
    def answer(handler: Any) -> None:
        handler.send_pieces(*EVENTS[:2])
        while not server.stopping.wait(0.01):
            handler.wfile.write(EVENTS[1])

    server.answer = answer
    async with provider_of(server) as provider:
        stream = provider.stream("hi", timeout=5)
        assert next(stream).text == "Hel"
        stream.close()
        assert await asyncio.to_thread(server.client_left.wait, 3)
        server.client_left.clear()
        astream = provider.astream("hi", timeout=5)
        assert (await anext(astream)).text == "Hel"
        await astream.aclose()
        assert await asyncio.to_thread(server.client_left.wait, 3)


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (408, True),
        (429, True),
        (500, True),
        (503, True),
        (529, True),
    ],
)
async def test_the_status_tells_whether_a_failure_is_transient(
    server: Any, status: Any, transient: Any
) -> None:
    server.reply({"error": {"message": "because"}}, status)
    for error in await both(provider_of(server)):
        assert (error.status, error.transient) == (status, transient)
        assert f"{status}" in str(error)
        assert "because" in str(error)


async def test_retry_after_is_read_as_seconds_and_as_a_date(server: Any) -> None:
    server.reply({}, 429, retry_after="7")
    assert [error.retry_after for error in await both(provider_of(server))] == [7.0, 7.0]
    server.reply({}, 503, retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    for error in await both(provider_of(server)):
        assert 50 < error.retry_after <= 60


@pytest.mark.parametrize("nonsense", ["soon", "nan", "-3", "inf", "Thu, 01 Jan 99999999999 00:00:00 GMT"])
def test_a_senseless_retry_after_is_left_out(server: Any, nonsense: Any) -> None:
    server.reply({}, 429, retry_after=nonsense)
    with provider_of(server) as provider, pytest.raises(ProviderError) as caught:
        provider.complete("hi")
    assert caught.value.retry_after is None


async def test_a_server_that_is_not_there_is_a_transient_failure_that_names_the_address_and_what_to_do() -> (
    None
):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    for error in await both(OpenAICompatibleProvider(f"http://127.0.0.1:{port}/v1", model="m")):
        assert error.transient
        assert error.status is None
        assert f"no model server answers at http://127.0.0.1:{port}" in str(error)
        assert "is it running, and is base_url its address?" in str(error)
    for error in await both(OllamaProvider(f"http://127.0.0.1:{port}", model="m")):
        assert "ollama serve" in str(error)


async def test_a_reply_that_is_no_chat_completion_says_what_to_check(server: Any) -> None:
    server.reply(b"<html>welcome</html>")
    for error in await both(provider_of(server)):
        assert "base_url" in str(error)
        assert not error.transient
    server.reply({"choices": []})
    for error in await both(provider_of(server)):
        assert "no message" in str(error)


@pytest.mark.parametrize("misbehave", ["sleep", "drip_headers"])
async def test_a_server_that_never_answers_is_given_up_in_time(
    server: Any, within: Any, misbehave: Any
) -> None:
    getattr(server, misbehave)()
    for attempt in within(0.9):
        with attempt:
            error, aerror = await both(provider_of(server), timeout=0.05)
        assert isinstance(error, CallTimeoutError)
        assert isinstance(aerror, CallTimeoutError)


async def test_a_body_that_only_drips_is_given_up_in_time(server: Any, within: Any) -> None:
    server.drip(b'{"model": "m",')
    for attempt in within(0.9):
        with attempt:
            error, aerror = await both(provider_of(server), timeout=0.15)
        assert isinstance(error, CallTimeoutError)
        assert isinstance(aerror, CallTimeoutError)


@pytest.mark.parametrize("every", [0.02, 30])
async def test_a_stream_that_drips_or_stalls_is_given_up_in_time(
    server: Any, within: Any, every: float
) -> None:
    server.drip(EVENTS[1], every)
    async with provider_of(server) as provider:
        for attempt in within(0.9):
            with attempt:
                with pytest.raises(CallTimeoutError):
                    await asyncio.to_thread(list, provider.stream("hi", timeout=0.15))
                with pytest.raises(CallTimeoutError):
                    [chunk async for chunk in provider.astream("hi", timeout=0.15)]


def test_a_stream_that_stalls_after_its_last_piece_is_given_up_at_the_deadline_not_later(
    server: Any, within: Any
) -> None:
    server.drip(EVENTS[1], every=0.55)
    with provider_of(server) as provider:
        for attempt in within(0.95):
            with attempt, pytest.raises(CallTimeoutError):
                list(provider.stream("hi", timeout=0.6))


def test_no_time_left_means_no_request(server: Any) -> None:
    with provider_of(server) as provider, pytest.raises(CallTimeoutError):
        provider.complete("hi", timeout=0)
    assert server.requests == []


async def test_cancelling_an_awaited_call_passes_through(server: Any) -> None:
    server.sleep()
    async with provider_of(server) as provider:
        task = asyncio.create_task(provider.acomplete("hi", timeout=5))
        while not server.requests:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_one_provider_works_across_event_loops_and_leaves_no_connection_open(
    server: Any, recwarn: pytest.WarningsRecorder
) -> None:
    server.reply(REPLY)
    provider = provider_of(server)
    for _ in range(3):
        assert asyncio.run(provider.acomplete("hi")).content == "Hello."
        assert provider._http._keepers == {}
    provider.close()
    assert [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)] == []


async def test_connections_are_reused(server: Any) -> None:
    server.reply(REPLY)
    async with provider_of(server) as provider:
        for _ in range(3):
            await provider.acomplete("hi")
            provider.complete("hi", timeout=5)
    assert len(server.connections) == 2


async def test_a_closed_provider_opens_again(server: Any) -> None:
    server.reply(REPLY)
    provider = provider_of(server)
    for _ in range(2):
        assert [reply.content for reply in await both(provider)] == ["Hello.", "Hello."]


def test_many_threads_share_one_provider(server: Any) -> None:
    server.reply(REPLY)
    replies = []
    with provider_of(server) as provider:
        threads = [
            threading.Thread(target=lambda: replies.append(provider.complete("hi", timeout=5)))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [reply.content for reply in replies] == ["Hello."] * 20


def traceback_with_variables(error: BaseException) -> str:
    """What a crash reporter sends home: every frame with its variables, of every error in the chain."""
    assert error.__traceback__ is not None
    below_the_test = error.with_traceback(error.__traceback__.tb_next)
    return "".join(traceback.TracebackException.from_exception(below_the_test, capture_locals=True).format())


def test_a_password_in_the_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(MisuseError, match="headers=") as caught:
        OpenAICompatibleProvider("https://me:hunter2@example.com/v1", model="m")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", [KEY, SecretStr(KEY)])
def test_no_secret_is_in_repr_state_pickle_log_or_error(
    server: Any, key: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = "token-5678-secret"
    provider = OpenAICompatibleProvider(f"{server.url}/v1", key, "m", headers={"X-Token": token})
    server.reply({"error": f"key {KEY} and {token} refused; {'blah ' * 1000}"}, 401)
    with pytest.raises(ProviderError) as caught:
        provider.complete("hi")
    texts = [repr(provider), str(provider.__dict__), str(caught.value), repr(caught.value), caplog.text]
    with pytest.raises(ProviderError) as unreachable:
        OpenAICompatibleProvider("http://127.0.0.1:9", key, "m", headers={"X-Token": token}).complete("hi")
    for error in (caught.value, unreachable.value):
        assert "http_chat.py" in traceback_with_variables(error)
        texts.append(traceback_with_variables(error))
    texts += [repr(pickle.dumps(provider)), repr(pickle.dumps(caught.value))]
    assert server.requests[0][1]["X-Token"] == token
    for text in texts:
        assert KEY not in text
        assert token not in text
    assert len(str(caught.value)) < 700
    provider.close()


@pytest.mark.parametrize("is_stream", [False, True])
def test_no_secret_is_in_a_failure_that_comes_with_status_200(server: Any, is_stream: bool) -> None:
    failure = {"error": {"code": 401, "message": f"no such key: Bearer {KEY}"}}
    if is_stream:
        server.pieces(b"data: " + json.dumps(failure).encode() + b"\n\n")
    else:
        server.reply(failure)
    with provider_of(server) as provider, pytest.raises(ProviderError, match="no such key") as caught:
        list(provider.stream("hi")) if is_stream else provider.complete("hi")
    texts = [str(caught.value), repr(caught.value), repr(pickle.dumps(caught.value))]
    for text in texts if is_stream else [*texts, traceback_with_variables(caught.value)]:
        assert KEY not in text
    assert caught.value.status == 401


@pytest.mark.parametrize("flaw", ["\n", "\r\nX-More: 1", " ", "é"])
def test_a_secret_that_no_header_can_carry_is_refused_by_name_and_not_shown(
    server: Any, monkeypatch: pytest.MonkeyPatch, flaw: str
) -> None:
    with pytest.raises(MisuseError, match=r"the API key .*strip\(\)") as key:
        OpenAICompatibleProvider(server.url, KEY + flaw, "m")
    with pytest.raises(MisuseError, match=r"headers\['X-Token'\] .*strip\(\)") as header:
        OpenAICompatibleProvider(server.url, model="m", headers={"X-Token": KEY + flaw})
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY + flaw)
    provider = OpenAICompatibleProvider(model="m")
    with pytest.raises(MisuseError, match="the API key") as environment:
        provider.complete("hi")
    assert KEY not in str(key.value) + str(header.value) + traceback_with_variables(environment.value)
    assert server.requests == []


def test_a_header_that_is_no_string_is_refused_by_name() -> None:
    with pytest.raises(MisuseError, match=r"headers\['X-Version'\] must be a string"):
        OpenAICompatibleProvider("http://127.0.0.1:9", model="m", headers={"X-Version": 2})  # type: ignore[dict-item]  # the point


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"error":' * 3_000 + b"1" + b"}" * 3_000])
def test_a_failure_nested_too_deeply_to_be_read_is_told_with_its_status(server: Any, body: bytes) -> None:
    server.reply(body, 503)
    with provider_of(server) as provider, pytest.raises(ProviderError, match="answered 503") as caught:
        provider.complete("hi")
    assert caught.value.transient


@pytest.mark.parametrize("code", [502, "502"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_failure_inside_a_choice_is_raised_and_never_taken_for_an_answer(
    server: Any, code: Any, is_stream: bool
) -> None:
    failure = {"code": code, "message": "upstream is down"}
    said = {"content": "Half an ans"}
    choice = {"message": said, "delta": said, "finish_reason": "error", "error": failure}
    if is_stream:
        server.pieces(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
    else:
        server.reply({"choices": [choice]})
    with provider_of(server) as provider, pytest.raises(ProviderError, match="upstream is down") as caught:
        list(provider.stream("hi")) if is_stream else provider.complete("hi")
    assert (caught.value.status, caught.value.transient) == (502, True)


def test_what_a_gateway_passes_on_is_told_too(server: Any) -> None:
    upstream = {"raw": '{"error": {"message": "the model is overloaded"}}', "provider_name": "them"}
    server.reply({"error": {"code": 429, "message": "Provider returned error", "metadata": upstream}}, 429)
    with provider_of(server) as provider, pytest.raises(ProviderError) as caught:
        provider.complete("hi")
    assert "Provider returned error: the model is overloaded" in str(caught.value)


@pytest.mark.parametrize("content", [42, True, {"answer": "Hello."}])
def test_a_content_that_is_no_text_is_refused_and_never_taken_for_an_empty_answer(
    server: Any, content: Any
) -> None:
    server.reply({"choices": [{"message": {"content": content}}]})
    with provider_of(server) as provider, pytest.raises(ProviderError, match="neither text nor a list"):
        provider.complete("hi")


def test_parts_of_a_content_may_be_plain_strings(server: Any) -> None:
    server.reply({"choices": [{"message": {"content": ["Hel", {"type": "text", "text": "lo."}, None]}}]})
    with provider_of(server) as provider:
        assert provider.complete("hi").content == "Hello."


async def test_the_words_of_a_refusal_are_the_answer_also_in_pieces(server: Any) -> None:
    server.reply({"choices": [{"message": {"content": None, "refusal": "I cannot help with that."}}]})
    with provider_of(server) as provider:
        assert provider.complete("hi").content == "I cannot help with that."
    server.pieces(
        b'data: {"choices":[{"delta":{"content":null,"refusal":"I can"}}]}\n\n',
        b'data: {"choices":[{"delta":{"refusal":"not."},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    )
    async with provider_of(server) as provider:
        assert "".join([chunk.text async for chunk in provider.astream("hi")]) == "I cannot."


def test_an_unpickled_provider_says_that_its_key_stayed_behind(server: Any) -> None:
    provider = provider_of(server)
    with pytest.raises(MisuseError, match="api_key"):
        pickle.loads(pickle.dumps(provider)).complete("hi")
    assert server.requests == []


def test_a_provider_without_secrets_survives_a_pickle(server: Any) -> None:
    server.reply(REPLY)
    provider = pickle.loads(pickle.dumps(OpenAICompatibleProvider(f"{server.url}/v1", model="m", seed=3)))
    assert provider.complete("hi").content == "Hello."
    assert server.requests[0][2]["seed"] == 3
    provider.close()


def test_a_copy_keeps_the_key(server: Any) -> None:
    server.reply(REPLY)
    with copy.deepcopy(provider_of(server)) as provider:
        assert copy.copy(provider).complete("hi").content == "Hello."


def test_the_environments_key_goes_only_to_the_environments_address(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    server.reply(REPLY)
    with OpenAICompatibleProvider(model="m") as provider:
        provider.complete("hi")
    with OpenAICompatibleProvider(f"{server.url}/v1", model="m") as provider:
        provider.complete("hi")
    assert [headers.get("Authorization") for _, headers, _ in server.requests] == [f"Bearer {KEY}", None]


def test_misuse_is_refused_before_anything_is_sent(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(MisuseError, match="OPENAI_BASE_URL"):
        OpenAICompatibleProvider()
    with pytest.raises(MisuseError, match="http://"):
        OpenAICompatibleProvider("localhost:8000")
    with pytest.raises(MisuseError, match="base_url is no address"):
        OpenAICompatibleProvider("http://[::1")
    with pytest.raises(MisuseError, match="name the model"):
        OpenAICompatibleProvider(server.url).complete("hi")
    for prompt in ([], [{"content": "no role"}], ["text"], None, 3):
        with pytest.raises(MisuseError, match="role"):
            provider_of(server).complete(prompt)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(MisuseError, match="JSON"):
        provider_of(server, default_params={"logit_bias": object()}).complete("hi")
    assert server.requests == []


def test_it_is_a_provider_that_streams(server: Any) -> None:
    provider = provider_of(server)
    assert isinstance(provider, Provider)
    assert isinstance(provider, StreamingProvider)
    assert provider.model_id == "gpt-4o-mini"
