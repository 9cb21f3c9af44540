"""The policy, its critic and its reference as pytrees and pure functions; nothing else knows whether adapters train.

`trainable` holds what PPO changes, `frozen` what it does not of the policy. A tree of the policy is the joined one of
`params.partition.join`, parameters with the adapters among them:

    full fine-tune    trainable {"policy": the joined tree, "value_head": ...}      frozen {}
    partial, adapters trainable {"policy": its trainable part, "value_head": ...}   frozen: the other leaves
    separate critic   trainable {..., "critic": parameters} beside either
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.models.logprobs import token_logprobs
from t5x_lite.models.t5 import T5, project
from t5x_lite.models.value_head import ValueHead
from t5x_lite.optim.trainable import combine
from t5x_lite.params.adapters import variables
from t5x_lite.params.integers import is_quantized
from t5x_lite.params.lora import merge
from t5x_lite.params.partition import separate
from t5x_lite.params.quantized import float_params
from t5x_lite.rl.losses import Forward

Tree = Any
Batch = Mapping[str, jax.Array]


def parts_of(trainable: Tree, frozen: Tree) -> tuple[Tree, Tree]:
    """The policy's parameters and its adapters ({} where there are none)."""
    return separate(combine(trainable["policy"], frozen) if frozen else trainable["policy"])


def temperature_of(settings: GenerationSettings) -> float:
    """What a policy's logits are divided by: it is the distribution that its responses are drawn from.

    Raises:
      InputError: a temperature a row.
    """
    if np.ndim(settings.temperature):
        raise InputError("generation.temperature: a policy has one temperature; give a number")
    return float(settings.temperature)


@dataclasses.dataclass(frozen=True)
class Policy:
    """How the trees are read.

    model: unrolled or scanned, as the parameters are.
    head: the value head; None without a critic (RLOO, GRPO).
    chunk: decoder positions whose logits exist at a time; 0 = all.
    temperature: what logits are divided by. The policy is the distribution that responses are drawn from, as TRL has
      it; so is the reference.
    """

    model: T5
    head: ValueHead | None
    chunk: int
    temperature: float

    def variables(self, trainable: Tree, frozen: Tree) -> dict[str, Any]:
        """What `model.apply` takes."""
        return variables(*parts_of(trainable, frozen))

    def forward(
        self, trainable: Tree, frozen: Tree, batch: Batch, rng: jax.Array | None
    ) -> Forward:
        """Log-probabilities, entropies and values of the responses in `batch`; dropout acts where `rng` is given.

        batch: encoder_input_tokens, decoder_input_tokens, decoder_target_tokens, int32 [batch, length].
        """
        keys = (None, None, None) if rng is None else tuple(jax.random.split(rng, 3))
        inputs = self.variables(trainable, frozen)
        hidden = self._hidden(inputs, batch, keys[0])
        logprobs, entropies = self._token_logprobs(inputs, hidden, batch, keys[0])
        if self.head is None:
            return Forward(logprobs, entropies, jnp.zeros_like(logprobs))
        if "critic" in trainable:
            hidden = self._hidden({"params": trainable["critic"]}, batch, keys[1])
        rngs = None if keys[2] is None else {"dropout": keys[2]}
        values = self.head.apply({"params": trainable["value_head"]}, hidden, rngs=rngs)
        return Forward(logprobs, entropies, values)  # type: ignore[arg-type]

    def logprobs(self, inputs: Tree, batch: Batch) -> jax.Array:
        """Log-probabilities of the responses under other weights (the reference), float32 [batch, length].

        inputs: what `model.apply` takes.
        """
        return self._token_logprobs(inputs, self._hidden(inputs, batch, None), batch, None)[0]

    def _hidden(self, inputs: Tree, batch: Batch, rng: jax.Array | None) -> jax.Array:
        hidden: Any = self.model.apply(
            inputs,
            batch["encoder_input_tokens"],
            batch["decoder_input_tokens"],
            rngs=None if rng is None else {"dropout": rng},
            method="hidden",
        )
        return hidden

    def _project(self, kernel: jax.Array, hidden: jax.Array) -> jax.Array:
        logits = project(self.model.config, kernel, hidden)
        return logits if self.temperature == 1 else logits / self.temperature

    def _token_logprobs(
        self, inputs: Tree, hidden: jax.Array, batch: Batch, rng: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        kernel: Any = self.model.apply(
            inputs,
            None if rng is None else hidden.shape[0],
            rngs=None if rng is None else {"dropout": rng},
            method="output_kernel",
        )
        return token_logprobs(
            self._project,
            kernel,
            hidden,
            batch["decoder_target_tokens"],
            chunk=self.chunk,
        )


def make_resharding(shardings: Tree) -> Callable[[Tree, Tree], Tree]:
    """Makes `(trainable, frozen) -> parameters to generate with`, jitted: merged, and gathered over "fsdp" once.

    Inside a token loop, shards would be gathered anew for every token. Adapted kernels are float32, whatever type the
    frozen weights have: the sampler is to be the policy that is scored and trained. Weights in integers become the
    floats that they stand for.

    shardings: of the parameters as they are trained.
    """

    def gathered(sharding: Any) -> NamedSharding:
        sharding = sharding.values if is_quantized(sharding) else sharding
        spec = [_without_fsdp(axes) for axes in sharding.spec]
        return NamedSharding(sharding.mesh, PartitionSpec(*spec))

    def generation_params(trainable: Tree, frozen: Tree) -> Tree:
        params, adapters = parts_of(trainable, frozen)
        return float_params(merge(params, adapters, dtype="float32") if adapters else params)

    laid_out = jax.tree.map(gathered, shardings, is_leaf=is_quantized)
    return jax.jit(generation_params, out_shardings=laid_out)


def _without_fsdp(axes: Any) -> Any:
    if isinstance(axes, tuple):
        return tuple(axis for axis in axes if axis != "fsdp") or None
    return None if axes == "fsdp" else axes
