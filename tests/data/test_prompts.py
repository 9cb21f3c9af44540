"""Prompt kinds: the labs' exact texts, the budget and its counts, and leaks that are warned of."""

import dataclasses
import logging
from collections.abc import Mapping

import pytest

from t5x_lite.data import prompts
from t5x_lite.data.prompts import PromptSection
from t5x_lite.data.prompts_build import Budget, build_prompts, pick_shots
from t5x_lite.errors import InputError
from t5x_lite.sections import read

FEW_SHOT = {
    "kind": "few_shot",
    "template": "what_was_going_on",
    "shots": (3, 1),
    "before_answer": "",
    "separator": "\n\n\n",
}


@dataclasses.dataclass(frozen=True)
class WithPrompts:
    prompts: Mapping[str, PromptSection]


def prompt_of(values):
    return read(WithPrompts, {"prompts": {"it": values}}).prompts["it"]


def build(mapping, rows, vocabulary, shots=(), **changes):
    settings = dict(target="{summary}", field="dialogue")
    budget = {"length": 2000, "policy": "oldest_turns", "name": "it"}
    budget |= {name: changes.pop(name) for name in list(changes) if name in budget}
    return build_prompts(
        prompt_of(mapping), rows, vocabulary, shots=shots, budget=Budget(**budget),
        **(settings | changes),
    )  # fmt: skip


def test_no_prompt_and_zero_shot(rows, vocabulary):
    row = rows[0]
    assert build({"kind": "none"}, [row], vocabulary).texts == [row["dialogue"]]
    instruction = build({"kind": "zero_shot", "template": "instruction"}, [row], vocabulary)
    assert instruction.texts == [
        f"\nSummarize the following conversation.\n\n{row['dialogue']}\n\nSummary:\n"
    ]
    own = build({"kind": "zero_shot", "template": "{dialogue} Then?"}, [row], vocabulary)
    assert own.texts == [f"{row['dialogue']} Then?"]
    assert own.ids == vocabulary.encode(own.texts, add_eos=True)


def test_few_shot_is_the_labs_make_prompt(rows, vocabulary):
    """Written as the lab's notebook writes it."""
    prompt = ""
    for index in (3, 1):
        dialogue, summary = rows[index]["dialogue"], rows[index]["summary"]
        prompt += f"""
Dialogue:

{dialogue}

What was going on?
{summary}


"""
    prompt += f"""
Dialogue:

{rows[7]["dialogue"]}

What was going on?
"""
    spec = prompt_of(FEW_SHOT)
    shots = pick_shots(spec, rows, "config.prompts.it")
    assert build(FEW_SHOT, [rows[7]], vocabulary, shots).texts == [prompt]


def test_whole_shots_go_first_then_the_oldest_turns(rows, vocabulary, caplog):
    shots, row = [rows[3], rows[1]], rows[7]
    texts = [build(FEW_SHOT, [row], vocabulary, shots[n:]).texts[0] for n in range(3)]
    full, one, none = (len(ids) for ids in vocabulary.encode(texts, add_eos=True))

    def cut(length, count=1):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="t5x_lite"):
            return build(FEW_SHOT, [row] * count, vocabulary, shots, length=length)

    assert cut(full).texts == texts[:1] and not caplog.records
    for length in (full - 1, one):
        built = cut(length, count=3)
        assert built.texts == [texts[1]] * 3 and len(built.ids[0]) == one
        assert built.counts["dropped shots or passages"] == 3
        assert "dropped 3 of 6 shots in 3 of 3 prompts" in caplog.text
    assert cut(one - 1).texts == cut(none).texts == [texts[2]]
    shorter = cut(none - 1)
    assert shorter.counts["cut rows"] == 1 and len(shorter.ids[0]) < none
    assert shorter.counts["cut tokens"] == none - len(shorter.ids[0])
    decoded = vocabulary.decode(shorter.ids)[0]
    turns = row["dialogue"].split("\n")
    assert turns[0] not in decoded and turns[-1] in decoded and "What was going on?" in decoded
    assert "cut 1 rows" in caplog.text


def test_nothing_is_cut_by_the_policy_none_but_it_is_counted(rows, vocabulary, caplog):
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        built = build(FEW_SHOT, rows[:4], vocabulary, rows[4:6], length=30, policy="none")
    assert built.texts == build(FEW_SHOT, rows[:4], vocabulary, rows[4:6]).texts
    assert built.counts["over the budget"] == 4
    assert "4 of 4 prompts have more than 30 tokens" in caplog.text
    with pytest.raises(InputError, match="prompts.it: row 'row 0' has .* over the limit of 30"):
        build(FEW_SHOT, rows[:4], vocabulary, rows[4:6], length=30, policy="error")


def test_retrieved_passages_stand_in_the_prompt_and_the_worst_go_first(rows, vocabulary, tmp_path):
    first, second = rows[0]["dialogue"].split("\n")[0], rows[0]["dialogue"].split("\n")[1]
    (tmp_path / "a.txt").write_text(f"Nothing of it\n\n{second}\n\n{first} {first} {second}\n")
    mapping = {
        "kind": "retrieval",
        "template": "{documents}\n---\n{dialogue}",
        "folder": str(tmp_path),
        "passages": 2,
    }
    whole = build(mapping, rows[:1], vocabulary)
    documents, dialogue = whole.texts[0].split("\n---\n")
    assert documents.split("\n\n") == [f"{first} {first} {second}", second]
    assert dialogue == rows[0]["dialogue"]
    less = build(mapping, rows[:1], vocabulary, length=len(whole.ids[0]) - 1)
    assert less.texts[0].split("\n---\n")[0] == f"{first} {first} {second}"
    assert less.counts["dropped shots or passages"] == 1


def test_the_answer_of_a_chain_of_thought():
    thought = prompts.ChainOfThought("{dialogue}", ("The answer is", "Summary:"), 1)
    for output, answer in (
        ("Ann is late. So the answer is: Ann will be late.", "Ann will be late."),
        ("Summary: none. The answer is Ann comes.", "Ann comes."),
        ("no phrase in it", "no phrase in it"),
        ("The answer is", "The answer is"),
    ):
        assert prompts.extract_answer(thought, output) == answer
    assert prompts.extract_answer(prompts.NoPrompt(), "The answer is it") == "The answer is it"


def test_leaks_are_counted_and_warned_of(rows, caplog):
    def leaks(shots, evaluated, same_split=False):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="t5x_lite"):
            found = prompts.warn_of_leaks(
                shots, evaluated, field="dialogue", same_split=same_split, name="few"
            )
        return tuple(found.values())

    assert leaks(rows[:2], rows[5:9]) == (0, 0) and not caplog.records
    assert leaks(rows[:2], rows[5:9], same_split=True) == (2, 0)
    assert "2 of 2 solved examples come from the evaluated split" in caplog.text
    twin = {**rows[5], "dialogue": rows[5]["dialogue"].upper() + " "}
    assert leaks([rows[0], twin], [*rows[5:9], rows[5]]) == (1, 2)
    assert "2 of 5 prompts show their own answer" in caplog.text


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"kind": "two_shot"}, r"it\.kind must be one of none, zero_shot.*'two_shot'"),
        (
            {"kind": "none", "template": "dialogue"},
            "it.template: there is no such field; with kind 'none' there are none",
        ),
        ({"kind": "zero_shot", "templat": "x"}, "it.templat: .*did you mean template"),
        ({"kind": "zero_shot"}, "it.template is missing"),
        ({"kind": "zero_shot", "template": "flan_9"}, "it: template 'flan_9' is not known"),
        ({"kind": "zero_shot", "template": ""}, "it.template must be a string that is not empty"),
        ({**FEW_SHOT, "shots": ()}, "it.shots must be a tuple of different row numbers from 0"),
        ({**FEW_SHOT, "shots": (1, 1)}, "it.shots must be a tuple of different row numbers from 0"),
        ({**FEW_SHOT, "shots": ("1",)}, "it.shots must be a tuple of different row numbers from 0"),
        (
            {**FEW_SHOT, "shots": (-4, 1)},
            "it.shots must be a tuple of different row numbers from 0",
        ),
        (
            {
                "kind": "chain_of_thought",
                "template": "dialogue",
                "answer_after": "is",
                "samples": 1,
            },
            "it.answer_after must be a tuple of phrases",
        ),
        (
            {
                "kind": "chain_of_thought",
                "template": "dialogue",
                "answer_after": ("",),
                "samples": 0,
            },
            "it.answer_after",
        ),
        (
            {"kind": "retrieval", "template": "dialogue", "folder": "x", "passages": 1},
            "it: template: .* no place for {documents}",
        ),
        (
            {"kind": "retrieval", "template": "{documents}", "folder": "x", "passages": 0},
            "it.passages must be a whole number >= 1",
        ),
    ],
)
def test_bad_prompts_are_refused_by_name(mapping, message):
    with pytest.raises(InputError, match=message) as error:
        prompt_of(mapping)
    assert "\n" not in str(error.value)


def test_shots_that_are_not_there(rows):
    spec = prompt_of({**FEW_SHOT, "shots": (0, 30)})
    with pytest.raises(InputError, match="it.shots: there is no row 30 among the 30 rows"):
        pick_shots(spec, rows, "config.prompts.it")
