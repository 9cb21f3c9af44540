"""What a run that trains a T5 leaves for others to use: model/ in Hugging Face's format, adapter/ in peft's."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from t5x_lite.console import log
from t5x_lite.data.plan import Plan
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.interop.generation_files import generation_defaults
from t5x_lite.interop.hf import save_hf
from t5x_lite.interop.peft import load_adapter, save_adapter
from t5x_lite.models.config import T5Config
from t5x_lite.params.adapters import Adapter
from t5x_lite.params.gather import whole
from t5x_lite.params.partition import TRAINABLE, separate
from t5x_lite.params.paths import Params, flatten
from t5x_lite.reports.outcome import parameters_section
from t5x_lite.train.state import TrainState
from t5x_lite.wiring.adaptation import Adaptation, unrolled_adapter
from t5x_lite.wiring.adapter_guard import check_adapter
from t5x_lite.wiring.model import RANDOM, Loaded
from t5x_lite.wiring.scoring import Ready, unrolled
from t5x_lite.wiring.workdir import local_copy


def finish_training(
    config: Any,
    loaded: Loaded,
    adaptation: Adaptation,
    state: TrainState,
    vocabulary: Vocabulary,
    evaluation: Plan,
    place: tuple[Mesh, epath.Path],
) -> tuple[Ready, dict[str, Any]]:
    """What training ends with: `save_trained`, and the guard of an adapter (`adapter_guard.check_adapter`).

    Args:
      evaluation: the plan of held-out rows.
      place: the mesh, and the workdir.

    Returns:
      The trained model, and the report's sections: those of both, and "parameters".
    """
    mesh, folder = place
    model, params = loaded.model, unrolled(state.params)
    adapters, sections = save_trained(
        folder, config.model.source, model.config, params, state.adapters, adaptation, vocabulary
    )
    if adapters is not None:
        sections |= check_adapter(adaptation, model, state, evaluation, mesh)
    sections |= parameters_section(params)
    return Ready(model, params, vocabulary, mesh, adapters), sections


def save_trained(
    folder: epath.Path,
    base: str,
    model: T5Config,
    params: Params,
    adapters: Params,
    adaptation: Adaptation,
    vocabulary: Vocabulary,
) -> tuple[Params | None, dict[str, Any]]:
    """Writes the model, unless its weights are where they came from, and the adapter, if there is one.

    Args:
      base: `model.source`.
      params: canonical. adapters: as they were trained.

    Returns:
      The adapter's canonical tree (None without one), and the report's sections: "trained", and with an adapter
      "adapter_file".
    """
    labels = jax.tree.leaves(separate(adaptation.labels)[0]) if adaptation.labels else [TRAINABLE]
    # Frozen weights are where they came from, unless they were drawn for this run.
    if TRAINABLE in labels or base == RANDOM:
        with local_copy(folder / "model", with_files=False) as directory:
            save_hf(directory, model, params, vocabulary, generation=defaults_of(base))
        base = str(folder / "model")
    sections: dict[str, Any] = {"trained": adaptation.sizes()}
    if adaptation.settings is None:
        return None, sections
    adapter = unrolled_adapter(adaptation, adapters)
    with local_copy(folder / "adapter", with_files=False) as directory:
        save_adapter(directory, model, params, adapter, base)
        sections["adapter_file"] = _read_back(directory, model, adapter)
    return adapter.tree, sections


def defaults_of(base: str) -> dict[str, Any]:
    """The generation settings that the checkpoint `base` came with; they stay with what is trained of it."""
    return {} if base == RANDOM else generation_defaults(base)[0]


def _read_back(directory: pathlib.Path, model: T5Config, adapter: Adapter) -> dict[str, Any]:
    """How large the saved adapter is, and whether it reads back as it was ({} but for process 0, which wrote it)."""
    trained = flatten(jax.tree.map(whole, adapter.tree))
    if jax.process_index() != 0:
        return {}
    saved = flatten(load_adapter(directory, model, None).tree)
    same = saved.keys() == trained.keys() and all(
        np.array_equal(np.asarray(saved[path]), np.asarray(trained[path])) for path in trained
    )
    if not same:
        log.warning("%s does not read back as it was trained", directory)
    return {
        "megabytes": sum(file.stat().st_size for file in directory.iterdir()) / 1e6,
        "reads back bit for bit": same,
    }
