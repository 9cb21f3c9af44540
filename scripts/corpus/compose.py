"""One dialogue with its summaries, from a situation and a seed."""

import dataclasses
import re
from collections.abc import Sequence

from corpus import people, phrases
from corpus.situation import Section, Situation, Turn, Variant, parse_turns
from corpus.text import Dice, choose, fill, slots_of, words

COURSES = ("told", "noticed", "kept", "back", "open_end")
COURSE_WEIGHTS = (30, 20, 25, 13, 12)
NAMED_SHARE = 0.4
TALK_SHARE = 0.45
FREE_BEFORE_SHARE = 0.65
FAREWELL_SHARE = 0.8
AGAIN_NAMED_SHARE = 0.5
TURNS = range(6, 17)
WORDS = range(60, 251)

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December")  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
           "eleven", "twelve")  # fmt: skip
HOURS = (7, 8, 9, 10, 11, 1, 2, 3, 4, 5, 6)
MINUTES = (" o'clock", ":15", ":30", ":45")


@dataclasses.dataclass(frozen=True)
class Summary:
    """Sentences still to fill in, so that a wrong value can be put in their place."""

    setting: str
    decision: str
    detail: str

    def templates(self) -> tuple[str, ...]:
        return (self.setting, self.decision, self.detail)

    def text(self, values: dict[str, str]) -> str:
        return fill(" ".join(self.templates()), values)


@dataclasses.dataclass(frozen=True)
class Sample:
    """A dialogue, the values behind it, and two summaries of the same facts."""

    situation: Situation
    course: str
    joint: bool
    turns: tuple[Turn, ...]
    values: dict[str, str]
    topic: str
    summary: Summary
    other_summary: Summary
    question: str
    answer: str
    wrong_reason: str

    def dialogue(self) -> str:
        return join_turns(self.turns)

    def facts(self) -> tuple[str, ...]:
        """What a summary of this dialogue can state, names of speakers aside."""
        stated = set()
        for template in (*self.summary.templates(), *self.other_summary.templates()):
            stated |= slots_of(template)
        shown = sorted((stated | {"yes", "no"}) - set("ABDO"))
        values = (f"{key}={fill(self.values[key], self.values)}" for key in shown)
        return (self.situation.name, self.course, *values)


def join_turns(turns: Sequence[Turn]) -> str:
    """One line a turn, as "#Person1#: ...": the first to speak is person 1."""
    first = turns[0][0]
    return "\n".join(f"#Person{1 if role == first else 2}#: {said}" for role, said in turns)


def compose(situation: Situation, seed: str) -> Sample:
    """The first well-sized dialogue among the attempts that the seed gives.

    Raises:
        ValueError: The material states something in a summary that the dialogue does not say.
    """
    for attempt in range(100):
        sample = _attempt(situation, Dice(f"{seed}/{situation.name}/{attempt}"))
        said = sum(len(words(text)) for _, text in sample.turns)
        if len(sample.turns) in TURNS and said in WORDS:
            _check(sample)
            return sample
    raise ValueError(f"{situation.name}: no attempt has 6 to 16 turns and 60 to 250 words")


def _attempt(situation: Situation, dice: Dice) -> Sample:
    course = dice.weighted(COURSES, COURSE_WEIGHTS)
    joint = situation.decider == "both"
    decider = dice.pick("AB") if joint else situation.decider
    values = _draw_values(situation, dice)
    other = "B" if decider == "A" else "A"
    roles = {"D": decider, "O": other, "A": "A", "B": "B"}

    styles = dict(zip("AB", situation.names, strict=True))
    named = {role: styles[role] != "none" and dice.chance(NAMED_SHARE) for role in "AB"}
    script: list[Turn] = []
    for variant in _plan(situation, course, joint, dice):
        # Small talk of X and Y: whoever did not speak last begins it.
        last = script[-1][0] if script else "B"
        starter, answerer = ("B", "A") if last == "A" else ("A", "B")
        if variant[0][0] in "XY":
            roles |= {variant[0][0]: starter, variant[1][0]: answerer}
        script += [(roles[role], choose(said, dice)) for role, said in variant]
    turns, addressed = _speak(script, values, named, roles, dice)
    first = turns[0][0]
    for role in "AB":
        unnamed = f"#Person{1 if role == first else 2}#"
        values[role] = values[f"name_{role}"] if role in addressed else unnamed
    values |= {"D": values[decider], "O": values[other]}

    summary, other_summary = _summaries(situation, course, joint, dice)
    question, answer = _question(situation, turns, values, dice)
    return Sample(
        situation, course, joint, turns, values, dice.pick(situation.topics), summary,
        other_summary, question, answer, dice.pick(situation.choices[values["yes"]]),
    )  # fmt: skip


def _draw_values(situation: Situation, dice: Dice) -> dict[str, str]:
    taken: set[str] = set()
    values: dict[str, str] = {}
    specs = {**situation.slots, "later": "weekday", **phrases.TALK_SLOTS}
    for role, style in zip("AB", situation.names, strict=True):
        specs[f"name_{role}"] = style
    for key, spec in specs.items():
        value = _draw(spec, dice)
        while value in taken:
            value = _draw(spec, dice)
        taken.add(value)
        values[key] = value
    yes, no = dice.shuffled(tuple(situation.choices))[:2]
    return {**values, "yes": yes, "no": no, "why": dice.pick(situation.choices[no])}


def _draw(spec: str, dice: Dice) -> str:
    kind, *limits = spec.split()
    match kind:
        case "number":
            return dice.pick(NUMBERS[int(limits[0]) : int(limits[1]) + 1])
        case "integer" | "dollars":
            low, high, step = map(int, limits)
            amount = dice.pick(range(low, high + 1, step))
            return f"${amount:,}" if kind == "dollars" else str(amount)
        case "clock":
            return f"{dice.pick(HOURS)}{dice.pick(MINUTES)}"
        case "weekday":
            return dice.pick(WEEKDAYS)
        case "date":
            return f"{dice.pick(MONTHS)} {dice.pick(range(2, 29))}"
        case "person" | "first":
            return dice.pick(people.FIRST_NAMES)
        case "formal":
            return f"{dice.pick(people.TITLES)} {dice.pick(people.LAST_NAMES)}"
        case "none":
            return f"nobody {dice.below(10**9)}"
    return dice.pick([part.strip() for part in spec.split("|")])


def redraw(sample: Sample, key: str, dice: Dice) -> str:
    """Another value for a slot than any that this sample uses."""
    used = set(sample.values.values())
    value = _draw(sample.situation.slots[key], dice)
    while value in used:
        value = _draw(sample.situation.slots[key], dice)
    return value


def _plan(situation: Situation, course: str, joint: bool, dice: Dice) -> list[Variant]:
    """The parts of the talk in order, a variant chosen for each."""

    def variants(text: str) -> list[Variant]:
        return [parse_turns(part) for part in text.strip().split("\n--\n")]

    def section(name: str) -> list[Section]:
        found = situation.section(name)
        return [found] if found else []

    free = [part for part in situation.sections if part.free]
    free = [part for part in dice.shuffled(free) if not part.optional or dice.chance(0.5)]
    before = [part for part in free if dice.chance(FREE_BEFORE_SHARE)]
    after = [part for part in free if part not in before]
    talks = dice.shuffled(variants(phrases.SMALL_TALK[situation.register]))
    courses = variants((phrases.JOINT_TALK if joint else phrases.SOLO_TALK)[course])
    farewell = variants(phrases.FAREWELLS[situation.register])

    plan = [dice.pick(part.variants) for part in section("open")]
    plan += [talks[0]] if dice.chance(TALK_SHARE) else []
    plan += [dice.pick(part.variants) for part in before]
    plan += [dice.pick(courses)]
    plan += [dice.pick(part.variants) for part in [*after, *section("settle")]]
    plan += [talks[1]] if dice.chance(TALK_SHARE) else []
    plan += [dice.pick(farewell)] if dice.chance(FAREWELL_SHARE) else []
    return plan


def _speak(
    script: Sequence[Turn],
    values: dict[str, str],
    named: dict[str, bool],
    roles: dict[str, str],
    dice: Dice,
) -> tuple[tuple[Turn, ...], set[str]]:
    """Fills the script in, addresses people by name and joins turns of the same speaker.

    The second result is whose name is said.
    """
    turns: list[Turn] = []
    addressed: set[str] = set()
    for role, said in script:
        for mark, person in roles.items():
            if f"<{mark}>" not in said:
                continue
            use = named[person] and (person not in addressed or dice.chance(AGAIN_NAMED_SHARE))
            said = said.replace(f"<{mark}>", f", {values[f'name_{person}']}" if use else "")
            if use:
                addressed.add(person)
        said = fill(said, values)
        if turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]} {said}")
        else:
            turns.append((role, said))
    return tuple(turns), addressed


def _summaries(
    situation: Situation, course: str, joint: bool, dice: Dice
) -> tuple[Summary, Summary]:
    """Two summaries with the same facts in other words."""
    pool = (phrases.JOINT_SUMMARY if joint else phrases.SOLO_SUMMARY)[course]
    settings = dice.shuffled(situation.settings)[:2]
    decisions = dice.shuffled(pool.strip().splitlines())[:2]
    details = dice.shuffled(dice.pick(situation.details))[:2]
    one, two = (Summary(settings[i], decisions[i], details[i]) for i in range(2))
    return one, two


def _question(
    situation: Situation, turns: Sequence[Turn], values: dict[str, str], dice: Dice
) -> tuple[str, str]:
    """Who said a sentence of the talk, or a question about its facts."""
    if dice.chance(0.5):
        question, answer = dice.pick(situation.questions)
        return fill(question, values), fill(answer, values).removesuffix(".")
    first = turns[0][0]
    everything = " ".join(said for _, said in turns)
    quotes = []
    for role, said in turns:
        for sentence in re.split(r"(?<!Mr\.)(?<!Ms\.)(?<=[.?!]) ", said):
            short = 4 <= len(sentence.split()) <= 14
            if short and everything.count(sentence) == 1:
                quotes.append((sentence, f"#Person{1 if role == first else 2}#"))
    sentence, speaker = dice.pick(quotes)
    return f'Who said: "{sentence}"', speaker


def _check(sample: Sample) -> None:
    """Every value in a summary or an answer must have been said."""
    heard = sample.dialogue().lower()
    stated = set(slots_of(sample.question) | slots_of(sample.answer))
    for summary in (sample.summary, sample.other_summary):
        stated |= slots_of(" ".join(summary.templates()))
    for key in stated - set("ABDO"):
        value = fill(sample.values[key], sample.values)
        if not re.search(rf"(?<!\w){re.escape(value.lower())}(?!\w)", heard):
            raise ValueError(
                f"{sample.situation.name}: {key}={value!r} is never said in\n{sample.dialogue()}"
            )
