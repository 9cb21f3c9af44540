"""What the running batch generates for a request is what `generate` gives for it alone."""

import concurrent.futures
import contextlib
import json

import jax
import numpy as np
import pytest

from tests.serving.conftest import running, wait_until

PROMPTS = [
    "Ann: Are you coming?",
    "Bob will be at the station before noon. Ann asks Bob whether he will come.",
    "market on Sunday",
    "Yes, at nine.",
]
# Few structures and few numbers of prompts: what costs time is that `generate` compiles for each.
_ALL = {
    "do_sample": True,
    "temperature": 1.5,
    "top_p": 0.8,
    "repetition_penalty": 1.2,
    "min_p": 0.01,
}
CASES = [
    ("tiny", {}),
    ("first", {}),
    ("second", {}),
    ("tiny", {"max_new_tokens": 5}),
    ("second", {"min_new_tokens": 9, "max_new_tokens": 11}),
    ("first", {"repetition_penalty": 1.7}),
    ("tiny", {"do_sample": True}),
    ("tiny", {"do_sample": True, "temperature": 2.5, "top_k": 0}),
    ("second", {"do_sample": True, "temperature": 1.5, "top_k": 7, "num_return_sequences": 3}),
    ("first", _ALL | {"typical_p": 0.9}),
    ("first", _ALL | {"top_k": 12, "typical_p": 0.8, "max_new_tokens": 7}),
    ("tiny", {"stop_strings": ["a", "on"]}),
]

BESIDE = [
    {"num_beams": 3, "num_return_sequences": 2},
    {"no_repeat_ngram_size": 2},
    {"suppress_tokens": [5, 6, 7]},
]


def expected(model, served, name, prompts, settings, seed):
    """Token ids by `generate` alone, up to the end of each."""
    folder = {"tiny": None, **dict(served.settings.adapter)}[name]
    if folder and name not in model.adapters:
        model.load_adapter(folder, name)
    model.set_adapter(name if folder else None)
    settings = {"max_new_tokens": 16} | settings
    output = model._generate(model.encode(prompts), seed, settings, with_logprobs=True)
    return [
        (row[:length].tolist(), logprobs[:length])
        for row, length, logprobs in zip(
            output.tokens, output.lengths, output.logprobs, strict=True
        )
    ]


@pytest.fixture(scope="module")
def asked():
    """Requests of all kinds, of two prompts each."""
    return [
        (name, [PROMPTS[number % 4], PROMPTS[(number + 1) % 4]], settings, 100 + number)
        for number, (name, settings) in enumerate(CASES)
    ]


@contextlib.contextmanager
def compilations():
    """What XLA compiles meanwhile."""
    seen = []

    def note(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def test_compilations_are_seen():
    with compilations() as seen:
        jax.jit(lambda x: x + 12345)(np.float32(1))
    assert len(seen) == 1


def ask(server, case):
    name, prompts, settings, seed = case
    body = {"max_new_tokens": 16} | settings
    return server.complete(
        **body, prompt=prompts, seed=seed, return_token_ids=True, model=name, logprobs=2
    ).json()


def same(model, served, case, answer):
    alone = expected(model, served, *case)
    assert [choice["token_ids"] for choice in answer["choices"]] == [ids for ids, _ in alone]
    for choice, (ids, logprobs) in zip(answer["choices"], alone, strict=True):
        found = choice["logprobs"]["token_logprobs"]
        without_eos = [number for number, token in enumerate(ids) if token != 1]
        np.testing.assert_allclose(found, logprobs[without_eos], atol=1e-4)
        assert choice["finish_reason"] in ("stop", "length")
    return [ids for ids, _ in alone]


def test_many_at_once_are_as_each_alone_and_compile_nothing(model, served, server, asked):
    compiled = served.engine.compilations
    with concurrent.futures.ThreadPoolExecutor(12) as pool, compilations() as seen:
        answers = list(pool.map(lambda case: ask(server, case), asked))
    assert seen == []  # by XLA itself, of whatever
    outputs = [same(model, served, case, got) for case, got in zip(asked, answers, strict=True)]
    by_adapter = dict(zip([case[0] for case in asked[:3]], outputs[:3], strict=True))
    assert by_adapter["tiny"] != by_adapter["first"] != by_adapter["second"]
    assert len({str(ids) for ids in outputs}) > len(asked) / 2  # they are not all alike
    assert server.metric("t5x_lite_compilations ") == compiled == served.engine.compilations
    assert server.metric("t5x_lite_compilations_alone ") == 0


@pytest.mark.parametrize(
    "settings",
    [BESIDE[0], *(pytest.param(settings, marks=pytest.mark.slow) for settings in BESIDE[1:])],
    ids=lambda settings: next(iter(settings)),
)
def test_what_no_slot_can_do_is_done_beside_them(model, served, server, settings):
    before = server.metric("t5x_lite_compilations_alone ")
    case = ("second", PROMPTS[:2], settings, 0)
    same(model, served, case, ask(server, case))
    assert server.metric("t5x_lite_compilations_alone ") == before + 1
    assert ask(server, ("tiny", PROMPTS[2:3], settings, 0))["choices"]
    # Of base and adapter, and of one and two inputs: another program each, and no more.
    compiled = server.metric("t5x_lite_compilations_alone ")
    assert ask(server, ("tiny", PROMPTS[3:], settings, 0))["choices"]
    assert server.metric("t5x_lite_compilations_alone ") == compiled


def test_token_ids_are_a_prompt_too(model, server):
    (ids,) = model.tokenizer.encode([PROMPTS[0]], add_eos=True)
    texts = [server.complete(prompt=p).json()["choices"][0]["text"] for p in (ids, PROMPTS[0])]
    assert texts[0] == texts[1] != ""


def test_streamed_pieces_are_the_whole(server):
    body = {"prompt": PROMPTS[:2], "temperature": 1.5, "seed": 4, "n": 2, "stop": "on"}
    whole = {c["index"]: c for c in server.complete(**body).json()["choices"]}
    streamed = {number: ["", None] for number in whole}
    text = server.complete(**body, stream=True, stream_options={"include_usage": True}).text
    *events, done, nothing = text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    objects = [json.loads(event.removeprefix("data: ")) for event in events]
    assert objects[-1]["choices"] == [] and objects[-1]["usage"]["completion_tokens"] > 4
    for choice in (choice for event in objects for choice in event["choices"]):
        assert streamed[choice["index"]][1] is None
        streamed[choice["index"]][0] += choice["text"]
        streamed[choice["index"]][1] = choice["finish_reason"]
    assert streamed == {n: [c["text"], c["finish_reason"]] for n, c in whole.items()}
    assert not any("on" in text for text, _ in streamed.values())


def test_a_failure_costs_those_that_ran_and_nobody_else(served, server, monkeypatch):
    quick = served.engine.advance

    def fails(slots, count):
        monkeypatch.setattr(served.engine, "advance", quick)
        raise RuntimeError("the device is gone")

    before = server.complete(prompt=PROMPTS[0]).json()["choices"]
    monkeypatch.setattr(served.engine, "advance", fails)
    failed = server.complete(prompt=PROMPTS[0])
    assert failed.status_code == 500 and failed.json()["error"]["type"] == "server_error"
    assert "device" not in failed.text
    assert server.complete(prompt=PROMPTS[0]).json()["choices"] == before


def test_a_device_that_does_not_come_back_is_told_to_whoever_restarts(served, monkeypatch):
    def fails(*_):
        raise RuntimeError("the device is gone")

    with running(served) as server:
        assert server.client.get("/healthz").status_code == 200
        monkeypatch.setattr(served.engine, "advance", fails)
        monkeypatch.setattr(served.engine, "reset", fails)
        assert server.complete(prompt=PROMPTS[0]).status_code == 500
        assert wait_until(lambda: not server.scheduler.is_alive)
        assert server.client.get("/healthz").status_code == 503
        assert server.client.get("/readyz").status_code == 503
        assert server.complete(prompt=PROMPTS[0]).status_code == 503
    monkeypatch.undo()
    served.engine.reset()
