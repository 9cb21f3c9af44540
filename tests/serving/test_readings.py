"""Embeddings and classes over HTTP, without a model that generates: as the models give them from Python and torch."""

import base64
import dataclasses
import threading

import numpy as np
import openai
import pytest
import torch
import transformers

from t5x_lite.embedding.encoder import load_encoder
from t5x_lite.errors import InputError
from t5x_lite.sections import read
from t5x_lite.serving.metrics import Metrics
from t5x_lite.serving.reading import Readings, load_readings
from t5x_lite.serving.sections import DEFAULTS, ServeSettings
from t5x_lite.serving.server import make_app
from tests.embedding.conftest import TEXTS
from tests.embedding.conftest import bert as bert
from tests.serving.conftest import listening, wait_until

SAID = [text for text in TEXTS if text]


@pytest.fixture(scope="module")
def classifier(bert, tmp_path_factory):
    """A classifier with the encoder's tokenizer and three labels."""
    folder = tmp_path_factory.mktemp("classifier")
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=64, num_labels=3, initializer_range=0.5,
        id2label={0: "calm", 1: "glad", 2: "rude"}, label2id={"calm": 0, "glad": 1, "rude": 2},
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def settings(bert, classifier) -> ServeSettings:
    flags = {"encoder": (("mini", str(bert)),), "classifier": (("tone", str(classifier)),)}
    return read(ServeSettings, DEFAULTS | flags)


@pytest.fixture(scope="module")
def readings(settings):
    return load_readings(settings, Metrics(), [])


@pytest.fixture(scope="module")
def server(settings, readings):
    with listening(make_app(settings, None, None, readings, Metrics()), settings) as running:
        yield running


def test_openais_client_gets_the_encoders_vectors(server, bert):
    client = openai.OpenAI(base_url=f"{server[1]}/v1", api_key="none", max_retries=0)
    expected = load_encoder(bert).embed(SAID)
    for encoding in ("float", "base64"):
        answer = client.embeddings.create(model="mini", input=SAID, encoding_format=encoding)
        given = np.array(
            [
                np.frombuffer(base64.b64decode(one.embedding), "<f4")
                if isinstance(one.embedding, str)
                else one.embedding
                for one in answer.data
            ]
        )
        np.testing.assert_allclose(given, expected, atol=1e-6)
    assert [one.index for one in answer.data] == list(range(len(SAID)))
    (alone,) = client.embeddings.create(model="mini", input=SAID[0], dimensions=64).data
    np.testing.assert_allclose(alone.embedding, expected[0], atol=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    count = sum(len(tokenizer(t, truncation=True, max_length=20)["input_ids"]) for t in SAID)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == count
    assert [model.id for model in client.models.list()] == ["mini", "tone"]


def test_classes_are_torchs(server, classifier):
    answer = server[0].post("/v1/classify", json={"model": "tone", "input": SAID}).json()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(classifier)
    for text, one in zip(SAID, answer["data"], strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(text, truncation=True, max_length=64, return_tensors="pt"))
        shares = torch.softmax(logits.logits[0], -1).numpy()
        np.testing.assert_allclose(one["probs"], shares, atol=1e-5)
        labels = ["calm", "glad", "rude"]
        assert one["label"] == labels[int(shares.argmax())] and one["num_classes"] == 3
        assert one["scores"] == dict(zip(labels, one["probs"], strict=True))
    assert len({one["probs"][0] for one in answer["data"]}) == len(SAID)
    assert answer["usage"]["prompt_tokens"] > 2 * len(SAID)


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("embeddings", {"model": "mini"}, 400, "input"),
        ("embeddings", {"model": "mini", "input": ""}, 400, "input"),
        ("embeddings", {"model": "mini", "input": []}, 400, "input"),
        ("embeddings", {"model": "mini", "input": [1, 2]}, 400, "input"),
        ("embeddings", {"model": "mini", "input": ["a"] * 2049}, 400, "input"),
        ("embeddings", {"model": "tone", "input": "a"}, 404, "model"),
        ("embeddings", {"input": "a"}, 400, "model"),
        ("embeddings", {"model": "mini", "input": "a", "dimensions": 8}, 400, "dimensions"),
        ("embeddings", {"model": "mini", "input": "a", "encoding_format": "hex"}, 400, "encoding_format"),
        ("classify", {"model": "mini", "input": "a"}, 404, "model"),
        ("classify", {"model": "tone", "input": "a", "top_k": 3}, 400, "top_k"),
        ("completions", {"model": "mini", "prompt": "a"}, 404, None),
    ],
)  # fmt: skip
def test_what_is_refused(server, path, body, status, param):
    answer = server[0].post(f"/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json().get("error", {}).get("param") == param


def test_more_than_can_wait_are_told_to_come_back(settings, readings, bert, monkeypatch):
    """One is computed and one waits; the others get 429. Closed, it takes nothing new, and ends what it has."""
    go_on = threading.Event()
    encoder = readings.encoders["mini"]
    monkeypatch.setattr(
        type(encoder), "tokenize", lambda self, texts: go_on.wait(20) and [[2, 3]] * len(texts)
    )
    settings = dataclasses.replace(settings, queue=1)
    own = load_readings(settings, Metrics(), [])
    with listening(make_app(settings, None, None, own, Metrics()), settings) as (client, _):
        statuses: list[int] = []

        def ask():
            answer = client.post("/v1/embeddings", json={"model": "mini", "input": "a"})
            statuses.append(answer.status_code)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert wait_until(lambda: statuses == [429, 429])
        own.close()
        assert client.get("/readyz").status_code == 503 and not own.is_idle
        late = client.post("/v1/embeddings", json={"model": "mini", "input": "a"})
        assert late.status_code == 503 and late.headers["retry-after"]
        go_on.set()
        for thread in threads:
            thread.join()
        assert statuses == [429, 429, 200, 200] and own.is_idle
    own.stop()


def test_two_of_one_name_are_refused(settings):
    with pytest.raises(InputError, match="--encoder mini=.*there is a 'mini' already"):
        load_readings(settings, Metrics(), ["mini"])


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        ("", None),
        ("*", "*"),
        ("https://other.example, http://localhost:3000", "http://localhost:3000"),
        ("https://other.example", None),
    ],
)
def test_pages_ask_from_a_browser_where_they_may(settings, allowed, origin):
    """A browser asks by OPTIONS first, without the key, and shows a page only answers that name its origin."""
    chosen = dataclasses.replace(settings, allow_origin=allowed, api_key="secret")
    metrics = Metrics()
    readings = Readings({}, {}, chosen, metrics)
    app = make_app(chosen, None, None, readings, metrics)
    page = {"origin": "http://localhost:3000"}
    asks = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, x-stainless-os",
    }
    with listening(app, chosen) as (client, _):
        first = client.options("/v1/models", headers=page | asks)
        answer = client.get("/v1/models", headers=page)
        assert first.status_code == (200 if origin else 405 if not allowed else 400)
        assert allowed or "--allow_origin lets web pages ask" in first.text
        assert first.headers.get("access-control-allow-origin") == origin
        assert answer.status_code == 401  # which a page can read, too
        assert answer.headers.get("access-control-allow-origin") == origin
