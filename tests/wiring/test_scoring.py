"""The evaluation of a run that trains takes the loss's chunk."""

from ml_collections import ConfigDict

from t5x_lite.wiring import training


class Loaded:
    model = "model"


def test_the_loss_of_the_held_out_rows_is_chunked_as_the_training_loss(monkeypatch):
    given = []
    monkeypatch.setattr(training, "make_loss", lambda *arguments: given.append(arguments))
    monkeypatch.setattr(training, "train_by", lambda *arguments: "state")
    config = ConfigDict({"loss": {"chunk": 7}})
    assert training.train(config, Loaded(), None, "plan", "", "mesh", None) == "state"
    assert given == [("model", "plan", "mesh", 7)]
