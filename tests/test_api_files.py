"""What load_pretrained makes of files as the hub has them: generation settings, tokenizers, adapters, formats."""

import json
import logging
import shutil

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from t5x_lite import load_pretrained
from t5x_lite.decoding.checkpoint_settings import checkpoint_settings
from t5x_lite.errors import InputError
from t5x_lite.interop.hub import BUNDLED, model_directory

NANO = BUNDLED["nano"]
PROMPT = (
    "Summarize the following conversation.\n\n#Person1#: I want to change my flight.\n\nSummary:"
)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(NANO, tmp_path / "model")


def edit(file, **changes):
    fields = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({n: v for n, v in fields.items() if v is not ...}))


@pytest.fixture(scope="module")
def inputs():
    return load_pretrained("nano").encode([PROMPT])


def ours(folder, inputs, **settings):
    tokens = load_pretrained(folder).generate_tokens(inputs, **settings)[0].tolist()
    return tokens[: tokens.index(1) + 1] if 1 in tokens else tokens


def theirs(folder, inputs, **settings):
    torch.set_num_threads(1)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    ids = torch.tensor(inputs).long()
    tokens = model.generate(input_ids=ids, attention_mask=(ids != 0).long(), **settings)
    tokens = tokens[0, 1:].tolist()
    return tokens[: tokens.index(1) + 1] if 1 in tokens else tokens


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.9, "top_p": 0.6, "max_new_tokens": 9},
        {"num_beams": 1, "early_stopping": True, "length_penalty": 2.0, "max_new_tokens": 9},
        {"max_new_tokens": 6, "max_length": 128},
        {"max_length": 12, "no_repeat_ngram_size": 2, "my_note": "x"},
        {"min_length": 9, "min_new_tokens": 3, "max_new_tokens": 12},
        {"min_length": 60, "max_length": 12},
        {"max_new_tokens": 9, "forced_decoder_ids": [[1, 2]], "use_cache": False},
        {"max_new_tokens": 9, "num_beams": 3, "num_beam_groups": 1, "diversity_penalty": 0.0},
        {"max_new_tokens": 9, "decoder_start_token_id": [0], "penalty_alpha": 0.0, "top_k": 4},
    ],
    ids=str,
)
def test_a_file_decodes_as_in_transformers(folder, inputs, fields):
    edit(folder / "generation_config.json", **fields)
    assert ours(folder, inputs) == theirs(folder, inputs)


def test_defaults_in_config_json_count_where_there_is_no_other_file(folder, inputs):
    legacy = {"max_length": 11, "no_repeat_ngram_size": 2, "num_beams": 2, "early_stopping": True}
    edit(
        folder / "config.json", **legacy, task_specific_params={"summarization": {"max_length": 3}}
    )
    with_both = load_pretrained(folder).settings
    assert with_both.num_beams == 1 and with_both.no_repeat_ngram_size == 0
    (folder / "generation_config.json").unlink()
    settings = load_pretrained(folder).settings
    assert settings.new_tokens()[1] == 10 and settings.num_beams == 2
    assert ours(folder, inputs) == theirs(folder, inputs)


def test_what_sleeps_in_a_file_wakes_when_it_is_asked_for(folder):
    edit(
        folder / "generation_config.json",
        temperature=0.3,
        top_p=0.6,
        num_beams=1,
        length_penalty=2.0,
    )
    settings = checkpoint_settings(folder)
    assert (settings.temperature, settings.length_penalty) == (1.0, 1.0)
    sampling = settings.updated({"do_sample": True})
    assert (sampling.temperature, sampling.top_p) == (0.3, 0.6)
    assert sampling.updated({"temperature": 0.5}).temperature == 0.5
    assert sampling.updated({"do_sample": False}).temperature == 1.0
    assert settings.updated({"num_beams": 2}).length_penalty == 2.0
    with pytest.raises(InputError, match="temperature = 0.5 has no effect"):
        settings.updated({"temperature": 0.5})


@pytest.mark.parametrize(
    "fields, update",
    [
        ({"exponential_decay_length_penalty": [5, 1.2]}, {}),
        ({"sequence_bias": [[[5], -3.0]]}, {}),
        ({"guidance_scale": 1.5}, {}),
        ({"penalty_alpha": 0.6, "top_k": 4}, {}),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}, {}),
        ({"force_words_ids": [[5]]}, {}),
        ({"dola_layers": "high"}, {}),
        ({"watermarking_config": {"bias": 2.0}}, {}),
        ({"epsilon_cutoff": 3e-4}, {"do_sample": True}),
        ({"eta_cutoff": 3e-4}, {"do_sample": True}),
        ({"top_h": 0.4}, {"do_sample": True}),
        ({"renormalize_logits": True}, {"num_beams": 2}),
    ],
    ids=str,
)
def test_what_would_act_is_refused_by_name(folder, fields, update):
    edit(folder / "generation_config.json", **fields)
    name = next(n for n in fields if n not in ("num_beams", "top_k"))
    if update:  # without effect until then
        settings = checkpoint_settings(folder)
        with pytest.raises(InputError, match=f"{name} = .* is not supported"):
            settings.updated(update)
    else:
        with pytest.raises(InputError, match=f"{name} = .* is not supported"):
            load_pretrained(folder)


def test_what_has_no_effect_is_named_once(folder, caplog):
    edit(
        folder / "generation_config.json",
        temperature=0.9,
        my_note="x",
        max_time=9.0,
        pad_token_id=-1,
    )
    with caplog.at_level(logging.WARNING, "t5x_lite"):
        settings = checkpoint_settings(folder)
    (line,) = [record.getMessage() for record in caplog.records]
    assert all(name in line for name in ("temperature", "my_note", "max_time", "pad_token_id"))
    assert settings.pad_token_id is None


def test_an_export_keeps_the_generation_defaults(folder, tmp_path, inputs):
    fields = {"max_length": 40, "no_repeat_ngram_size": 3, "eos_token_id": [1, 7], "my_note": "x"}
    edit(folder / "generation_config.json", **fields, temperature=0.4)
    edit(folder / "config.json", eos_token_id=[1, 7])
    t5 = load_pretrained(folder)
    t5.save_pretrained(tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert {name: kept.get(name) for name in fields} == fields and kept["temperature"] == 0.4
    again = load_pretrained(tmp_path / "out")
    assert again.settings.eos_token_id == [1, 7]
    np.testing.assert_array_equal(t5.generate_tokens(inputs), again.generate_tokens(inputs))


@pytest.mark.parametrize("in_config", ["nothing", "one", "list"])
def test_an_end_that_is_a_list_or_nothing(folder, inputs, in_config):
    whole = ours(folder, inputs, max_new_tokens=12)
    third = whole[2]
    ends = [1, third]
    edit(folder / "config.json", eos_token_id={"nothing": None, "one": 1, "list": ends}[in_config])
    edit(folder / "generation_config.json", eos_token_id=ends)
    t5 = load_pretrained(folder)
    assert t5.config.eos_token_id == 1
    found = t5.generate_tokens(inputs, max_new_tokens=12)[0].tolist()
    cut = whole.index(third) + 1
    assert found[:cut] == whole[:cut] and not any(found[cut:])
    assert theirs(folder, inputs, max_new_tokens=12)[:cut] == whole[:cut]


def test_without_a_tokenizer_token_ids_work_and_texts_ask_for_one(folder, inputs, caplog):
    expected = load_pretrained(folder).generate_tokens(inputs, max_new_tokens=5)
    for file in folder.iterdir():
        if "token" in file.name or "spiece" in file.name:
            file.unlink()
    with caplog.at_level(logging.WARNING, "t5x_lite"):
        t5 = load_pretrained(folder)
    assert "no tokenizer lies beside the model" in caplog.text
    np.testing.assert_array_equal(t5.generate_tokens(inputs, max_new_tokens=5), expected)
    with pytest.raises(InputError, match="texts need one; give load_pretrained"):
        t5.generate([PROMPT])
    t5.save_pretrained(folder.parent / "out")
    assert load_pretrained(folder.parent / "out", tokenizer=NANO).generate([PROMPT])


def test_a_tokenizer_that_is_too_large_is_refused(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(NANO)
    tokenizer.add_tokens(["<t0>", "<t1>"])
    tokenizer.save_pretrained(folder)
    for source, given in ((folder, None), (NANO, folder)):
        with pytest.raises(InputError, match="2050 tokens, but the model embeds 2048"):
            load_pretrained(source, tokenizer=given)


def test_settings_passed_from_hand_to_hand():
    t5, sampling = load_pretrained("nano"), {"do_sample": True, "top_k": 0, "max_new_tokens": 6}
    right = t5.generate([PROMPT], **sampling)
    for changes in ({"top_k": 0.0}, {"min_length": -1}, {"max_new_tokens": 6.0}):
        assert t5.generate([PROMPT], **(sampling | changes)) == right
    with pytest.raises(InputError, match="max_new_tokens"):
        t5.generate([PROMPT], max_new_tokens=6.5)
    for seed in (None, -1, 2**40, "7", 1.0, True):  # beyond 32 bits two seeds were one
        with pytest.raises(InputError, match="seed = .*: expected a whole number from 0 to 2"):
            t5.generate([PROMPT], seed=seed, **sampling)
        with pytest.raises(InputError, match="seed = "):
            t5.stream(PROMPT, seed=seed, **sampling)


@pytest.mark.parametrize("never", [-1, [-1]])
def test_an_end_that_never_comes(inputs, never):
    """TRL's examples for T5 have eos_token_id -1: to the last token, over the ends that the model writes."""
    settings = {"eos_token_id": never, "max_new_tokens": 60}
    found = load_pretrained("nano").generate_tokens(inputs, **settings)[0].tolist()
    model = transformers.T5ForConditionalGeneration.from_pretrained(NANO).eval()
    ids = torch.tensor(inputs).long()
    right = model.generate(input_ids=ids, attention_mask=(ids != 0).long(), **settings)
    assert found == right[0, 1:].tolist() and 1 in found[:-1]


def test_no_decoder_no_texts(folder):
    half = {
        name: tensor
        for name, tensor in load_file(NANO / "model.safetensors").items()
        if not name.startswith("decoder")
    }
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", architectures=["T5EncoderModel"])
    with pytest.raises(InputError, match=r"has no decoder \(T5EncoderModel\).*classifier"):
        load_pretrained(folder)


@pytest.fixture
def adapter(tmp_path):
    """An adapter that peft made for the bundled model, and a hub's cache for one of its name."""
    model = transformers.T5ForConditionalGeneration.from_pretrained(NANO)
    settings = peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=2, target_modules=["q", "v"])
    torch.manual_seed(0)
    model = peft.get_peft_model(model, settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.6)
    model.save_pretrained(tmp_path / "adapter_of_peft")
    return tmp_path / "adapter_of_peft"


def hub(tmp_path, monkeypatch, name, folder):
    """A hub's cache that holds `folder` under the id `name`."""
    repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "refs" / "refs" / "pr").mkdir(parents=True)
    (repository / "refs" / "refs" / "pr" / "25").write_text("b" * 40)
    for commit in "ab":
        shutil.copytree(folder, repository / "snapshots" / (commit * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repository


def test_an_adapter_by_its_hub_id(adapter, tmp_path, monkeypatch, inputs):
    hub(tmp_path, monkeypatch, "me/flan-lora", adapter)
    expected = load_pretrained(adapter)
    assert expected.adapter == "default"
    t5 = load_pretrained("nano")
    plain = t5.generate_tokens(inputs, max_new_tokens=6)
    for adapted in (load_pretrained("me/flan-lora"), t5):
        if adapted is t5:
            t5.load_adapter("me/flan-lora")
        np.testing.assert_array_equal(
            adapted.generate_tokens(inputs, max_new_tokens=6),
            expected.generate_tokens(inputs, max_new_tokens=6),
        )
    assert not np.array_equal(plain, t5.generate_tokens(inputs, max_new_tokens=6))


def test_an_adapter_whose_base_is_on_another_machine(adapter, tmp_path):
    edit(adapter / "adapter_config.json", base_model_name_or_path="/home/bob/flan-t5-base")
    with pytest.raises(
        InputError, match=r"wants the base '/home/bob/flan-t5-base'.*base=.*load_adapter"
    ):
        load_pretrained(adapter)
    assert load_pretrained(adapter, base="nano").adapter == "default"
    edit(adapter / "adapter_config.json", base_model_name_or_path=None)
    with pytest.raises(InputError, match=r"does not say what its base is; give .*base="):
        load_pretrained(adapter)
    with pytest.raises(InputError, match="is no adapter, so base = 'nano' means nothing"):
        load_pretrained("nano", base="nano")


def test_a_revision_goes_where_peft_reads_it(adapter, tmp_path, monkeypatch):
    hub(tmp_path, monkeypatch, "me/t5", NANO)
    edit(adapter / "adapter_config.json", base_model_name_or_path="me/t5", revision="refs/pr/25")
    t5 = load_pretrained(adapter)
    assert t5.source == "me/t5@refs/pr/25"
    t5.save_adapter(tmp_path / "again")
    settings = peft.PeftConfig.from_pretrained(tmp_path / "again")
    assert (settings.base_model_name_or_path, settings.revision) == ("me/t5", "refs/pr/25")
    assert load_pretrained(tmp_path / "again").source == t5.source
    assert model_directory("me/t5@refs/pr/25").name == "b" * 40
    assert model_directory("me/t5").name == "a" * 40


def test_an_adapter_fits_its_base_in_every_type(adapter, tmp_path):
    types = ("float32", "bfloat16", "float16")
    for made in types:
        t5 = load_pretrained(adapter, param_dtype=made)
        t5.save_adapter(tmp_path / made)
        for read in types:
            assert load_pretrained(tmp_path / made, param_dtype=read).adapter == "default"
    other = load_pretrained("nano", param_dtype="float16")
    other.params["decoder"]["decoder_norm"]["scale"] *= 1.1
    with pytest.raises(InputError, match="trained on other weights"):
        other.load_adapter(tmp_path / "float32")
