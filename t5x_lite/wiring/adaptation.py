"""What a run trains of a loaded model, and the adapters it puts beside it: by `train.trainable` and `adapter`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from t5x_lite import streams
from t5x_lite.data.sections import BatchSettings
from t5x_lite.errors import InputError
from t5x_lite.interop.peft import check_base, load_adapter, read_config
from t5x_lite.models.config import Execution
from t5x_lite.models.init import abstract_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.optim.trainable import trainable_part
from t5x_lite.parallel.shardings import param_shardings, with_shardings
from t5x_lite.params.adapters import (
    Adapter,
    AdapterSettings,
    settings_of,
    stack_adapters,
    unstack_adapters,
)
from t5x_lite.params.fingerprint import fingerprint
from t5x_lite.params.integers import is_quantized
from t5x_lite.params.overview import count
from t5x_lite.params.partition import FROZEN, TRAINABLE, join, label, resolve_rules
from t5x_lite.params.paths import Params, flatten, map_with_path
from t5x_lite.params.sections import NoAdapter, SavedAdapter, SoftPrompt
from t5x_lite.params.stacking import canonical_paths, is_stacked, unstack
from t5x_lite.wiring.model import Loaded, shardings_of
from t5x_lite.wiring.rehearsal import is_rehearsal, note
from t5x_lite.wiring.sections import AdaptedConfig

_WHERE = "config.train.trainable"


@dataclasses.dataclass
class Adaptation:
    """The trained parts of a model.

    settings: of the adapter; None without one.
    labels: "trainable" or "frozen" for each leaf of the joined tree; None where everything is trained.
    params, adapters: trees of `jax.ShapeDtypeStruct` with shardings, in the layout that is trained.
    make: makes the parameters and adapters before the first step.
    loaded: whether those adapters were read: then training began from the base with them, not from the base.
    frozen_fingerprint, begin: of the frozen weights as training found them, and the adapters then (on the host); set by
      `tasks.training.train`.
    """

    settings: AdapterSettings | None
    labels: Params | None
    params: Params
    adapters: Params
    make: Callable[[], tuple[Params, Params]]
    loaded: bool = False
    frozen_fingerprint: str = ""
    begin: Params = dataclasses.field(default_factory=dict)

    def fingerprint_frozen(self, params: Params) -> str:
        """The hash of the frozen weights among these parameters, every bit of them."""
        labels = flatten(self.labels)
        frozen = {path: leaf for path, leaf in flatten(params).items() if labels[path] == FROZEN}
        return fingerprint(frozen, rounded=False)

    def sizes(self) -> dict[str, Any]:
        """What the labs count: trainable and all parameters, and their share; the adapter's constants do not count."""
        trained = self.params
        if self.labels is not None:
            trained = trainable_part(join(self.params, self.adapters), self.labels)
        added = {
            path: leaf
            for path, leaf in flatten(self.adapters).items()
            if not path.endswith(("lora_scaling", "lora_dropout"))
        }
        total = count(self.params) + count(added)
        return {
            "trainable parameters": count(trained),
            "all parameters": total,
            "trainable percent": 100 * count(trained) / total,
            "adapter megabytes": sum(leaf.size * leaf.dtype.itemsize for leaf in added.values())
            / 1e6,
        }


def check_adaptation(config: AdaptedConfig) -> None:
    """Refuses settings that cannot be, before any data is read.

    Raises:
      InputError: a rule or an adapter that is malformed, or a soft prompt with packed rows.
    """
    resolve_rules(config.train.trainable, _WHERE)
    _check_pack(config, config.adapter)


def _check_pack(config: AdaptedConfig, adapter: Any) -> None:
    batch = getattr(config, "batch", None)  # PPO has none
    packed = isinstance(batch, BatchSettings) and batch.pack
    if isinstance(adapter, SoftPrompt) and packed:
        raise InputError(
            "config.batch.pack: a soft prompt stands before a row, and packed rows hold several examples; set it to"
            " False"
        )


def adaptation_of(config: AdaptedConfig, loaded: Loaded, mesh: Mesh) -> Adaptation:
    """Reads `train` and `adapter`; nothing is computed, and no weight is read but those of a saved adapter.

    Raises:
      InputError: rules or targets that do not fit the model, or a saved adapter that does not.
    """
    rules = resolve_rules(config.train.trainable, _WHERE)
    settings, begin = settings_of(config.adapter), None
    source = config.adapter.source if isinstance(config.adapter, SavedAdapter) else ""
    if source:
        saved = load_adapter(source, loaded.model.config, None)
        settings = saved.settings
        begin = saved.tree
        _check_pack(config, settings)
    adapters: Params = {}
    if settings is not None:
        adapters = _place(settings, begin, loaded, mesh)
    labels: Params | None = label(rules, join(loaded.abstract, adapters), _WHERE)
    if not adapters and all(one == TRAINABLE for one in jax.tree.leaves(labels)):
        labels = None
    _refuse_trained_integers(loaded.abstract, labels)
    params = _with_frozen_dtype(loaded.abstract, labels, config.train.frozen_dtype)

    def make() -> tuple[Params, Params]:
        base = _cast(loaded.make(), params)
        if settings is None:
            return base, {}
        if source:
            check_base(source, unstack(base) if is_stacked(base) else base, loaded.source)
        return base, make_adapters(settings, begin, base, adapters, config.seed)

    found = Adaptation(settings, labels, params, adapters, make, loaded=bool(source))
    if is_rehearsal():
        sizes = found.sizes()
        note(
            "trained",
            f"{sizes['trainable parameters']:,} of {sizes['all parameters']:,} parameters"
            f" ({sizes['trainable percent']:.2f} %)",
        )
    return found


def _refuse_trained_integers(abstract: Params, labels: Params | None) -> None:
    of = None if labels is None else flatten(labels)
    for path, leaf in flatten(abstract).items():
        if is_quantized(leaf) and (of is None or of[path] == TRAINABLE):
            raise InputError(
                f"config.model.quantization: {path} is to be trained, and integers cannot be; train an adapter"
                " (config.adapter, train.trainable=adapters), or set config.model.quantization=none"
            )


def check_loads(section: Any) -> None:
    """Refuses the `adapter` of a task that trains nothing, where it asks for a new one, or one that is not there.

    Raises:
      InputError: as said.
    """
    if isinstance(section, SavedAdapter):
        read_config(section.source)
    elif not isinstance(section, NoAdapter):
        raise InputError("config.adapter.method: nothing is trained here; use 'load' or 'none'")


def load_for(loaded: Loaded, params: Params, section: Any, mesh: Mesh) -> Params | None:
    """The adapter that a task which trains nothing is to use: of `adapter` with the method "load"; None for "none".

    params: the base, made from `loaded`, unrolled.

    Raises:
      InputError: as `check_loads`, or an adapter that does not fit the model.
    """
    check_loads(section)
    if not isinstance(section, SavedAdapter):
        return None
    saved = load_adapter(section.source, loaded.model.config, params, loaded.source)
    return make_adapters(
        saved.settings, saved.tree, params, _place(saved.settings, saved.tree, loaded, mesh), 0
    )


def make_adapters(
    settings: AdapterSettings, begin: Params | None, base: Params, abstract: Params, seed: int
) -> Params:
    """The adapters in the layout and shardings of `abstract`: `begin`, or new ones drawn from `seed`."""
    stacked = is_stacked(base)
    layers = _layer_counts(base) if stacked else {}

    def new(base: Params) -> Params:
        rng = streams.key(seed, "adapter")
        tree = begin or settings.init(unstack(base) if stacked else base, rng)
        return stack_adapters(tree, layers) if stacked else tree

    return jax.jit(new, out_shardings=shardings_of(abstract))(base)


def begun_adapters(adaptation: Adaptation) -> Params | None:
    """The adapters that training began with, in the layout that is trained; None where it began from the base alone."""
    if not adaptation.loaded:
        return None
    return jax.device_put(adaptation.begin, shardings_of(adaptation.adapters))


def unrolled_adapter(adaptation: Adaptation, adapters: Params) -> Adapter:
    """What a run trained, in the canonical layout."""
    assert adaptation.settings is not None
    return Adapter(adaptation.settings, unstack_adapters(adapters))


def _place(settings: AdapterSettings, begin: Params | None, loaded: Loaded, mesh: Mesh) -> Params:
    """The adapters' shapes with shardings, in the layout of `loaded`."""
    unrolled = T5(loaded.model.config, Execution())
    shapes, kernel_axes = abstract_params(unrolled), logical_axes(unrolled)
    abstract = begin
    if abstract is None:
        abstract = jax.eval_shape(lambda: settings.init(_zeros(shapes), streams.key(0, "adapter")))
    axes = settings.axes(shapes, kernel_axes)
    if is_stacked(loaded.abstract):
        counts = _layer_counts(loaded.abstract)
        abstract = jax.eval_shape(lambda tree: stack_adapters(tree, counts), abstract)
        of_layers = {path: names for path, names in _flat_axes(axes).items()}

        def with_layers(path: str, leaf: Any) -> tuple[str, ...]:
            names = of_layers[canonical_paths(path, leaf)[0]]
            return ("layers", *names) if "/layers/" in path else names

        axes = map_with_path(with_layers, abstract)
    shardings = param_shardings(abstract, axes, mesh)
    return with_shardings(abstract, shardings)


def _zeros(shapes: Params) -> Params:
    return jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), shapes)


def _flat_axes(axes: Any, prefix: str = "") -> dict[str, tuple[str, ...]]:
    """Tuples of axis names by path."""
    if isinstance(axes, tuple):
        return {prefix.removesuffix("/"): axes}
    return {
        path: names
        for key, child in axes.items()
        for path, names in _flat_axes(child, f"{prefix}{key}/").items()
    }


def _layer_counts(stacked: Params) -> dict[str, int]:
    return {
        stack: jax.tree.leaves(part["layers"])[0].shape[0]
        for stack, part in stacked.items()
        if "layers" in part
    }


def _with_frozen_dtype(abstract: Params, labels: Params | None, dtype: str) -> Params:
    if labels is None:
        return abstract
    frozen = flatten(labels)
    return map_with_path(
        lambda path, leaf: (
            jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=leaf.sharding)
            if frozen[path] == FROZEN and not is_quantized(leaf)
            else leaf
        ),
        abstract,
    )


def _cast(params: Params, abstract: Params) -> Params:
    """Leaf by leaf, so that no second tree is held."""
    flat, wanted = flatten(params), flatten(abstract)
    structure = jax.tree.structure(params, is_leaf=is_quantized)
    del params
    for path in flat:
        if flat[path].dtype != wanted[path].dtype:
            flat[path] = flat[path].astype(wanted[path].dtype)  # keeps the sharding
    return jax.tree.unflatten(structure, list(flat.values()))
