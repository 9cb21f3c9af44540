"""A conversation: texts from a terminal (or one from a pipe), answers as they are written, and a transcript of both."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import os
import pathlib
import time
from typing import Any

import jax

from t5x_lite.api import Pretrained, load_pretrained
from t5x_lite.console import waiting
from t5x_lite.data.templates import TEMPLATES
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.stream import check_streamable
from t5x_lite.errors import InputError
from t5x_lite.params.overview import count
from t5x_lite.tasks.chat.answers import Answerer, check_template
from t5x_lite.tasks.chat.commands import HELP, read_settings, read_template, split_command
from t5x_lite.tasks.chat.sections import Config
from t5x_lite.tasks.chat.terminal import Terminal
from t5x_lite.wiring.model import RANDOM
from t5x_lite.wiring.trained_template import warn_of_another_template
from t5x_lite.wiring.workdir import claim_workdir, open_workdir

TRANSCRIPT = "transcript.jsonl"


def run(config: Config, workdir: str) -> None:
    """Runs the task until the input ends. Beams, which cannot be shown as they grow, are refused before all else."""
    if jax.process_count() > 1:
        raise InputError("config.task: a chat has one terminal; start it in one process")
    check_streamable(GenerationSettings.from_mapping(config.generation, "config.generation"))
    check_template(config.data.template, config.data.cut_field)
    if config.model.source == RANDOM:
        raise InputError("config.model.source: random weights have nothing to say; name a model")
    if "://" in workdir:
        raise InputError(
            f"--workdir {workdir}: the transcript grows by lines, which objects in a bucket cannot; take a local folder"
        )
    folder = open_workdir(workdir, config)
    warn_of_another_template(config.model.source, config.data.template)
    terminal = Terminal()
    text = "" if terminal.is_terminal else _piped(terminal)
    with waiting(f"loading {config.model.source}"):
        t5 = _load(config)
    answerer = Answerer(
        t5,
        field=config.data.cut_field,
        lengths=config.data.encoder_lengths,
        policy=config.data.truncation,
        template=config.data.template,
    )
    claim_workdir(folder, config)
    transcript = pathlib.Path(os.fspath(folder)) / TRANSCRIPT
    chat = Chat(answerer, terminal, transcript, config.model.source, config.seed)
    try:
        if terminal.is_terminal:
            terminal.note(f"{config.model.source}, {count(t5.params):,} parameters; {chat.state()}")
            terminal.note(
                "Paste or type a dialogue; an empty line sends it. /help: commands. Ctrl-D leaves."
            )
            chat.converse()
        else:
            chat.answer(text)
    finally:
        answerer.close()


def _piped(terminal: Terminal) -> str:
    """The text on standard input.

    Raises:
      InputError: there is none, or it is not UTF-8.
    """
    try:
        text = terminal.read_all()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 ({error.reason}); convert it") from error
    if not text.strip():
        raise InputError("standard input is empty: pipe a dialogue in, or start it in a terminal")
    return text.strip("\r\n")


def _load(config: Config) -> Pretrained:
    tokenizer = config.tokenizer.source
    t5 = load_pretrained(
        config.model.source,
        dtype=config.model.dtype,
        param_dtype=config.model.param_dtype,
        quantization=config.model.quantization,
        tokenizer=None if tokenizer == "model" else tokenizer,
    )
    t5.settings = t5.settings.updated(config.generation, where="config.generation")
    return t5


@dataclasses.dataclass
class Chat:
    """What goes on between a person and a model.

    seed: of the answers; /again counts on from it.
    """

    answerer: Answerer
    terminal: Terminal
    transcript: pathlib.Path
    model: str
    seed: int
    last: str = ""
    repeats: int = 0

    def state(self) -> str:
        """Settings and template, in a line."""
        shown = self.answerer.settings.items()
        settings = ", ".join(f"{k}={v!r}" for k, v in shown if not k.endswith("_token_id"))
        return f"{settings or 'greedy'}; template {self.answerer.template!r}"

    def converse(self) -> None:
        """Reads and answers until the input ends. A mistake costs one line, Ctrl-C the answer, and neither the rest."""
        self.answerer.compile_ahead()
        going_on = True
        while going_on:
            try:
                entered = self.terminal.read()
                if entered is None:
                    return
                if entered.startswith("/") and "\n" not in entered:
                    going_on = self.obey(entered)
                else:
                    self.repeats = 0
                    self.answer(entered)
            except InputError as error:
                self.terminal.note(str(error))
            except KeyboardInterrupt:
                self.terminal.note("\n(Ctrl-D or /quit leaves)")

    def obey(self, line: str) -> bool:
        """Does what a command says; False: leave.

        Raises:
          InputError: no such command, or not with these words.
        """
        name, rest = split_command(line)
        answerer = self.answerer
        if name == "/help":
            self.terminal.note(HELP.replace("FIELD", answerer.field))
        elif name == "/settings":
            if rest == "reset":
                answerer.reset_settings()
            elif rest:
                answerer.change_settings(read_settings(rest))
            if rest:
                answerer.compile_ahead()
            self.terminal.note(self.state())
        elif name == "/template":
            if rest:
                answerer.set_template(read_template(rest))
            self.terminal.note(f"template {answerer.template!r}")
            if not rest:
                self.terminal.note(f"there are {', '.join(TEMPLATES)}, and your own")
        elif name == "/again":
            self._again()
        return name != "/quit"

    def _again(self) -> None:
        if not self.last:
            raise InputError("/again: there is no text yet")
        if not self.answerer.samples:
            raise InputError(
                "/again: greedy decoding gives the same text again; /settings do_sample=true makes it draw"
            )
        self.repeats += 1
        self.answer(self.last)

    def answer(self, text: str) -> None:
        """Answers a text, piece by piece, and adds a line to the transcript; of one that is stopped, too.

        Raises:
          InputError: the text is too long, and the policy is to refuse it.
          KeyboardInterrupt: Ctrl-C.
        """
        self.last, begin, seed = text, time.monotonic(), self.seed + self.repeats
        asked = self.answerer.ask(text)
        pieces, tokens = self.answerer.pieces(asked, seed)
        written: list[str] = []
        ended = "stopped"
        try:
            doing = "reading" if self.answerer.is_ready(asked) else "compiling"
            with waiting(f"{doing} for {asked.tokens.shape[1]} tokens"):
                self.answerer.wait_for(asked)
                first = next(pieces, "")
            for piece in itertools.chain([first], pieces):
                written.append(piece)
                self.terminal.write(piece)
            ended = "whole"
        finally:
            self.terminal.write("\n")
            self._append(text, asked, seed, "".join(written), len(tokens), ended)
        if self.terminal.is_terminal:
            seconds = time.monotonic() - begin
            self.terminal.note(
                f"  ({asked.used} tokens read, {len(tokens)} written, {seconds:.1f} s)"
            )

    def _append(
        self, text: str, asked: Any, seed: int, answer: str, written: int, ended: str
    ) -> None:
        line = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "model": self.model,
            "template": self.answerer.template,
            "text": text,
            "settings": self.answerer.settings,
            "seed": seed,
            "tokens read": asked.used,
            "tokens cut": asked.cut,
            "answer": answer,
            "tokens written": written,
            "ended": ended,
        }
        append_line(self.transcript, line)


def append_line(file: pathlib.Path, record: Any) -> None:
    """Adds a JSON line, whole, and behind a line break where a killed program left none."""
    with open(file, "a+b") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
