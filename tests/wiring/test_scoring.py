"""The evaluation of a run that trains takes the loss's chunk; several references of one input get one output."""

import types

import jax
import numpy as np
from ml_collections import ConfigDict

from t5x_lite.data.buckets import Shape
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.plan import Plan
from t5x_lite.parallel.mesh import make_mesh
from t5x_lite.wiring import scoring, training


class Loaded:
    model = "model"


def test_the_loss_of_the_held_out_rows_is_chunked_as_the_training_loss(monkeypatch):
    given = []
    monkeypatch.setattr(training, "make_loss", lambda *arguments: given.append(arguments))
    monkeypatch.setattr(training, "train_by", lambda *arguments: "state")
    config = ConfigDict({"loss": {"chunk": 7}})
    assert training.train(config, Loaded(), None, "plan", "", "mesh", None) == "state"
    assert given == [("model", "plan", "mesh", 7)]


def test_rows_of_one_input_are_decoded_once_as_the_first_of_them():
    inputs = [[7, 1], [8, 1], [7, 1], [9, 9, 1], [8, 1]]
    examples = Examples(*map(Ragged.from_lists, (inputs, [[1]] * len(inputs))))
    plan = Plan(examples, (Shape(4, 2, 2),), seed=None, pack=False, pad_id=0, decoder_start_id=0)
    vocabulary = types.SimpleNamespace(decode=lambda rows: [str(row[0]) for row in rows])
    ready = types.SimpleNamespace(
        vocabulary=vocabulary,
        mesh=make_mesh({"slice": 1, "data": 1, "fsdp": 1, "model": 1}, jax.devices()[:1]),
    )
    asked, written = [], {}

    def decode(tokens, indices):
        asked.extend(indices.tolist())
        return np.asarray(tokens)[:, :1] * 10

    assert scoring._generate(decode, ready, plan, written.__setitem__) == [
        "70",
        "80",
        "70",
        "90",
        "80",
    ]
    assert asked == [0, 1, 3, -1]
    assert written == {0: "70", 1: "80", 2: "70", 3: "90", 4: "80"}
