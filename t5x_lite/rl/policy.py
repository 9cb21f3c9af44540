"""The policy, its critic and its reference as pytrees and pure functions; nothing else knows whether adapters train.

`trainable` holds what PPO changes, `frozen` what it does not:

    full fine-tune    trainable {"policy": parameters, "value_head": ...}   frozen {}
    adapters          trainable {"policy": adapters, "value_head": ...}     frozen {"params": parameters,
                                                                            "constants": what adapters never train}
    separate critic   trainable {..., "critic": parameters} beside either
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from t5x_lite.models.t5 import T5, project
from t5x_lite.models.value_head import ValueHead
from t5x_lite.rl.logprobs import token_logprobs
from t5x_lite.rl.losses import Forward

Tree = Any
Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Policy:
    """How the trees are read.

    model: unrolled or scanned, as the parameters are.
    head: the value head; None without a critic (RLOO, GRPO).
    adapted: whether `trainable["policy"]` are adapters beside `frozen["params"]`.
    chunk: decoder positions whose logits exist at a time; 0 = all.
    """

    model: T5
    head: ValueHead | None
    adapted: bool
    chunk: int

    def variables(self, trainable: Tree, frozen: Tree) -> dict[str, Any]:
        """What `model.apply` takes."""
        if self.adapted:
            adapters = overlay(frozen["constants"], trainable["policy"])
            return {"params": frozen["params"], "adapters": adapters}
        return {"params": trainable["policy"]}

    def forward(
        self, trainable: Tree, frozen: Tree, batch: Batch, rng: jax.Array | None
    ) -> Forward:
        """Log-probabilities, entropies and values of the responses in `batch`; dropout acts where `rng` is given.

        batch: encoder_input_tokens, decoder_input_tokens, decoder_target_tokens, int32 [batch, length].
        """
        keys = (None, None, None) if rng is None else tuple(jax.random.split(rng, 3))
        variables = self.variables(trainable, frozen)
        hidden = self._hidden(variables, batch, keys[0])
        logprobs, entropies = self._token_logprobs(variables, hidden, batch)
        if self.head is None:
            return Forward(logprobs, entropies, jnp.zeros_like(logprobs))
        if "critic" in trainable:
            hidden = self._hidden({"params": trainable["critic"]}, batch, keys[1])
        rngs = None if keys[2] is None else {"dropout": keys[2]}
        values = self.head.apply({"params": trainable["value_head"]}, hidden, rngs=rngs)
        return Forward(logprobs, entropies, values)  # type: ignore[arg-type]

    def logprobs(self, variables: Tree, batch: Batch) -> jax.Array:
        """Log-probabilities of the responses under other weights (the reference), float32 [batch, length]."""
        return self._token_logprobs(variables, self._hidden(variables, batch, None), batch)[0]

    def _hidden(self, variables: Tree, batch: Batch, rng: jax.Array | None) -> jax.Array:
        hidden: Any = self.model.apply(
            variables,
            batch["encoder_input_tokens"],
            batch["decoder_input_tokens"],
            rngs=None if rng is None else {"dropout": rng},
            method="hidden",
        )
        return hidden

    def _token_logprobs(
        self, variables: Tree, hidden: jax.Array, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        kernel: Any = self.model.apply(variables, method="output_kernel")
        return token_logprobs(
            functools.partial(project, self.model.config),
            kernel,
            hidden,
            batch["decoder_target_tokens"],
            chunk=self.chunk,
        )


def overlay(below: Tree, above: Tree) -> Tree:
    """Two nested dicts as one; a leaf of `above` hides one of `below`.

    >>> overlay({"a": {"x": 1}}, {"a": {"y": 2}, "b": 3})
    {'a': {'x': 1, 'y': 2}, 'b': 3}
    """
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    both = {key: overlay(below[key], above[key]) for key in below if key in above}
    return {**below, **above, **both}


def split_off(tree: Tree, names: tuple[str, ...]) -> tuple[Tree, Tree]:
    """The leaves with these names, and the others: `overlay` puts them together again.

    >>> split_off({"a": {"x": 1, "y": 2}}, ("y",))
    ({'a': {'y': 2}}, {'a': {'x': 1}})
    """
    chosen, rest = {}, {}
    for key, value in tree.items():
        if isinstance(value, dict):
            inner, others = split_off(value, names)
            chosen.update({key: inner} if inner else {})
            rest.update({key: others} if others else {})
        else:
            (chosen if key in names else rest)[key] = value
    return chosen, rest


def make_resharding(
    policy: Policy,
    merge: Callable[[Tree, Tree], Tree],
    shardings: Tree,
) -> Callable[[Tree, Tree], Tree]:
    """Makes `(trainable, frozen) -> parameters to generate with`, jitted: merged, and gathered over "fsdp" once.

    Inside a token loop, shards would be gathered anew for every token.

    Args:
      merge: (parameters, adapters) -> parameters; not called for a policy without adapters.
      shardings: of the parameters as they are trained.
    """

    def gathered(sharding: NamedSharding) -> NamedSharding:
        spec = [_without_fsdp(axes) for axes in sharding.spec]
        return NamedSharding(sharding.mesh, PartitionSpec(*spec))

    def generation_params(trainable: Tree, frozen: Tree) -> Tree:
        if policy.adapted:
            variables = policy.variables(trainable, frozen)
            return merge(variables["params"], variables["adapters"])
        return trainable["policy"]

    return jax.jit(generation_params, out_shardings=jax.tree.map(gathered, shardings))


def _without_fsdp(axes: Any) -> Any:
    if isinstance(axes, tuple):
        return tuple(axis for axis in axes if axis != "fsdp") or None
    return None if axes == "fsdp" else axes
