"""Prints the table of the corpus: for each file what it is, what it is recognised as, and each rule that it matches.

python -m tools.corpus          # all files; exits with 0 if every cell is right
python -m tools.corpus webm     # those whose name or type has this word
"""

from __future__ import annotations

import sys

from filerow import StoredObject
from filerow.exceptions import ContentTypeError
from tests.corpus import RULES, Sample, samples
from tests.corpus.uploads import form_upload

COLUMNS = {rule: StoredObject(content_types=types) for rule, types in RULES.items()}


def main(words: list[str]) -> int:
    """Print the table and return how many cells are wrong."""
    wrong = cells = 0
    shown = [sample for sample in samples() if all(word in sample.name or word in sample.type for word in words)]
    for sample in shown:
        found = StoredObject().check(form_upload(sample)).content_type
        matched = {rule for rule, column in COLUMNS.items() if _takes(column, sample)}
        mistakes = matched ^ set(sample.matches)
        cells += len(RULES) + 1
        wrong += len(mistakes) + (found != sample.type)
        note = "" if found == sample.type else f"  WRONG: is {sample.type}"
        note += "".join(f"  WRONG: {'takes' if rule in matched else 'refuses'} it: {rule}" for rule in sorted(mistakes))
        print(f"{sample.name:28} {sample.program[:28]:28} {found:60} {' '.join(sorted(matched)):30}{note}")
    types = len({sample.type for sample in shown})
    print(f"\n{len(shown)} files of {types} types, {len(RULES)} rules: {cells - wrong} of {cells} cells are right")
    return wrong


def _takes(column: StoredObject, sample: Sample) -> bool:
    try:
        column.check(form_upload(sample))
    except ContentTypeError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
