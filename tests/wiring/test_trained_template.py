"""A model that was trained with one template and is asked with another is told of."""

import json

import pytest

from t5x_lite.wiring.trained_template import template_text, warn_of_another_template


@pytest.mark.parametrize("place", ["run", "run/model", "run/adapter"])
def test_another_template_than_the_runs_is_warned_of(place, tmp_path, caplog):
    for folder in ("model", "adapter"):
        (tmp_path / "run" / folder).mkdir(parents=True)
    (tmp_path / "run/model/config.json").write_text('{"model_type": "t5"}')
    config = {"task": "finetune", "data": {"template": "finetune"}}
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    source = str(tmp_path / place)
    warn_of_another_template(source, "finetune")
    warn_of_another_template(source, template_text(config))  # the same by its text
    assert not caplog.text
    warn_of_another_template(source, "{dialogue} tl;dr")
    assert f"{source} was trained with the template 'Summarize the following" in caplog.text
    assert "'{dialogue} tl;dr'" in caplog.text


@pytest.mark.parametrize("config", [None, {"model_type": "t5"}, {"task": "mixture", "data": {}}])
def test_what_no_template_is_known_of_is_not(config, tmp_path, caplog):
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    warn_of_another_template(str(tmp_path), "finetune")
    warn_of_another_template("google/flan-t5-base", "finetune")
    assert not caplog.text
