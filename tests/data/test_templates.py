import pytest

from t5x_lite.data.templates import TEMPLATES, Template, find_template, render
from t5x_lite.errors import InputError

ROW = {"id": "7", "dialogue": "A: {hi}\nB: }{ {dialogue} %s", "summary": "They greet."}


def test_braces_in_the_data_mean_nothing():
    assert render("<{dialogue}|{summary}>", ROW) == f"<{ROW['dialogue']}|They greet.>"
    assert render("{{literal}} {summary}", ROW) == "{literal} They greet."


def test_the_labs_prompts_are_exact():
    d = {"dialogue": "D"}
    assert render("instruction", d) == "\nSummarize the following conversation.\n\nD\n\nSummary:\n"
    assert render("what_was_going_on", d) == "\nDialogue:\n\nD\n\nWhat was going on?\n"
    assert render("finetune", d) == "Summarize the following conversation.\n\nD\n\nSummary: "
    assert render("dialogue", d) == "D"


def test_every_named_template_renders_and_flan_has_seven():
    assert sum(name.startswith("flan_") for name in TEMPLATES) == 7
    for name in TEMPLATES:
        fields = find_template(name).fields
        assert fields in (("dialogue",), ("summary",)), name
        assert ROW[fields[0]] in render(name, ROW)


def test_fields_are_listed_once_in_order():
    assert Template("{b} {a} {b}").fields == ("b", "a")


ALPACA = "{instruction}{input:+\n\nInput: {input}}{hint:+ ({{{hint}}})}\n\nAnswer: "


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"input": "7 + 8", "hint": ""}, "Add.\n\nInput: 7 + 8\n\nAnswer: "),
        ({"input": "", "hint": "ten"}, "Add. ({ten})\n\nAnswer: "),
        ({"input": " \n"}, "Add.\n\nAnswer: "),
        ({}, "Add.\n\nAnswer: "),
        ({"input": "{hint}"}, "Add.\n\nInput: {hint}\n\nAnswer: "),
    ],
)
def test_a_part_is_left_out_where_its_field_is_empty(more, expected):
    assert render(ALPACA, {"instruction": "Add.", **more}) == expected


def test_fields_of_parts_may_be_missing_and_others_not():
    template = Template(ALPACA)
    assert template.fields == ("instruction", "input", "hint")
    assert template.optional == {"input", "hint"}
    assert not Template("{input}{input:+!}").optional
    with pytest.raises(InputError, match="unknown field {instruction}"):
        template.render({"input": "x"})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{topic}", r"unknown field \{topic\}; the rows have dialogue, id, summary"),
        ("sumarize", "template 'sumarize' is not known; use one of dialogue, summary, instruction"),
        ("{dialogue", "expected '}' before end of string"),
        ("{dialogue[0]}", "must be a plain field name"),
        ("{dialogue.__class__}", "must be a plain field name"),
        ("{dialogue!r}", "must be a plain field name"),
        ("{dialogue:>10}", "must be a plain field name"),
        ("{}", "must be a plain field name"),
        ("{dialogue:+{0}}", "must be a plain field name"),
        ("{dialogue:+{topic}}", r"unknown field \{topic\}"),
        ("{dialogue:-none}", r"or \{name:\+a part\}"),
    ],
)
def test_bad_templates(template, message):
    with pytest.raises(InputError, match=message) as error:
        render(template, ROW)
    assert "\n" not in str(error.value)
