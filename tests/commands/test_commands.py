"""Every command that the documentation prints runs as it is printed; only steps, rows and lengths are cut.

All of them are slow; `scripts/test.sh tests/commands -m slow` runs them.
"""

import ast
import pathlib
import re
import shlex
import sys
import types

import pytest

from t5x_lite import main
from t5x_lite.commands import WORDS
from t5x_lite.config import load_config, shipped_configs
from t5x_lite.errors import InputError
from t5x_lite.export import command as export_command
from t5x_lite.serving import command as serve_command

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [
    REPOSITORY / "README.md",
    *(
        path
        for path in sorted((REPOSITORY / "docs").rglob("*.md"))
        if not {"generated", "_build"} & set(path.parts)  # made of the recipes' docstrings
    ),
]
# What a few steps need no more than; a field that a recipe does not have is left out.
CUTS = {
    "train.steps": "2",
    "ppo.steps": "2",
    "ppo.prompts": "8",
    "ppo.minibatch_size": "8",
    "rollout.length": "8",
    "rollout.length_range": "()",
    "schedule.warmup_steps": "1",
    "evaluation.every_steps": "2",
    "evaluation.bootstrap_samples": "20",
    "evaluation.rows_while_training": "0",
    "evaluation.draws": "1",
    "evaluation.best_of": "1",
    "checkpoint.every_steps": "2",
    "data.train.limit": "24",
    "data.evaluation.limit": "8",
    "data.denoising.steps": "0",
    "batch.size": "8",
    "batch.tokens": "0",
    "batch.buckets": "1",
    "batch.accumulation": "1",
    "generation.max_new_tokens": "4",
    "logging.tensorboard": "False",
}
# Those that only the place which they are for can run; what holds them instead.
ELSEWHERE = {
    "scripts/quickstart.sh": "run by hand in a fresh clone",
    "scripts/test.sh": "runs the tests, this one among them",
    "scripts/tpu_vm.sh": "tests/scripts/test_tpu_vm.py, on a stand-in for gcloud",
    "scripts/lab3_dialogsum.sh": "tests/scripts/test_lab3_dialogsum.py",
    "scripts/benchmark.py": "minutes of timing; tests/test_benchmark.py",
    "pip install": "installs",
    "gs://": "tests/tasks/test_remote.py, on an object store's stand-in",
    "--coordinator_address": "tests/parallel/test_processes.py",
    "configs/tpu.py": "sizes of a TPU; its expansion is held by tests/configs",
    "configs/pod_check.py": "tests/tasks/test_pod_check.py",
    "configs/mine.py": "a file that the reader of docs/architecture.md writes",
    "configs/count.py": "a file that the reader of docs/architecture.md writes",
    "configs/chat.py": "tests/tasks/test_chat.py",
    "t5x-lite serve": "tests/serving/test_command.py",
    "t5x-lite export": "tests/export/test_command.py",
    "t5x-lite lm_eval": "tests/harness/test_lm_eval.py",
}


FLAGS_OF_WORDS = {"serve": serve_command.read_flags, "export": export_command.read_flags}


def commands(text: str) -> list[str]:
    """The commands of indented or fenced blocks; one that goes on after a backslash is one."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = re.findall(
        r"^(?: {4}|\s*\$ )((?:t5x-lite|python|scripts/|cat|pip)\b.*)$", joined, re.MULTILINE
    )
    fenced = re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", joined, re.MULTILINE | re.DOTALL)
    for block in fenced:
        found += re.findall(
            r"^(?:\$ )?((?:t5x-lite|python|scripts/|cat|pip)\b.*)$", block, re.MULTILINE
        )
    return found


def documented() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    texts += [
        ast.get_docstring(ast.parse(file.read_text()), clean=False) or ""
        for file in shipped_configs()
    ]
    return list(dict.fromkeys(command for text in texts for command in commands(text)))


def arguments_of(command: str) -> list[str]:
    """What a shell makes of a command.

    >>> arguments_of("t5x-lite --config a.py --workdir b   # two minutes")
    ['--config', 'a.py', '--workdir', 'b']
    """
    text = re.sub(
        r"\$'((?:[^'\\]|\\.)*)'", lambda m: shlex.quote(m[1].replace("\\n", "\n")), command
    )
    return shlex.split(text, comments=True)[1:]


def cut(arguments: list[str]) -> list[str]:
    """The flags that cut a command, of the fields that its recipe has and the command leaves alone."""
    config = load_config(arguments[arguments.index("--config") + 1], {})
    flags = []
    for name, value in CUTS.items():
        section = config
        for part in name.split("."):
            section = getattr(section, part, None)
        if section is not None and not any(a.startswith(f"--config.{name}=") for a in arguments):
            flags.append(f"--config.{name}={value}")
    return flags


def elsewhere(command: str) -> bool:
    return any(part in command for part in ELSEWHERE)


RUN_HERE = [
    command for command in documented() if command.startswith("t5x-lite") and not elsewhere(command)
]
OF_WORDS = [command for command in RUN_HERE if command.split()[1] in WORDS]
RUN_HERE = [command for command in RUN_HERE if command not in OF_WORDS]


def test_what_holds_the_others_is_there():
    named = [
        name for text in ELSEWHERE.values() for name in re.findall(r"tests/[\w/]+(?:\.py)?", text)
    ]
    assert len(named) > 5
    assert not [name for name in named if not (REPOSITORY / name).exists()]


def test_commands_are_found():
    assert len(RUN_HERE) > 20
    unknown = [
        c
        for c in documented()
        if not c.startswith(("t5x-lite", "python scripts/")) and not elsewhere(c)
    ]
    assert not unknown, f"neither run by a test nor said to run elsewhere: {unknown}"


@pytest.mark.parametrize("command", documented())
def test_a_command_is_read(command: str, monkeypatch):
    """Each config and each flag is one there is."""
    if not command.startswith("t5x-lite") or re.search(r"configs/(mine|count)\.py", command):
        return
    if command.split()[1] in FLAGS_OF_WORDS:
        FLAGS_OF_WORDS[command.split()[1]](arguments_of(command)[1:])
    if command.split()[1] in WORDS:
        return  # each of the others is run below
    for extra in ("wandb", "trackio"):  # as where they are installed
        monkeypatch.setitem(sys.modules, extra, types.ModuleType(extra))
    monkeypatch.chdir(REPOSITORY)
    given = [flag for flag in arguments_of(command.partition(" > ")[0]) if flag != "--dry_run"]
    _, rest = main.parse_launch(given)
    spec, _, overrides = main.parse(rest)
    load_config(spec, overrides)


@pytest.mark.parametrize("command", OF_WORDS)
def test_a_word_answers_as_printed(command: str, monkeypatch, capsys, tmp_path):
    arguments = arguments_of(command)
    if arguments[0] == "index":
        run = tmp_path / arguments[1] / "one"
        run.mkdir(parents=True)
        (run / "config.json").write_text('{"task": "finetune", "seed": 0}')
        monkeypatch.chdir(tmp_path)
    else:
        monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(main.console, "setup", lambda: None)
    monkeypatch.setattr(sys, "argv", ["t5x-lite", *arguments])
    main.run()
    assert capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN_HERE)
def test_a_command_runs_as_printed(command: str, world, monkeypatch):
    monkeypatch.chdir(world)
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    arguments = arguments_of(command)
    monkeypatch.setattr(sys, "argv", ["t5x-lite", *arguments, *cut(arguments)])
    try:
        main.run()
    except SystemExit as error:
        pytest.fail(f"exit status {error.code}")
    except InputError as error:
        pytest.fail(str(error))
    workdir = world / arguments[arguments.index("--workdir") + 1]
    if "--dry_run" in arguments:
        return
    assert (workdir / "report.md").stat().st_size
