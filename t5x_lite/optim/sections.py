"""What a config says of the loss, the optimizer and the learning rate."""

from __future__ import annotations

from typing import Annotated, Literal

from t5x_lite.sections import Above, Amount, Below, CountOrNone, Expected, Fraction, Section, Share

OptimizerName = Literal["adamw", "adafactor", "rms_adamw", "muon"]


class LossSettings(Section, name="loss"):
    """The cross-entropy of target tokens."""

    label_smoothing: Annotated[
        Fraction, "Share of the target's probability spread evenly over the vocabulary."
    ]
    z_loss: Annotated[
        Amount, "Weight of log(Z)**2, which keeps the logits from drifting (Mesh TensorFlow, T5X)."
    ]
    chunk: Annotated[
        CountOrNone, "Decoder positions whose logits exist at a time; 0 takes all at once."
    ]


class TeachingSettings(Section, name="distillation"):
    """What a student learns of its teacher's distributions over the vocabulary."""

    teacher_weight: Annotated[
        Share,
        "Share of the teacher's distributions in the loss; the rest is the cross-entropy of the targets.",
    ]
    kind: Annotated[
        Literal["forward_kl", "reverse_kl", "jsd"],
        "KL(teacher | student), which covers all that the teacher may say; KL(student | teacher), which says nothing"
        " that it would not; or the generalized Jensen-Shannon divergence between the two.",
    ]
    beta: Annotated[
        float,
        Above(0),
        Below(1),
        "Of 'jsd': the teacher's share in the mixture; near 0 it acts as the forward KL, near 1 as the reverse.",
    ]
    temperature: Annotated[
        float,
        Above(0),
        "Both models' logits are divided by it, and the divergence multiplied by its square (Hinton et al. 2015).",
    ]
    top_k: Annotated[
        CountOrNone,
        "The teacher's likeliest tokens that are told apart; all others are one outcome. 0: every token is.",
    ]


class OptimizerSettings(Section, name="optimizer"):
    """The optimizer; `optimizers.make_optimizer` says what each is."""

    name: Annotated[OptimizerName, "Which optimizer."]
    b1: Annotated[Fraction, "Decay of the first moment; of Adafactor, of its momentum (0: none)."]
    b2: Annotated[Fraction, "Decay of the second moment; Adafactor has its own."]
    eps: Annotated[Amount, "Added to the root of the second moment; Adafactor has its own."]
    weight_decay: Annotated[Amount, "Decoupled decay, times the learning rate."]
    no_weight_decay: Annotated[tuple[str, ...], "Patterns of parameter paths that are not decayed."]
    clip_norm: Annotated[Amount, "Global gradient norm to clip to; 0: no clipping."]
    rate_multipliers: Annotated[
        tuple[tuple[str, float], ...],
        Expected("pairs of a parameter path pattern and a factor"),
        "Factors on the learning rate; the first pattern that matches counts, other parameters have 1.",
    ]


class ScheduleSettings(Section, name="schedule"):
    """The learning rate over the run; `schedules.make_schedule` says what each is."""

    name: Annotated[
        Literal["constant", "linear", "cosine", "rsqrt"], "How the rate goes on after the warm-up."
    ]
    learning_rate: Annotated[Amount, "The highest rate."]
    warmup_steps: Annotated[CountOrNone, "Steps over which the rate rises from near 0."]
    final_fraction: Annotated[Share, "Share of the highest rate that is left at the end."]
