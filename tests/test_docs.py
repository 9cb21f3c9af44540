"""What the documentation names exists: commands, files, configuration fields."""

import importlib.util
import pathlib
import re

import ml_collections
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = sorted((REPOSITORY / "configs").glob("*.py"))
# Paths below these, wherever they stand in a text, are files of this repository.
FOLDERS = ("configs", "scripts", "t5x_lite", "tests", ".ci")

COMMAND = re.compile(
    r"(?:t5x-lite|python -m t5x_lite)\s+--config[ =](?P<config>[\w./-]+\.py)(?P<rest>.*)"
)
PATH = re.compile(rf"(?<![\w./~<-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\w/?")
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
OVERRIDE = re.compile(r"--config\.([\w.]+)")


def joined_lines(text: str) -> str:
    """A command that goes on after a backslash, as one line."""
    return re.sub(r"\\\n\s*", "", text)


def missing_files(text: str) -> list[str]:
    named = set(PATH.findall(text)) | set(LINK.findall(text))
    return sorted(name for name in named if not (REPOSITORY / name).exists())


def load(path: pathlib.Path):
    spec = importlib.util.spec_from_file_location(f"documented_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unknown_fields(text: str) -> list[str]:
    """`--config.a.b` in a command whose config has no field `a.b`."""
    unknown = []
    for command in COMMAND.finditer(joined_lines(text)):
        config = load(REPOSITORY / command["config"]).get_config("")
        for field in OVERRIDE.findall(command["rest"]):
            value = config
            for name in field.split("."):
                if not (isinstance(value, ml_collections.ConfigDict) and name in value):
                    unknown.append(f"{command['config']}: {field}")
                    break
                value = value[name]
    return unknown


def test_configs_are_found():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_config_names_its_own_command(path: pathlib.Path):
    text = load(path).__doc__ or ""
    named = [command["config"] for command in COMMAND.finditer(joined_lines(text))]
    assert f"configs/{path.name}" in named, "the docstring lacks: t5x-lite --config configs/NAME.py"
    assert "--workdir" in text
    assert load(path).get_config("runlocal"), "every config runs in seconds with this argument"
    assert not missing_files(text)
    assert not unknown_fields(text)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "docs/deployment.md"])
def test_a_document_names_what_exists(name: str):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert not missing_files(text)
    assert not unknown_fields(text)


def test_the_architecture_names_what_exists():
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = [file for file in missing_files(text) if not re.search(r"count|mine", file)]
    assert not missing  # those two it adds


def test_the_architecture_explains_every_key_that_ppo_logs():
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`((?:objective|ppo|env)/\w+(?:/\w+)?)`", text))
    logged = {
        key
        for file in (REPOSITORY / "t5x_lite" / "rl").glob("*.py")
        for key in re.findall(
            r'"((?:objective|ppo|env)/\w+(?:/\w+)?)"', file.read_text(encoding="utf-8")
        )
    }
    assert logged and logged == explained


def test_what_does_not_exist_is_noticed():
    text = "`scripts/no.sh`, [this](docs/no.md), [a page](https://x.org/y), runs/configs/a.py"
    assert missing_files(text) == ["docs/no.md", "scripts/no.sh"]
