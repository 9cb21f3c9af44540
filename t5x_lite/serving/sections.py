"""What `t5x-lite serve` takes: each flag is a field."""

from __future__ import annotations

from typing import Annotated, Any

from t5x_lite.models.config import Dtype
from t5x_lite.models.sections import Quantization
from t5x_lite.sections import (
    Above,
    AtLeast,
    AtMost,
    Count,
    CountOrNone,
    Expected,
    Name,
    Section,
)


class ServeSettings(Section, name="serve"):
    """A server."""

    model: Annotated[
        str,
        "What generates: 'nano', a Hugging Face directory or id, the workdir of a run, or an adapter (with its base).",
    ]
    adapter: Annotated[
        tuple[tuple[str, str], ...],
        Expected("NAME=DIRECTORY"),
        "A LoRA adapter beside the model, under a name of its own; as often as you like.",
    ]
    encoder: Annotated[
        tuple[tuple[str, str], ...],
        Expected("NAME=DIRECTORY"),
        "A sentence encoder, for /v1/embeddings; as often as you like.",
    ]
    classifier: Annotated[
        tuple[tuple[str, str], ...],
        Expected("NAME=DIRECTORY"),
        "A classifier or reward model, for /v1/classify; as often as you like.",
    ]
    name: Annotated[str, "What the model is called in requests; '' for the last part of --model."]
    dtype: Annotated[Dtype, "The type that is computed in."]
    quantization: Quantization
    host: Annotated[
        Name, "The address to listen at. Others than this machine's own open it to a network."
    ]
    port: Annotated[int, AtLeast(0), AtMost(65535), "The port; 0 for any that is free."]
    max_batch: Annotated[Count, AtMost(1024), "Outputs that are generated at once (slots)."]
    max_input_length: Annotated[
        int, AtLeast(16), "Tokens of a prompt, with eos; longer ones are refused."
    ]
    max_new_tokens: Annotated[Count, "Tokens of an output; more cannot be asked for."]
    max_beams: Annotated[Count, "Beams that a request can ask for; 1: none."]
    queue: Annotated[
        CountOrNone,
        "Outputs that may wait for a slot, and requests for an encoder or classifier; beyond it they get status 429.",
    ]
    request_timeout: Annotated[
        float, Above(0), "Seconds that a request may take, its wait included."
    ]
    read_timeout: Annotated[float, Above(0), "Seconds that a client may take to send a request."]
    drain_timeout: Annotated[float, AtLeast(0), "Seconds for what is running after SIGTERM."]
    max_request_bytes: Annotated[int, AtLeast(1024), "Bytes of a request's body."]
    allow_origin: Annotated[
        str,
        "Web pages that may ask from a browser, 'https://a.example', commas between; '*': any page; '': none but the"
        " playground.",
    ]
    api_key: Annotated[
        str, "What clients must send; '' for T5X_LITE_API_KEY of the environment, or none."
    ]


DEFAULTS: dict[str, Any] = {
    "model": "",
    "adapter": (),
    "encoder": (),
    "classifier": (),
    "name": "",
    "dtype": "float32",
    "quantization": "none",
    "host": "127.0.0.1",
    "port": 8000,
    "max_batch": 8,
    "max_input_length": 512,
    "max_new_tokens": 128,
    "max_beams": 4,
    "queue": 64,
    "request_timeout": 120.0,
    "read_timeout": 20.0,
    "drain_timeout": 60.0,
    "max_request_bytes": 1 << 20,
    "allow_origin": "",
    "api_key": "",
}
