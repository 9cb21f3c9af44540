"""What an attacker would try: code in files, templates that reach into objects, names that lead out of a folder."""

import ast
import pathlib

import pytest

from t5x_lite.data.templates import Template
from t5x_lite.errors import InputError
from t5x_lite.foreign.names import inside
from tests.test_rooms import FILES, parse

# A config is a program of the user's own. torch's files are read by an unpickler that knows tensors alone
# (tests/interop/test_weight_files.py).
MEANT = {
    "config.py": ["exec", "compile"],
    "recipe.py": ["exec", "compile"],
    "interop/torch_bin.py": ["imports pickle"],
}
# What runs code that a file holds; `module.function`, or a built-in.
RUNNERS = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load",
    "cloudpickle.load", "cloudpickle.loads", "joblib.load", "marshal.load", "marshal.loads", "shelve.open",
    "torch.load", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen", "runpy.run_path",
    "subprocess.getoutput", "pd.read_pickle", "pandas.read_pickle",
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression that is one; "" of others."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def dangers(tree: ast.Module) -> list[str]:
    """Calls that run code, settings that let a library do so, and modules that unpickle."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = names if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"imports {name}" for name in modules if name in ("pickle", "dill", "shelve")]
        if not isinstance(node, ast.Call):
            continue
        if (name := dotted(node.func)) in RUNNERS:
            found.append(name)
        for setting in node.keywords:
            off = isinstance(setting.value, ast.Constant) and setting.value.value is False
            if setting.arg in ("shell", "allow_pickle", "trust_remote_code") and not off:
                found.append(setting.arg)
    return found


@pytest.mark.parametrize("file", FILES, ids=str)
def test_nothing_runs_what_a_file_says(file: pathlib.Path):
    assert dangers(parse(file)) == MEANT.get(str(file), [])


@pytest.mark.parametrize(
    "code",
    [
        "eval(x)", "import pickle", "from pickle import load", "torch.load(f, weights_only=False)",
        "subprocess.run(x, shell=True)", "np.load(f, allow_pickle=flag)", "AutoModel.f(x, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_search_finds(code: str):
    assert dangers(ast.parse(code))


@pytest.mark.parametrize(
    "text",
    [
        "{dialogue.__class__}", "{dialogue.__class__.__mro__[1].__subclasses__}", "{0.__init__.__globals__}",
        "{dialogue[0]}", "{dialogue!r}", "{dialogue:{width}}", "{dialogue:>1000000000}", "{__class__.__name__}", "{}",
    ],
)  # fmt: skip
def test_a_template_reaches_no_attributes(text: str):
    with pytest.raises(InputError, match="template") as error:
        Template(text).render({"dialogue": "A: hello", "width": "9"})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "..", "", ".", "C:\\x", "a\x00b", "\\\\host\\x", "file:x", None, 7]
)  # fmt: skip
def test_a_name_in_a_file_leads_nowhere_else(tmp_path, name: object):
    with pytest.raises(InputError, match="index.json: names the file"):
        inside(tmp_path, name, "index.json")
