"""A tiny random model with two adapters, compiled for four slots, and servers of it on a port of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import jax
import numpy as np
import pytest

from t5x_lite.api import Pretrained, load_pretrained
from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.interop.hf import save_hf
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.params.adapters import Adapter
from t5x_lite.params.lora import LoraSettings
from t5x_lite.params.paths import map_with_path
from t5x_lite.sections import read
from t5x_lite.serving.metrics import Metrics
from t5x_lite.serving.reading import Readings
from t5x_lite.serving.sections import DEFAULTS, ServeSettings
from t5x_lite.serving.served import Served, load_served
from t5x_lite.serving.server import Server, _uvicorn_config, make_app, make_scheduler

TEXTS = [
    "Ann: Are you coming to the market on Sunday?\nBob: Yes, at nine.",
    "Ann asks Bob whether he will come to the market.",
    "Bob will be at the station before noon.",
]
ADAPTERS = {
    "first": LoraSettings(((".*/(query|value)", 2),), 16.0, 0.0, False, False),
    "second": LoraSettings(((".*/(wo|query)", 3),), 24.0, 0.0, False, True),
}


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Pretrained:
    """The model, read from the files that are served; its adapters lie beside them."""
    folder = tmp_path_factory.mktemp("serving")
    tokenizer = train_tokenizer(
        TEXTS,
        folder / "tokenizer",
        TrainedTokenizerSettings(
            vocab_size=50,
            algorithm="unigram",
            user_defined_symbols=(),
            extra_ids=4,
            keep_newlines=True,
            byte_fallback=False,
            max_sentences=0,
        ),
    )
    config = T5Config(
        vocab_size=tokenizer.padded_size,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_encoder_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        tie_word_embeddings=False,
        scale_decoder_outputs=False,
        initializer_factor=2.0,
    )
    params = init_params(T5(config, Execution()), jax.random.key(3))
    save_hf(folder / "model", config, params, tokenizer)
    t5 = load_pretrained(folder / "model")
    for number, (name, settings) in enumerate(ADAPTERS.items()):
        rng = np.random.default_rng(number)
        tree = map_with_path(
            lambda path, x, rng=rng: (
                x + 0.5 * rng.normal(size=x.shape).astype(np.float32)
                if path.endswith("lora_b")
                else x
            ),
            settings.init(t5.params, jax.random.key(number)),
        )
        t5.adapters[name], t5.adapter = Adapter(settings, tree), name
        t5.save_adapter(folder / name)
    t5.adapters, t5.adapter = {}, None
    return t5


@pytest.fixture(scope="session")
def flags(model) -> dict[str, Any]:
    folder = model.source.rpartition("/")[0]
    return DEFAULTS | {
        "model": model.source,
        "adapter": tuple((name, f"{folder}/{name}") for name in ADAPTERS),
        "name": "tiny",
        "max_batch": 4,
        "max_input_length": 48,
        "max_new_tokens": 16,
        "read_timeout": 5.0,
    }


@pytest.fixture(scope="session")
def served(flags) -> Served:
    return load_served(read(ServeSettings, flags))


@dataclasses.dataclass
class Running:
    """A server that runs, and a client of it."""

    client: httpx2.Client
    metrics: Metrics
    scheduler: Any
    url: str

    def complete(self, **body: Any) -> httpx2.Response:
        return self.client.post("/v1/completions", json={"model": "tiny", **body})

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@contextlib.contextmanager
def running(served: Served, **changed: Any) -> Iterator[Running]:
    """changed: flags, beside those that are compiled in."""
    served = dataclasses.replace(served, settings=dataclasses.replace(served.settings, **changed))
    metrics = Metrics()
    scheduler = make_scheduler(served, metrics)
    readings = Readings({}, {}, served.settings, metrics)
    app = make_app(served.settings, served, scheduler, readings, metrics)
    scheduler.start()
    try:
        with listening(app, served.settings) as (client, url):
            yield Running(client, metrics, scheduler, url)
    finally:
        scheduler.stop()


@contextlib.contextmanager
def listening(app: Any, settings: ServeSettings) -> Iterator[tuple[httpx2.Client, str]]:
    """A client of the application, which listens at a port of its own, and its address."""
    open_socket = socket.create_server(("127.0.0.1", 0))
    server = Server(_uvicorn_config(app, settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [open_socket]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{open_socket.getsockname()[1]}"
    try:
        with httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield client, url
    finally:
        server.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="module")
def server(served) -> Iterator[Running]:
    with running(served) as server:
        yield server


@pytest.fixture
def slow(served, monkeypatch) -> Served:
    """A model of which every token takes a while."""
    quick = served.engine.advance

    def advance(slots, count):
        time.sleep(0.05)
        return quick(slots, 1)

    monkeypatch.setattr(served.engine, "advance", advance)
    return served


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()
