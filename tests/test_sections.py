"""Sections: read once, checked to the letter, and written out again."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from ml_collections import ConfigDict

from t5x_lite.errors import InputError
from t5x_lite.sections import (
    Above,
    AtLeast,
    AtMost,
    Below,
    ByKind,
    Expected,
    OneOf,
    Section,
    describe,
    read,
    to_dict,
)


class Tea(Section, name="drink"):
    minutes: Annotated[float, Above(0), AtMost(10), "How long it draws."]

    def __post_init__(self):
        super().__post_init__()
        if self.minutes == 7:
            raise InputError("drink.minutes: seven brings bad luck")


class Water(Section):
    pass


class Guest(Section):
    age: Annotated[int, AtLeast(0), Below(150), "Years."]


Drink = Annotated[Tea | Water, ByKind("kind", {"tea": Tea, "water": Water}), "What is drunk."]


class Party(Section):
    place: Annotated[Literal["house", "garden"], "Where."]
    loud: Annotated[bool, "Whether it is."]
    hours: Annotated[tuple[int, ...], "Which hours."]
    spans: Annotated[tuple[tuple[str, float], ...], Expected("pairs of a name and a number"), "."]
    prices: Annotated[Mapping[str, float], "By name."]
    limit: Annotated[int | Literal["none"], Expected("a whole number, or 'none'"), "Of guests."]
    music: Annotated[str, OneOf("jazz", "none"), "Which."]
    drink: Drink
    guests: Mapping[str, Guest]
    drinks: Mapping[str, Drink]
    anything: Annotated[Any, "Whatever it is."]


GOOD = {
    "place": "garden",
    "loud": True,
    "hours": (20, 21),
    "spans": (("a", 1.5),),
    "prices": {"tea": 2.0},
    "limit": "none",
    "music": "jazz",
    "drink": {"kind": "tea", "minutes": 3.0},
    "guests": {"ada": {"age": 36}},
    "drinks": {"hot": {"kind": "tea", "minutes": 4.0}, "cold": {"kind": "water"}},
    "anything": {"a": (1, {"b": None})},
}


def party(**changes) -> Party:
    return read(Party, {**GOOD, **changes})


@pytest.mark.parametrize("wrapped", [dict, ConfigDict])
def test_what_is_read_is_typed_and_reads_back(wrapped):
    found = read(Party, wrapped(GOOD))
    assert found.drink == Tea(3.0) and found.drinks == {"hot": Tea(4.0), "cold": Water()}
    assert found.guests["ada"] == Guest(36) and type(found.anything) is dict
    assert to_dict(found) == GOOD
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.loud = False  # type: ignore[misc]


def test_numbers_and_sequences_come_in_their_type():
    found = party(
        hours=[1], spans=[["a", 1]], prices={"tea": 2}, drink={"kind": "tea", "minutes": 3}
    )
    assert found.hours == (1,) and found.spans == (("a", 1.0),)
    assert [type(x) for x in (found.spans[0][1], found.prices["tea"], found.drink.minutes)] == [
        float
    ] * 3
    assert type(party(limit=3).limit) is int


def test_what_is_read_is_no_part_of_what_was_given():
    prices = {"tea": 2.0}
    found = party(prices=prices)
    prices["tea"] = 9.0
    assert found.prices == {"tea": 2.0}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"plaice": 1}, "config.plaice: there is no such field; did you mean place?"),
        ({"qqq": 1}, "config.qqq: there is no such field; there are anything, drink, drinks, "),
        ({"place": "hall"}, "config.place must be one of 'house', 'garden', got 'hall'"),
        ({"place": ["garden"]}, "config.place must be one of 'house', 'garden', got ('garden',)"),
        ({"loud": 1}, "config.loud must be True or False, got 1"),
        ({"hours": 3}, "config.hours must be a tuple of whole numbers, got 3"),
        ({"hours": (True,)}, "config.hours must be a tuple of whole numbers, got (True,)"),
        ({"spans": (("a",),)}, "config.spans must be pairs of a name and a number, got (('a',),)"),
        ({"prices": {"tea": math.nan}}, "config.prices must be a mapping, got {'tea': nan}"),
        ({"prices": {3: 1.0}}, "config.prices must be a mapping, got {3: 1.0}"),
        ({"limit": 1.0}, "config.limit must be a whole number, or 'none', got 1.0"),
        ({"limit": True}, "config.limit must be a whole number, or 'none', got True"),
        ({"music": "rock"}, "config.music must be one of 'jazz', 'none', got 'rock'"),
        ({"drink": 3}, "config.drink must be a section with kind, got 3"),
        ({"drink": {}}, "config.drink.kind must be one of tea, water, got None"),
        ({"drink": {"kind": ["tea"]}}, "config.drink.kind must be one of tea, water, got ['tea']"),
        ({"drink": {"kind": "tea"}}, "config.drink.minutes is missing"),
        (
            {"drink": {"kind": "water", "minutes": 3.0}},
            "config.drink.minutes: there is no such field; with kind 'water' there are none",
        ),
        (
            {"drink": {"kind": "tea", "minutes": 0}},
            "config.drink.minutes must be a number > 0 and <= 10, got 0",
        ),
        (
            {"drink": {"kind": "tea", "minutes": math.inf}},
            "config.drink.minutes must be a number > 0 and <= 10, got inf",
        ),
        ({"drink": {"kind": "tea", "minutes": 7}}, "config.drink.minutes: seven brings bad luck"),
        (
            {"drinks": {"hot": {"kind": "tea", "minutes": 7}}},
            "config.drinks.hot: drink.minutes: seven brings bad luck",
        ),
        ({"guests": 3}, "config.guests must be a section of named sections, got 3"),
        ({"guests": {"ada": 3}}, "config.guests.ada must be a section with age, got 3"),
        ({"guests": {"ada": {}}}, "config.guests.ada.age is missing"),
        (
            {"guests": {"ada": {"age": 150}}},
            "config.guests.ada.age must be a whole number >= 0 and < 150, got 150",
        ),
        ({"guests": {"ada": {"agee": 3}}}, "config.guests.ada.agee: there is no such field; did"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_in_a_line(changes, message):
    with pytest.raises(InputError) as error:
        party(**changes)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_missing_fields_and_no_section_at_all():
    with pytest.raises(InputError, match="^config.loud is missing$"):
        read(Party, {name: value for name, value in GOOD.items() if name != "loud"})
    with pytest.raises(InputError, match="^config.loud, music are missing$"):
        read(Party, {name: value for name, value in GOOD.items() if name not in ("loud", "music")})
    with pytest.raises(InputError, match="must be a section with age, got 3"):
        read(Guest, 3)


def test_messages_call_a_field_what_it_was_given_as():
    def origin(field):
        return f"--config.{field}" if field.startswith("drink") else f"own.py: config.{field}"

    for changes, message in (
        ({"loud": 3}, "own.py: config.loud must be"),
        ({"drink": {"kind": "tea", "minutes": 7}}, "--config.drink.minutes: seven"),
        ({"drink": {"kind": "beer"}}, "--config.drink.kind must be one of"),
    ):
        with pytest.raises(InputError) as error:
            read(Party, {**GOOD, **changes}, origin)
        assert str(error.value).startswith(message)


def test_a_section_made_by_hand_is_held_to_the_same():
    with pytest.raises(InputError, match="drink.minutes must be a number > 0 and <= 10, got 11"):
        Tea(11)
    with pytest.raises(InputError, match="drink.minutes must be a number > 0 and <= 10, got '3'"):
        Tea("3")  # type: ignore[arg-type]


def test_every_field_is_described_with_its_value_or_for_every_kind():
    found = {field.name: field for field in describe(Party, party())}
    assert found["drink.minutes"].value == 3.0 and found["drink.kind"].value == "tea"
    assert found["drinks.cold.kind"].value == "water" and found["guests.ada.age"].value == 36
    assert (found["drink.minutes"].words, found["drink.minutes"].doc) == (
        "a number > 0 and <= 10",
        "How long it draws.",
    )
    names = [field.name for field in describe(Party)]
    assert names == [
        *("place", "loud", "hours", "spans", "prices", "limit", "music", "drink.kind"),
        *("drink.minutes", "guests.NAME.age", "drinks.NAME.kind", "drinks.NAME.minutes"),
        "anything",
    ]
