"""Reads a situation written by hand.

A situation is one block of text: header lines (`key: value`), then sections (`@name`).

Header   name, register (service | friends | work), names (how A and B may be addressed: none, first
         or formal), decider (A, B or both; A and B are roles, not the order of speaking),
         topics (`|` between them), `choice: verb phrase = reason against it | another reason`.
         Every other key is a slot: `number 2 6` (in words), `integer 10 90 5`, `dollars 40 90 5`,
         `clock`, `weekday`, `date`, `person`, or a list with `|` between the values.
Talk     One `A:` or `B:` line a turn, variants separated by `--`. `@open` comes first; sections
         named with `*` come in any order, before or after the decision, and those with `?` half
         of the time; the decision comes from `phrases.py`; `@settle` follows it.
Summary  `@setting` (one phrasing a line), `@detail` (one fact a line, its phrasings separated by
         `||`), `@ask` (`question = answer`).
Markup   `[x|y]` picks one, `{slot}` fills in, `<A>` addresses A by name where the talk uses names.
         {yes} is the final decision, {no} the dropped one, {why} the reason against {no};
         {D} decides, {O} is the other speaker.
"""

import dataclasses
import functools
from collections.abc import Mapping

Turn = tuple[str, str]
Variant = tuple[Turn, ...]

_PLAIN_KEYS = ("name", "register", "names", "decider", "topics", "choice")
_SUMMARY_SECTIONS = ("setting", "detail", "ask")


@dataclasses.dataclass(frozen=True)
class Section:
    name: str
    free: bool
    optional: bool
    variants: tuple[Variant, ...]


@dataclasses.dataclass(frozen=True)
class Situation:
    name: str
    register: str
    names: tuple[str, str]
    decider: str
    topics: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]
    slots: Mapping[str, str]
    sections: tuple[Section, ...]
    settings: tuple[str, ...]
    details: tuple[tuple[str, ...], ...]
    questions: tuple[tuple[str, str], ...]

    def section(self, name: str) -> Section | None:
        return next((section for section in self.sections if section.name == name), None)


@functools.cache
def parse(text: str) -> Situation:
    """The situation that a block of text describes.

    Raises:
        ValueError: A line that is neither header nor part of a section, or a missing key.
    """
    head, *blocks = text.strip().split("\n@")
    header: dict[str, str] = {}
    choices: dict[str, tuple[str, ...]] = {}
    for line in head.splitlines():
        key, separator, value = (part.strip() for part in line.partition(":"))
        if not separator:
            raise ValueError(f"not a header line: {line!r}")
        if key == "choice":
            phrase, reasons = value.split(" = ")
            choices[phrase] = split_list(reasons)
        else:
            header[key] = value
    sections, summary = [], {}
    for block in blocks:
        title, _, body = block.partition("\n")
        name = title.rstrip("*? ")
        if name in _SUMMARY_SECTIONS:
            summary[name] = body.strip().splitlines()
        else:
            variants = tuple(parse_turns(part) for part in body.strip().split("\n--\n"))
            sections.append(Section(name, "*" in title, "?" in title, variants))
    style_a, style_b = split_list(header["names"], ",")
    return Situation(
        name=header["name"],
        register=header["register"],
        names=(style_a, style_b),
        decider=header["decider"],
        topics=split_list(header["topics"]),
        choices=choices,
        slots={key: value for key, value in header.items() if key not in _PLAIN_KEYS},
        sections=tuple(sections),
        settings=tuple(summary["setting"]),
        details=tuple(split_list(line, "||") for line in summary.get("detail", [])),
        questions=tuple(_question(line) for line in summary["ask"]),
    )


def parse_turns(text: str) -> Variant:
    """`A: ...` lines as (speaker, text) pairs."""
    turns = []
    for line in text.strip().splitlines():
        speaker, separator, said = line.partition(": ")
        if not separator or len(speaker) != 1:
            raise ValueError(f"not a turn: {line!r}")
        turns.append((speaker, said.strip()))
    return tuple(turns)


def split_list(text: str, separator: str = "|") -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator))


def _question(line: str) -> tuple[str, str]:
    question, answer = line.split(" = ")
    return question.strip(), answer.strip()
