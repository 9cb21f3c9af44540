"""The order of the rooms, held by reading the imports; and what no file of the package may do."""

import ast
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "t5x_lite"

# Data flows downwards: a file imports from its own room and from rooms above it.
ROOMS = (
    "errors foreign console streams sections params data models parallel optim checkpoints interop decoding embedding"
    " evaluation train rl reports pods recipe config wiring api export harness serving tasks runs commands main"
).split()
# The package itself re-exports the surface of `api` and `runs`; `__main__` starts `main`.
ROOMS.insert(ROOMS.index("runs") + 1, "__init__")
ROOMS.append("__main__")

FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("file", FILES, ids=str)


def room_of(file: pathlib.Path) -> str:
    return file.parts[0].removesuffix(".py")


def parse(file: pathlib.Path) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"), filename=str(file))


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every module imported anywhere in a file, also inside functions, and its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports from the package's root"
            assert node.module is not None
            # `from t5x_lite import x` may name a room; `from t5x_lite.room import x` has named it.
            if node.module == "t5x_lite":
                yield from ((f"t5x_lite.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def rooms_imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for module, line in imports(tree):
        package, _, rest = module.partition(".")
        if package == "t5x_lite":
            name = rest.partition(".")[0]
            yield (name if name in ROOMS else "__init__"), line


@every_file
def test_imports_come_from_rooms_above(file: pathlib.Path):
    room = room_of(file)
    assert room in ROOMS, f"{file} belongs to no room: add it to ROOMS in its place"
    wrong = [
        f"line {line}: {room} imports from {other}"
        for other, line in rooms_imported(parse(file))
        if ROOMS.index(other) > ROOMS.index(room)
    ]
    assert not wrong, f"t5x_lite/{file}: " + "; ".join(wrong)


@every_file
def test_torch_is_never_imported_and_transformers_only_for_tokenizers_and_configs(file):
    tree = parse(file)
    assert not [m for m, _ in imports(tree) if m.split(".")[0] in ("torch", "peft", "tensorflow")]
    names = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers")
        for alias in node.names
    ]
    models = [name for name in names if "For" in name or name.endswith("Model")]
    assert not models, f"t5x_lite/{file} imports {models} from transformers"


@every_file
def test_nothing_prints(file: pathlib.Path):
    if file.name == "main.py":
        return  # the program, not the library
    prints = [
        node.lineno
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not prints, f"t5x_lite/{file} prints in lines {prints}: use console.log"


def test_dependencies_are_those_that_are_imported():
    """Nothing is imported that `pip install` may not bring, and nothing is installed for no use."""
    distributions = importlib.metadata.packages_distributions()
    imported = {
        re.sub(r"[-_.]+", "-", distribution).lower()
        for file in FILES
        for module, _ in imports(parse(file))
        for distribution in distributions.get(module.split(".")[0], [])
        if module.split(".")[0] not in ("t5x_lite", *sys.stdlib_module_names)
    }
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    declared = {
        re.sub(r"[-_.]+", "-", re.split(r"[<>=;\[ ]", requirement)[0]).lower()
        for requirement in (*project["dependencies"], *project["optional-dependencies"]["serve"])
    }
    # jaxlib comes with jax, in the version that jax needs; lm-eval is an extra, and may not be there.
    assert imported - declared - {"jaxlib", "lm-eval"} == set(), (
        "imported, but not in pyproject.toml"
    )
    assert declared - imported == set(), "in pyproject.toml, but never imported"


@every_file
def test_names_say_what_is_inside(file: pathlib.Path):
    assert file.stem not in ("utils", "util", "common", "helpers", "misc")


@pytest.mark.parametrize("module", ["t5x_lite.main", "t5x_lite.config"])
def test_help_is_quick(module: str):
    """`--help` and a typo in a flag answer before jax and its like are imported (seconds)."""
    heavy = (
        "jax flax optax orbax.checkpoint grain transformers datasets evaluate matplotlib".split()
    )
    code = f"import sys, {module}; sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, f"importing {module} imports or fails with: {run.stderr.strip()}"


def test_what_a_first_step_does_not_need_is_imported_later(tmp_path: pathlib.Path):
    """nltk (with pandas, scipy.stats and scikit-learn behind it), matplotlib, torch: seconds of waiting."""
    code = (
        "import sys\n"
        "from t5x_lite.tasks.finetune import run\n"
        "from t5x_lite.reports.metrics import MetricsWriter\n"
        f"MetricsWriter({str(tmp_path)!r}, start_step=0, tensorboard=True).close()\n"
        "heavy = 'nltk sklearn pandas scipy.stats matplotlib datasets evaluate transformers torch'.split()\n"
        "sys.exit(' '.join(m for m in heavy if m in sys.modules) or 0)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, f"imported before there is need: {run.stderr.strip()[-500:]}"


@every_file
def test_configs_become_sections_where_they_are_loaded(file: pathlib.Path):
    """Behind `load_config` nobody sees a ConfigDict."""
    modules = [module for module, _ in imports(parse(file))]
    assert ("ml_collections" in modules) == (str(file) in ("config.py", "recipe.py"))


def test_sections_need_no_jax():
    """So that a typo in a config is told at once, whatever its task is."""
    tasks = sorted(str(path.parent.name) for path in PACKAGE.glob("tasks/*/sections.py"))
    code = (
        "import importlib, sys\n"
        f"for task in {tasks}: importlib.import_module(f't5x_lite.tasks.{{task}}.sections')\n"
        "sys.exit(' '.join(m for m in ('jax', 'flax', 'optax', 'transformers') if m in sys.modules) or 0)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert tasks and run.returncode == 0, f"sections import or fail with: {run.stderr.strip()}"


def test_the_map_of_the_rooms_is_theirs():
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("## The rooms") : text.index("## Two straight lines")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == ROOMS
    # Files are named from the package on; `count` is the task that the text adds.
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", text)
    here = (REPOSITORY, PACKAGE)
    missing = [
        name
        for name in named
        if not re.search(r"\b(count|mine)\b", name.replace("_", " "))
        and not any((folder / name).exists() for folder in here)
    ]
    assert len(named) > 15 and not missing


# Longer than the others: a jitted step with what it is made of, searches, a long table of arguments.
LONG = {
    "evaluation/comparison.py": ("score_outputs",),
    "decoding/beam_search.py": ("beam_search",),
}
# Scripts of others call it so.
MANY = {
    "data/features.py": ("make_examples",),
    "evaluation/comparison.py": ("score_outputs",),
}


def functions(file: pathlib.Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parse(file)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@every_file
def test_functions_take_few_values_and_are_short(file: pathlib.Path):
    wide, long = [], []
    for node in functions(file):
        given = [
            argument.arg
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        ]
        if len(given) - (given[:1] in (["self"], ["cls"])) > 8:
            wide.append(node.name)
        assert node.end_lineno is not None
        if node.end_lineno - node.lineno + 1 > 60:
            long.append(node.name)
    assert set(wide) <= set(MANY.get(file.as_posix(), ())), "what belongs together is one value"
    assert set(long) <= set(LONG.get(file.as_posix(), ())), "over 60 lines"


@every_file
def test_files_are_short(file: pathlib.Path):
    assert len((PACKAGE / file).read_text(encoding="utf-8").splitlines()) <= 400


def test_a_task_is_a_folder():
    assert len(list((PACKAGE / "tasks").glob("*.py"))) <= 12
    for task in ("finetune", "prompt"):
        lines = (PACKAGE / "tasks" / task / "run.py").read_text(encoding="utf-8").splitlines()
        assert len(lines) < 100, f"{task} is to be read from top to bottom"


def test_the_order_is_read_from_every_kind_of_import():
    tree = ast.parse(
        "import t5x_lite.train.step\nfrom t5x_lite import data\nfrom t5x_lite import load\n"
        "def f():\n    from t5x_lite.models.t5 import T5\n"
    )
    assert list(rooms_imported(tree)) == [("train", 1), ("data", 2), ("__init__", 3), ("models", 5)]
