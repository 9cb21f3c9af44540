"""The model card of an export, a README.md that the hub shows: what is known of the model, and nothing else."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from t5x_lite.data.templates import Template
from t5x_lite.errors import InputError
from t5x_lite.foreign.hashes import FILE as HASHES
from t5x_lite.foreign.json_files import read_object
from t5x_lite.interop.t5x import is_t5x
from t5x_lite.models.config import T5Config
from t5x_lite.reports.tables import markdown_table
from t5x_lite.wiring.trained_template import template_text

FILE = "README.md"
_REPORT = "report.json"
# Of what `read_report` adds to a report: the hash of the tokens that the run was trained on.
_EXAMPLES = "sha256 of the training examples"
# Sources that are no id of the hub: those of this project, and files.
_NO_HUB_ID = ("random", "nano", "model", "bundled", "holdout")
_METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def read_report(source: str) -> dict[str, Any]:
    """The report of the run that `source` is the workdir of, or its model/ or adapter/, and the fingerprint of its data
    where its checkpoints are still there; {} where there is none.

    Raises:
      InputError: there is one, and it is no JSON object.
    """
    folder = pathlib.Path(source).expanduser()
    if is_t5x(source) or not folder.is_dir():
        return {}
    for place in (folder, folder.resolve().parent):
        if (place / _REPORT).is_file():
            return read_object(place / _REPORT) | _data_fingerprint(place)
    return {}


def _data_fingerprint(workdir: pathlib.Path) -> dict[str, str]:
    """Of the tokens of all training examples, as the newest checkpoint has it."""
    steps = [place for place in workdir.glob("checkpoints/*") if place.name.isdecimal()]
    for step in sorted(steps, key=lambda place: int(place.name), reverse=True):
        if (step / "metadata" / "metadata").is_file():
            found = read_object(step / "metadata" / "metadata").get("examples")
            return {_EXAMPLES: found} if isinstance(found, str) else {}
    return {}


def model_card(
    name: str,
    config: T5Config,
    report: Mapping[str, Any],
    said: Mapping[str, Any],
    folder: pathlib.Path,
) -> str:
    """The text of the card.

    Args:
      name: what the model is called.
      report: of the run that trained it (`read_report`); {}: not known.
      said: what whoever exports says: "license", "language" (codes), "adapter" (merged; "": none), "place" (by which
        it is loaded).
      folder: the export, whose hashes.json has the fingerprints of its files.

    Raises:
      InputError: hashes.json cannot be read.
    """
    parts = [_header(config, report, said), f"# {name}\n", _what(config, report, said)]
    if report:
        parts += [_training(report), _scores(report)]
    template = template_text(report.get("config") or {})
    parts += [_use(said["place"], template), _fingerprints(folder)]
    return _apart(parts)


def _apart(blocks: Sequence[str]) -> str:
    """Blocks of Markdown, those that are not empty, with a line between them: a table would take in what follows."""
    return "\n\n".join(block.strip("\n") for block in blocks if block) + "\n"


def _header(config: T5Config, report: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """The YAML between dashes; JSON's strings and lists are YAML's."""
    fields: dict[str, Any] = {
        "license": said["license"] or "unknown",
        "library_name": "transformers",
        "pipeline_tag": "text2text-generation",
        "tags": ["t5x-lite", "jax"],
    }
    if said["language"]:
        fields["language"] = list(said["language"])
    if base := _base(report):
        fields["base_model"] = base
    if datasets := _datasets(report):
        fields["datasets"] = datasets
    if config.model_type != "t5":
        fields["tags"].append(config.model_type)
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def _what(config: T5Config, report: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    gated = "gated " if config.is_gated else ""
    shape = (
        f"An encoder-decoder of the T5 family (`{config.model_type}`): {config.num_encoder_layers} and"
        f" {config.num_decoder_layers} layers, d_model {config.d_model}, {gated}{config.activation}, a vocabulary of"
        f" {config.vocab_size:,}."
    )
    lines = [shape]
    if base := _base(report):
        lines.append(f"It was trained from `{base}`.")
    elif _value(report, "config", "model", "source") == "random":
        lines.append("It was trained from random weights.")
    if said["adapter"]:
        lines.append("The weights of an adapter are merged into it.")
    return " ".join(lines) + "\n"


def _training(report: Mapping[str, Any]) -> str:
    """How it was trained: the task, its data, what the config changed, and what ran."""
    config = report.get("config", {})
    lines = ["## Training\n", f"Task `{config.get('task', 'not known')}` of t5x_lite.\n"]
    rows = [
        (split, settings["source"], settings.get("split", ""), settings.get("limit") or "all")
        for split, settings in (config.get("data") or {}).items()
        if isinstance(settings, Mapping) and "source" in settings
    ]
    if rows:
        lines.append(markdown_table(("rows", "source", "split", "limit"), rows))
    if _EXAMPLES in report:
        lines.append(
            f"SHA-256 of the training examples' tokens, in order: `{report[_EXAMPLES]}`.\n"
        )
    training = report.get("training")
    if isinstance(training, Mapping):
        lines.append(markdown_table(("what", "value"), list(training.items())))
    changed = report.get("differs from the base") or {}
    if changed:
        table = [(field, both[1]) for field, both in changed.items()]
        lines += [f"Fields of the config that differ from the base of `{config.get('task')}`:\n"]
        lines.append(markdown_table(("field", "value"), table))
    if environment := report.get("environment"):
        versions = ", ".join(f"{key} {value}" for key, value in environment.items())
        lines.append(f"Ran with: {versions}.\n")
    return _apart(lines)


def _scores(report: Mapping[str, Any]) -> str:
    tables = []
    for split, scores in (report.get("scores") or {}).items():
        systems = _systems(scores)
        if not systems:
            continue
        names = [m for m in _METRICS if any(m in values for _, values in systems)]
        rows = [
            [system, *(f"{100 * values[m]:.2f}" if m in values else "" for m in names)]
            for system, values in systems
        ]
        tables.append(f"`{split}`, {scores.get('rows', '?')} rows, in points:\n")
        tables.append(markdown_table(("system", *names), rows))
    return _apart(["## Scores", *tables]) if tables else ""


def _systems(scores: Any) -> list[tuple[str, Mapping[str, float]]]:
    """This model's scores, then the baselines'."""
    if not isinstance(scores, Mapping):
        return []
    own = {m: _mean((scores.get("rouge") or {}).get(m)) for m in _METRICS}
    found = {m: value for m, value in own.items() if value is not None}
    systems: list[tuple[str, Mapping[str, float]]] = [("this model", found)] if found else []
    baselines = scores.get("baselines")
    return (
        systems + list(baselines.items()) if systems and isinstance(baselines, Mapping) else systems
    )


def _mean(value: Any) -> float | None:
    value = value.get("mean") if isinstance(value, Mapping) else value
    return float(value) if isinstance(value, (int, float)) else None


def _use(place: str, template: str) -> str:
    """template: of the prompts that the model was trained on; "": not known."""
    lines = [f't5 = load_pretrained("{place}")']
    if "{" in template:
        given = ", ".join(f'{field}="..."' for field in Template(template).fields)
        lines += [
            f"prompt = {json.dumps(template, ensure_ascii=False)}  # what it was trained on",
            f"t5.generate([prompt.format({given})])",
        ]
    else:
        lines.append('t5.generate(["..."])')
    code = "\n".join(lines)
    return f"""## Use

```python
from t5x_lite import load_pretrained  # or transformers: AutoModelForSeq2SeqLM, AutoTokenizer

{code}
```
"""


def _fingerprints(folder: pathlib.Path) -> str:
    file = folder / HASHES
    if not file.is_file():
        return ""
    rows = list(read_object(file).items())
    return "## Fingerprints\n\n" + markdown_table(("file", "SHA-256"), rows)


def _base(report: Mapping[str, Any]) -> str:
    """The hub id of what the run trained; "" where it was none."""
    source = _value(report, "config", "model", "source")
    return source if _is_hub_id(source) else ""


def _datasets(report: Mapping[str, Any]) -> list[str]:
    data = _value(report, "config", "data")
    sources = [
        str(section["source"]).partition(":")[0].partition("@")[0]
        for section in (data.values() if isinstance(data, Mapping) else ())
        if isinstance(section, Mapping) and isinstance(section.get("source"), str)
    ]
    return sorted({source for source in sources if _is_hub_id(source)})


def _is_hub_id(source: Any) -> bool:
    if not isinstance(source, str) or source in _NO_HUB_ID or source.count("/") != 1:
        return False
    return not source.startswith((".", "/", "~", "bundled/")) and not any(
        c in source for c in "*?["
    )


def _value(report: Mapping[str, Any], *names: str) -> Any:
    value: Any = report
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def write_card(folder: pathlib.Path, text: str) -> None:
    """Writes the card beside the model.

    Raises:
      InputError: it cannot be written.
    """
    try:
        (folder / FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{folder / FILE}: cannot write the model card ({error.strerror or error})"
        ) from error


def codes(text: str) -> Sequence[str]:
    """The language codes of a list with commas."""
    return [code.strip() for code in text.split(",") if code.strip()]
