"""The program as its user meets it: flags, exit statuses, one line for each mistake, and signals."""

import concurrent.futures
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from t5x_lite import console, main
from t5x_lite.errors import Diverged, InputError, RewardFailed, Stopped
from t5x_lite.tasks.finetune import run as finetune

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
QUICKSTART = "quickstart.py:runlocal"
DIALOGUES = '{"id": "a", "dialogue": "A: Hi.\\nB: Yes.", "summary": "A greets B."}\n'


@pytest.fixture(autouse=True)
def quiet_afterwards(monkeypatch):
    """`console.setup` is for a whole program: here, it is undone."""
    loggers = [console.log, *map(logging.getLogger, console._CHATTY)]
    before = [(log, log.level, log.propagate, list(log.handlers)) for log in loggers]
    for name, value in (("TF_CPP_MIN_LOG_LEVEL", "2"), ("TRANSFORMERS_VERBOSITY", "error")):
        monkeypatch.setenv(name, os.environ.get(name, value))
    yield
    for log, level, propagate, handlers in before:
        log.setLevel(level)
        log.propagate = propagate
        log.handlers[:] = handlers


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs the program with these arguments in this process: exit status, standard output and error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["t5x-lite", *map(str, arguments)])
        status = 0
        try:
            main.run()
        except SystemExit as stop:
            status = stop.code
        output, errors = capsys.readouterr()
        return status, output, errors

    return run


def is_one_line(errors: str) -> bool:
    lines = [line for line in errors.splitlines() if line.startswith("t5x-lite:")]
    return len(lines) == 1 and errors.endswith(f"{lines[0]}\n") and "Traceback" not in errors


def test_help_answers_in_well_under_a_second_without_jax():
    begin = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "t5x_lite", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    seconds = time.monotonic() - begin
    imported = {line.split("|")[-1].strip() for line in run.stderr.splitlines()}
    assert run.returncode == 0
    assert "--workdir DIRECTORY" in run.stdout and "quickstart.py" in run.stdout
    assert "t5x_lite.main" in imported and not {"jax", "numpy", "transformers"} & imported
    assert seconds < 30  # 0.2 on a quiet machine; this one may be busy


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--config", "x.py", "-h"]])
def test_help(program, arguments):
    status, output, errors = program(*arguments)
    assert (status, errors) == (0, "")
    assert output.startswith("t5x-lite --config FILE.py")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "a.py:x,y=1", "--workdir", "w", "--config.seed", "-3", "--config.b.c=d=e"],
        ["--config.seed=-3", "--workdir=w", "--config.b.c=f", "--config=a.py:x,y=1", "--config.b.c=d=e"],
    ],
)  # fmt: skip
def test_flags_in_both_forms_the_last_one_counts(arguments):
    assert main.parse(arguments) == ("a.py:x,y=1", "w", {"seed": "-3", "b.c": "d=e"})


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--workdir", "w"], "--config is missing"),
        (["--config", "a.py"], "--workdir is missing"),
        (["--config", "a.py", "--workdir="], "--workdir is missing"),
        (["--config"], "--config needs a value"),
        (["--config", "--workdir", "w"], "--config needs a value"),
        (["a.py"], "a.py: there is no such word"),
        (["--confg=a.py"], "--confg: there is no such flag"),
        (["--config.=3"], "--config.: there is no such flag"),
        (["--lora_r=8"], "--lora_r: there is no such flag; did you mean --config.adapter.targets"),
        (["--do_train"], "--do_train: there is no such flag; see t5x-lite --help"),
    ],
)
def test_flags_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=f"^{message}"):
        main.parse(arguments)


def test_exit_status(program, monkeypatch):
    """0: done; 2: bad input or a full disk; 128 + the signal's number: stopped. A bug keeps its traceback."""
    events = {
        "done": (None, 0, ""),
        "input": (InputError("config.x: no"), 2, "t5x-lite: config.x: no\n"),
        "full": (OSError(28, "No space left on device", "a/b"), 2, "t5x-lite: a/b: No space left"),
        "stopped": (Stopped(signal.SIGTERM, 7), 143, "t5x-lite: stopped at step 7; the same command"),
        "interrupted": (KeyboardInterrupt(), 130, "t5x-lite: stopped; the same command"),
    }  # fmt: skip
    for event, status, message in events.values():

        def run(config, workdir, event=event):
            assert workdir == os.path.expanduser("~/runs") and config.task == "finetune"
            if event is not None:
                raise event

        monkeypatch.setattr(
            main.importlib, "import_module", lambda name, run=run: SimpleNamespace(run=run)
        )
        found = program("--config", QUICKSTART, "--workdir", "~/runs")
        assert (found[0], found[2][: len(message)]) == (status, message)
        assert is_one_line(found[2]) == bool(message)

    def bug(config, workdir):
        raise ZeroDivisionError

    monkeypatch.setattr(main.importlib, "import_module", lambda name: SimpleNamespace(run=bug))
    with pytest.raises(ZeroDivisionError):
        program("--config", QUICKSTART, "--workdir", "~/runs")


def own_rows(path, text):
    path.write_text(text)
    return [
        f"--config.data.train.source={path}",
        "--config.data.train.split=",
        "--config.data.train.limit=0",
    ]


def a_model(folder, config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return [f"--config.model.source={folder}"]


def one_thing(name, value):
    return lambda tmp_path: [f"--config.{name}={value}"]


T5_SHAPE = {"vocab_size": 384, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": 2, "num_layers": 1}
# name: (arguments from a temporary folder, what the line says)
BAD_INPUT = {
    "no config file": (
        lambda tmp: ["--config", "nope.py"],
        r"--config: there is no file nope.py; with the package come .*quickstart.py",
    ),
    "a config with an unknown argument": (
        lambda tmp: ["--config", "quickstart.py:fast"],
        r"configs/quickstart.py: unknown argument 'fast': give none, or lora, rude or runlocal",
    ),
    "an unknown field": (
        one_thing("train.stepz", 3),
        r"--config.train.stepz: there is no such field; did you mean steps\?",
    ),
    "a wrong type": (
        one_thing("train.steps", "many"),
        r"--config.train.steps must be a whole number >= 1, got 'many'",
    ),
    "an unknown optimizer": (one_thing("optimizer.name", "sgd"), r"optimizer.name must be one of 'adamw'"),
    "a pattern for no parameter": (
        lambda tmp: [
            "--config.optimizer.weight_decay=0.1",
            "--config.optimizer.no_weight_decay=('.*/bias',)",
        ],
        r"config.optimizer: pattern '.*/bias' matches no parameter",
    ),
    "a rate for no parameter": (
        one_thing("optimizer.rate_multipliers", "(('.*/bias', 2.0),)"),
        r"config.optimizer: pattern '.*/bias' matches no parameter",
    ),
    "a pattern that is none": (
        lambda tmp: [
            "--config.optimizer.weight_decay=0.1",
            "--config.optimizer.no_weight_decay=('(',)",
        ],
        r"config.optimizer: missing \)",
    ),
    "a warm-up that does not end": (one_thing("schedule.warmup_steps", 20), r"schedule.warmup_steps"),
    "a mesh of other devices": (one_thing("mesh.data", 3), r"mesh .* needs 3 devices .* there are 8"),
    "a mesh that the model does not divide": (
        lambda tmp: ["--config.mesh.data=1", "--config.mesh.model=8"],
        r"heads = 2 cannot be split over 8 devices",
    ),
    "a batch that the mesh does not divide": (
        one_thing("batch.size", 12),
        r"batch.size: 12 rows are not a multiple of 8",
    ),
    "a batch with two sizes": (one_thing("batch.tokens", 100), r"batch: set one of size and tokens"),
    "a budget of tokens too small for the longest rows": (
        lambda tmp: ["--config.batch.size=0", "--config.batch.tokens=100"],
        r"batch.tokens: 100 hold no 8 rows of \d+ tokens",
    ),
    "buckets too short for the rows": (
        one_thing("batch.buckets", "((16, 16),)"),
        r"batch.buckets: example \d+ has .* over the longest bucket \(16, 16\)",
    ),
    "an unknown generation setting": (
        one_thing("generation.num_beam", 4),
        r"config.generation: unknown generation setting 'num_beam'; did you mean num_beams\?",
    ),
    "generation settings that contradict each other": (
        one_thing("generation.temperature", 0.5),
        r"generation.temperature = 0.5 has no effect without do_sample=True",
    ),
    "a token that the model does not have": (
        one_thing("generation.suppress_tokens", "(9999,)"),
        r"generation.suppress_tokens: token 9999 is outside the vocabulary of 512",
    ),
    "an architecture with an unknown field": (
        one_thing("model.architecture.num_layers", 2),
        r"config.model.architecture: there is no such field as num_layers; there are .*num_encoder_layers",
    ),
    "an architecture that is none": (
        one_thing("model.architecture.d_model", 0),
        r"config.model.architecture.d_model must be a whole number >= 1 and <= 4,194,304, got 0",
    ),
    "fewer embeddings than tokens": (
        one_thing("model.architecture.vocab_size", 100),
        r"the model embeds 100 tokens, but the tokenizer has 400",
    ),
    "no data file": (
        one_thing("data.train.source", "missing.jsonl"),
        r"config.data.train.source: there is no file missing.jsonl",
    ),
    "a folder that holds no data": (
        lambda tmp: (tmp / "dir.jsonl").mkdir() or [f"--config.data.train.source={tmp}/dir.jsonl"],
        r"data.train.source: '.*dir.jsonl' is neither a file ending in .*, a folder with such files",
    ),
    "invalid JSON": (
        lambda tmp: own_rows(tmp / "x.jsonl", DIALOGUES + "{'id'}\n"),
        r"x.jsonl:2: invalid JSON",
    ),
    "a missing column": (
        lambda tmp: own_rows(tmp / "x.jsonl", '{"id": "a", "dialogue": "Hi."}\n'),
        r"x.jsonl:1: no column 'summary' .*there are id, dialogue",
    ),
    "an empty dialogue": (
        lambda tmp: own_rows(tmp / "x.jsonl", DIALOGUES.replace("A: Hi.\\nB: Yes.", " ")),
        r"x.jsonl:1: empty dialogue",
    ),
    "an empty summary": (
        lambda tmp: own_rows(tmp / "x.jsonl", DIALOGUES.replace("A greets B.", "")),
        r"x.jsonl:1: empty summary",
    ),
    "a template of unknown name": (one_thing("data.template", "flan_9"), r"template 'flan_9' is not known"),
    "a template with a field without a column": (
        one_thing("data.template", "{dialog}"),
        r"config.data.template names 'dialog', but config.data.train.columns has dialogue, summary",
    ),
    "a field to cut without a column": (
        one_thing("data.cut_field", "text"),
        r"config.data.cut_field names 'text'",
    ),
    "a row that is too long": (one_thing("data.truncation", "error"), r"over the limit of 64"),
    "too many pieces for the text": (
        one_thing("tokenizer.vocab_size", 100_000),
        r"tokenizer.vocab_size: SentencePiece cannot make 100000 pieces",
    ),
    "a tokenizer without a folder": (
        one_thing("tokenizer.source", "./nowhere"),
        r"tokenizer.source: there is no directory ./nowhere",
    ),
    "a model on the hub, and no network": (
        one_thing("model.source", "google/flan-t5-small"),
        r"google/flan-t5-small: .*check the name and the network, or give a directory",
    ),
    "a data set on the hub, and no network": (
        lambda tmp: ["--config.data.train.source=knkarthick/nosuchset", "--config.data.train.split=train"],
        r"data.train.source: cannot load split 'train' of .*check the id, the split and the network",
    ),
    "a model of another architecture": (
        lambda tmp: a_model(tmp / "bart", {"model_type": "bart"}),
        r"bart/config.json: .*bart",
    ),
    "a model without weights": (
        lambda tmp: a_model(tmp / "bare", {"model_type": "t5", **T5_SHAPE}),
        r"bare: ",
    ),
    "a workdir below a file": (
        lambda tmp: (tmp / "file").write_text("") and [] or ["--workdir", tmp / "file" / "run"],
        r"--workdir .*file/run: Not a directory",
    ),
    "a workdir of another run": (
        lambda tmp: (tmp / "run").mkdir()
        or (tmp / "run" / "config.json").write_text('{"task": "finetune", "seed": 4}') and [],
        r"--workdir .*run holds a run of another config \(config.adapter.*and \d+ more\): take another",
    ),
    "a workdir of another run, before any model or row is asked for": (
        lambda tmp: (tmp / "run").mkdir()
        or (tmp / "run" / "config.json").write_text('{"task": "finetune", "seed": 4}')
        and ["--config.model.source=./nowhere", "--config.data.train.source=somebody/rows"],
        r"--workdir .*run holds a run of another config",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_line_before_anything_is_compiled_or_written(
    program, tmp_path, monkeypatch, name
):
    from t5x_lite.tasks.finetune import run as finetune

    def too_late(*_, **__):
        raise AssertionError("training begins")

    monkeypatch.setattr(finetune, "train", too_late)
    monkeypatch.setattr(finetune, "claim_workdir", too_late)
    make_arguments, message = BAD_INPUT[name]
    arguments = make_arguments(tmp_path)
    status, output, errors = program(
        "--config", QUICKSTART, "--workdir", tmp_path / "run", *arguments
    )
    assert (status, output) == (2, "")
    assert is_one_line(errors), errors
    assert re.search(message, errors.splitlines()[-1]), errors


def test_a_config_put_right_may_use_the_folder_of_the_wrong_one(program, tmp_path, monkeypatch):
    from t5x_lite.tasks.finetune import run as finetune

    command = ["--config", QUICKSTART, "--workdir", tmp_path]
    assert program(*command, "--config.model.architecture.vocab_size=100")[0] == 2
    reached = []
    monkeypatch.setattr(finetune, "train", lambda *_: reached.append(1) or sys.exit(9))
    assert program(*command)[0] == 9 and reached
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"]["architecture"]["vocab_size"] == 0
    assert program(*command, "--config.seed=3")[0] == 2  # now it is taken


LAB = ("--config", "lab1_prompting.py:runlocal")
CHAT = ("--config", "chat.py:runlocal")


@pytest.mark.parametrize(
    ("config", "flags", "message"),
    [
        (LAB, {"settings.greedy.top_p": 0}, r"settings.greedy.top_p = 0: expected .* > 0 and <= 1"),
        (
            LAB,
            {"settings.greedy_10.min_new_tokens": 20},
            r"settings.greedy_10: at least 20 and at most 10 new tokens asked for; raise max_new_",
        ),
        (
            LAB,
            {"settings.greedy.length_penalty": 2.0},
            r"settings.greedy.length_penalty = 2.0 has no effect without num_beams > 1",
        ),
        (
            LAB,
            {"settings.greedy.max_length": 9},
            r"settings.greedy.max_new_tokens and config.settings.greedy.max_length: give one of",
        ),
        (
            LAB,
            {"settings.greedy.num_return_sequences": 2},
            r"settings.greedy.num_return_sequences = 2 is more than num_beams = 1",
        ),
        (CHAT, {"generation.num_beams": 4}, r"num_beams = 4: beams have no output before the end"),
        (CHAT, {"generation.top_p": 0.0}, r"config.generation.top_p = 0.0: expected"),
        (
            CHAT,
            {"generation.min_new_tokens": 9},
            r"config.generation: at least 9 and at most 8 new tokens",
        ),
    ],
)
def test_contradicting_generation_flags_are_refused_before_compilation(
    program, tmp_path, monkeypatch, config, flags, message
):
    from t5x_lite.decoding.generate import Generator
    from t5x_lite.decoding.stream import Streamer

    def too_late(*_, **__):
        raise AssertionError("something is compiled")

    monkeypatch.setattr(Generator, "_trace", too_late)
    monkeypatch.setattr(Streamer, "_trace_begin", too_late)
    changed = [f"--config.{name}={value}" for name, value in flags.items()]
    status, output, errors = program(*config, "--workdir", tmp_path / "run", *changed)
    assert (status, output) == (2, "") and is_one_line(errors), errors
    assert re.search(message, errors.splitlines()[-1]), errors
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (Stopped(signal.SIGTERM, 3), 143, "stopped at step 3"),
        (Stopped(signal.SIGINT, 3), 130, "stopped at step 3"),
        (Stopped(0, 3), 75, "stopped at step 3"),
        (KeyboardInterrupt(), 130, "stopped"),
        (Diverged(2, 7, "6 updates in a row were skipped", "a/kernel"), 3, "diverged at step 2"),
        (RewardFailed("config.rewards.mine failed: down"), 4, "config.rewards.mine failed"),
        (InputError("config.seed: too high"), 2, "config.seed"),
    ],
)
def test_what_ends_a_run_decides_its_status(program, monkeypatch, tmp_path, error, status, message):
    """And no lock is left of it."""
    locks = []

    def run(config, workdir):
        locks.extend(file.name for file in pathlib.Path(workdir).iterdir())
        raise error

    monkeypatch.setattr(finetune, "run", run)
    found, output, errors = program("--config", QUICKSTART, "--workdir", tmp_path / "run")
    assert (found, output, locks) == (status, "", ["run.lock"])
    assert is_one_line(errors) and f"t5x-lite: {message}" in errors
    assert not (tmp_path / "run").exists()


def test_a_run_in_a_workdir_where_one_lives_is_refused(program, monkeypatch, tmp_path):
    """Before anything is read; the first one's lock stays. Within one thread a task would be the program's own."""
    second = []

    def run(config, workdir):
        monkeypatch.setattr(finetune, "run", lambda *_: second.append("ran"))
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            arguments = ("--config", QUICKSTART, "--workdir", workdir)
            found, _, errors = thread.submit(program, *arguments).result()
        assert found == 2 and "another run is there (host" in errors and is_one_line(errors)
        assert (pathlib.Path(workdir) / "run.lock").exists()

    monkeypatch.setattr(finetune, "run", run)
    assert program("--config", QUICKSTART, "--workdir", tmp_path)[0] == 0
    assert not second and not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["soon", "1h30", "-5", "1d"])
def test_a_deadline_that_is_no_duration(program, tmp_path, text):
    flags = ["--config", QUICKSTART, "--workdir", tmp_path, f"--config.stop_after={text}"]
    status, _, errors = program(*flags)
    assert status == 2 and is_one_line(errors)
    assert "--config.stop_after must be '' or a duration" in errors
