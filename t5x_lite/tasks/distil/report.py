"""What a model costs: weights, bytes, and how fast it writes."""

from __future__ import annotations

import statistics
import time
from typing import Any

from t5x_lite.data.plan import Plan
from t5x_lite.evaluation.generative import Decode
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.params.overview import count
from t5x_lite.params.quantized import bytes_of
from t5x_lite.wiring.scoring import Ready

_RUNS = 3


def size_and_speed(ready: Ready, decode: Decode, plan: Plan) -> dict[str, Any]:
    """The parameters, megabytes, texts and tokens a second of a model, its adapters among them.

    Speed is that of the plan's first batch, as `decode` has it (of `scoring.make_decode`), compiled before: the median
    of three. Texts that end earlier are written faster, so tokens are told, too.
    """
    indices = plan.indices(0)
    tokens = OwnRows(ready.mesh).read(plan, 0)["encoder_input_tokens"]
    written = decode(tokens, indices)[indices >= 0]
    taken = []
    for _ in range(_RUNS):
        start = time.monotonic()
        decode(tokens, indices)  # it gives them on the host: nothing is left to be waited for
        taken.append(time.monotonic() - start)
    seconds = statistics.median(taken)
    weights = [ready.params, *([ready.adapters] if ready.adapters else [])]
    counted = (written != ready.model.config.pad_token_id).sum()
    return {
        "parameters": sum(map(count, weights)),
        "megabytes": round(sum(map(bytes_of, weights)) / 1e6, 2),
        "texts a second": round(float((indices >= 0).sum()) / seconds, 2),
        "tokens a second": round(float(counted) / seconds, 1),
    }
