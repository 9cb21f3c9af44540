"""Programs compiled by what the tasks decode with: as many as buckets, whatever lengths and settings come after."""

import jax
import numpy as np
import pytest

from t5x_lite.config import load_config
from t5x_lite.data.buckets import make_shapes
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.plan import Plan
from t5x_lite.data.prompts import NoPrompt
from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.evaluation.generative import generate_texts, own_batches
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.tasks.prompt.decoder import Decoder, shapes_of
from t5x_lite.tasks.prompt.runs import Run
from t5x_lite.wiring import scoring

WORDS = "one two three four five six seven eight nine ten and or but not so he she it they we"


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A mesh of one device, a tokenizer, a model and its weights."""
    vocabulary = train_tokenizer(
        [WORDS] * 9,
        tmp_path_factory.mktemp("compilations"),
        TrainedTokenizerSettings(
            vocab_size=60,
            algorithm="bpe",
            user_defined_symbols=(),
            extra_ids=0,
            keep_newlines=True,
            byte_fallback=False,
            max_sentences=0,
        ),
    )
    config = T5Config(
        vocabulary.padded_size, 16, 8, 16, 1, 1, 2,
        tie_word_embeddings=True, scale_decoder_outputs=True,
    )  # fmt: skip
    model = T5(config, Execution())
    mesh = make_mesh({"data": 1, "fsdp": 1, "model": 1}, jax.devices()[:1])
    with on_mesh(mesh):
        yield mesh, vocabulary, model, init_params(model, jax.random.key(0))


def prompts_of(lengths, seed):
    rng = np.random.default_rng(seed)
    return {i: [*rng.integers(3, 50, n - 1).tolist(), 1] for i, n in enumerate(lengths)}


def test_prompt_runs(tools, tmp_path):
    mesh, vocabulary, model, params = tools
    lengths = np.random.default_rng(0).integers(3, 49, 40)
    shapes = shapes_of(lengths, 40, 384, mesh)
    ready = scoring.Ready(model, params, vocabulary, mesh)
    decoder = Decoder(ready, shapes, rng=jax.random.key(1), with_scores=True)
    buckets = len(shapes)
    assert buckets == 3
    names = {i: f"row-{i}" for i in range(40)}

    def decode(lengths, seed, **settings):
        run = Run("none", str(seed), GenerationSettings.from_mapping(settings), True)
        prompts = prompts_of(lengths, seed)
        texts = decoder.decode(run, NoPrompt(), names, prompts, tmp_path)
        assert len(texts) == 40
        return decoder.compilations

    assert decode(lengths, 0, max_new_tokens=9) <= buckets
    warm = decode(lengths, 1, max_new_tokens=9, do_sample=True, repetition_penalty=1.2)
    assert warm <= 2 * buckets
    for seed, settings in enumerate(
        (
            {"max_new_tokens": 32, "min_new_tokens": 3},
            {"do_sample": True, "repetition_penalty": 0.8, "temperature": 0.3, "top_k": 5},
            {"do_sample": True, "repetition_penalty": 1.1, "top_p": 0.4, "top_k": 0},
        ),
        start=2,
    ):
        others = np.random.default_rng(seed).integers(3, 49, 40)
        assert decode(others, seed, **settings) == warm


def test_scoring(tools, monkeypatch):
    """What `evaluate` is and `finetune` ends with."""
    mesh, vocabulary, model, params = tools
    made = []

    class Counted(Generator):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(scoring, "Generator", Counted)
    config = load_config("evaluate.py:runlocal", {"generation.max_new_tokens": "9"})
    decode = scoring.make_decode(config, scoring.Ready(model, params, vocabulary, mesh))
    shapes = make_shapes([(16, 8), (32, 8), (48, 8)], size=0, tokens=384, row_multiple=1)
    counts = []
    for seed in range(2):
        lengths = np.random.default_rng(seed).integers(3, 49, 40)
        prompts = list(prompts_of(lengths, seed).values())
        plan = Plan(
            Examples(Ragged.from_lists(prompts), Ragged.from_lists([[1]] * 40)),
            shapes, seed=None, pack=False, pad_id=0, decoder_start_id=0,
        )  # fmt: skip
        assert plan.steps_per_epoch > len(shapes)
        assert len(generate_texts(decode, vocabulary, own_batches(plan, mesh), 40)) == 40
        counts.append(made[0].compilations)
    assert counts[0] <= len(shapes) and counts[1] == counts[0] and len(made) == 1
