"""A better and a worse summary of the same dialogue, the worse one wrong in one known way."""

import dataclasses

from corpus import phrases
from corpus.compose import Sample, redraw
from corpus.rude import rude_summary
from corpus.text import Dice, fill, slots_of

KINDS = ("decision", "person", "fact", "rude", "copy")
KIND_WEIGHTS = (25, 22, 20, 18, 15)
UNDECIDED_SHARE = 0.12
COPIED_TURNS = range(3, 7)


def worse_summary(sample: Sample, kind: str, split: str, dice: Dice) -> str | None:
    """A summary that a reader of the dialogue rejects, or None where this kind does not apply.

    decision: the dropped choice is told as the final one, with a reason that fits the sentence.
    person: the two speakers are exchanged. fact: one number, day, thing or name is another.
    rude: right, with an insult. copy: the dialogue's turns instead of a summary.
    """
    match kind:
        case "decision":
            return _wrong_decision(sample, dice)
        case "person":
            return _wrong_person(sample)
        case "fact":
            return _wrong_fact(sample, dice)
        case "rude":
            return rude_summary(sample.summary.text(sample.values), sample, split, dice)
        case "copy":
            return _copy(sample, dice)
    raise ValueError(f"unknown kind of pair: {kind}")


def _wrong_decision(sample: Sample, dice: Dice) -> str:
    values = sample.values
    summary = sample.summary
    undecided = sample.course == "open_end"
    if undecided or dice.chance(UNDECIDED_SHARE):
        pools = phrases.JOINT_SUMMARY if sample.joint else phrases.SOLO_SUMMARY
        pool = pools["kept" if undecided else "open_end"]
        summary = dataclasses.replace(summary, decision=dice.pick(pool.strip().splitlines()))
    else:
        values = values | {"yes": values["no"], "no": values["yes"], "why": sample.wrong_reason}
    return summary.text(values)


def _wrong_person(sample: Sample) -> str | None:
    # Who "have not decided yet" together stays true when the two are exchanged.
    if sample.joint and (sample.course == "open_end" or not _names_one(sample.summary.decision)):
        return None
    values = sample.values
    exchanged = {"A": values["B"], "B": values["A"], "D": values["O"], "O": values["D"]}
    return sample.summary.text(values | exchanged)


def _names_one(template: str) -> bool:
    return bool(slots_of(template) & {"D", "O"})


def _wrong_fact(sample: Sample, dice: Dice) -> str:
    stated = set().union(*map(slots_of, sample.summary.templates()))
    slots = sorted(stated & set(sample.situation.slots))
    wrong = {key: redraw(sample, key, dice) for key in [dice.pick(slots)]}
    return sample.summary.text(sample.values | wrong)


def _copy(sample: Sample, dice: Dice) -> str:
    count = dice.pick(COPIED_TURNS)
    lines = sample.dialogue().split("\n")
    if dice.chance(0.5):
        return " ".join(lines[:count])
    start = dice.below(len(lines) - count + 1)
    said = " ".join(line.partition(": ")[2] for line in lines[start : start + count])
    return f"{fill(sample.summary.setting, sample.values)} {said}"
