"""The torch side of decoding_parity.py: transformers' `generate`, and how narrow its own decisions were."""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

try:
    import torch
    import transformers
except ImportError as error:
    sys.exit(f'the comparison needs torch ({error}): pip install ".[test]"')

# What torch excludes has about this score: no hypothesis, so no decision.
_EXCLUDED = -1e8


class Generated(NamedTuple):
    """What torch generates for a batch."""

    tokens: np.ndarray  # [rows, length], without the start token, pads behind the end
    lengths: np.ndarray | None  # [rows], of beams
    scores: np.ndarray | None  # [rows], of beams
    # How narrow torch's own decisions were, in natural logarithms of probability.
    margins: (
        np.ndarray
    )  # greedy: [rows, length], of every step; beams: [batch], the narrowest of the whole search


def load_torch(directory: pathlib.Path) -> Any:
    """transformers' model of a directory, in float32, with none of the directory's generation settings."""
    torch.set_num_threads(1)  # tiny tensors: threads only wait for each other
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory).float().eval()
    fields = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    if fields["model_type"] == "umt5":
        # transformers 5 says true, and with it scales the logits, whatever the file says.
        model.config.tie_word_embeddings = fields["tie_word_embeddings"]
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=model.config.pad_token_id,
        eos_token_id=model.config.eos_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
    )
    return model


def torch_generate(
    model: Any, inputs: np.ndarray, settings: dict[str, Any], tokenizer: Any = None
) -> Generated:
    """transformers' `generate` without sampling. `inputs`: int [batch, length], 0 is the pad."""
    tokens = torch.tensor(inputs, dtype=torch.long)
    narrowest = np.full(len(inputs), np.inf)
    if "stop_strings" in settings:
        settings = settings | {"tokenizer": tokenizer}
    with torch.no_grad(), _watched(model, narrowest, settings.get("num_return_sequences", 1)):
        output = model.generate(
            tokens,
            attention_mask=(tokens != 0).long(),
            do_sample=False,
            output_scores=True,
            output_logits=True,
            return_dict_in_generate=True,
            **settings,
        )
    sequences = output.sequences[:, 1:].numpy().copy()
    if settings.get("num_beams", 1) == 1:
        best = torch.stack([scores.topk(2).values for scores in output.scores], dim=1).numpy()
        return Generated(sequences, None, None, best[..., 0] - best[..., 1])
    # Behind the end of a hypothesis torch writes eos; the beams it came by tell its length.
    lengths = (output.beam_indices >= 0).sum(dim=1).numpy()
    sequences[np.arange(sequences.shape[1]) >= lengths[:, None]] = 0
    return Generated(sequences, lengths, output.sequences_scores.numpy(), narrowest)


@contextlib.contextmanager
def _watched(model: Any, narrowest: np.ndarray, returned: int) -> Iterator[None]:
    """Notes in `narrowest` [batch] the smallest gap on which torch's beam search decides something for an input.

    It decides, at every step at which the search of the input is open:
      1. which candidates run on: the last one kept against the best one dropped;
      2. which candidates that end count: those among the first `num_beams` (only where one of the two at the border
         ends: the others run on from either side of it);
      3. which hypotheses stay among the finished: the last one kept against the best one dropped;
      4. whether the search may still improve: the score hoped for against the worst finished one;
    and at the end, in which order the `returned` hypotheses come back, and which is the last.

    Gaps are those of torch's scores, in which a length penalty above 0 makes everything small, rounding too: there
    they are taken times length ** penalty, so that no gap looks narrower than it is in logarithms of probability.
    """
    state: dict[str, Any] = {}

    def note(gaps: torch.Tensor, where: torch.Tensor) -> None:
        gaps = torch.where(where & state["open"], gaps, torch.inf)
        narrowest[:] = np.minimum(narrowest, gaps.numpy())

    def continuations(**given: Any) -> Any:
        state["candidates"] = given["accumulated_log_probs"].topk(given["beams_to_keep"] + 1).values
        state.setdefault("open", torch.ones(len(state["candidates"]), dtype=torch.bool))
        return original["_get_top_k_continuations"](**given)

    def run_on(**given: Any) -> Any:
        beams, hits = given["num_beams"], given["next_token_hits_stopping_criteria"]
        candidates = state["candidates"]
        running = torch.where(hits, -torch.inf, candidates[:, :-1]).sort(descending=True).values
        dropped = torch.maximum(running[:, beams], candidates[:, -1])
        note(running[:, beams - 1] - dropped, running[:, beams - 1] > _EXCLUDED)  # 1
        border = hits[:, beams - 1] | hits[:, beams]
        note(candidates[:, beams - 1] - candidates[:, beams], border)  # 2
        return original["_get_running_beams_for_next_iteration"](**given)

    def finish(**given: Any) -> Any:
        beams, penalty = given["num_beams"], given["length_penalty"]
        length = given["cur_len"] + 1 - given["decoder_prompt_len"]
        state["scale"] = max(1.0, float(length) ** penalty)
        counts = given["next_token_hits_stopping_criteria"] & given["top_num_beam_mask"][None]
        new = torch.where(counts, given["topk_log_probs"] / length**penalty, -torch.inf)
        merged = torch.cat([given["beam_scores"], new], dim=1).sort(descending=True).values
        gaps = (merged[:, beams - 1] - merged[:, beams]) * state["scale"]
        note(gaps, counts.any(dim=1) & (merged[:, beams] > _EXCLUDED))  # 3
        result = original["_update_finished_beams"](**given)
        state["finished"] = result[1]
        return result

    def improvable(**given: Any) -> Any:
        result = original["_check_early_stop_heuristic"](**given)
        length = given["cur_len"] - given["decoder_prompt_len"]
        if given["early_stopping"] == "never" and given["length_penalty"] > 0:
            length = given["max_length"] - given["decoder_prompt_len"]
        hoped_for = given["running_beam_scores"][:, 0] / length ** given["length_penalty"]
        full = given["is_sent_finished"].all(dim=1)
        gaps = (hoped_for - given["beam_scores"].min(dim=1).values).abs() * state["scale"]
        note(gaps, full)  # 4
        state["open"] &= result[:, 0] & ~(full & (given["early_stopping"] is True))
        return result

    watching = {
        "_get_top_k_continuations": continuations,
        "_get_running_beams_for_next_iteration": run_on,
        "_update_finished_beams": finish,
        "_check_early_stop_heuristic": improvable,
    }
    original = {name: getattr(model, name) for name in watching}
    for name, function in watching.items():
        setattr(model, name, function)
    try:
        yield
    finally:
        for name in watching:
            delattr(model, name)
    if "finished" in state:
        scores = state["finished"].T[: returned + 1]  # [beams, batch], best first
        state["open"][:] = True
        for better, worse in itertools.pairwise(scores):
            note((better - worse) * state["scale"], worse > _EXCLUDED)
