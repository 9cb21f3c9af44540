"""What the student costs beside its teacher: weights, bytes, and how fast they write."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from t5x_lite.data.plan import Plan
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.params.overview import count
from t5x_lite.params.quantized import bytes_of
from t5x_lite.tasks.distil.sections import Config
from t5x_lite.wiring.scoring import Ready, make_decode

_RUNS = 3


def sizes_and_speed(config: Config, models: Mapping[str, Ready], plan: Plan) -> dict[str, Any]:
    """The report's section "sizes and speed": a line a model.

    Speed is that of the `generation` section on the first batch of the held-out rows, compiled before: the median of
    three. Texts that end earlier are written faster, so tokens are told, too.
    """
    lines = []
    for name, ready in models.items():
        seconds, tokens, rows = _timed(config, ready, plan)
        adapters = [ready.adapters] if ready.adapters else []
        lines.append(
            {
                "model": name,
                "parameters": count([ready.params, *adapters]),
                "megabytes": round(sum(map(bytes_of, [ready.params, *adapters])) / 1e6, 2),
                "texts a second": round(rows / seconds, 2),
                "tokens a second": round(tokens / seconds, 1),
            }
        )
    return {"sizes and speed": lines}


def _timed(config: Config, ready: Ready, plan: Plan) -> tuple[float, int, int]:
    """(seconds of a batch, tokens that it got, rows of it that count)."""
    decode = make_decode(config, ready)
    indices = plan.indices(0)
    batch = OwnRows(ready.mesh).read(plan, 0)["encoder_input_tokens"]
    written = np.asarray(decode(batch, indices))[indices >= 0]
    seconds = []
    for _ in range(_RUNS):
        start = time.monotonic()
        jax.block_until_ready(decode(batch, indices))
        seconds.append(time.monotonic() - start)
    pad = ready.model.config.pad_token_id
    return statistics.median(seconds), int((written != pad).sum()), int((indices >= 0).sum())
