"""The generation defaults of a checkpoint count, and stay, in the tasks as in Python."""

import json
import shutil

import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.interop.hub import BUNDLED
from t5x_lite.wiring.scoring import check_generation
from t5x_lite.wiring.trained_files import defaults_of


@pytest.fixture
def source(tmp_path):
    folder = shutil.copytree(BUNDLED["nano"], tmp_path / "model")
    file = folder / "generation_config.json"
    more = {"no_repeat_ngram_size": 3, "num_beams": 2, "max_length": 40, "temperature": 0.7}
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    return folder


def config(source, **generation):
    return load_config("evaluate.py", {"model.source": str(source), "generation": str(generation)})


def test_the_settings_of_a_task_go_over_those_of_the_checkpoint(source):
    settings = check_generation(config(source, max_new_tokens=9, length_penalty=0.8))
    assert (settings.no_repeat_ngram_size, settings.num_beams) == (3, 2)
    assert settings.length_penalty == 0.8 and settings.new_tokens()[1] == 9
    assert check_generation(config(source, do_sample=True)).temperature == 0.7
    plain = check_generation(config("random", max_new_tokens=9))
    assert (plain.no_repeat_ngram_size, plain.num_beams) == (0, 1)
    with pytest.raises(InputError, match="config.generation.length_penalty.*has no effect"):
        check_generation(config("random", length_penalty=0.8))
    with pytest.raises(InputError, match="config.generation: unknown generation setting 'beams'"):
        check_generation(config(source, beams=3))


def test_what_is_trained_keeps_them(source):
    kept = defaults_of(str(source))
    assert (kept["no_repeat_ngram_size"], kept["max_length"]) == (3, 40)
    assert defaults_of("random") == {}


@pytest.mark.parametrize("said", [{"decoder_start_token_id": 3}, {}])
def test_an_answer_begins_with_bos_where_no_start_is_said(source, said):
    """As in transformers, whatever config.json says; and so it stays in what is written of it."""
    (source / "generation_config.json").write_text(json.dumps({"bos_token_id": 7} | said))
    start = said.get("decoder_start_token_id", 7)
    assert check_generation(config(source)).decoder_start_token_id == start
    assert defaults_of(str(source))["decoder_start_token_id"] == start
