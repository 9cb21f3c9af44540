"""Summaries by prompting alone: prompt kinds and decoding settings side by side, FLAN-T5-base on DialogSum."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

LAB = "what_was_going_on"
_FEW_SHOT = {"kind": "few_shot", "template": LAB, "before_answer": "", "separator": "\n\n\n"}
_REASONING = {
    "kind": "chain_of_thought",
    "template": "{dialogue}\n\nWhat is the summary of this dialogue? Let's think step by step.",
    "answer_after": ("the summary is", "the answer is"),
}
_DOCUMENTS = (
    "Background:\n\n{documents}\n\nDialogue:\n\n{dialogue}\n\nWhat was going on in the dialogue?\n"
)

PROMPTS = {
    "none": {"kind": "none"}, "instruction": {"kind": "zero_shot", "template": "instruction"},
    LAB: {"kind": "zero_shot", "template": LAB},
    "lab2": {"kind": "zero_shot", "template": "finetune"},
    **{f"flan_{i}": {"kind": "zero_shot", "template": f"flan_{i}"} for i in range(7)},
    "one_shot": {**_FEW_SHOT, "shots": (40,)}, "few_shot": {**_FEW_SHOT, "shots": (40, 80, 120)},
    "reasoning": {**_REASONING, "samples": 1}, "self_consistency": {**_REASONING, "samples": 5},
    "documents": {"kind": "retrieval", "template": _DOCUMENTS, "folder": "bundled", "passages": 2},
}  # fmt: skip


def settings(tokens):
    """The decoding settings that are compared, of as many tokens at most."""
    # top_k = 50 is what transformers' generate applies where nothing is said.
    sampled = {"max_new_tokens": tokens, "do_sample": True, "top_k": 50}
    return {
        "greedy": {"max_new_tokens": tokens},
        "greedy_10": {"max_new_tokens": 10},
        "temperature_01": {**sampled, "temperature": 0.1},
        "temperature_05": {**sampled, "temperature": 0.5},
        "temperature_1": {**sampled, "temperature": 1.0},
        "top_k_10": {**sampled, "top_k": 10},
        "top_p_09": {**sampled, "top_k": 0, "top_p": 0.9},
        "beams_4": {"max_new_tokens": tokens, "num_beams": 4},
    }


def greedy(*prompts):
    return tuple((name, "greedy") for name in prompts)


def side_by_side(prompt, also=()):
    """Every setting but `greedy` on one prompt: the one that the model does best with."""
    return (*((prompt, name) for name in settings(0) if name != "greedy"), *also)


BASE = {
    "task": "prompt", "seed": 0,
    "model": {
        "source": "google/flan-t5-base",
        "architecture": shared.TINY_T5,  # only of a random model
        **shared.FLOAT32, "quantization": "none", "attention": "auto",
    },
    "tokenizer": shared.TOKENIZER,
    "data": {
        "evaluation": {**shared.HUB, "split": "test"}, "shots": shared.HUB, "target": "{summary}",
        "encoder_length": 512, "truncation": "oldest_turns", "cut_field": "dialogue",
    },
    "prompts": PROMPTS, "settings": settings(50),
    "runs": greedy(*(name for name in PROMPTS if name != "self_consistency")),
    "side_by_side": {
        "rows": (40, 200), "runs": side_by_side("few_shot", [("self_consistency", "temperature_05")]),
    },
    "round_trip": "What time is it, Tom?", "mesh": shared.MESH,
    "evaluation": {
        "batch_tokens": 16384,
        # Each output's log-probability (nats), its tokens and a beam's score, in predictions/.
        "with_scores": False, "bootstrap_samples": 2000, "beside_rouge": (), "bertscore_source": "",
    },
    "published": {
        "DialogSum test, FLAN-T5-base with the prompt lab2 (course, greedy, 200 tokens)": shared.FLAN_T5,
        "DialogSum test, Transformer from scratch (Chen and others, 2021)": shared.FROM_SCRATCH,
        "DialogSum test, BART-large fine-tuned (Chen and others, 2021)": shared.BART,
    },
}  # fmt: skip
WORDS = shared.runlocal(BASE, {
    "data.evaluation": {**shared.BUNDLED, "split": "test", "limit": 8},
    "data.shots.source": "bundled", "data.encoder_length": 1024, "settings": settings(8),
    "runs": greedy("none", "instruction", "few_shot"),
    "side_by_side.rows": (4, 7), "side_by_side.runs": (("few_shot", "greedy_10"),),
    "evaluation.batch_tokens": 1024, "evaluation.with_scores": True,
})  # fmt: skip
