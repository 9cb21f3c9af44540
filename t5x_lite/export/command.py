"""`t5x-lite export`: a model into a folder that others run, in the formats that are asked for."""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Sequence
from typing import NoReturn

from t5x_lite.api import Pretrained, load_pretrained
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError
from t5x_lite.export.ctranslate2_files import QUANTIZATIONS, save_ctranslate2
from t5x_lite.export.model_card import codes, model_card, read_report, write_card
from t5x_lite.export.stablehlo import save_stablehlo

FORMATS = ("hf", "ctranslate2", "stablehlo")

_DESCRIPTION = """\
Writes a model for others to run (docs/deployment.md). What is written in DIRECTORY: hf/, a Hugging Face directory with
a model card; ctranslate2/; stablehlo/, programs and weights that jax alone runs."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"export: {message}; see t5x-lite export --help")


def read_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags behind `t5x-lite export`.

    Raises:
      InputError: one that is unknown or missing.
      SystemExit: of `--help`.
    """
    return _parser().parse_args(list(arguments))


def run(arguments: Sequence[str]) -> str:
    """Writes the export, and says where what lies.

    Args:
      arguments: those behind `t5x-lite export`.

    Raises:
      InputError: a flag that is unknown, missing or of no use; else as `load_pretrained` and the formats' writers.
      SystemExit: of `--help`.
    """
    given = read_flags(arguments)
    formats = _formats(given.to)
    if given.out.strip() == "" or "://" in given.out:
        raise InputError(
            f"--out: expected a local directory, got {given.out!r}; copy it from there"
        )
    if given.max_new_tokens < 1:
        raise InputError(
            f"--max_new_tokens must be a whole number >= 1, got {given.max_new_tokens}"
        )
    t5 = load_pretrained(given.model, tokenizer=given.tokenizer or None)
    if given.adapter:
        t5.load_adapter(given.adapter)
    merged = "" if t5.adapter is None else given.adapter or given.model
    if merged:
        t5.merge_adapter()
    out = pathlib.Path(given.out).expanduser()
    written = []
    for format in formats:
        folder = out / format
        if format == "hf":
            _save_hf(folder, t5, given, merged)
        elif format == "ctranslate2":
            save_ctranslate2(folder, t5.config, t5.params, _tokenizer_of(t5), given.quantization)
        else:
            save_stablehlo(folder, t5, given.max_new_tokens)
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        written.append(f"{folder}: {size / 1e6:,.1f} MB\n")
    return "".join(written)


def _save_hf(folder: pathlib.Path, t5: Pretrained, given: argparse.Namespace, merged: str) -> None:
    t5.save_pretrained(folder)
    name = given.name or pathlib.Path(os.path.abspath(given.out)).name
    said = {"license": given.license, "language": codes(given.language), "adapter": merged}
    said["place"] = given.name or f"{name}/{folder.name}"
    write_card(
        folder, model_card(name, t5.config, read_report(merged or given.model), said, folder)
    )


def _tokenizer_of(t5: Pretrained) -> Vocabulary | None:
    try:
        return t5.tokenizer
    except InputError:  # none lies beside the model, which was told when it was loaded
        return None


def _formats(text: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",")]
    unknown = [name for name in chosen if name not in FORMATS]
    if unknown:
        raise InputError(f"--to: expected some of {','.join(FORMATS)}, got {unknown[0]!r}")
    return [name for name in FORMATS if name in chosen]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="t5x-lite export",
        description=_DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, metavar="DIR", help="a model directory, a workdir, or a hub id")
    add("--out", required=True, metavar="DIRECTORY", help="where the export goes")
    add(
        "--adapter",
        default="",
        metavar="DIR",
        help="a LoRA adapter that is merged into the weights",
    )
    add("--to", default="hf", help=f"formats, with commas between: {','.join(FORMATS)}")
    add(
        "--tokenizer", default="", help="a tokenizer's directory or hub id, in place of the model's"
    )
    add("--quantization", default="float32", choices=QUANTIZATIONS, help="weights of ctranslate2/")
    add("--max_new_tokens", type=int, default=128, help="the most tokens that stablehlo/ generates")
    add("--name", default="", help="the model's name in its card; its folder's where none is given")
    add("--license", default="", help="of the card, as the hub spells it: apache-2.0")
    add("--language", default="", help="of the card, with commas between: en,de")
    return parser
