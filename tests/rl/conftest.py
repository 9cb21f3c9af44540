"""A tiny T5 and a PPO run around it, small enough to solve something in seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh
from t5x_lite.parallel.shardings import replicated, with_shardings
from t5x_lite.rl.kl import KLController
from t5x_lite.rl.losses import PPOSettings
from t5x_lite.rl.preflight import Checks
from t5x_lite.rl.rollout import Prompts
from t5x_lite.rl.scores import ScoreSettings
from t5x_lite.rl.turns import Learner, PPOTurns, Scoring
from t5x_lite.tasks.ppo.parts import Algorithm, assemble, jit_ppo_step, make_roller
from t5x_lite.train.divergence import DivergenceGuard
from t5x_lite.train.loop import Cadence, Files, run_loop
from t5x_lite.train.sections import DivergenceSettings
from t5x_lite.wiring.adaptation import Adaptation

CONFIG = T5Config(
    vocab_size=12, d_model=16, d_kv=8, d_ff=32, num_encoder_layers=1, num_decoder_layers=1,
    num_heads=2, tie_word_embeddings=False, scale_decoder_outputs=False, dropout_rate=0.0,
)  # fmt: skip
SETTINGS: dict[str, Any] = dict(
    minibatch_size=32, accumulation=1, epochs=2, samples_per_prompt=1, advantage="gae", gamma=1.0, lam=0.95,
    cliprange=0.2, cliprange_value=0.2, vf_coef=0.1, entropy_coef=0.0, kl_penalty="reward",
    target_kl=0.0, whiten_advantages="batch", whiten_rewards=False, dropout=False,
)  # fmt: skip


class Kept:
    """Writer, recorder and saver that keep everything in memory."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []
        self.records: list[dict[str, Any]] = []
        self.saved: list[int] = []

    def write(self, step: int, metrics: Any) -> None:
        self.metrics.append({"step": step, **metrics})

    def record(self, step: int, content: Any) -> None:
        self.records.append({"step": step, **content})

    def save(self, step: int, state: Any, metadata: Any) -> None:
        self.saved.append(step)

    def wait(self) -> None: ...


@dataclasses.dataclass
class Run:
    """A PPO run on a tiny T5; fields may be replaced before `train`."""

    rate: Callable
    seed: int = 0
    rows: int = 64
    length: int = 4
    learning_rate: float = 3e-3
    kl_coef: float = 0.0
    steps: int = 10
    config: T5Config = CONFIG
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    scores: ScoreSettings = ScoreSettings(1.0, 0.0, 0.0)
    mode: str = "fixed"
    generation: dict[str, Any] = dataclasses.field(default_factory=dict)
    reference: Any = None
    divergence: DivergenceSettings = DivergenceSettings(5, 100, 30, 0.0, False, "stop", 0)
    controller: KLController = KLController("fixed", 1.0, 1.0)
    put: Callable = jnp.asarray
    start: int = 0
    state: Any = None
    mesh: Any = None
    kept: Kept = dataclasses.field(
        default_factory=Kept
    )  # of the last `train`, also where it raised

    def __post_init__(self) -> None:
        settings = PPOSettings(**(SETTINGS | self.changes))
        self.model = T5(self.config, Execution())
        self.mesh = self.mesh or make_mesh({"data": 1, "fsdp": 1, "model": 1}, jax.devices()[:1])
        params = init_params(self.model, jax.random.key(self.seed))
        # Near the uniform distribution, so that nothing is lost before the first step.
        kernel = params["decoder"]["logits_dense"]["kernel"]
        params["decoder"]["logits_dense"]["kernel"] = 0.3 * kernel
        everywhere = replicated(self.mesh)
        self.params = jax.device_put(params, everywhere)
        abstract = with_shardings(params, jax.tree.map(lambda _: everywhere, params))
        self.algorithm = Algorithm(
            settings, self.controller, self.scores, optax.adam(self.learning_rate),
            optax.constant_schedule(self.learning_rate), self.kl_coef, 0,
            self.generation.get("temperature", 1.0),
        )  # fmt: skip
        self.parts = assemble(
            self.model,
            Adaptation(None, None, abstract, {}, lambda: (self.params, {})),
            SimpleNamespace(kind="trunk", dropout_rate=0.0),
            "policy",
            self.algorithm,
            self.seed,
            self.mesh,
        )
        self.held = self.parts.make()
        sampling = {"do_sample": True, "top_k": 0, "max_new_tokens": self.length}
        samples = {"num_return_sequences": settings.samples_per_prompt}
        self.roller = make_roller(
            self.parts,
            GenerationSettings(**(sampling | samples | self.generation)),
            SimpleNamespace(length=self.length, length_range=(), mask_first_token=False),
            abstract,
            self.put,
            self.seed,
        )
        self.settings = settings

    def prompts(self, step: int) -> Prompts:
        count = self.rows // self.settings.samples_per_prompt
        tokens = np.tile(np.array([[5, 1, 0]], np.int32), (count, 1))
        return Prompts(tokens, np.arange(count))

    def train(self) -> tuple[Any, Kept]:
        kept = self.kept = Kept()
        state = self.parts.begin(self.held.initial) if self.state is None else self.state
        learner = Learner(
            self.parts.policy,
            self.held.frozen,
            self.held.reference if self.reference is None else self.reference,
            jit_ppo_step(self.parts, self.algorithm, self.mesh),
            jax.random.key(self.seed),
        )
        turns = PPOTurns(
            learner, self.roller, self.prompts, Scoring(self.rate, self.scores),
            Checks(self.mode, "policy", self.settings.dropout), kept, lambda step: [f"prompt of {step}"],
        )  # fmt: skip
        state = run_loop(
            turns, state, Cadence(self.steps, 1, 1000, 1000), Files(kept, kept, {}),
            lambda state, stopping: {}, DivergenceGuard(self.divergence, {}), start=self.start, evaluation_owed=False,
        )  # fmt: skip
        return state, kept


@pytest.fixture(scope="session")
def ppo_run() -> type[Run]:
    return Run
