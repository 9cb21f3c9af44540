"""What the documentation names exists: commands, files, configuration fields."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import ml_collections
import pytest

import t5x_lite

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


def missing_files(text: str, folder: pathlib.Path = REPOSITORY) -> list[str]:
    """Paths that a text names and that are not there; its links start from the folder that it lies in."""
    missing = {name for name in PATH.findall(text) if not (REPOSITORY / name).exists()}
    return sorted(missing | {name for name in LINK.findall(text) if not (folder / name).exists()})


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


# The architecture adds files and fields; docs/generated is made by the documentation's build.
PAGES = [
    path.relative_to(REPOSITORY).as_posix()
    for path in sorted((REPOSITORY / "docs").rglob("*.md"))
    if path.name != "architecture.md" and not {"generated", "_build"} & set(path.parts)
]
MADE = re.compile(r"generated/\w+")


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", *PAGES])
def test_a_document_names_what_exists(name: str):
    file = REPOSITORY / name
    text = file.read_text(encoding="utf-8")
    assert not [link for link in missing_files(text, file.parent) if not MADE.match(link)]
    assert not unknown_fields(text)


def test_the_readme_is_short_and_every_yes_of_ours_is_held_by_a_test():
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    ours = [line.split("|")[2].strip() for line in lines if line.count("|") == 8][2:]
    claims = [cell for cell in ours if cell.startswith(("yes", "[yes", "part", "[part"))]
    assert len(claims) > 8
    for cell in claims:
        assert re.fullmatch(r"\[[^]]+\]\(tests/[\w/]+\.py\)", cell), cell


def test_the_readme_has_the_two_commands_and_a_picture():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert text.index("\n    scripts/quickstart.sh") < text.index("\n    scripts/test.sh")
    (picture,) = re.findall(r"!\[.*?\]\((docs/images/.*?)\)", text)
    assert 0 < (REPOSITORY / picture).stat().st_size < 150_000


def test_every_page_is_in_the_table_of_contents():
    listed = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {pathlib.Path(name).stem for name in PAGES if name.count("/") == 1} - {"index"}
    assert not [page for page in sorted(pages) if not re.search(rf"^{page}$", listed, re.MULTILINE)]


def test_what_is_promised_names_its_tests():
    text = (REPOSITORY / "docs" / "resume.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {
        name
        for file in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 15 and named <= there, named - there


def test_the_architecture_names_what_exists():
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    found = missing_files(text, REPOSITORY / "docs")
    missing = [file for file in found if not re.search(r"count|mine", file)]
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


def test_github_runs_what_continuous_integration_runs():
    text = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert re.search(r"^ +- run: \.ci/run$", text, re.MULTILINE)
    assert re.search(r"^ +- run: scripts/docs\.sh$", text, re.MULTILINE)
    lowest = re.search(
        r'requires-python = ">=([\d.]+)"', (REPOSITORY / "pyproject.toml").read_text()
    )
    assert lowest and f'"{lowest[1]}"' in text


def test_the_citation_has_the_version():
    text = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(t5x_lite.__version__)}$", text, re.MULTILINE)


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    pytest.importorskip("myst_nb", reason="pip install 't5x-lite[docs]'")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path / "html")],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "html" / "generated" / "config_finetune.html").read_text(encoding="utf-8")
    assert "schedule.learning_rate" in page
