"""Rows whose ids and texts look like paths make no file outside the run's folder."""

import json

from t5x_lite.tasks.finetune import run as finetune

NAMES = ["../../climbs", "/tmp/absolute", "~/home", "a/b/c", "..", "C:\\x", "x" * 300, "%2e%2e%2fx"]


def everything(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_no_path_comes_from_the_data(tiny_config, tmp_path):
    place = tmp_path / "one" / "two"
    place.mkdir(parents=True)
    rows = place / "rows.jsonl"
    lines = [
        {"id": name, "dialogue": f"A: {name}?\nB: {k}!", "summary": f"{name} {k}"}
        for k, name in enumerate(NAMES)
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = {
        f"data.{split}.{field}": value
        for split in ("train", "evaluation")
        for field, value in (("source", str(rows)), ("split", ""), ("id_column", "id"))
    }
    before = everything(tmp_path)
    changes = {"tokenizer.vocab_size": "60", "train.steps": "2", "evaluation.samples": "8"}
    finetune.run(tiny_config(own | changes), str(place / "run"))
    made = everything(tmp_path) - before
    assert {name for name in made if not name.startswith("one/two/run")} == set()
    assert not [name for name in made if "climbs" in name or "absolute" in name or "xxx" in name]
