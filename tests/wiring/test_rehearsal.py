"""`--dry_run`: all is read and checked, nothing is compiled, and nothing is written."""

import jax
import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.wiring.rehearsal import is_rehearsal, rehearse

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compiled():
    """The names of what was compiled within a test."""
    names = []

    def listen(event, _seconds, **facts):
        if event == COMPILED:
            names.append(facts.get("fun_name", "?"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def test_a_rehearsal_tells_rows_sizes_and_memory_and_leaves_nothing(tmp_path, compiled):
    folder = tmp_path / "run"
    told = rehearse(load_config("quickstart.py:lora", {"data.train.limit": "64"}), str(folder))
    assert not folder.exists() and not is_rehearsal()
    assert not compiled
    assert told.startswith("nothing is wrong with its input (task finetune)\n")
    for fact in (
        "64 of bundled",
        "100 of bundled",
        "2,048 tokens",
        "1,640,832 in float32",
        "6.3 MiB on each device",
        "encoder x decoder x rows",
    ):
        assert fact in told
    trained = next(line for line in told.splitlines() if line.startswith("  trained"))
    assert "73,728 of 1,714,560 parameters (4.30 %)" in trained


def test_what_is_compiled_is_noticed(compiled):
    jax.block_until_ready(jax.jit(lambda x: x * 3)(2.0))
    assert compiled


@pytest.mark.parametrize(
    "recipe",
    ["pretrain.py:runlocal", "dpo.py:runlocal", "classifier.py:runlocal", "lab1_prompting.py:runlocal",
     "evaluate.py:runlocal", "lab2_lora.py:runlocal", "nano.py:runlocal", "reward.py:runlocal",
     "architectures.py:runlocal", "compare.py:runlocal"],
)  # fmt: skip
@pytest.mark.slow
def test_every_task_is_rehearsed(tmp_path, recipe):
    assert "nothing is wrong" in rehearse(load_config(recipe, {}), str(tmp_path / "run"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_ppo_trains_first_is_rehearsed_too(tmp_path):
    told = rehearse(load_config("lab3_ppo.py", {}), str(tmp_path / "run"))
    assert "quickstart.py:rude, classifier.py" in told and "147,456 of" in told
    assert not list(tmp_path.iterdir())


def test_bad_rows_are_told_with_split_file_and_line(tmp_path):
    file = tmp_path / "dev.jsonl"
    file.write_text('{"dialogue": "A: Hi.", "summary": "A greets."}\n{"dialogue": "A: Hi."}\n')
    config = load_config(
        "quickstart.py:runlocal", {"data.evaluation.source": str(file), "data.evaluation.split": ""}
    )
    with pytest.raises(InputError, match=r"^config\.data\.evaluation: .*dev\.jsonl:2: .*'summary'"):
        rehearse(config, str(tmp_path / "run"))
    assert not is_rehearsal()


def test_a_folder_of_another_run_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 9}')
    with pytest.raises(InputError, match="holds a run of another config"):
        rehearse(load_config("quickstart.py:runlocal", {}), str(tmp_path))
