#!/usr/bin/env python
"""Compares an export's tokens and scores in ONNX Runtime with this package's, over 200 prompts.

    python scripts/onnx_round_trip.py write nano onnx_trip       # here: onnx_trip/hf, and what it generates here
    python3 -m venv onnx && onnx/bin/pip install "optimum-onnx[onnxruntime]"
    onnx/bin/python scripts/onnx_round_trip.py check onnx_trip   # there: exports to ONNX, generates, compares

Two environments, as optimum-onnx wants transformers 4. "nano" may be any model directory. Greedy and 4 beams, in
batches of 20, encoder and decoder with past. Every token must be ours, and every score (of a greedy text each token's
log-probability, of beams sequences_scores) ours to 1e-4, or the status is 1. The exporter sees hf/ alone.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
from typing import Any

PROMPTS = 200
BATCH = 20
TOLERANCE = 1e-4
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"max_new_tokens": 40},
    "4 beams": {"max_new_tokens": 40, "num_beams": 4, "length_penalty": 1.0},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    write_command = commands.add_parser("write", help="in this package's environment")
    write_command.add_argument("model", help='"nano", or a model directory')
    check_command = commands.add_parser("check", help="in an environment with optimum-onnx")
    for command in (write_command, check_command):
        command.add_argument("folder", type=pathlib.Path)
    options = parser.parse_args()
    if options.command == "write":
        write(options.model, options.folder)
        return 0
    return check(options.folder)


def write(model: str, folder: pathlib.Path) -> None:
    """FOLDER/hf, and FOLDER/ours.json: prompts, their token ids, and per setting the tokens and scores of each text."""
    from t5x_lite import console, load_pretrained
    from t5x_lite.data.sources import load_rows

    console.setup()

    folder.mkdir(parents=True, exist_ok=True)
    t5 = load_pretrained(model)
    t5.save_pretrained(folder / "hf")
    rows = load_rows(
        "bundled", "test", {"dialogue": "dialogue"}, id_column="id", exclude="", limit=PROMPTS
    )
    prompts = [
        f"Summarize the following conversation.\n\n{row['dialogue']}\n\nSummary: " for row in rows
    ]
    found: dict[str, Any] = {"inputs": t5.tokenizer.encode(prompts, add_eos=True)}
    for name, settings in SETTINGS.items():
        texts = t5.generate_with_scores(prompts, **settings)
        found[name] = [
            {
                "tokens": text.tokens.tolist(),
                "scores": text.logprobs.tolist() if text.score is None else [text.score],
            }
            for text in texts
        ]
    (folder / "ours.json").write_text(json.dumps(found))
    print(
        f"{folder}: hf/ and what it gives for {len(prompts)} prompts; now check it in the other environment"
    )


def check(folder: pathlib.Path) -> int:
    """Prints a row a setting; 0 where all is equal."""
    from optimum.onnxruntime import ORTModelForSeq2SeqLM  # type: ignore[import-not-found]

    ours = json.loads((folder / "ours.json").read_text())
    exporter = [sys.executable, "-m", "optimum.exporters.onnx", "--model", str(folder / "hf")]
    task = ["--task", "text2text-generation-with-past", str(folder / "onnx")]
    subprocess.run([*exporter, *task], check=True, capture_output=True)
    model = ORTModelForSeq2SeqLM.from_pretrained(folder / "onnx")
    print("| setting | texts | equal tokens | largest difference of a score |\n|---|---|---|---|")
    wrong = 0
    for name, settings in SETTINGS.items():
        theirs = generated(model, ours["inputs"], settings)
        equal = [
            mine["tokens"] == other["tokens"]
            for mine, other in zip(ours[name], theirs, strict=True)
        ]
        differences = [
            abs(one - two)
            for mine, other, same in zip(ours[name], theirs, equal, strict=True)
            if same
            for one, two in zip(mine["scores"], other["scores"], strict=True)
        ]
        print(f"| {name} | {len(equal)} | {sum(equal)} | {max(differences, default=0):.1e} |")
        wrong += len(equal) - sum(equal) + sum(one > TOLERANCE for one in differences)
    return int(wrong > 0)


def generated(
    model: Any, inputs: list[list[int]], settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """What ONNX Runtime gives, in the form of ours.json."""
    import torch

    found = []
    for start in range(0, len(inputs), BATCH):
        rows = inputs[start : start + BATCH]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        output = model.generate(
            input_ids=ids, attention_mask=(ids != 0).long(), output_scores=True,
            return_dict_in_generate=True, **settings,
        )  # fmt: skip
        if "num_beams" in settings:
            scores = output.sequences_scores[:, None]
        else:
            scores = model.compute_transition_scores(
                output.sequences, output.scores, normalize_logits=True
            )
        for row, of_row in zip(output.sequences[:, 1:].tolist(), scores.tolist(), strict=True):
            tokens = row[: row.index(1) + 1] if 1 in row else row
            found.append({"tokens": tokens, "scores": of_row[: len(tokens)]})
    return found


if __name__ == "__main__":
    sys.exit(main())
