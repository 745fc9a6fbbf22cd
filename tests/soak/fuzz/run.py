"""Fuzz one target by the code that inputs reach: ``python -m tests.soak.fuzz.run TARGET FOLDER [SECONDS]``.

A failing input is left in the folder, as ``crash-…``; once it is fixed, it belongs into ``tests/soak/fuzz/corpus.py``.
"""

from __future__ import annotations

import sys
from hashlib import sha1
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["filerow", "imagesize"]):
    from tests.soak.fuzz.corpus import CORPUS
    from tests.soak.fuzz.targets import TARGETS, a_world


def main() -> None:
    name, folder, *seconds = sys.argv[1:]
    seeds = Path(folder) / "corpus"
    seeds.mkdir(parents=True, exist_ok=True)
    for data in CORPUS:
        (seeds / sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    limits = [f"-max_total_time={seconds[0] if seconds else 300}", "-timeout=20", "-rss_limit_mb=2048", "-max_len=5000"]
    with a_world():
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", str(seeds)], TARGETS[name])
        atheris.Fuzz()


main()
