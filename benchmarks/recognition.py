"""How well libraries recognise types, on the corpus of ``tests/corpus``: right, wrong, unknown, and what each costs.

    python -m benchmarks.recognition     # of those that are installed: filetype, puremagic, magika, python-magic, pylibmagic

A library is right if it says the type by any name of Filerow's table, given the bytes alone. Files of text are not counted, for
no bytes prove what they are, nor what Filerow has decided not to recognise. It is deceived by text that poses as a picture, a
recording or a PDF, if it says the type that the text is announced as.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from statistics import median

from filerow._media_types import OCTET_STREAM, canonical
from tests.corpus import Sample, samples

Recognise = Callable[[bytes], str | None]


def ours() -> Recognise:
    """Return Filerow's own."""
    from filerow._validation.types import sniff

    return lambda data: sniff(data[:8192], lambda offset, size: data[offset : offset + size], len(data))


def of_filetype() -> Recognise:
    """Return filetype's, which Filerow used before."""
    filetype = import_module("filetype")
    return lambda data: filetype.guess_mime(data[:8192])


def of_puremagic() -> Recognise:
    """Return puremagic's."""
    puremagic = import_module("puremagic")

    def recognise(data: bytes) -> str | None:
        try:
            return puremagic.from_string(data, mime=True) or None
        except (puremagic.PureError, ValueError):
            return None

    return recognise


def of_magika() -> Recognise:
    """Return magika's, a model of Google's."""
    magika = import_module("magika").Magika()
    return lambda data: magika.identify_bytes(data).output.mime_type


def of_libmagic() -> Recognise:
    """Return libmagic's, of a wheel."""
    import_module("pylibmagic")
    magic = import_module("magic")
    recognise: Recognise = magic.Magic(mime=True).from_buffer
    return recognise


# Name: how to make it, what a process imports for it, and the packages whose files count.
LIBRARIES: dict[str, tuple[Callable[[], Recognise], str, tuple[str, ...]]] = {
    "filerow": (ours, "filerow._validation.types", ()),
    "filetype": (of_filetype, "filetype", ("filetype",)),
    "puremagic": (of_puremagic, "puremagic", ("puremagic",)),
    "magika": (of_magika, "magika; magika.Magika()", ("magika", "onnxruntime", "numpy", "protobuf", "flatbuffers")),
    "libmagic": (of_libmagic, "pylibmagic, magic; magic.Magic(mime=True)", ("pylibmagic", "python-magic")),
}


def score(recognise: Recognise, files: list[Sample]) -> tuple[dict[str, int], float]:
    """Return how many files are right, wrong and unknown, and the microseconds of a processor that one takes."""
    counts = {"right": 0, "wrong": 0, "unknown": 0}
    contents = [sample.content for sample in files]
    for sample, content in zip(files, contents, strict=True):
        found = canonical((recognise(content) or "").lower())
        kind = "right" if found == sample.type else "unknown" if found in {"", OCTET_STREAM, "application/unknown"} else "wrong"
        counts[kind] += 1
    times = []
    for _ in range(5):
        started = time.process_time()
        for content in contents:
            recognise(content)
        times.append((time.process_time() - started) / len(files))
    return counts, median(times) * 1e6


def deceptions(recognise: Recognise, posing: list[Sample]) -> int:
    """Return how many texts a library takes for what they are announced as."""
    return sum(canonical((recognise(sample.content) or "").lower()) == canonical(sample.announced) for sample in posing)


def import_time(what: str) -> float:
    """Return the milliseconds of a processor that an import takes in a new process; Filerow itself is there anyway."""
    names, _, then = what.partition(";")
    before = "import filerow" if names.startswith("filerow") else "pass"
    code = (
        f"import time\n{before}\nstart = time.process_time()\nimport {names}\n{then.strip()}\nprint(time.process_time() - start)"
    )

    def once() -> float:
        return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)

    return median(once() for _ in range(5)) * 1e3


def installed_size(packages: tuple[str, ...]) -> int:
    """Return the bytes of packages, as installed."""
    total = 0
    for package in packages:
        try:
            total += sum(file.size or 0 for file in distribution(package).files or ())
        except PackageNotFoundError:
            continue
    return total


def main() -> None:
    """Print the table."""
    files = [sample for sample in samples() if not sample.type.startswith("text/") and sample.type != "application/json"]
    files = [sample for sample in files if "encrypted." not in sample.name or not sample.type.endswith(("document", "sheet"))]
    posing = [sample for sample in files if sample.poses]
    files = [sample for sample in files if sample.type != OCTET_STREAM]
    print(f"{len(files)} files of {len({sample.type for sample in files})} types, and {len(posing)} texts that pose as others\n")
    print("| library | right | wrong | unknown | deceived | import | a file | installed |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (make, what, packages) in LIBRARIES.items():
        try:
            recognise = make()
        except ImportError:
            print(f"| {name} | not installed | | | | | | |")
            continue
        counts, each = score(recognise, files)
        size = f"{installed_size(packages) / 1e6:.1f} MB" if packages else "-"
        numbers = " | ".join(str(counts[kind]) for kind in ("right", "wrong", "unknown"))
        print(f"| {name} | {numbers} | {deceptions(recognise, posing)} | {import_time(what):.0f} ms | {each:.0f} µs | {size} |")


if __name__ == "__main__":
    main()
