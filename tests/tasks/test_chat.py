"""The task `chat`: what ends a text, commands, Ctrl-C, pipes, and a transcript that gives each answer again."""

import io
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from t5x_lite import load_pretrained
from t5x_lite.config import load_config
from t5x_lite.data.templates import find_template
from t5x_lite.errors import InputError
from t5x_lite.tasks.chat import run as chat

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DIALOGUE = "#Person1#: Hi, Tom.\n\n#Person2#: Hi, Ann. The shop is shut today."
# The terminal says where a paste begins and ends, once it was asked to.
PASTE = "\x1b[200~{}\x1b[201~"
READER = """
from t5x_lite.tasks.chat.terminal import Terminal
terminal = Terminal()
terminal.note("READY")
while True:
    try:
        text = terminal.read()
    except KeyboardInterrupt:
        terminal.note("GOT interrupt")
        continue
    terminal.note(f"GOT {text!r}")
    if text is None:
        break
"""


class Program:
    """A program in a terminal of its own."""

    def __init__(self, *arguments, term="xterm", **environment):
        self.parent, child = pty.openpty()
        self.process = subprocess.Popen(
            # In a session of its own, whose terminal sends Ctrl-C as a signal.
            ["setsid", "--ctty", "--wait", sys.executable, *arguments],
            stdin=child, stdout=child, stderr=child, cwd=REPOSITORY,
            # A shell's background job ignores SIGINT, and would hand that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env=os.environ | {"TERM": term, "JAX_PLATFORMS": "cpu", **environment},
        )  # fmt: skip
        os.close(child)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self.parent, keys.encode())

    def wait_for(self, pattern: str, seconds: float = 120) -> re.Match:
        """The first match behind what was waited for before."""
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, self.seen
            if not select.select([self.parent], [], [], 1)[0]:
                continue
            try:
                self.seen += os.read(self.parent, 4096).decode().replace("\r", "")
            except OSError:  # how Linux reports that the other end is closed
                assert re.search(pattern, self.seen), self.seen
        self.seen = self.seen[match.end() :]
        return match

    def ends(self) -> int:
        status = self.process.wait(60)
        os.close(self.parent)
        return status


def got(program: Program) -> str:
    return program.wait_for(r"GOT (.*)\n")[1]


@pytest.mark.parametrize("term", ["xterm", "dumb"])  # a dumb terminal does not mark pastes
def test_what_ends_a_text(term):
    program = Program("-c", READER, term=term)
    # Before its prompt stands, the program does not read keys: the terminal itself would take them. With the prompt it
    # asks the terminal to mark pastes.
    prompt = "\x1b\\[\\?2004h> " if term == "xterm" else "> "
    program.wait_for("READY")
    program.wait_for(prompt)
    program.type("\nA: one\rB: two\r")
    program.wait_for("B: two")  # echoed, so it was read
    time.sleep(0.5)  # a person's empty line is no part of what came before
    program.type("\r")
    assert got(program) == repr("A: one\nB: two")
    program.wait_for(prompt)
    paste = f"{DIALOGUE}\n\n#Person1#: Oh.\n"
    program.type(PASTE.format(paste) if term == "xterm" else paste)
    program.wait_for(r"Oh\.")
    time.sleep(0.5)
    program.type("\r")
    assert got(program) == repr(paste.strip("\n"))
    program.wait_for(prompt)
    program.type("/settings top_k=5\r")
    assert got(program) == repr("/settings top_k=5")
    program.wait_for(prompt)
    program.type("half")
    program.wait_for("half")
    # Between the echo of a key and its wait for the next one, Python's prompt misses a signal.
    time.sleep(0.5)
    program.type("\x03")
    assert got(program) == "interrupt"
    program.wait_for(prompt)
    program.type("A: one\r")
    program.wait_for("A: one")
    program.wait_for("  ")  # the prompt of a second line
    program.type("\x04")
    assert got(program) == repr("A: one")
    program.wait_for(prompt)
    program.type("\x04")
    assert got(program) == "None" and program.ends() == 0


@pytest.fixture(scope="module")
def nano():
    return load_pretrained("nano")


@pytest.fixture
def load(monkeypatch, nano):
    """The config of a chat; the model is loaded once."""
    monkeypatch.setattr(chat, "load_pretrained", lambda source, **settings: nano)
    before = nano.settings
    yield lambda **overrides: load_config("chat.py", {"data.encoder_lengths": "(64,)"} | overrides)
    nano.settings = before


class Typed:
    """A terminal in which this is typed; an exception is raised in its place."""

    is_terminal = True

    def __init__(self, *entries):
        self.entries = list(entries)
        self.answers, self.notes = [""], []

    def read(self):
        entry = self.entries.pop(0) if self.entries else None
        if isinstance(entry, BaseException):
            raise entry
        return entry

    def write(self, piece):
        if piece == "\n":
            self.answers.append("")
        else:
            self.answers[-1] += piece

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def converse(monkeypatch, tmp_path, load):
    """Runs a conversation: the terminal afterwards, and the transcript."""

    def run(*entries, terminal=None, **overrides):
        terminal = terminal or Typed(*entries)
        monkeypatch.setattr(chat, "Terminal", lambda: terminal)
        chat.run(load(**overrides), str(tmp_path))
        lines = (tmp_path / "transcript.jsonl").read_text().splitlines()
        return terminal, [json.loads(line) for line in lines]

    return run


@pytest.mark.slow
def test_every_answer_is_had_again_from_its_line(converse, nano):
    terminal, lines = converse(
        DIALOGUE, "/settings do_sample=true temperature=0.8 max_new_tokens=100", "/again", "/again",
        "/template flan_3", DIALOGUE, "/settings reset", DIALOGUE,
    )  # fmt: skip
    assert [line["answer"] for line in lines] == terminal.answers[:-1] and len(lines) == 5
    assert [line["seed"] for line in lines] == [0, 1, 2, 0, 0]
    assert [line["settings"].get("temperature") for line in lines] == [None, 0.8, 0.8, 0.8, None]
    assert lines[1]["answer"] != lines[2]["answer"]
    for line in lines:
        prompt = find_template(line["template"]).render({"dialogue": line["text"]})
        (again,) = nano.generate([prompt], seed=line["seed"], **line["settings"])
        assert again == line["answer"] and line["ended"] == "whole"
        assert line["tokens read"] == len(nano.tokenizer.encode([prompt], add_eos=True)[0])


def test_one_length_is_compiled_once(converse, nano):
    converse(DIALOGUE)  # compiles, at the latest now
    before = nano.compilations
    texts = ["A: Yes.", DIALOGUE, "/settings max_new_tokens=100", "B: No."]
    _, lines = converse(*texts)
    assert len(lines) == 4 and nano.compilations == before
    _, lines = converse("/settings repetition_penalty=1.5", "A: Yes.")
    assert nano.compilations > before  # the count counts


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("/again", "/again: there is no text yet"),
        ("/settings num_beams=4", "generation.num_beams = 4: beams have no output before the end"),
        ("/settings temprature=1", "/settings: unknown generation setting 'temprature'; did you"),
        ("/settings temperature=0.5", "has no effect without do_sample=True"),
        ("/settings warm", "/settings warm: write name=value"),
        ("/settings suppress_tokens=[99999]", "token 99999 is outside the vocabulary"),
        ("/template nothing", "template 'nothing' is not known; use one of dialogue,"),
        ("/template {text}", "template '{text}': it must have {dialogue} and no other field"),
        ("/agin", "/agin: there is no such command; did you mean /again?"),
        (KeyboardInterrupt(), "(Ctrl-D or /quit leaves)"),
    ],
)
def test_a_mistake_costs_a_line(load, nano, entry, message):
    config = load()
    nano.settings = nano.settings.updated(config.generation)
    answerer = chat.Answerer(
        nano, field="dialogue", lengths=(64,), policy="end", template=config.data.template
    )
    answerer.compile_ahead = lambda: None
    before, terminal = (
        answerer.settings,
        Typed(entry, "/template flan_2", "/quit", "/template flan_3"),
    )
    chat.Chat(answerer, terminal, pathlib.Path("unused"), "nano", 0).converse()
    assert message in terminal.notes[0] and "\n" not in terminal.notes[0].strip()
    assert answerer.settings == before and answerer.template == "flan_2"  # it went on, until /quit


def test_greedy_again_says_why_not(converse):
    terminal, lines = converse(DIALOGUE, "/again")
    assert len(lines) == 1 and "greedy decoding gives the same text again" in terminal.notes[-1]


def test_a_stopped_answer_is_in_the_transcript(converse):
    class Impatient(Typed):
        def write(self, piece):
            super().write(piece)
            if len(self.answers) == 1 and len(self.answers[0]) > 5:
                raise KeyboardInterrupt

    terminal, lines = converse(terminal=Impatient(DIALOGUE, DIALOGUE))
    assert [line["ended"] for line in lines] == ["stopped", "whole"]
    assert 5 < len(lines[0]["answer"]) < len(lines[1]["answer"])
    assert lines[1]["answer"].startswith(lines[0]["answer"])


def test_what_is_over_the_budget_is_cut_and_counted(converse, nano, caplog):
    long = "\n".join([f"#Person1#: This is line {i}." for i in range(40)] + ["#Person2#: I see."])
    _, (line,) = converse(long)
    prompt = find_template(line["template"]).render({"dialogue": long})
    whole = len(nano.tokenizer.encode([prompt], add_eos=True)[0])
    assert line["tokens read"] <= 64 and line["tokens cut"] == whole - line["tokens read"]
    assert f"({line['tokens cut']} tokens dropped; the longest had {whole})" in caplog.text
    terminal, lines = converse(long, **{"data.truncation": "error"})
    assert len(lines) == 1 and "over the limit of 64" in terminal.notes[-1]


def test_a_pipe_is_one_text(load, monkeypatch, capsys, tmp_path, nano):
    def pipe(content: bytes, **overrides):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        chat.run(load(**overrides), str(tmp_path))
        return capsys.readouterr().out

    text = f"/not a command\n{DIALOGUE}"
    answer = pipe(f"{text}\r\n".encode())
    (line,) = (tmp_path / "transcript.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == text
    prompt = find_template(load().data.template).render({"dialogue": text})
    assert answer == nano.generate([prompt], max_new_tokens=128)[0] + "\n"
    for content, message in ((b" \n", "standard input is empty"), (b"\xff", "is not UTF-8")):
        with pytest.raises(InputError, match=message):
            pipe(content)


def test_a_folder_holds_chats_with_other_settings_but_no_other_run(converse, tmp_path):
    converse(DIALOGUE)
    _, lines = converse(DIALOGUE, **{"data.template": "flan_0"})
    assert [line["template"][-9:] for line in lines] == ["Summary: ", "flan_0"]
    (tmp_path / "config.json").write_text('{"task": "finetune"}')
    with pytest.raises(InputError, match="holds a run of another config"):
        converse(DIALOGUE)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"generation.num_beams": "4"}, "generation.num_beams = 4: beams have no output"),
        ({"generation.top_p": "0.5"}, "top_p = 0.5 has no effect without do_sample"),
        ({"data.encoder_lengths": "(96, 64)"}, "encoder_lengths must be a tuple of growing"),
        ({"data.template": "{dialogue} {summary}"}, "it must have {dialogue} and no other field"),
        ({"model.source": "random"}, "config.model.source: random weights have nothing to say"),
    ],
)
def test_what_cannot_be_is_refused_first(converse, nano, overrides, message):
    before = nano.compilations
    with pytest.raises(InputError, match=re.escape(message)):
        converse(DIALOGUE, **overrides)
    assert nano.compilations == before


def test_the_program_in_a_terminal(tmp_path):
    """A paste is answered, Ctrl-C stops the answer, Ctrl-D leaves, and nothing is left of the waiting."""
    program = Program(
        "-m", "t5x_lite", "--config=chat.py", f"--workdir={tmp_path}",
        "--config.data.encoder_lengths=(64,)", "--config.generation.max_new_tokens=640",
        "--config.generation.min_new_tokens=640",
        T5X_LITE_PROGRESS="1",
    )  # fmt: skip
    program.wait_for(r"1,640,832 parameters; max_new_tokens=640.*\n(.*\n)?.*/help: commands")
    program.wait_for("> ")
    program.type(PASTE.format(DIALOGUE + "\n"))
    program.wait_for(r"(?=today\.)")
    time.sleep(0.5)
    program.type("\r")
    program.wait_for(r"today\.\n")
    program.wait_for(r"\n[^\n|/\\-]*\w+ \w+ ")
    program.type("\x03")
    program.wait_for(r"\(Ctrl-D or /quit leaves\)\n.*> ")
    program.type("/quit\r")
    assert program.ends() == 0
    (line,) = (tmp_path / "transcript.jsonl").read_text().splitlines()
    line = json.loads(line)
    assert line["text"] == DIALOGUE and line["ended"] == "stopped"
    assert 0 < line["tokens written"] < 640
