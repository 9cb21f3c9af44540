"""A torch reward model of the same size beside a run: transformers' T5 encoder, the same pairs, order and steps.

    python scripts/torch_reward_baseline.py runs/hh_rlhf

The folder is a finished run of `configs/reward.py` with an encoder from random weights (":encoder", ":hh_rlhf",
":pandalm"). The baseline has its architecture, tokenizer, initial scales, batches, losses, optimizer and schedule, but
none of our code in model, gradient or update, and is scored on the run's held-out pairs. Needs torch, which
`pip install ".[test]"` brings.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import numpy as np

from t5x_lite.config import read_config
from t5x_lite.data.classifier_text import load_classifier_tokenizer
from t5x_lite.data.features import Examples
from t5x_lite.data.preferences import pair_examples
from t5x_lite.errors import InputError
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.preferences import preference_scores
from t5x_lite.interop.classifiers import open_classifier
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.optim.schedules import make_schedule
from t5x_lite.reports.tables import markdown_table
from t5x_lite.wiring.classifier_training import make_plan
from t5x_lite.wiring.holdout import read_with_holdout, row_groups

try:
    import torch
    import transformers
except ImportError as error:
    sys.exit(f'the baseline needs torch ({error}): pip install ".[test]"')


class Scorer(torch.nn.Module):
    """transformers' T5 encoder, the mean of its states over a text, and a linear head that begins at zero."""

    def __init__(self, config: transformers.T5Config):
        super().__init__()
        self.encoder = transformers.T5EncoderModel(config)
        self.head = torch.nn.Linear(config.d_model, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, tokens: np.ndarray) -> torch.Tensor:
        """int [batch, length] -> [batch]."""
        ids = torch.tensor(tokens, dtype=torch.long)
        mask = (ids != 0).float()
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return self.head(mean)[:, 0]


def torch_config(module: T5Classifier) -> transformers.T5Config:
    """The same architecture by transformers' names."""
    ours = module.config
    return transformers.T5Config(
        vocab_size=ours.vocab_size, d_model=ours.d_model, d_kv=ours.d_kv, d_ff=ours.d_ff,
        num_layers=ours.num_encoder_layers, num_heads=ours.num_heads,
        dropout_rate=ours.dropout_rate, feed_forward_proj=ours.feed_forward_proj,
        pad_token_id=ours.pad_token_id,
    )  # fmt: skip


def optimizer_of(model: Scorer, config: Any) -> torch.optim.Optimizer:
    """AdamW with the run's numbers; the embedding at its own rate, as in the run."""
    section, rates = config.optimizer, dict(config.optimizer.rate_multipliers)
    base = config.schedule.learning_rate
    embedding = list(model.encoder.shared.parameters())
    known = {id(one) for one in embedding}
    others = [one for one in model.parameters() if id(one) not in known]
    groups = [
        {"params": embedding, "lr": base * rates.pop("token_embedder/embedding", 1.0)},
        {"params": others, "lr": base},
    ]
    if rates or section.name != "adamw" or section.no_weight_decay:
        sys.exit("the run's optimizer is not AdamW with a rate of its own for the embedding alone")
    return torch.optim.AdamW(
        groups, betas=(section.b1, section.b2), eps=section.eps, weight_decay=section.weight_decay
    )


def train(model: Scorer, config: Any, examples: Examples, module: T5Classifier) -> None:
    """The run's steps, one after the other."""
    plan = make_plan(
        [examples], module, rows=config.batch.size, buckets=config.batch.buckets, seed=config.seed, multiple=1,
    )  # fmt: skip
    optimizer, steps = optimizer_of(model, config), config.train.steps
    schedule = make_schedule(config.schedule, steps)
    first = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        batch = plan.batch(step)
        real = batch["decoder_loss_weights"].sum(axis=1) > 0
        chosen = model(batch["encoder_input_tokens"][real])
        rejected = model(batch["decoder_target_tokens"][real])
        loss = torch.nn.functional.softplus(config.loss.margin - (chosen - rejected))
        loss = loss + config.loss.center * (chosen + rejected) ** 2
        optimizer.zero_grad()
        loss.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm or np.inf)
        for group, rate in zip(optimizer.param_groups, first, strict=True):
            group["lr"] = rate * float(schedule(step)) / config.schedule.learning_rate
        optimizer.step()


def scores(model: Scorer, texts: Any) -> np.ndarray:
    """Each text by itself: no padding."""
    with torch.no_grad():
        return np.array([float(model(texts[i][None])[0]) for i in range(len(texts))])


def table(config: Any, ours: dict[str, Any], folder: pathlib.Path) -> str:
    """Accuracy of both on the held-out pairs, with bootstrap intervals."""
    opened = open_classifier(folder)
    if config.model.source != "random" or not isinstance(opened.module, T5Classifier):
        sys.exit(f"{folder}: the baseline is of an encoder from random weights")
    tokenizer = load_classifier_tokenizer(opened.directory, config.data.max_length)
    sides = read_with_holdout(config.data, config.seed)
    pairs, held_out = (pair_examples(rows, config.data.template, tokenizer) for rows in sides)
    torch.manual_seed(config.seed)
    model = Scorer(torch_config(opened.module))
    train(model, config, pairs, opened.module)
    model.eval()
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, 0.95, config.seed)
    theirs = preference_scores(
        scores(model, held_out.encoder_input_tokens),
        scores(model, held_out.decoder_target_tokens),
        bootstrap,
        row_groups(config.data, sides[1]),
    )
    lines = [
        [name, len(held_out), f"{one['accuracy']:.3f} ({one['low']:.3f}, {one['high']:.3f})"]
        for name, one in (("t5x_lite", ours), ("torch", theirs))
    ]
    return markdown_table(("model", "pairs", "accuracy"), lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=pathlib.Path, help="workdir of a finished run")
    folder = parser.parse_args().run
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{folder}: not the folder of a finished run ({error})")
    if report["config"]["task"] != "reward":
        sys.exit(f"{folder}: not a reward model's run")
    try:
        print(table(read_config(report["config"]), report["preferences"], folder))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
