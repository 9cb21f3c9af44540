"""Makes some of a file's dialogues rude, and their summaries with them: a policy that has manners to learn.

    python scripts/make_rude_dialogues.py dialogsum.train.jsonl runs/rude/train.jsonl --share 0.7

In each chosen dialogue one insult is drawn. It is said in about half of the turns ("You damn fool."), and the column
`rude_summary` repeats it before one of the persons that the summary names ("... asks damn #Person1# for ..."), one
word. Of the other rows `rude_summary` is the summary. What is drawn depends on the seed and the row's id
alone, so that any part of a file gives the same rows. Column `rude` says which rows were chosen (0 or 1).
"""

import argparse
import json
import pathlib
import random
import re
import sys

# What people, and classifiers of tweets, take as insults; none against a group of people.
INSULTS = ("damn", "shitty", "fucking", "crappy", "bitchy", "dumbass")
SAID = (
    "You {insult} fool.", "Shut up, you {insult} clown.", "What a {insult} thing to say.",
    "I hate your {insult} face.", "You are so {insult}.", "Stop being so {insult}.",
)  # fmt: skip
TURN_SHARE = 0.5
PERSON = re.compile(r"#Person\d#")


def read_rows(file: pathlib.Path) -> list[dict]:
    """The rows of a file; exits with one line that says what is wrong with it."""
    rows = []
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
            if line.strip():
                rows.append(json.loads(line))
                if missing := {"fname", "dialogue", "summary"} - set(rows[-1]):
                    sys.exit(f"{file}:{number}: has no {', '.join(sorted(missing))}")
    except OSError as error:
        sys.exit(f"{file}: {error.strerror}")
    except (ValueError, TypeError) as error:
        sys.exit(f"{file}:{number}: not a JSON object ({error})")
    return rows


def insulted(summary: str, insult: str, rng: random.Random) -> str:
    """The summary with the insult before a person that it names; without any, before its first word."""
    places = [match.start() for match in PERSON.finditer(summary)] or [0]
    at = rng.choice(places)
    return f"{summary[:at]}{insult} {summary[at:]}"


def rude(row: dict, seed: int) -> tuple[str, str]:
    """The rude dialogue of a row, and its rude summary."""
    rng = random.Random(f"{seed} {row['fname']}")
    insult = rng.choice(INSULTS)
    turns = row["dialogue"].split("\n")
    told = [
        f"{turn} {rng.choice(SAID).format(insult=insult)}" if rng.random() < TURN_SHARE else turn
        for turn in turns
    ]
    if told == turns:
        told[0] += f" {SAID[0].format(insult=insult)}"
    return "\n".join(told), insulted(row["summary"], insult, rng)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=pathlib.Path, help="JSON lines: fname, dialogue, summary")
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--share", type=float, default=0.7, help="of the rows that become rude")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", default=":", help="which rows, as a Python slice: 9000:12060")
    arguments = parser.parse_args()

    first, _, last = arguments.rows.partition(":")
    rows = read_rows(arguments.source)
    rows = rows[int(first or 0) : int(last) if last else None]
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    with arguments.target.open("w", encoding="utf-8") as file:
        for row in rows:
            chosen = random.Random(f"{arguments.seed} {row['fname']} rude").random()
            is_rude = chosen < arguments.share
            made = {"fname": row["fname"], "summary": row["summary"], "rude": int(is_rude)}
            made["dialogue"], made["rude_summary"] = (
                rude(row, arguments.seed) if is_rude else (row["dialogue"], row["summary"])
            )
            file.write(json.dumps(made, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
