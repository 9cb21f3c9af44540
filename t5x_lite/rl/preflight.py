"""Before step 1: is the policy its own reference, and do sampler and scorer agree? If not, why.

KL that starts at 30 or goes negative is the commonest complaint about PPO for encoder-decoders (trl #256, #235, #1340,
#495); each of its causes is looked for by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from t5x_lite.console import log
from t5x_lite.decoding.setting_checks import is_never
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.params.gather import whole as on_host
from t5x_lite.params.paths import flatten

# Nats a token by which two computations of one log-probability may differ: other shapes round otherwise.
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.15, "float16": 0.05}
# What makes the draws other than the policy's, with the value at which it does not. The temperature is the policy's.
NEUTRAL = {
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
}
# As `NEUTRAL`, of lists and token ids: nothing there has no effect.
LISTED = (
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
)


def check_ends(settings: GenerationSettings) -> None:
    """Refuses settings of a rollout by which a response ends otherwise than with eos or at its length.

    Raises:
      InputError: as said.
    """
    if settings.stop_texts():
        raise InputError(
            "config.generation.stop_strings: a response of a rollout ends with eos or at its length, and a text that"
            " ends it would be learned as one without an end; leave them out"
        )
    if settings.eos_token_id is not None and is_never(settings.eos_token_id):
        raise InputError(
            "config.generation.eos_token_id: -1 lets no response end, and what is learned is to end them; leave it out,"
            " and say in rollout.length_range how long they shall be"
        )


@dataclasses.dataclass(frozen=True)
class Preflight:
    """What was found: numbers in nats, and what speaks against starting ("" for nothing)."""

    kl: float  # mean over sequences of the summed k1
    largest_sampler_gap: float  # a token
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


class Compared(NamedTuple):
    """Log-probabilities of the same responses, [rows, length] each: the policy's and the reference's, teacher-forced;
    what the sampler saw; the policy's with the prompts' padding on the other side. mask: of the
    tokens that count, none in a row that only fills the batch.
    """

    logprobs: np.ndarray
    ref_logprobs: np.ndarray
    sampler_logprobs: np.ndarray
    left_padded_logprobs: np.ndarray
    mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Checks:
    """mode: "fixed" stops where something is found, "parity" warns. reference: what the config says of the reference.
    dropout: whether it is on in the updates.
    """

    mode: str
    reference: str
    dropout: bool


def inspect(
    compared: Compared,
    checks: Checks,
    *,
    dtype: str,
    settings: GenerationSettings,
    same_weights: Callable[[], bool],
) -> Preflight:
    """Compares, token by token, and names the causes.

    Args:
      dtype: the compute type.
      same_weights: whether the reference has the policy's weights; asked where the two differ (it reads them all).
    """
    logprobs, ref_logprobs = compared.logprobs, compared.ref_logprobs
    counts = compared.mask > 0
    tolerance = TOLERANCES[dtype]

    def gap(one: np.ndarray, other: np.ndarray) -> float:
        return largest_gap(one, other, compared.mask)

    to_reference = gap(logprobs, ref_logprobs)
    to_sampler = gap(logprobs, compared.sampler_logprobs)
    to_padding = gap(logprobs, compared.left_padded_logprobs)
    kl = float(
        np.where(counts, logprobs - ref_logprobs, 0.0).sum() / max(counts.any(axis=1).sum(), 1)
    )
    problems, remarks = [], []
    if to_padding > tolerance:
        problems.append(
            f"padding: prompts padded on the other side give log-probabilities {to_padding:.3g} nats apart"
            " (padding is attended to, or positions count it)"
        )
    if not to_reference <= tolerance:
        why = (
            "they have the same weights, so the two are computed differently (dropout on, or another compute type)"
            if same_weights()
            else f"the reference has other weights than the policy (config.reference.source = {checks.reference!r})"
        )
        problems.append(
            f"KL of policy to reference is {kl:.3g} nats a sequence before step 1, up to {to_reference:.3g} a token"
            f" where rounding allows {tolerance:g}: {why}"
        )
    if not to_sampler <= tolerance:
        causes = "; ".join(_filters(settings)) or "another mask or position in the cache"
        problems.append(
            f"sampler and scorer differ by up to {to_sampler:.3g} nats a token where rounding allows {tolerance:g}:"
            f" the sampler's log-probabilities are processed ({causes}), or its weights are not the policy's"
        )
    elif filters := _filters(settings):
        remarks.append(
            f"responses are drawn through a filter ({'; '.join(filters)}): they do not come from the distribution whose"
            " ratios PPO clips"
        )
    if checks.dropout:
        remarks.append(
            "dropout is on in the updates: ratios start away from 1, and the first minibatch is clipped already"
        )
    return Preflight(kl, to_sampler, tuple(problems), tuple(remarks))


def largest_gap(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """The largest distance of two tables over what a mask counts; 0 where that is nothing."""
    return float(np.max(np.abs(one - other)[mask > 0], initial=0.0))


def report(found: Preflight, mode: str) -> None:
    """Says what was found: "fixed" stops on a problem, "parity" warns and goes on.

    Raises:
      InputError: a problem, in the mode "fixed".
    """
    for remark in found.remarks:
        log.warning("preflight: %s", remark)
    if not found.problems:
        log.info(
            "preflight: KL to the reference %.2g nats, sampler and scorer within %.2g nats a token",
            found.kl,
            found.largest_sampler_gap,
        )
        return
    if mode == "fixed":
        raise InputError(
            f"preflight: {'; '.join(found.problems)}. Put that right, or set config.mode to 'parity' to go on with it"
        )
    for problem in found.problems:
        log.warning("preflight: %s", problem)


def same_leaves(one: object, other: object) -> bool:
    """Whether two trees hold the same arrays, bit for bit."""
    ours, theirs = flatten(one), flatten(other)
    return ours.keys() == theirs.keys() and all(
        np.array_equal(on_host(ours[path]), on_host(theirs[path])) for path in ours
    )


def _filters(settings: GenerationSettings) -> Sequence[str]:
    active = [
        f"{name} = {getattr(settings, name)}"
        for name, neutral in NEUTRAL.items()
        if np.any(np.asarray(getattr(settings, name)) != neutral)
    ]
    fewest, _ = settings.new_tokens()
    if np.any(np.asarray(fewest) > 0):
        active.append(f"at least {np.max(fewest)} new tokens")
    return active + [name for name in LISTED if getattr(settings, name) not in (None, [], ())]
