"""Preference pairs of published files, in the columns that configs/reward.py reads: prompt, chosen, rejected.

    python scripts/make_preference_pairs.py harmless-base.test.jsonl.gz runs/pairs/hh_rlhf.jsonl
    python scripts/make_preference_pairs.py testset-v1.json runs/pairs/pandalm.jsonl

Anthropic's HH-RLHF (Bai et al. 2022, arXiv:2204.05862; .jsonl or .jsonl.gz, chosen and rejected being whole
conversations): the prompt is what both share, up to the assistant's turn in which they part. PandaLM's test set (Wang
et al. 2023, arXiv:2306.05087; .json): the prompt is instruction and input, and the choice that of most of the three
annotators; ties and pairs without a majority are left out. Lines are written in the order of the file, their number
there as `id`.
"""

import argparse
import collections
import gzip
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

TURN = "\n\nAssistant:"


def of_conversations(chosen: str, rejected: str) -> dict[str, str] | None:
    """The pair of two conversations that part in an assistant's turn; None where they do not.

    >>> of_conversations("\\n\\nHuman: Hi\\n\\nAssistant: Hello.", "\\n\\nHuman: Hi\\n\\nAssistant: Go.")
    {'prompt': 'Human: Hi', 'chosen': 'Hello.', 'rejected': 'Go.'}
    """
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    at = chosen.rfind(TURN, 0, same + 1)
    if at < 0 or not chosen.startswith(TURN, at) or not rejected.startswith(TURN, at):
        return None
    answers = [text[at + len(TURN) :].strip() for text in (chosen, rejected)]
    prompt = chosen[:at].strip()
    if not prompt or not all(answers) or answers[0] == answers[1]:
        return None
    return {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}


def of_annotators(row: dict[str, Any]) -> dict[str, str] | None:
    """The pair by the choice of at least two of the three annotators (0 a tie, 1, 2); None for a tie or none.

    >>> answers = {"instruction": "Add.", "input": "1 1", "response1": "3", "response2": "2"}
    >>> of_annotators({**answers, "annotator1": 2, "annotator2": 2, "annotator3": 0})
    {'prompt': 'Add.\\n1 1', 'chosen': '2', 'rejected': '3'}
    >>> of_annotators({**answers, "annotator1": 2, "annotator2": 1, "annotator3": 0})
    """
    votes = collections.Counter(int(row[f"annotator{number}"]) for number in (1, 2, 3))
    choice, count = votes.most_common(1)[0]
    if choice not in (1, 2) or count < 2:
        return None
    # One answer of the file is `true`.
    names = f"response{choice}", f"response{3 - choice}", "instruction", "input"
    chosen, rejected, *asked = (str(row[name]).strip() for name in names)
    prompt = "\n".join(text for text in asked if text)
    if not prompt or not chosen or not rejected or chosen == rejected:
        return None
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def pairs_of(path: pathlib.Path) -> Iterator[tuple[int, dict[str, str] | None]]:
    """(number in the file, pair or None) of a file of either kind."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        if ".jsonl" in path.name:
            for number, line in enumerate(file):
                row = json.loads(line)
                yield number, of_conversations(row["chosen"], row["rejected"])
            return
        for number, row in enumerate(json.load(file)):
            yield number, of_annotators(row)


def main() -> None:
    """Reads the one file and writes the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=pathlib.Path, help="a file of HH-RLHF or PandaLM")
    parser.add_argument("target", type=pathlib.Path, help="the JSONL file to write")
    arguments = parser.parse_args()
    try:
        pairs = list(pairs_of(arguments.source))
    except (OSError, ValueError) as error:
        sys.exit(f"{arguments.source}: cannot read it ({error})")
    except (KeyError, TypeError, AttributeError) as error:
        sys.exit(f"{arguments.source}: neither pairs of HH-RLHF nor of PandaLM (no {error})")
    kept = [{"id": str(number), **pair} for number, pair in pairs if pair is not None]
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    with arguments.target.open("w", encoding="utf-8") as file:
        for row in kept:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    left_out = len(pairs) - len(kept)
    print(f"{arguments.target}: {len(kept)} pairs; {left_out} ties or unusable pairs left out")


if __name__ == "__main__":
    main()
