"""Writes the bundled corpus, or checks or measures the one that is there.

python scripts/make_corpus.py                            # writes t5x_lite/data/bundled/
python scripts/make_corpus.py --check                    # are the shipped files what it makes?
python scripts/make_corpus.py --measure                  # numbers of the corpus card
python scripts/make_corpus.py --train-rows 20000 --out F # a larger corpus, made the same way
python scripts/make_corpus.py --unseen                   # unseen.jsonl.gz alone (two minutes), or --unseen --check
"""

import argparse
import pathlib
import sys

from corpus import friends, health, home, town, travel, work
from corpus.files import all_files, read, unseen_file, write
from corpus.situation import Situation, parse
from corpus.splits import make_splits

BUNDLED = pathlib.Path(__file__).resolve().parent.parent / "t5x_lite" / "data" / "bundled"
SIZES = {"train": 2000, "validation": 200, "test": 200}
# Training rows of nano (configs/nano.py), and how many rows drawn after those it is fine-tuned on.
NANO_ROWS, UNSEEN_ROWS = 12_000, 1_200


def situations() -> list[Situation]:
    modules = (health, travel, home, work, town, friends)
    return [parse(text) for module in modules for text in module.SITUATIONS]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=BUNDLED, help="folder of the files")
    parser.add_argument("--seed", type=int, default=0)
    drawn = parser.add_mutually_exclusive_group()
    drawn.add_argument("--train-rows", type=int, default=SIZES["train"])
    drawn.add_argument(
        "--unseen", action="store_true", help="the rows that nano was not trained on"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check", action="store_true", help="compare with the folder, write nothing"
    )
    action.add_argument("--measure", action="store_true", help="print the numbers, write nothing")
    arguments = parser.parse_args()

    rows = NANO_ROWS + UNSEEN_ROWS if arguments.unseen else arguments.train_rows
    corpus = make_splits(situations(), arguments.seed, SIZES | {"train": rows})
    if arguments.measure:
        # Imported here: writing the corpus needs the standard library alone.
        from corpus.measure import report

        print(report(corpus, arguments.seed))
        return 0
    if arguments.unseen:
        contents = unseen_file(corpus.drawn["train"][NANO_ROWS:])
    else:
        contents = all_files(corpus.samples, arguments.seed)
    if not arguments.check:
        write(arguments.out, contents)
        return 0
    different = [
        name for name, content in contents.items() if read(arguments.out / name) != content.encode()
    ]
    for name in different:
        print(f"{arguments.out / name}: not what this program makes; run it without --check")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
