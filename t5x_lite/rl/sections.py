"""What a config says of PPO and DPO: the algorithms' numbers, rollouts, rewards and judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from t5x_lite.data.templates import find_template
from t5x_lite.errors import InputError
from t5x_lite.sections import (
    Above,
    Amount,
    Below,
    ByKind,
    Count,
    CountOrNone,
    Expected,
    Fraction,
    Name,
    Range,
    Section,
    Share,
)

# The `text` of a classifier that is the template which it was trained with.
OF_THE_MODEL = "model"


class PPOSettings(Section, name="ppo"):
    """The numbers of the algorithm."""

    minibatch_size: Annotated[Count, "Responses of an update."]
    accumulation: Annotated[
        Count,
        "Slices that an update's responses are read in; what is learned does not depend on it.",
    ]
    epochs: Annotated[Count, "How often the responses of a step are learned from."]
    samples_per_prompt: Annotated[Count, "Responses to each prompt of a step."]
    advantage: Annotated[
        Literal["gae", "rloo", "grpo"],
        "'gae' with a critic; 'rloo' or 'grpo' over the responses to a prompt, without one.",
    ]
    gamma: Annotated[Share, "Discount of a later token's reward."]
    lam: Annotated[Share, "Generalized advantage estimation's lambda."]
    cliprange: Annotated[Amount, "How far the ratio to the policy that wrote counts, from 1."]
    cliprange_value: Annotated[Amount, "How far a value may move from what it was at the rollout."]
    vf_coef: Annotated[Amount, "Weight of the value loss."]
    entropy_coef: Annotated[Amount, "Weight of the entropy, which is made larger."]
    kl_penalty: Annotated[
        Literal["reward", "loss"],
        "'reward' takes kl_coef * k1 from every token's reward; 'loss' adds kl_coef * k3 to the loss.",
    ]
    target_kl: Annotated[
        Amount,
        "Once a minibatch is more than 1.5 times as many nats a token from the policy that wrote its responses, it and"
        " the minibatches after it change nothing; 0 never stops.",
    ]
    whiten_advantages: Annotated[
        Literal["batch", "minibatch", "none"],
        "Over the whole batch, each minibatch (as TRL does), or not at all.",
    ]
    whiten_rewards: Annotated[
        bool, "Scale rewards by their standard deviation first (the mean stays)."
    ]
    dropout: Annotated[bool, "Whether dropout acts in the updates."]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.advantage != "gae" and self.samples_per_prompt < 2:
            raise InputError(
                f"ppo.samples_per_prompt = {self.samples_per_prompt}: {self.advantage} compares the"
                " responses to one prompt, so it needs at least 2"
            )


class ScoreSettings(Section, name="ppo"):
    """How a score becomes a reward."""

    score_scale: Annotated[Amount, "Factor on every score."]
    score_clip: Annotated[Amount, "Largest magnitude of a score after that; 0: no clipping."]
    missing_eos_penalty: Annotated[
        Amount,
        "Taken from the score of a response cut off at its length, after scaling and clipping.",
    ]


class ControllerSettings(Section, name="ppo"):
    """What the KL coefficient does from step to step."""

    kl_controller: Annotated[
        Literal["adaptive", "fixed"],
        "'fixed' keeps the coefficient; 'adaptive' multiplies it by 1 + clip(kl / kl_target - 1, -0.2, 0.2) * n /"
        " kl_horizon, n being the responses of the step.",
    ]
    kl_target: Annotated[Amount, "Nats a response that an adaptive coefficient aims at."]
    kl_horizon: Annotated[Amount, "Responses over which it moves."]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl_controller == "adaptive" and min(self.kl_target, self.kl_horizon) <= 0:
            raise InputError("ppo.kl_target and ppo.kl_horizon must be above 0 (adaptive control)")


class PPORunSettings(PPOSettings, ScoreSettings, ControllerSettings):
    """A run of PPO."""

    steps: Annotated[Count, "Rollouts, each with its updates."]
    prompts: Annotated[Count, "Prompts of a step; times samples_per_prompt: its responses."]
    init_kl_coef: Annotated[Amount, "The KL coefficient of the first step."]
    logprob_chunk: Annotated[
        CountOrNone, "Decoder positions whose logits exist at a time; 0 takes all at once."
    ]


class RolloutSettings(Section):
    """What the policy writes to learn from."""

    length: Annotated[Count, "Tokens of a response, at most, eos included."]
    length_range: Annotated[
        Range,
        "() for `length` alone; or each prompt's own limit is drawn from it (as lab 3 does).",
    ]
    mask_first_token: Annotated[
        bool, "Whether the first token of a response does not count (as lab 3 has it)."
    ]


class ReferenceSettings(Section):
    """What the policy is held to."""

    source: Annotated[
        Literal["policy", "base"], "The policy as it began, or the model below its adapter."
    ]


class CriticSettings(Section):
    """What estimates values, with the advantage 'gae'."""

    kind: Annotated[
        Literal["trunk", "separate"], "A head on the policy's own decoder, or a model of its own."
    ]
    dropout_rate: Annotated[Fraction, "Of the value head's input."]


class JudgeSettings(Section):
    """A classifier that tells how toxic a text is."""

    source: Annotated[Name, "A classifier: a directory, a hub id, or 'train:CONFIG.py'."]
    label: Annotated[Name, "Its label whose probability counts."]
    text: Annotated[
        Name,
        "A template of what it reads: {response}, {prompt}, the row's fields; 'model': the one it was trained with.",
    ]


class ProbesSettings(Section):
    """Two texts that rewards and judge are shown, as lab 3 does."""

    clean: Annotated[Name, "One that should be preferred."]
    toxic: Annotated[Name, "One that should not."]


class ToxicitySettings(JudgeSettings):
    """The judge that is not trained on."""

    rows: Annotated[CountOrNone, "The first so many held-out rows are in its table; 0: all."]
    probes: ProbesSettings


Weight = Annotated[float, "What its scores are multiplied with in the sum of all rewards."]


class ClassifierRewardSettings(Section):
    """A logit or probability of a classifier; of a reward model, its one logit."""

    weight: Weight
    source: Annotated[
        Name, "A classifier or reward model: a directory, a hub id, or 'train:CONFIG.py'."
    ]
    label: Annotated[Name, "Which of its outputs."]
    output: Annotated[Literal["logit", "probability"], "As it is, or after the softmax."]
    text: Annotated[
        Name,
        "A template of what it reads: {response}, {raw_response}, {prompt}, the row's fields; 'model': the one it was"
        " trained with.",
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text == OF_THE_MODEL:
            return
        if not {"response", "raw_response"} & set(find_template(self.text).fields):
            raise InputError(f"text: {self.text!r} has no {{response}}")


class FunctionRewardSettings(Section):
    """A Python function of rows and responses."""

    weight: Weight
    function: Annotated[
        Name, "'module:name'; the module is installed, or a file in the working directory."
    ]
    arguments: Annotated[
        Mapping[str, Any],
        Expected("a mapping"),
        "What it is called with by name, beside rows and responses.",
    ]
    retries: Annotated[CountOrNone, "How often it is asked again where it fails."]
    wait_seconds: Annotated[
        Amount, "Before it is asked again; twice as long each time, up to five minutes."
    ]
    timeout_seconds: Annotated[
        Amount,
        "After which a call that has not returned has failed; 0: it may take as long as it likes.",
    ]


RewardSettings = ClassifierRewardSettings | FunctionRewardSettings
Rewards = Annotated[
    Mapping[
        str,
        Annotated[
            RewardSettings,
            ByKind(
                "kind",
                {"classifier": ClassifierRewardSettings, "function": FunctionRewardSettings},
            ),
            "Where scores come from.",
        ],
    ],
    "Rewards by name; their weighted sum is what PPO makes larger.",
]


class DPOSettings(Section, name="loss"):
    """What is learned of h = log(pi(chosen) / ref(chosen)) - log(pi(rejected) / ref(rejected)), in nats a response.

    "sigmoid": -(1 - s) log sigmoid(beta h) - s log sigmoid(-beta h), s the label smoothing (Rafailov et al.; Mitchell
    2023, "A note on DPO with noisy preferences"); "ipo": (h - 1 / (2 beta))^2 (Azar et al. 2023, arXiv:2310.12036).
    """

    kind: Annotated[
        Literal["sigmoid", "ipo"], "DPO's own loss, or the squared distance to 1 / (2 beta)."
    ]
    beta: Annotated[float, Above(0), "How dear it is to leave the reference."]
    label_smoothing: Annotated[
        Amount,
        Below(0.5),
        "The share of labels that are taken to be wrong (from a half on they count as swapped); 0 with 'ipo'.",
    ]
    chunk: Annotated[
        CountOrNone, "Decoder positions whose logits exist at a time; 0 takes all at once."
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "ipo" and self.label_smoothing:
            raise InputError("loss.label_smoothing is of the kind 'sigmoid'; set it to 0 for 'ipo'")
