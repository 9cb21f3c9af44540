"""The same weights, batches and AdamW give the loss curve of a torch loop."""

import jax
import numpy as np
import optax
import torch
import transformers

from t5x_lite.interop.hf import save_hf
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.train.state import init_state
from t5x_lite.train.step import make_train_step

STEPS, BATCHES = 30, 5
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 1e-2, 0.01, 1.0


def our_losses(config, params, batches, adamw):
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, STEPS)
    optimizer = adamw(schedule, b2=0.999, eps=1e-8, weight_decay=WEIGHT_DECAY, clip_norm=CLIP_NORM)
    settings = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=2)
    step = make_train_step(T5(config, Execution()), optimizer, schedule, settings)
    train_step = jax.jit(step, donate_argnums=0)
    state, losses = init_state(jax.tree.map(jax.numpy.array, params), optimizer), []
    for i in range(STEPS):
        state, metrics = train_step(state, batches[i % BATCHES], jax.random.key(0))
        losses.append(float(metrics["loss"]))
    return losses


def torch_losses(directory, batches, tied):
    torch.set_num_threads(1)  # tiny tensors: threads only wait for each other
    model = transformers.T5ForConditionalGeneration.from_pretrained(directory).train()
    assert torch.equal(model.lm_head.weight, model.shared.weight) == tied
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, eps=1e-8
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    losses = []
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
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        schedule.step()
        losses.append(output.loss.item())
    return losses


def test_the_loss_curve_is_torchs(family_config, random_params, make_batch, adamw, tmp_path):
    params = random_params(family_config)
    save_hf(tmp_path / "model", family_config, params)
    batches = [make_batch(family_config, rows=6, seed=i) for i in range(BATCHES)]
    ours = our_losses(family_config, params, batches, adamw)
    theirs = torch_losses(tmp_path / "model", batches, family_config.tie_word_embeddings)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)  # measured: 4e-6
    assert np.mean(ours[-BATCHES:]) < 0.8 * np.mean(
        ours[:BATCHES]
    )  # it learned, so there was a curve to follow
