"""Flags of `t5x-lite serve`, and what is refused before it serves."""

import pathlib
import re
import socket
import sys

import pytest

from t5x_lite import main
from t5x_lite.errors import InputError
from t5x_lite.params.soft_prompts import SOFT_PROMPT
from t5x_lite.sections import fields, read
from t5x_lite.serving import served as served_module
from t5x_lite.serving.command import read_flags, usage
from t5x_lite.serving.sections import DEFAULTS, ServeSettings
from t5x_lite.serving.served import load_served
from t5x_lite.serving.server import serve

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def test_flags_become_settings():
    given = "--model nano --port=0 --adapter a=x --adapter b=y=z --request_timeout 1.5 --queue 0"
    settings = read_flags(given.split())
    assert (settings.model, settings.port, settings.queue) == ("nano", 0, 0)
    assert settings.adapter == (("a", "x"), ("b", "y=z"))
    assert settings.request_timeout == 1.5 and settings.host == "127.0.0.1"
    assert set(DEFAULTS) == set(fields(ServeSettings))
    settings = read_flags(["--encoder", "e=x", "--classifier=c=y", "--encoder=f=z"])
    assert settings.encoder == (("e", "x"), ("f", "z")) and settings.classifier == (("c", "y"),)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "--model is missing"),
        ("--model", "--model needs a value"),
        ("--model --port 3", "--model needs a value"),
        ("--model nano --prot 3", "--prot: there is no such flag"),
        ("model nano", "model: there is no such flag"),
        ("--model nano --port web", "--port must be a whole number .*got 'web'"),
        ("--model nano --port 70000", "--port must be"),
        ("--model nano --max_batch 0", "--max_batch must be"),
        ("--model nano --max_batch 1.5", "--max_batch must be"),
        ("--model nano --request_timeout 0", "--request_timeout must be"),
        ("--model nano --request_timeout nan", "--request_timeout must be"),
        ("--model nano --adapter mine", "--adapter mine: write NAME=DIRECTORY"),
        ("--encoder mine", "--encoder mine: write NAME=DIRECTORY"),
        ("--encoder a=b --adapter a=b", "--adapter needs --model"),
        ("--model nano --dtype int7", "--dtype must be"),
        ("--model nowhere/none --port 0", "nowhere/none"),
    ],
)
def test_mistakes_are_one_line_and_status_2(monkeypatch, capsys, flags, message):
    monkeypatch.setattr(sys, "argv", ["t5x-lite", "serve", *flags.split()])
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"t5x-lite: {message}", line), line


def test_help_and_docs_have_every_flag(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["t5x-lite", "serve", "--help"])
    main.run()
    shown = capsys.readouterr().out
    assert shown == usage()
    text = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
    for name in fields(ServeSettings):
        assert f"--{name} " in shown and f"`--{name}`" in text, name


def test_an_address_that_is_taken_is_told_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(served_module, "load_pretrained", None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = read(ServeSettings, DEFAULTS | {"model": "nano", "port": other.getsockname()[1]})
        with pytest.raises(InputError, match=r"--host 127.0.0.1 --port \d+: .*in use"):
            serve(settings)


def test_adapters_that_cannot_be_served(flags, monkeypatch):
    (name, directory), *_ = flags["adapter"]
    twice = read(ServeSettings, flags | {"adapter": ((name, directory), (name, directory))})
    with pytest.raises(InputError, match=f"--adapter {name}=.*there is a '{name}' already"):
        load_served(twice)
    nowhere = read(ServeSettings, flags | {"adapter": ((name, "nowhere"),)})
    with pytest.raises(InputError, match="nowhere"):
        load_served(nowhere)

    def load(self, directory, name="default"):
        self.adapters[name] = type("Soft", (), {"tree": {SOFT_PROMPT: 0}})

    monkeypatch.setattr(served_module.Pretrained, "load_adapter", load)
    with pytest.raises(InputError, match=f"--adapter {name}: a soft prompt"):
        load_served(read(ServeSettings, flags | {"adapter": ((name, directory),)}))
