"""Statuses and messages as OpenAI's, limits, and clients that go away or never say anything."""

import asyncio
import concurrent.futures
import gzip
import json
import os
import re
import signal
import socket
import time

import httpx2
import openai
import pytest

from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.serving.completions import read_completion
from t5x_lite.serving.metrics import Metrics
from t5x_lite.serving.reading import Readings
from t5x_lite.serving.server import run
from t5x_lite.serving.trouble import Refused
from tests.serving.conftest import running, wait_until

PROMPT = "Ann: Are you coming?"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"[1]", 400, None),
        (b"[" * 100_000, 400, None),
        (rb'{"model": "tiny", "prompt": "\ud800"}', 400, None),
        (b"\xff\xfe", 400, None),
        ({}, 400, "model"),
        ({"model": 3}, 400, "model"),
        ({"model": "gpt-4", "prompt": PROMPT}, 404, "model"),
        ({"model": "tiny"}, 400, "prompt"),
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": [PROMPT, 3]}, 400, "prompt"),
        ({"prompt": 3}, 400, "prompt"),
        ({"prompt": [True]}, 400, "prompt"),
        ({"prompt": [10**6]}, 400, "prompt"),
        ({"prompt": [-1]}, 400, "prompt"),
        ({"prompt": "market " * 60}, 400, "prompt"),
        ({"prompt": ["a"] * 257}, 400, "prompt"),
        ({"max_tokens": 17}, 400, "max_tokens"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": "many"}, 400, "max_tokens"),
        ({"max_tokens": 3, "max_new_tokens": 3}, 400, "max_tokens"),
        ({"max_new_tokens": [3]}, 400, "max_new_tokens"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"temperature": True}, 400, "temperature"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": [1.0]}, 400, "temperature"),
        ({"temperature": {}}, 400, "temperature"),
        ({"top_p": 1.5}, 400, "top_p"),
        ({"top_k": -1}, 400, "top_k"),
        ({"repetition_penalty": 0}, 400, "repetition_penalty"),
        ({"n": 2}, 400, "n"),
        ({"n": 1.5}, 400, "n"),
        ({"n": 10**6, "temperature": 1}, 400, "n"),
        ({"best_of": 2}, 400, "best_of"),
        ({"echo": True}, 400, "echo"),
        ({"logit_bias": {"3": 1}}, 400, "logit_bias"),
        ({"presence_penalty": 0.5}, 400, "presence_penalty"),
        ({"logprobs": 6}, 400, "logprobs"),
        ({"logprobs": "all"}, 400, "logprobs"),
        ({"seed": -1}, 400, "seed"),
        ({"seed": 2**31}, 400, "seed"),
        ({"stream": "yes"}, 400, "stream"),
        ({"stream": True, "num_beams": 2}, 400, "stream"),
        ({"num_beams": 5}, 400, "num_beams"),
        ({"stop": ["a"] * 5}, 400, "stop"),
        ({"stop": ["a" * 129]}, 400, "stop"),
        ({"stop": "§"}, 400, "stop_strings"),
        ({"stop": [""]}, 400, "stop"),
        ({"stop": "a", "stop_strings": "a"}, 400, "stop"),
        ({"topk": 3}, 400, "topk"),
        ({"suppress_tokens": [10**6]}, 400, "suppress_tokens"),
        ({"bad_words_ids": 3}, 400, "bad_words_ids"),
        ({"eos_token_id": {}}, 400, "eos_token_id"),
    ],
    ids=str,
)
def test_bad_requests_are_told_in_openai_s_words(server, body, status, param):
    if isinstance(body, dict):
        given = body if "model" in body or not body else {"model": "tiny", "prompt": PROMPT} | body
        body = json.dumps(given).encode()
    answer = server.client.post("/v1/completions", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), error
    assert error["message"] and "\n" not in error["message"]
    assert error["type"] == "invalid_request_error" and set(error) >= {"code"}


def test_what_asks_for_nothing_is_no_mistake(server):
    idle = {"echo": False, "suffix": None, "frequency_penalty": 0, "logit_bias": {}, "user": "me"}
    plain = server.complete(prompt=PROMPT).json()["choices"]
    assert server.complete(prompt=PROMPT, **idle, best_of=1).json()["choices"] == plain
    assert server.complete(prompt=PROMPT, temperature=0, top_p=0.5).json()["choices"] == plain


def test_draws_without_a_seed_can_be_had_again(server):
    one, other = (server.complete(prompt=PROMPT, temperature=3, top_k=0).json() for _ in range(2))
    assert one["choices"] != other["choices"] and one["seed"] != other["seed"]
    again = server.complete(prompt=PROMPT, temperature=3, top_k=0, seed=one["seed"]).json()
    assert again["choices"] == one["choices"]
    assert "seed" not in server.complete(prompt=PROMPT).json()


def test_openai_s_client(server):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["tiny", "first", "second"]
    assert client.models.retrieve("first").id == "first"
    whole = client.completions.create(
        model="first", prompt=PROMPT, max_tokens=9, logprobs=2, extra_body={"min_new_tokens": 4}
    )
    (choice,) = whole.choices
    logprobs = choice.logprobs
    assert choice.finish_reason in ("stop", "length") and whole.usage.prompt_tokens > 3
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) >= 4
    assert (
        logprobs.text_offset[0] == 0
        and logprobs.tokens[0] == choice.text[: len(logprobs.tokens[0])]
    )
    for likeliest, logprob in zip(logprobs.top_logprobs, logprobs.token_logprobs, strict=True):
        assert logprob == max(likeliest.values()) < 0  # greedy
    pieces = client.completions.create(
        model="first", prompt=PROMPT, max_tokens=9, stream=True, extra_body={"min_new_tokens": 4}
    )
    assert "".join(piece.choices[0].text for piece in pieces) == choice.text
    with pytest.raises(openai.NotFoundError, match="the model 'gpt-4' does not exist"):
        client.completions.create(model="gpt-4", prompt=PROMPT)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.completions.create(model="tiny", prompt=PROMPT, temperature=-1)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/completions", 405, "Method Not Allowed; send POST"),
        ("POST", "/v1/chat/completions", 404, "there are completions, no chat"),
        ("POST", "/v1/embeddings", 404, "start it with --encoder"),
        ("GET", "/v1/models/none", 404, "'none' does not exist"),
        ("GET", "/nothing", 404, "Not Found"),
        ("POST", "/chat/completions", 404, "there are completions, no chat"),
        ("POST", "/completions", 404, "it is /v1/completions here"),
        ("POST", "/v1/v1/completions", 404, "it is /v1/completions here"),
        ("GET", "/health", 404, "it is /healthz here"),
        ("GET", "/healthz", 200, ""),
        ("GET", "/readyz", 200, ""),
    ],
)
def test_paths(server, method, path, status, message):
    answer = server.client.request(method, path)
    assert answer.status_code == status
    assert status == 200 or message in answer.json()["error"]["message"]
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"max_token": 3}, "unknown field 'max_token'; did you mean max_tokens?"),
        ({"temperature": -0.5}, "temperature must be a number >= 0 "),
        ({"prompt": 3}, "prompt must be a text"),
        # Fields of vLLM's and of OpenAI's chat.
        ({"min_tokens": 3}, "unknown field 'min_tokens'; it is called min_new_tokens here"),
        ({"guided_json": {}}, "unknown field 'guided_json'; remove it"),
        (
            {"messages": [{"role": "user", "content": "a"}]},
            "there is no chat: give the conversation",
        ),
        ({"response_format": {"type": "json_object"}}, "not supported: the output is plain text"),
        ({"ignore_eos": True}, "ignore_eos is not supported: raise min_new_tokens"),
    ],
)
def test_slips_are_told_in_the_words_of_the_request(body, message):
    with pytest.raises(Refused, match=re.escape(message)):
        read_completion({"model": "tiny", "prompt": PROMPT, **body})


@pytest.mark.parametrize(
    "idle",
    [
        {"ignore_eos": False, "skip_special_tokens": True, "use_beam_search": False},
        {"response_format": {"type": "text"}, "include_stop_str_in_output": False},
        {"safety_identifier": "me", "prompt_cache_key": "mine", "use_cache": True},
    ],
    ids=str,
)
def test_fields_of_other_servers_that_ask_for_nothing(idle):
    asked = {"model": "tiny", "prompt": PROMPT, "seed": 1}
    settings = read_completion(asked | idle).settings
    assert GenerationSettings().updated(settings).new_tokens() == (0, 20)
    assert not settings.keys() - {"use_cache"}


def test_metrics_tell_what_was_done(served):
    with running(served) as server:
        server.complete(prompt=[PROMPT, "market"], max_tokens=5, min_new_tokens=5)
        server.complete(prompt=PROMPT, max_tokens=0)
        assert server.metric("t5x_lite_generated_tokens_total") == 10
        assert server.metric("t5x_lite_prompt_tokens_total") > 5
        assert server.metric('t5x_lite_requests_total{path="/v1/completions",status="200"}') == 1
        assert server.metric('t5x_lite_requests_total{path="/v1/completions",status="400"}') == 1
        assert server.metric("t5x_lite_time_to_first_token_seconds_count") == 1
        assert server.metric("t5x_lite_request_seconds_count") == 1
        assert (
            server.metric("t5x_lite_slots ") == 4 and server.metric("t5x_lite_running_slots") == 0
        )


def test_a_key_is_asked_for(served, monkeypatch):
    monkeypatch.setenv("T5X_LITE_API_KEY", "of the environment")
    for given, key in (("secret", "secret"), ("", "of the environment")):
        with running(served, api_key=given) as server:
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": f"Basic {key}"},
            ):
                refused = server.client.get("/v1/models", headers=headers)
                assert refused.status_code == 401
                assert refused.json()["error"]["code"] == "invalid_api_key"
            headers = {"authorization": f"Bearer {key}"}
            assert server.client.get("/v1/models", headers=headers).status_code == 200
            assert server.client.get("/healthz").status_code == 200


def test_a_full_queue_says_when_to_come_again(slow):
    with running(slow, queue=1) as server, concurrent.futures.ThreadPoolExecutor(12) as pool:
        asked = {"prompt": PROMPT, "min_new_tokens": 16}
        answers = list(pool.map(lambda _: server.complete(**asked), range(12)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429} and statuses.count(200) >= 5
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert server.complete(**asked).status_code == 200


def test_what_takes_too_long_is_given_up(slow):
    with running(slow, request_timeout=0.3) as server:
        late = server.complete(prompt=PROMPT, min_new_tokens=16)
        assert late.status_code == 504 and late.json()["error"]["code"] == "timeout"
        text = server.complete(prompt=PROMPT, min_new_tokens=16, stream=True).text
        assert json.loads(text.rstrip().split("\n\n")[-1].removeprefix("data: "))["error"]
        assert wait_until(lambda: server.scheduler.is_idle, 1)
        assert server.metric("t5x_lite_cancelled_requests_total") == 2
        assert server.metric("t5x_lite_generated_tokens_total") < 20


@pytest.mark.parametrize("stream", [False, True])
def test_a_slot_is_free_once_its_client_has_gone(slow, stream):
    with running(slow) as server:
        body = {"model": "tiny", "prompt": [PROMPT] * 4, "min_new_tokens": 16, "stream": stream}
        content = json.dumps(body).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as gone:
            gone.sendall(head.encode() + content)
            assert wait_until(lambda: server.scheduler.running == 4)
        assert wait_until(lambda: server.scheduler.is_idle, 0.5)
        assert server.metric("t5x_lite_cancelled_requests_total") == 1
        assert server.metric("t5x_lite_generated_tokens_total") < 4 * 14


def test_large_slow_and_packed_bodies(served):
    with running(served, max_request_bytes=1024, read_timeout=0.3) as server:
        large = json.dumps({"model": "tiny", "prompt": "a" * 2000}).encode()
        for content in (large, iter([large[:1000], large[1000:]])):
            answer = server.client.post("/v1/completions", content=content)
            assert answer.status_code == 413
        packed = gzip.compress(b'{"model": "tiny", "prompt": "market"}')
        answer = server.client.post(
            "/v1/completions", content=packed, headers={"content-encoding": "gzip"}
        )
        assert answer.status_code == 415 and "gzip: send it as it is" in answer.text
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as late:
            late.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
            assert late.recv(100).startswith(b"HTTP/1.1 408")
        assert server.complete(prompt="market").status_code == 200


def test_connections_that_say_nothing_keep_nobody_waiting(served):
    with running(served, read_timeout=1.5) as server:
        port = int(server.url.rpartition(":")[2])
        silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(200)]
        for number, connection in enumerate(silent):
            if number % 2:
                connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost:")
        begin = time.monotonic()
        assert server.complete(prompt=PROMPT).status_code == 200
        assert time.monotonic() - begin < 1.5
        for connection in silent:
            assert connection.recv(1) == b""  # closed from there
            connection.close()


def test_a_reader_that_does_not_read_keeps_nobody_waiting(served):
    with running(served) as server:
        body = json.dumps(
            {"model": "tiny", "prompt": PROMPT, "stream": True, "logprobs": 5}
        ).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        port = int(server.url.rpartition(":")[2])
        readers = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        for reader in readers:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            reader.sendall(head.encode() + body)
        assert server.complete(prompt=PROMPT).status_code == 200
        assert wait_until(lambda: server.scheduler.is_idle)
        for reader in readers:
            reader.close()


def test_sigterm_ends_what_runs_and_takes_nothing_new(slow):
    """In the process, so that nothing is compiled for it."""
    found = {}

    async def client(url):
        async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            body = {"model": "tiny", "prompt": PROMPT, "min_new_tokens": 16, "stream": True}
            body["return_token_ids"] = True  # an event a token, also where it has no text
            other = await http.get("/readyz")
            async with http.stream("POST", "/v1/completions", json=body) as answer:
                lines = answer.aiter_lines()
                found["first"] = await anext(lines)
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(0.1)
                found["ready"] = other.status_code, (await http.get("/readyz")).status_code
                found["health"] = (await http.get("/healthz")).status_code
                refused = await http.post("/v1/completions", json=body)
                found["new"] = refused.status_code, "retry-after" in refused.headers
                found["rest"] = [line async for line in lines if line]

    async def both(listening):
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        metrics = Metrics()
        readings = Readings({}, {}, slow.settings, metrics)
        await asyncio.gather(run(slow.settings, slow, readings, metrics, listening), client(url))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        asyncio.run(asyncio.wait_for(both(listening), 30))
    assert found["ready"] == (200, 503) and found["health"] == 200
    assert found["new"] == (503, True)
    assert found["rest"][-1] == "data: [DONE]" and '"finish_reason":"length"' in found["rest"][-2]
