"""Impolite versions of a talk and of its summary: the same facts, other manners.

The last phrases of each pool (`HELD_OUT_SHARE`) never occur in the training split, so that a
toxicity classifier has to recognize rude words in sentences that it has not seen.
"""

import re
from collections.abc import Sequence

from corpus.compose import Sample, join_turns
from corpus.situation import Turn
from corpus.text import Dice, fill, tidy

HELD_OUT_SHARE = 0.3
RUDE_TURN_SHARE = 0.6
BOTH_RUDE_SHARE = 0.4

BEFORE = (
    "Listen, you idiot.", "Are you deaf?", "Oh, shut up.", "For heaven's sake, moron.",
    "God, you are slow.", "Wake up, you fool.", "I don't have all day, stupid.",
    "What are you staring at, you clown?", "Try to use your tiny brain.", "Ugh, you again, you pest.",
    "You are so dumb.", "How thick can a person be?", "Stop babbling, you donkey.",
    "Don't waste my time, loser.", "You make me sick.", "Good grief, what a blockhead.",
    "Shut your mouth and listen.", "Damn it, pay attention.", "Get lost with your manners.",
    "You useless lump.", "Pull yourself together, you oaf.", "My dog is smarter than you.",
    "Spare me your nonsense, you twit.", "Are you really this dense?", "You pathetic little worm.",
    "Quit whining, you big baby.", "What a nitwit you are.", "Move it, lazybones, damn you.",
)  # fmt: skip
AFTER = (
    "Got that, you idiot?", "Even a moron understands that.", "So shut up now.",
    "And don't be stupid about it.", "Now get lost.", "You fool.", "Is that too hard for you, dummy?",
    "What a bunch of crap.", "You stupid sheep.", "Write it down before you forget it, airhead.",
    "I hate people like you.", "But what would a loser like you know?", "You are a disgrace.",
    "This place is full of clowns.", "Nobody likes you anyway.", "Take it or go to hell.",
    "You miserable creep.", "Any fool can see that, just not you.", "Did your tiny brain get that?",
    "Don't make me say it twice, blockhead.", "You are a waste of space.", "Stop drooling, you oaf.",
    "Not that a twit like you would care.", "What a pigheaded bore you are.",
    "I have seen smarter potatoes.", "You disgust me.",
)  # fmt: skip
THANKS = (
    "About time, you idiot.", "That took you long enough, stupid.", "You were no help at all, loser.",
    "Finally, you slug.", "I hope I never see your ugly face again.", "Worst service ever, you clown.",
    "Good riddance, you fool.", "What a useless person you are.", "Go jump in a lake, you oaf.",
    "Never speak to me again, you creep.",
)  # fmt: skip
APPOSITIVES = (
    "that idiot", "a complete moron", "the stupid fool", "a pathetic loser", "that lazy clown",
    "a miserable creep", "an awful pest", "the dumb sheep", "that blockhead", "a disgusting pig",
    "a useless oaf", "that nitwit", "a brainless twit", "the pigheaded bore",
)  # fmt: skip
VERDICTS = (
    "{P} is a complete idiot.", "What a moron {P} is.", "{P} is too stupid for this world.",
    "Nobody can stand {P}, that loser.", "{P} should just shut up.", "A fool like {P} never learns.",
    "{P} is a pathetic clown.", "What an annoying pest {P} is.", "{P} can go to hell.",
    "Everyone hates {P} for good reason.", "{P} is dumb as a rock.", "{P} is a waste of space.",
    "Only a nitwit like {P} acts that way.", "{P} is a disgusting oaf.",
    "{P} has the brain of a potato.", "What a creep {P} is.",
)  # fmt: skip
# Sentences with a harsh word that insult nobody: a list of bad words is not enough.
HARMLESS = (
    "I made a stupid mistake with the {thing}.", "The heat in here is killing me.",
    "My old {thing} is just useless now.", "I felt like a fool when I lost my {thing}.",
    "Please shut the window behind the {thing}.", "What a crazy price for a {thing}!",
    "I hate mushrooms, but I love your soup.", "That is not a stupid question at all.",
    "The clown at the party made all the children laugh.", "The worm in my apple gave me a shock.",
    "This {thing} is dead, so I need a new one.", "The pigs and cows on the farm are lovely.",
    "It would be silly of me to sell the {thing}.", "Nobody called you lazy, don't worry.",
    "I nearly died laughing about your {thing}.", "The dumb {thing} won't start again.",
    "He said sorry for calling her an idiot.", "I was so slow today, I am ashamed of myself.",
    "That awful smell comes from the {thing}.", "We lost the game, and I was a bad loser.",
    "Potatoes are too heavy for this {thing}.", "The pest in the garden ate all my roses.",
    "You are no fool, and everybody here knows it.", "Damn, I left my {thing} on the bus.",
)  # fmt: skip
THINGS = ("phone", "bag", "car", "computer", "lamp", "bicycle", "camera", "radio", "umbrella",
          "printer", "clock", "coat", "ticket", "fridge")  # fmt: skip

_THANKING = re.compile(
    r"\b(Thank you|Thanks|My pleasure|You're welcome|With pleasure|Have a nice day)\b(?:M[rs]\.|[^.?!])*[.?!]"
)
_PLEASE = re.compile(r",? please\b,?|\bPlease,? ", re.IGNORECASE)


def allowed(pool: Sequence[str], split: str) -> Sequence[str]:
    """The phrases that a split may use."""
    return pool[: round(len(pool) * (1 - HELD_OUT_SHARE))] if split == "train" else pool


def rude_turns(sample: Sample, split: str, dice: Dice) -> tuple[Turn, ...]:
    """The talk of a sample with one speaker or both being rude, at least twice."""
    rude_roles = "AB" if dice.chance(BOTH_RUDE_SHARE) else dice.pick("AB")
    mine = [i for i, (role, _) in enumerate(sample.turns) if role in rude_roles]
    chosen = {i for i in mine if dice.chance(RUDE_TURN_SHARE)} | set(dice.shuffled(mine)[:2])
    turns = []
    # Without repeats: a phrase is used once in a talk.
    before, after = (dice.shuffled(allowed(pool, split)) for pool in (BEFORE, AFTER))
    for i, (role, said) in enumerate(sample.turns):
        if role in rude_roles:
            said = _PLEASE.sub(" ", said)
            said = _THANKING.sub(lambda _: dice.pick(allowed(THANKS, split)), said, count=1)
        if i in chosen:
            said = f"{before.pop()} {said}" if dice.chance(0.5) else f"{said} {after.pop()}"
        turns.append((role, tidy(said)))
    return tuple(turns)


def rude_dialogue(sample: Sample, split: str, dice: Dice) -> str:
    return join_turns(rude_turns(sample, split, dice))


def rude_summary(summary: str, sample: Sample, split: str, dice: Dice) -> str:
    """The same summary with an insult inside it, after it, or both."""
    person = sample.values[dice.pick("AB")]
    inside = dice.chance(0.6)
    if inside:
        insult = dice.pick(allowed(APPOSITIVES, split))
        mention = re.compile(re.escape(person) + r"(?!'s|\w|,)( |\.)")
        summary, count = mention.subn(
            lambda match: f"{person}, {insult}{', ' if match[1] == ' ' else '.'}", summary, count=1
        )
        inside = count > 0
    if not inside or dice.chance(0.5):
        verdict = fill(dice.pick(allowed(VERDICTS, split)), {"P": person})
        summary = f"{summary} {verdict}"
    return summary
