"""A step that trains adapters alone: what it changes, what it computes, what it holds; and peft's loss curve."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import peft
import pytest
import torch
import transformers

from t5x_lite.interop.hf import save_hf
from t5x_lite.interop.peft import load_adapter
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5, project
from t5x_lite.optim.losses import LossSettings, cross_entropy_sums
from t5x_lite.optim.trainable import partition_optimizer
from t5x_lite.params.lora import LoraSettings
from t5x_lite.params.overview import count
from t5x_lite.params.partition import PRESETS, join, label, resolve_rules
from t5x_lite.params.paths import flatten
from t5x_lite.train.state import init_state
from t5x_lite.train.step import make_train_step

STEPS, BATCHES, LEARNING_RATE = 20, 4, 2e-2
PLAIN = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=2)
LORA = LoraSettings(((".*/(query|value)", 2),), alpha=4.0, dropout=0.0, rslora=False, dora=False)
# No two sizes alike, so that a buffer's shape says what it is.
SIZES = T5Config(
    vocab_size=83, d_model=24, d_kv=7, d_ff=40, num_encoder_layers=2, num_decoder_layers=2,
    num_heads=3, tie_word_embeddings=False, scale_decoder_outputs=False, dropout_rate=0.0,
    feed_forward_proj="gated-gelu",
)  # fmt: skip


def begin(config, params, optimizer, settings=LORA, rules=PRESETS["adapters"], **execution):
    """A step and the state before it."""
    schedule = optax.constant_schedule(LEARNING_RATE)
    params = jax.tree.map(jnp.array, params)
    adapters = settings.init(params, jax.random.key(0)) if settings else {}
    labels = label(rules, join(params, adapters), "train.trainable")
    optimizer = partition_optimizer(optimizer(schedule), labels)
    model = T5(config, Execution(attention="einsum", **execution))
    step = make_train_step(model, optimizer, schedule, PLAIN, labels=labels)
    return jax.jit(step), init_state(params, optimizer, adapters)


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        (LORA, PRESETS["adapters"]),
        (dataclasses.replace(LORA, dora=True, dropout=0.1), PRESETS["adapters"]),
        pytest.param(None, PRESETS["norms"], marks=pytest.mark.slow),
        (LORA, resolve_rules((("decoder/.*|adapters/.*", "trainable"), (".*", "frozen")), "x")),
    ],
    ids=["lora", "dora", "norms", "decoder_and_lora"],
)
def test_a_step_leaves_frozen_leaves_bit_identical(
    config, random_params, make_batch, adamw, settings, rules
):
    step, state = begin(
        config, random_params(config), lambda s: adamw(s, weight_decay=0.1), settings, rules
    )
    labels = flatten(label(rules, join(state.params, state.adapters), "x"))
    before = jax.tree.map(np.asarray, flatten(join(state.params, state.adapters)))
    batch = make_batch(config)
    for _ in range(2):  # lora_a moves only once lora_b is not zero
        state, metrics = step(state, batch, jax.random.key(1))
    after = flatten(join(state.params, state.adapters))
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == {path for path, one in labels.items() if one == "trainable"}
    # Neither do moments exist for the rest, nor do norms count it.
    moments = [path for path in flatten(state.opt_state) if "/mu/" in path]
    assert len(moments) == len(changed)
    expected = optax.tree.norm([after[path] for path in changed])
    np.testing.assert_allclose(metrics["param_norm"], expected, rtol=1e-5)
    assert metrics["skipped"] == 0


def test_a_step_that_is_not_finite_changes_nothing(config, random_params, make_batch, adamw):
    step, state = begin(config, random_params(config), adamw)
    batch = make_batch(config)
    broken = batch | {"decoder_loss_weights": batch["decoder_loss_weights"] * np.inf}
    after, metrics = step(state, broken, jax.random.key(1))
    assert metrics["skipped"] == 1
    for old, new in zip(
        jax.tree.leaves((state.params, state.adapters, state.opt_state)),
        jax.tree.leaves((after.params, after.adapters, after.opt_state)),
        strict=True,
    ):
        np.testing.assert_array_equal(old, new)


def buffers(text: str) -> dict[tuple[int, ...], int]:
    """How often each float32 shape is computed by an instruction of a compiled program (sizes, sorted)."""
    found: dict[tuple[int, ...], int] = {}
    for name, sizes, instruction in re.findall(
        r"%?([\w.-]+) = f32\[([\d,]*)\]\S* ([\w-]+)\(", text
    ):
        moved = re.match(r"((copy|bitcast|transpose)_)+fusion", name)  # a kernel in another layout
        if moved or instruction in (
            "parameter",
            "get-tuple-element",
            "copy",
            "bitcast",
            "transpose",
        ):
            continue
        shape = tuple(sorted(int(size) for size in sizes.split(",") if size))
        found[shape] = found.get(shape, 0) + 1
    return found


def matmul_flops(text: str) -> int:
    """Of all `dot`s in a program without loops."""
    total = 0
    shapes = {
        name: [int(size) for size in sizes.split(",") if size]
        for name, sizes in re.findall(r"%?([\w.-]+) = f32\[([\d,]*)\]", text)
    }
    for result, left, contracted in re.findall(
        r"= f32\[([\d,]*)\]\S* dot\(%?([\w.-]+), .*?lhs_contracting_dims=\{([\d,]*)\}", text
    ):
        sizes = [int(size) for size in result.split(",") if size]
        inner = [shapes[left][int(axis)] for axis in contracted.split(",") if axis]
        total += 2 * int(np.prod(sizes)) * int(np.prod(inner))
    return total


def kernel_shapes(config):
    """The sorted sizes of every matrix of the model, with heads and kv apart and as one."""
    shapes = set()
    for path, leaf in flatten(abstract_params(T5(config, Execution()))).items():
        if path.endswith(("kernel", "embedding")):
            shapes.add(tuple(sorted(leaf.shape)))
            if leaf.ndim == 3:
                shapes.add(tuple(sorted((config.d_model, config.num_heads * config.d_kv))))
    return shapes


@pytest.mark.slow
def test_the_compiled_step_holds_nothing_of_frozen_weights(random_params, make_batch, adamw):
    """Read from the compiled program: no gradient, moment or update has the shape of a kernel, and the matmuls are
    those of the forward pass, of the gradients of activations, and of the small factors.
    """
    params = random_params(SIZES)
    batch = make_batch(SIZES, rows=5, encoder_length=11, decoder_length=2)
    programs = {}
    for name, settings, rules in (
        ("lora", LORA, PRESETS["adapters"]),
        ("full", None, PRESETS["full"]),
    ):
        step, state = begin(SIZES, params, adamw, settings, rules)
        programs[name] = step.lower(state, batch, jax.random.key(0)).compile()
    texts = {name: program.as_text() for name, program in programs.items()}
    kernels = kernel_shapes(SIZES)
    assert kernels & set(
        buffers(texts["full"])
    )  # the reading does find gradients where there are some
    assert not kernels & set(buffers(texts["lora"]))

    # A kernel costs 2 x weights x tokens forward, as much for the gradient of its input, as much for its own.
    flops = {name: matmul_flops(text) for name, text in texts.items()}
    encoder, decoder = 5 * 11, 5 * 2
    saved = 0
    for path, leaf in flatten(abstract_params(T5(SIZES, Execution()))).items():
        if path.endswith("/kernel"):
            on_encoder = path.startswith("encoder") or re.search(
                "encoder_decoder_attention/(key|value)", path
            )
            saved += 2 * leaf.size * (encoder if on_encoder else decoder)
    small = 0
    for path in LORA.ranks(params):
        kernel = flatten(params)[f"{path}/kernel"]
        on_encoder = path.startswith("encoder") or path.endswith("encoder_decoder_attention/value")
        weights = 2 * (kernel.shape[0] + kernel.shape[1] * kernel.shape[2])
        small += 3 * 2 * weights * (encoder if on_encoder else decoder)
    # With the embedding frozen, the inputs of the first layers need no gradient, neither through kernels nor factors.
    unneeded = sum(
        (3 * 2 * SIZES.d_model * SIZES.num_heads * SIZES.d_kv + 2 * 2 * SIZES.d_model * 2) * tokens
        for tokens in (encoder, decoder)
    )
    bound = flops["full"] - saved + small - unneeded
    assert 0.98 * bound < flops["lora"] <= bound  # measured: 0.993
    state_bytes = {
        name: program.memory_analysis().argument_size_in_bytes for name, program in programs.items()
    }
    moments = 2 * 4 * (count(params) - count({p: x for p, x in flatten(state.adapters).items()}))
    assert state_bytes["full"] - state_bytes["lora"] > 0.8 * moments


def test_the_loops_over_chunks_hold_no_gradient_of_a_frozen_output_kernel(random_params):
    """Where the loss has several chunks, the compiler could not take an unused sum out of their loop."""
    params = random_params(SIZES)
    hidden = jnp.ones((5, 6, SIZES.d_model))
    kernel = jnp.asarray(params["decoder"]["logits_dense"]["kernel"])
    targets, weights = jnp.ones((5, 6), jnp.int32), jnp.ones((5, 6))

    def loss(kernel, hidden):
        run = functools.partial(project, SIZES)
        return cross_entropy_sums(run, kernel, hidden, targets, weights, PLAIN)["loss"]

    frozen = str(jax.make_jaxpr(jax.grad(loss, argnums=1))(kernel, hidden))
    both = str(jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(kernel, hidden))
    products = r":f32\[24,83\](?:\{[^}]*\})? = (?:dot_general|transpose|add|mul)"
    assert re.search(products, both) and not re.search(products, frozen)


def test_the_labs_counts():
    """FLAN-T5-base, from shapes alone."""
    base = T5Config(
        vocab_size=32128, d_model=768, d_kv=64, d_ff=2048, num_encoder_layers=12,
        num_decoder_layers=12, num_heads=12, tie_word_embeddings=False,
        scale_decoder_outputs=False, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    params = abstract_params(T5(base, Execution()))
    settings = dataclasses.replace(LORA, targets=((".*/(query|value)", 32),), alpha=32.0)
    adapters = jax.eval_shape(
        lambda: settings.init(
            jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params), jax.random.key(0)
        )
    )
    trained = {p: x for p, x in flatten(adapters).items() if not p.endswith("lora_scaling")}
    assert count(params) == 247_577_856
    assert count(trained) == 3_538_944
    assert round(100 * count(trained) / (count(params) + count(trained)), 2) == 1.41
    assert round(sum(x.size * x.dtype.itemsize for x in trained.values()) / 1e6, 1) == 14.2


def test_the_loss_curve_is_pefts(family_config, random_params, make_batch, adamw, tmp_path):
    params = random_params(family_config)
    save_hf(tmp_path / "model", family_config, params)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    base = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "model")
    model = peft.get_peft_model(
        base,
        peft.LoraConfig(
            r=2, lora_alpha=4, lora_dropout=0.0, target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM"
        ),
    ).train()
    model.save_pretrained(tmp_path / "adapter")  # so that both begin with the same factors
    adapter = load_adapter(tmp_path / "adapter", family_config, params)
    batches = [make_batch(family_config, rows=6, seed=i) for i in range(BATCHES)]

    step, state = begin(family_config, params, lambda s: adamw(s, b2=0.999, eps=1e-8))
    state = state.replace(adapters=jax.tree.map(jnp.asarray, adapter.tree))
    ours = []
    for i in range(STEPS):
        state, metrics = step(state, batches[i % BATCHES], jax.random.key(0))
        ours.append(float(metrics["loss"]))

    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0.0
    )
    theirs = []
    for i in range(STEPS):
        batch = {key: torch.tensor(value) for key, value in batches[i % BATCHES].items()}
        labels = batch["decoder_target_tokens"].long()
        output = model(
            input_ids=batch["encoder_input_tokens"],
            attention_mask=(batch["encoder_input_tokens"] != 0).long(),
            decoder_input_ids=batch["decoder_input_tokens"],
            labels=labels.masked_fill(batch["decoder_loss_weights"] == 0, -100),
        )
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        theirs.append(output.loss.item())
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert np.mean(ours[-BATCHES:]) < 0.99 * np.mean(ours[:BATCHES])  # there was a curve to follow
