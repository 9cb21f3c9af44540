"""The words of the program beside a run, and what a wrong flag is told."""

import ast
import pathlib
import re
import subprocess
import sys
import time

import pytest

from t5x_lite import __version__, main
from t5x_lite.commands import WORDS
from t5x_lite.config import shipped_configs
from t5x_lite.errors import InputError

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
HEAVY = ("jax", "flax", "optax", "transformers", "datasets", "matplotlib")


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs the program with these arguments: exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(main.console, "setup", lambda: None)
        monkeypatch.setattr(sys, "argv", ["t5x-lite", *map(str, arguments)])
        status = 0
        try:
            main.run()
        except SystemExit as stop:
            status = stop.code
        output, errors = capsys.readouterr()
        return status, output, errors.strip()

    return run


def test_list_has_every_recipe_with_its_task_and_words(program):
    status, output, _ = program("list")
    assert status == 0
    for file in shipped_configs():
        summary = ast.get_docstring(ast.parse(file.read_text())).partition("\n")[0]
        assert f"{file.name:<24}" in output and summary in output
    lines = output.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("lora.py"))
    assert "finetune" in lines[place]
    assert lines[place + 1].split() == ["words:", "soft_prompt,", "runlocal"]


def test_a_recipe_that_cannot_be_read_hides_no_other(program, monkeypatch, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(
        '"""Mine."""\n\nfrom t5x_lite.recipe import recipe\n\nget_config = recipe("no_base", {})\n'
    )
    files = [broken, *shipped_configs()]
    monkeypatch.setattr("t5x_lite.commands.listing.shipped_configs", lambda: files)
    status, output, _ = program("list")
    assert status == 0 and "lora.py" in output
    assert re.search(r"broken.py +cannot be read: .*no_base", output)


def test_describe_says_what_a_config_does_and_what_its_fields_mean(program):
    status, output, _ = program("describe", "lora.py")
    assert status == 0
    assert output.startswith("lora.py (task finetune)\n\nLoRA-tuning of FLAN-T5")
    assert "Words, as in lora.py:WORD: soft_prompt, runlocal" in output
    assert "schedule.learning_rate = 0.001\n    a number" in output
    assert output.count("\nadapter.") == 6
    _, part, _ = program("describe", "lora.py", "adapter", "train.steps")
    names = [line.partition(" = ")[0] for line in part.splitlines()[::2]]
    assert "train.steps" in names and "adapter.dora" in names and len(names) == 7


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["describe"], "describe: name a config, as in t5x-lite describe lora.py"),
        (["describe", "nope.py"], "--config: there is no file nope.py; with the package come"),
        (["describe", "lora.py", "adaptor"], "describe lora.py: it has no section or field adaptor"),
        (["list", "x"], "list x: takes no arguments"),
        (["completion", "fish"], "completion: give bash or zsh, got fish"),
        (["lst"], "lst: there is no such word; did you mean list?"),
        (["lora.py:soft_prompt"], "did you mean --config lora.py:soft_prompt?"),
        (["--lr=3"], "--lr: there is no such flag; did you mean --config.schedule.learning_rate?"),
        (["--output_dir", "x"], "did you mean --workdir?"),
        (["--work-dir", "x"], "did you mean --workdir?"),
        (["--resume"], "did you mean the same command again, which goes on where --workdir is?"),
        (["--num_beams=4"], "--num_beams: there is no such flag; did you mean --config.generation.num_beams?"),
        (["--save-total-limit=2"], "did you mean --config.checkpoint.keep?"),
        (
            ["--config", "quickstart.py", "--workdir", "w", "--learning_rate=1"],
            "--learning_rate: there is no such flag; did you mean --config.schedule.learning_rate?",
        ),
        (
            ["--config", "quickstart.py", "--workdir", "w", "--config.learning_rate=1"],
            "--config.learning_rate: there is no such field; did you mean schedule.learning_rate?",
        ),
        (
            ["--config", "lab3_ppo.py", "--workdir", "w", "--init-kl-coef=1"],
            "did you mean --config.ppo.init_kl_coef?",
        ),
        (
            ["--config", "quickstart.py", "--workdir", "w", "--config.data.evaluation.source=no.csv"],
            "config.data.evaluation.source: there is no file no.csv; name one that is there",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_what_was_meant(program, arguments, told):
    status, output, errors = program(*arguments)
    assert (status, output) == (2, "")
    assert told in errors and len(errors.splitlines()) == 1


def test_the_version(program):
    assert program("--version") == (0, f"t5x-lite {__version__}\n", "")


def test_help_names_every_word(program):
    _, output, _ = program("--help")
    assert all(f"\n  {word} " in output for word in WORDS) and "--dry_run" in output


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["describe", "lora.py"], ["--version"], ["completion", "bash"], ["--lr=1"],
     ["--config", "lora.py", "--workdir", "w", "--config.data.train.source=no.csv"]],
)  # fmt: skip
def test_what_needs_no_jax_imports_none(arguments):
    code = (
        f"import sys; sys.argv = ['t5x-lite', *{arguments!r}]\n"
        "from t5x_lite.main import run\n"
        "try: run()\nexcept SystemExit: pass\n"
        f"print('IMPORTED', *[m for m in {HEAVY} if m in sys.modules])"
    )
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "IMPORTED"
    assert time.monotonic() - begin < 30  # under 1 on a quiet machine; this one may be busy


def completions(folder, *words):
    """What bash offers for the last of these words."""
    program = [sys.executable, "-m", "t5x_lite", "completion", "bash"]
    script = folder / "completion.bash"
    script.write_bytes(subprocess.check_output(program, cwd=REPOSITORY, timeout=60))
    given = " ".join(f"'{word}'" for word in words)
    code = (
        f't5x-lite() {{ {sys.executable} -m t5x_lite "$@"; }}; . {script}; COMP_WORDS=(t5x-lite {given});'
        f" COMP_CWORD={len(words)}; _t5x_lite; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    return subprocess.check_output(
        ["bash", "-c", code], cwd=REPOSITORY, text=True, timeout=60
    ).split()


def test_bash_completes_words_configs_and_fields(tmp_path):
    assert completions(tmp_path, "des") == ["describe"]
    assert completions(tmp_path, "--config", "lab2_f") == ["lab2_finetune.py", "lab2_forgetting.py"]
    assert completions(tmp_path, "--config", "lora.py", "--config.schedule.l") == [
        "--config.schedule.learning_rate="
    ]


def test_zsh_reads_the_same_script(program):
    _, bash, _ = program("completion", "bash")
    _, zsh, _ = program("completion", "zsh")
    assert zsh.endswith(bash) and "bashcompinit" in zsh.removesuffix(bash)


def test_the_first_flag_that_cannot_be_is_told():
    with pytest.raises(InputError, match="^--one: there is no such flag"):
        main.parse(["--one", "--two"])
