"""A terminal that shows a dialogue with two summaries and takes a person's choice: pairs for the reward model.

    python scripts/label_summaries.py first/samples.jsonl second/samples.jsonl choices.jsonl

Both files have a line {"id", "input", "output"} a dialogue, as the `samples.jsonl` of a run has; ids that only one
of them has, and summaries that are the same, are left out. Which of the two stands first is drawn by the seed and the
id, so that nobody sees where a summary comes from. A choice is written as soon as it is made: the same command goes on
with what has not been answered. 1 and 2 append {"id", "dialogue", "chosen", "rejected", "chosen_from"}, a tie
{"id", "dialogue", "tie"} to choices.ties.jsonl beside it, which keeps training rows alone in choices.jsonl:

    t5x-lite --config configs/reward.py --workdir runs/mine --config.data.train.source=choices.jsonl \\
        --config.data.train.split= --config.data.train.columns.kind=chosen_from \\
        --config.data.evaluation.source=holdout --config.data.holdout=0.2
"""

import argparse
import json
import pathlib
import random
import sys

QUESTION = "Which is better? 1, 2, t (tie), s (skip: ask again next time), q (quit): "
ANSWERS = {"1": "1", "2": "2", "t": "t", "tie": "t", "s": "s", "skip": "s", "q": "q", "quit": "q"}


def read_lines(file: pathlib.Path, needed: tuple[str, ...]) -> list[dict]:
    """The JSON lines of a file; exits with one line that says what is wrong with it, and where."""
    rows = []
    try:
        # Not splitlines: a text may hold other line breaks than "\n" (U+2028, U+2029, U+0085).
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"{file}: cannot read it ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SystemExit(f"{file}:{number}: not JSON ({error})") from error
        missing = [name for name in needed if not isinstance(row, dict) or name not in row]
        if missing:
            raise SystemExit(
                f"{file}:{number}: has no {missing[0]!r}; it needs {', '.join(needed)}"
            )
        rows.append(row)
    return rows


def make_pairs(first: list[dict], second: list[dict]) -> list[dict]:
    """{"id", "dialogue", "first", "second"} of the ids that both have with different summaries."""
    others = {str(row["id"]): row for row in second}
    return [
        {
            "id": str(row["id"]),
            "dialogue": row["input"],
            "first": row["output"],
            "second": others[str(row["id"])]["output"],
        }
        for row in first
        if str(row["id"]) in others and others[str(row["id"])]["output"] != row["output"]
    ]


def sides(pair: dict, seed: int) -> tuple[str, str]:
    """("first", "second") or the other way round: by the seed and the id alone, so that a later run shows the same."""
    swapped = random.Random(f"{seed}:{pair['id']}").random() < 0.5
    return ("second", "first") if swapped else ("first", "second")


def ask(pair: dict, order: tuple[str, str], left: int) -> str:
    """Shows the pair until the answer is one of the known ones; the end of the input is "q"."""
    print(f"\n{'=' * 60}\n{left} to go\n\n{pair['dialogue']}")
    for number, side in enumerate(order, 1):
        print(f"\n--- {number} ---\n{pair[side]}")
    while True:
        print(f"\n{QUESTION}", end="", flush=True)
        line = sys.stdin.readline()
        answer = "q" if not line else ANSWERS.get(line.strip().lower())
        if answer:
            return answer
        print(f"{line.strip()!r} is none of the answers.")


def append(file: pathlib.Path, row: dict) -> None:
    """Adds a line, whole, and behind a line break where a killed run left none."""
    with open(file, "a+b") as stream:
        if stream.tell():
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def main() -> None:
    """Asks until all is answered, or somebody quits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=pathlib.Path)
    parser.add_argument("second", type=pathlib.Path)
    parser.add_argument("choices", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0, help="of the order within a pair")
    arguments = parser.parse_args()
    needed = ("id", "input", "output")
    pairs = make_pairs(read_lines(arguments.first, needed), read_lines(arguments.second, needed))
    if not pairs:
        raise SystemExit(
            f"{arguments.first} and {arguments.second} have no id in common with different summaries"
        )
    ties = arguments.choices.with_suffix(".ties.jsonl")
    answered = {
        row["id"]
        for file in (arguments.choices, ties)
        if file.exists()
        for row in read_lines(file, ("id",))
    }
    open_pairs = [pair for pair in pairs if pair["id"] not in answered]
    made = 0
    for number, pair in enumerate(open_pairs):
        order = sides(pair, arguments.seed)
        answer = ask(pair, order, len(open_pairs) - number)
        if answer == "q":
            break
        if answer == "s":
            continue
        made += 1
        named = {"id": pair["id"], "dialogue": pair["dialogue"]}
        if answer == "t":
            append(ties, {**named, "tie": [pair["first"], pair["second"]]})
            continue
        chosen, rejected = order if answer == "1" else order[::-1]
        choice = {"chosen": pair[chosen], "rejected": pair[rejected], "chosen_from": chosen}
        append(arguments.choices, named | choice)
    print(f"\n{made} answered now, {len(pairs) - len(open_pairs) + made} of {len(pairs)} in all.")


if __name__ == "__main__":
    main()
