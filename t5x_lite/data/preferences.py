"""Preference pairs: a prompt with a chosen and a rejected response, read from rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from t5x_lite.console import log
from t5x_lite.data.classifier_text import ClassifierTokenizer
from t5x_lite.data.features import Batch, Examples, Ragged, ids_of
from t5x_lite.data.kept_responses import render_kept
from t5x_lite.data.plan import Keep, Plan, name_of
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import Template, find_template
from t5x_lite.errors import InputError

CHOSEN, REJECTED = "chosen", "rejected"
_RESPONSE = "{response}"


def pair_texts(rows: Sequence[Row], template: str) -> tuple[list[str], list[str]]:
    """The texts a reward model compares: `template` filled with the chosen, and with the rejected response.

    template: its field {response} is the response; others are the rows' own ("{dialogue}\\n\\nSummary: {response}").

    Raises:
      InputError: rows without "chosen" or "rejected", or a template without {response}.
    """
    parsed = _with_response(template)
    check_pairs(rows)
    return (
        [parsed.render({**row, "response": row[CHOSEN]}) for row in rows],
        [parsed.render({**row, "response": row[REJECTED]}) for row in rows],
    )


def prompt_template(template: str) -> Template:
    """The prompt of a template that ends with {response}: for a model that reads the two apart.

    >>> prompt_template("{dialogue} Summary: {response}").text
    '{dialogue} Summary: '

    Raises:
      InputError: it does not end so, or leaves no prompt.
    """
    text = _with_response(template).text
    before = text.removesuffix(_RESPONSE)
    if before == text or _RESPONSE in before or "{" not in before:
        raise InputError(
            f"template {template!r}: a model that reads prompt and response apart needs one with the prompt's fields"
            f" and {_RESPONSE} as its end"
        )
    return find_template(before)


def check_pairs(rows: Sequence[Row]) -> None:
    """Refuses rows that are no preference pairs.

    Raises:
      InputError: a row without "chosen" or "rejected".
    """
    for name in (CHOSEN, REJECTED):
        if any(name not in row for row in rows):
            raise InputError(
                f"config.data: preference pairs need the column {name!r}; name it in `columns`"
            )


def pair_sides(
    rows: Sequence[Row], template: str, tokenizer: ClassifierTokenizer
) -> tuple[Examples, Examples]:
    """The prompts with the chosen responses, and with the rejected ones (`prompt_template`), for a `PairPlan`."""
    prompt = prompt_template(template)
    check_pairs(rows)
    prompts = Ragged.from_lists(tokenizer.encode([prompt.render(row) for row in rows]))
    chosen, rejected = (
        Examples(
            prompts, Ragged.from_lists(tokenizer.encode([row[name] for row in rows])), ids_of(rows)
        )
        for name in (CHOSEN, REJECTED)
    )
    warn_of_equal_pairs(rows, chosen.decoder_target_tokens, rejected.decoder_target_tokens)
    return chosen, rejected


def pair_examples(rows: Sequence[Row], template: str, tokenizer: ClassifierTokenizer) -> Examples:
    """Pairs as examples of two sequences: the chosen text is the encoder's, the rejected one the decoder's.

    (The batch plan buckets by both lengths; no decoder ever reads them.) Texts that are too long keep their response
    (`kept_responses`); pairs that are the same tokens all the same are counted in a warning.
    """
    _with_response(template)
    check_pairs(rows)
    chosen, rejected = (
        Ragged.from_lists(
            tokenizer.encode(
                render_kept(template, [{**row, "response": row[name]} for row in rows], tokenizer)
            )
        )
        for name in (CHOSEN, REJECTED)
    )
    warn_of_equal_pairs(rows, chosen, rejected)
    return Examples(chosen, rejected, ids_of(rows))


def warn_of_equal_pairs(rows: Sequence[Row], chosen: Ragged, rejected: Ragged) -> int:
    """Counts the pairs whose two sides are the same tokens, of which nothing can be learned, and warns in one line."""
    same = [i for i in range(len(rows)) if np.array_equal(chosen[i], rejected[i])]
    if same:
        cut = sum(rows[i][CHOSEN] != rows[i][REJECTED] for i in same)
        log.warning(
            "%d of %d pairs have the same tokens chosen and rejected (%d of them only since they were cut; the first is"
            " row %s): nothing can be learned from them; raise the length, or leave them out",
            *(len(same), len(rows), cut, rows[same[0]].get("id", same[0])),
        )
    return len(same)


def _with_response(template: str) -> Template:
    parsed = find_template(template)
    if "response" not in parsed.fields:
        raise InputError(f"template {template!r}: the field {{response}} is missing")
    return parsed


class PairPlan:
    """Batches of preference pairs for a model that is conditioned on the prompt: `Plan`'s, with both responses.

    A batch has the keys of a T5 batch for the chosen response, for the rejected one `rejected_input_tokens`,
    `rejected_target_tokens` and `rejected_loss_weights`, [rows, length], and `reference_chosen` and
    `reference_rejected`, float32 [rows]: the log-probabilities of the responses under the reference policy.

    Args:
      chosen, rejected: the same prompts with either response.
      make: a plan of examples (their lengths fit both responses).
      reference: float32 [pairs, 2], chosen and rejected; zeros where they are yet to be computed.
    """

    def __init__(
        self,
        chosen: Examples,
        rejected: Examples,
        make: Callable[[Examples], Plan],
        reference: np.ndarray,
    ):
        responses = chosen.decoder_target_tokens, rejected.decoder_target_tokens
        longer = [
            max((side[pair] for side in responses), key=len).tolist() for pair in range(len(chosen))
        ]
        self._sides = chosen, rejected
        self._plan = make(Examples(chosen.encoder_input_tokens, Ragged.from_lists(longer)))
        self.reference = reference
        self.shapes = self._plan.shapes
        self.steps_per_epoch = self._plan.steps_per_epoch
        self.source = chosen

    def batch(self, step: int, keep: Keep | None = None) -> Batch:
        """The global batch of that step, or the rows that `keep` says; one that only fills it up has no loss weight."""
        chosen, rejected = (self._plan.batch(step, keep, source) for source in self._sides)
        rows = self.indices(step)
        if keep is not None:
            rows = rows[keep(len(rows))]
        reference = np.where(rows[:, None] >= 0, self.reference[rows], 0).astype(np.float32)
        return {
            **chosen,
            **{
                f"rejected_{name}": rejected[f"decoder_{name}"]
                for name in ("input_tokens", "target_tokens", "loss_weights")
            },
            "reference_chosen": reference[:, 0],
            "reference_rejected": reference[:, 1],
        }

    def indices(self, step: int) -> np.ndarray:
        """int [rows]: the pair in each row, -1 in one that only fills the batch."""
        return self._plan.indices(step)

    def names(self, step: int) -> list[str]:
        """What a message calls the pairs in that step's batch."""
        return [name_of(self.source, int(pair)) for pair in self.indices(step) if pair >= 0]

    def padding(self) -> dict[str, float]:
        """As `Plan.padding`, the longer response counting as used."""
        return self._plan.padding()
