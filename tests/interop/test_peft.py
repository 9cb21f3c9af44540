"""Adapters against torch's peft on the same weights: logits each way, gradients, and the files between the two."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch
import transformers
from flax import traverse_util
from safetensors.numpy import load_file

from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf
from t5x_lite.interop.names import name_table
from t5x_lite.interop.peft import load_adapter, save_adapter
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.params.adapters import Adapter
from t5x_lite.params.lora import LoraSettings, merge
from t5x_lite.params.soft_prompts import SoftPromptSettings
from t5x_lite.train.step import loss_sums
from tests.interop.conftest import hf_config, random_tensors, write_directory

TARGETS = ["q", "k", "v", "o", "wi_0", "wi_1", "wo", "lm_head"]
KINDS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}
PATTERNS = {
    "rank_pattern": {"encoder.block.1.layer.0.SelfAttention.q": 2, "wo": 5},
    "alpha_pattern": {"decoder.block.2.layer.1.EncDecAttention.v": 3},
}
PLAIN = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=2)
SETTINGS = LoraSettings(
    targets=((r"encoder/layers_0/attention/query", 2), (".*/(query|value|wo|logits_dense)", 4)),
    alpha=6.0,
    dropout=0.0,
    rslora=False,
    dora=True,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The directory of a T5 1.1 (its output projection is a layer of its own), and what we read there."""
    torch.set_num_threads(1)
    config = hf_config("t5_1.1")
    directory = write_directory(
        tmp_path_factory.mktemp("base") / "t5", config, random_tensors("t5_1.1")
    )
    return directory, *load_hf(directory, param_dtype="float32")


def torch_base(base):
    return transformers.T5ForConditionalGeneration.from_pretrained(base[0]).eval()


def torch_adapted(base, **changes):
    """A peft model, its adapters drawn at random: both factors, and norms that are not the base's."""
    fields = dict(r=4, lora_alpha=6, lora_dropout=0.0, target_modules=TARGETS, **PATTERNS)
    model = peft.get_peft_model(
        torch_base(base), peft.LoraConfig(task_type="SEQ_2_SEQ_LM", **fields | changes)
    )
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            noise = torch.randn(parameter.shape, generator=generator)
            scale = parameter.data if "magnitude" in name else 1.0
            parameter.data = scale * (1 + 0.3 * noise) if "magnitude" in name else 0.15 * noise
    return model.eval()


def make_batch(rows=3, encoder_length=7, decoder_length=5, seed=0):
    rng = np.random.default_rng(seed)
    encoder = rng.integers(2, 96, (rows, encoder_length)).astype(np.int32)
    encoder[1, 4:] = 0
    targets = rng.integers(2, 96, (rows, decoder_length)).astype(np.int32)
    weights = np.ones(targets.shape, np.float32)
    weights[2, 3:] = 0
    targets[weights == 0] = 0
    return {
        "encoder_input_tokens": encoder,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_target_tokens": targets,
        "decoder_loss_weights": weights,
    }


def torch_run(model, batch):
    tokens = torch.tensor(batch["encoder_input_tokens"]).long()
    labels = np.where(batch["decoder_loss_weights"] > 0, batch["decoder_target_tokens"], -100)
    return model(
        input_ids=tokens,
        attention_mask=(tokens != 0).long(),
        decoder_input_ids=torch.tensor(batch["decoder_input_tokens"]).long(),
        labels=torch.tensor(labels).long(),
    )


@pytest.fixture(scope="module")
def ours(base):
    """ours(adapters, batch) -> mean loss, logits, gradients by the adapters; compiled once a structure."""
    _, config, params = base
    model = T5(config, Execution(attention="einsum"))

    @jax.jit
    def run(adapters, batch):
        def loss(adapters):
            sums = loss_sums(model, params, batch, None, PLAIN, adapters)
            return sums["loss"] / sums["weight"]

        value, grads = jax.value_and_grad(loss)(adapters)
        logits = model.apply(
            {"params": params, "adapters": adapters},
            batch["encoder_input_tokens"],
            batch["decoder_input_tokens"],
        )
        return value, logits, grads

    return lambda adapters, batch: run(jax.tree.map(jnp.asarray, adapters), batch)


def assert_close(ours, theirs, tolerance, what="", floor=0.0):
    scale = max(np.max(np.abs(theirs)), floor)
    assert np.max(np.abs(np.asarray(ours, np.float32) - theirs)) <= tolerance * scale, what


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_equal_pefts(base, ours, kind, tmp_path):
    directory, config, params = base
    model, batch = torch_adapted(base, **KINDS[kind]), make_batch()
    model.save_pretrained(tmp_path / "peft")
    adapter = load_adapter(tmp_path / "peft", config, params)
    output = torch_run(model, batch)
    output.loss.backward()
    loss, logits, grads = ours(adapter.tree, batch)
    assert_close(logits, output.logits.detach().numpy(), 1e-4)
    assert abs(float(loss) - output.loss.item()) <= 1e-5 * output.loss.item()
    with torch.no_grad():  # it does something, or there was nothing to agree on
        plain = torch_run(torch_base(base), batch).logits.numpy()
    assert np.max(np.abs(np.asarray(logits) - plain)) > 0.1 * np.max(np.abs(plain))

    # In peft's layout and names, by the writer that is tested below.
    settings = dataclasses.replace(adapter.settings, dropout=0.0)
    scales = traverse_util.flatten_dict(adapter.tree, sep="/")
    flat = traverse_util.flatten_dict(grads, sep="/")
    flat = {k: scales[k] if k.endswith("scaling") else np.asarray(v) for k, v in flat.items()}
    grads = traverse_util.unflatten_dict(flat, sep="/")
    save_adapter(tmp_path / "grads", config, params, Adapter(settings, grads), "")
    found = load_file(tmp_path / "grads" / "adapter_model.safetensors")
    theirs = {
        name.replace(".default", "").removesuffix("_vector.weight")
        + ("_vector" if "magnitude" in name else ""): p.grad.numpy()
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    assert set(found) == set(theirs)
    largest = max(np.max(np.abs(grad)) for grad in theirs.values())
    for name, grad in theirs.items():
        assert_close(found[name], grad, 1e-4, name, floor=1e-3 * largest)

    # And back: what we write, peft reads.
    save_adapter(tmp_path / "ours", config, params, adapter, str(directory))
    again = peft.PeftModel.from_pretrained(torch_base(base), tmp_path / "ours").eval()
    with torch.no_grad():
        back = torch_run(again, batch).logits.numpy()
    np.testing.assert_array_equal(back, output.logits.detach().numpy())
    written = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    assert sorted(written["target_modules"]) == sorted(TARGETS)
    assert written["base_model_name_or_path"] == str(directory)


def test_a_merged_model_is_pefts_merged_model(base, tmp_path):
    _, config, params = base
    model = torch_adapted(base, use_dora=True)
    model.save_pretrained(tmp_path)
    adapter = load_adapter(tmp_path, config, params)
    merged = traverse_util.flatten_dict(
        merge(params, jax.tree.map(jnp.asarray, adapter.tree)), sep="/"
    )
    theirs = dict(model.merge_and_unload().named_parameters())
    for entry in name_table(config):
        expected = theirs[entry.hf_name].detach().numpy()
        assert_close(entry.to_hf(np.asarray(merged[entry.path])), expected, 1e-5, entry.path)


def test_settings_survive_the_files(base, tmp_path):
    _, config, params = base
    tree = jax.tree.map(np.asarray, SETTINGS.init(params, jax.random.key(0)))
    save_adapter(tmp_path, config, params, Adapter(SETTINGS, tree), "google/flan-t5-base")
    loaded = load_adapter(tmp_path, config, params)
    assert loaded.settings.ranks(params) == SETTINGS.ranks(params)
    assert dataclasses.replace(loaded.settings, targets=SETTINGS.targets) == SETTINGS
    assert jax.tree.structure(loaded.tree) == jax.tree.structure(tree)
    for one, other in zip(jax.tree.leaves(loaded.tree), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_base_is_refused_by_name(base, tmp_path):
    _, config, params = base
    tree = SETTINGS.init(params, jax.random.key(0))
    save_adapter(tmp_path, config, params, Adapter(SETTINGS, tree), "google/flan-t5-base")
    other = jax.tree.map(lambda leaf: leaf, params)
    other["decoder"]["decoder_norm"] = {"scale": params["decoder"]["decoder_norm"]["scale"] * 1.1}
    with pytest.raises(InputError, match=r"trained on other weights \(google/flan-t5-base"):
        load_adapter(tmp_path, config, other)
    load_adapter(tmp_path, config, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("peft_type", "IA3", "peft_type must be LORA or PROMPT_TUNING, got 'IA3'"),
        ("bias", "all", "bias = 'all' is not supported"),
        ("init_lora_weights", "pissa_niter_4", "changes the base"),
        ("use_dora", False, r"expected \['lora_a', 'lora_b'\]"),
    ],
)
def test_what_is_not_read_is_refused(base, tmp_path, field, value, message):
    _, config, params = base
    tree = SETTINGS.init(params, jax.random.key(0))
    save_adapter(tmp_path, config, params, Adapter(SETTINGS, tree), "")
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(InputError, match=message):
        load_adapter(tmp_path, config, params)


def test_an_adapter_of_another_architecture_is_refused(base, tmp_path):
    _, config, params = base
    tree = SETTINGS.init(params, jax.random.key(0))
    save_adapter(tmp_path, config, params, Adapter(SETTINGS, tree), "")
    with pytest.raises(InputError, match="no place for.*lm_head"):
        load_adapter(tmp_path, dataclasses.replace(config, tie_word_embeddings=True), None)
    with pytest.raises(InputError, match=r"has the shape .* this model needs"):
        load_adapter(tmp_path, dataclasses.replace(config, d_ff=44), None)
    with pytest.raises(InputError, match="no adapter there"):
        load_adapter(tmp_path / "nothing", config, None)


def test_a_soft_prompt_equals_pefts_both_ways(base, ours, tmp_path):
    directory, config, params = base
    torch.manual_seed(0)
    model = peft.get_peft_model(
        torch_base(base), peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3)
    ).eval()
    model.save_pretrained(tmp_path / "peft")
    adapter = load_adapter(tmp_path / "peft", config, params)
    assert adapter.settings == SoftPromptSettings(length=3, init_from="normal")
    batch = make_batch()
    output = torch_run(model, batch)
    output.loss.backward()
    _, logits, grads = ours(adapter.tree, batch)
    assert_close(logits, output.logits.detach().numpy(), 1e-4)
    (theirs,) = (p.grad.numpy() for p in model.parameters() if p.requires_grad)
    assert_close(grads["soft_prompt"], theirs[:3], 1e-4)

    save_adapter(tmp_path / "ours", config, params, adapter, str(directory))
    again = peft.PeftModel.from_pretrained(torch_base(base), tmp_path / "ours").eval()
    with torch.no_grad():
        back = torch_run(again, batch).logits.numpy()
    np.testing.assert_array_equal(back, output.logits.detach().numpy())
