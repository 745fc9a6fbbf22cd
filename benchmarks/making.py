"""Photos of 12 megapixels to 400 pixels: Filerow beside bare Pillow, and beside libraries that make thumbnails.

    pip install easy-thumbnails django-imagekit sqlalchemy-file
    python -m benchmarks.making [--photos 100]

Bare Pillow runs in as many processes as Filerow has workers, and opens the files itself. Filerow runs as it comes, and with a
process for each image. The other libraries make thumbnails in the process that asks, one after the other, as their documentation
shows; one that is not installed reads "not run". All take turns. Processor time is that of all processes, with the system's for
them, and depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import psutil
from PIL import Image, ImageChops

from benchmarks._world import temporary
from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.variants import Resize, VariantFormat, VariantWorkers, make_variant

WORKERS = 2
ROUNDS = 5
SIDE = 400
OPTIONS: dict[str, dict[str, Any]] = {
    "webp": {"quality": 80, "method": 4},
    "jpeg": {"quality": 82, "optimize": True, "progressive": True},
}
"""What Filerow saves with, so that both make the same image."""

Maker = Callable[[Sequence[Path]], object]


def photo(seed: int) -> Image.Image:
    """Return 12 megapixels with shapes and the noise of a camera."""
    random.seed(seed)
    shapes = Image.effect_noise((400, 300), 90).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    light = Image.linear_gradient("L").resize((4000, 3000)).convert("RGB")
    return ImageChops.add(Image.blend(shapes, light, 0.5), Image.effect_noise((4000, 3000), 14).convert("RGB"), 2)


def bare(path: Path, kind: str) -> bytes:
    """Make one with Pillow alone."""
    with Image.open(path) as image:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        made = io.BytesIO()
        image.save(made, kind, **OPTIONS[kind])
    return made.getvalue()


def with_pillow(pool: ProcessPoolExecutor, kind: str) -> Maker:
    """Return what makes thumbnails with Pillow in a pool of processes."""
    return lambda paths: list(pool.map(partial(bare, kind=kind), paths))


def with_filerow(workers: VariantWorkers, kind: VariantFormat, threads: ThreadPoolExecutor, photos: Sequence[Path]) -> Maker:
    """Return what makes variants of stored files."""
    recipe = Resize(width=SIDE, height=SIDE, format=kind)
    stored: dict[Path, FileObject] = {}

    def make(paths: Sequence[Path]) -> object:
        files = [stored[path] for path in paths]
        return list(threads.map(lambda file: make_variant(file, recipe, workers=workers), files))

    stored.update((path, FileObject("photos", content=path).save()) for path in photos)
    return make


def with_sqlalchemy_file(folder: Path) -> Maker:
    """Return what inserts rows with sqlalchemy-file's ``ThumbnailGenerator``."""
    from libcloud.storage.drivers.local import LocalStorageDriver  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from sqlalchemy import Integer, create_engine
    from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
    from sqlalchemy_file import File, ImageField  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from sqlalchemy_file.processors import ThumbnailGenerator  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from sqlalchemy_file.storage import StorageManager  # type: ignore[import-untyped, import-not-found, unused-ignore]

    class Base(DeclarativeBase):
        pass

    class Photo(Base):
        __tablename__ = "photo"
        id = mapped_column(Integer, primary_key=True)
        image = mapped_column(ImageField(processors=[ThumbnailGenerator((SIDE, SIDE), "JPEG")]))

    (folder / "photos").mkdir(parents=True)
    make_driver: Any = LocalStorageDriver
    driver = make_driver(str(folder))
    StorageManager.add_storage("default", driver.get_container("photos"))
    engine = create_engine(f"sqlite:///{folder}/photos.sqlite")
    Base.metadata.create_all(engine)

    def make(paths: Sequence[Path]) -> None:
        with Session(engine) as session:
            session.add_all(Photo(image=File(content=path.read_bytes(), filename=path.name)) for path in paths)
            session.commit()

    return make


def _django(folder: Path) -> None:
    import django  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from django.conf import settings  # type: ignore[import-untyped, import-not-found, unused-ignore]

    if not settings.configured:
        apps = ["django.contrib.contenttypes", "easy_thumbnails", "imagekit"]
        cache = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "django.sqlite")}
        settings.configure(
            INSTALLED_APPS=apps, DATABASES={"default": database}, MEDIA_ROOT=str(folder / "media"), THUMBNAIL_QUALITY=82,
            THUMBNAIL_PROGRESSIVE=1, USE_TZ=True, CACHES={"default": cache},
        )  # fmt: skip
        django.setup()
        from django.core.management import call_command  # type: ignore[import-untyped, import-not-found, unused-ignore]

        call_command("migrate", verbosity=0)


def with_easy_thumbnails(folder: Path) -> Maker:
    """Return what makes thumbnails with easy-thumbnails."""
    folder.mkdir()
    _django(folder)
    from easy_thumbnails.files import get_thumbnailer  # type: ignore[import-untyped, import-not-found, unused-ignore]

    def make(paths: Sequence[Path]) -> None:
        for path in paths:
            with path.open("rb") as file:
                get_thumbnailer(file, relative_name=path.name).generate_thumbnail({"size": (SIDE, SIDE)})

    return make


def with_imagekit(folder: Path) -> Maker:
    """Return what makes thumbnails with django-imagekit."""
    folder.mkdir()
    _django(folder)
    from imagekit import ImageSpec  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from imagekit.processors import ResizeToFit  # type: ignore[import-untyped, import-not-found, unused-ignore]

    class Thumbnail(ImageSpec):  # type: ignore[misc, unused-ignore]
        processors: ClassVar = [ResizeToFit(SIDE, SIDE)]
        format = "JPEG"
        options: ClassVar = {"quality": 82}

    def make(paths: Sequence[Path]) -> None:
        for path in paths:
            with path.open("rb") as file:
                Thumbnail(source=file).generate().read()

    return make


def _others(folder: Path) -> Iterator[tuple[str, Maker | None]]:
    for name, maker in (
        ("sqlalchemy-file, ThumbnailGenerator", with_sqlalchemy_file),
        ("easy-thumbnails", with_easy_thumbnails),
        ("django-imagekit", with_imagekit),
    ):
        try:
            yield name, maker(folder / name.split(",")[0])
        except ImportError:
            yield name, None


class Took(NamedTuple):
    """Seconds for each photo."""

    clock: float
    processor: float


def processor_time() -> float:
    """Return the seconds that this process and all below it have used, those that have ended too."""
    this = psutil.Process()
    return sum(sum(one.cpu_times()[:4]) for one in (this, *this.children(recursive=True)))


def timed(make: Maker, photos: Sequence[Path]) -> Took:
    """Return what making them takes."""
    before, began = processor_time(), time.perf_counter()
    make(photos)
    took = time.perf_counter() - began
    return Took(took / len(photos), (processor_time() - before) / len(photos))


def measure(photos: Sequence[Path], makers: dict[str, Maker]) -> dict[str, list[Took]]:
    """Return what each maker takes in each round; all take turns."""
    found: dict[str, list[Took]] = {name: [] for name in makers}
    for make in makers.values():
        make(photos[:WORKERS])
    share = max(1, len(photos) // ROUNDS)
    for number in range(ROUNDS):
        these = photos[number * share :][:share]
        for name in makers if number % 2 else reversed(makers):
            found[name].append(timed(makers[name], these))
    return found


def line(kind: str, name: str, found: dict[str, list[Took]]) -> str:
    """Return a line of the table."""
    cells = [kind, name]
    for part in (0, 1):
        times, bare_times = ([one[part] for one in found[which]] for which in (name, "Pillow"))
        ratio = statistics.median(a / b for a, b in zip(times, bare_times, strict=True))
        cells += [f"{statistics.median(times) * 1000:.1f} ms", f"{ratio:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100)
    count = parser.parse_args().photos
    with temporary() as folder, ProcessPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(WORKERS) as threads:
        backend = LocalBackend("photos", folder / "stored", fsync=False)
        storages.register_backend(backend)
        distinct = [folder / f"{number}.jpg" for number in range(12)]
        for number, path in enumerate(distinct):
            photo(number).save(path, "JPEG", quality=90)
        photos = [distinct[number % len(distinct)] for number in range(count)]
        print(f"{count} photos of 12 megapixels, {distinct[0].stat().st_size / 1e6:.1f} MB each, {WORKERS} processes\n")
        print("| made | by | each | beside bare Pillow | processor time | beside bare Pillow |\n|---|---|--:|--:|--:|--:|")
        with VariantWorkers(workers=WORKERS) as workers, VariantWorkers(workers=WORKERS, images_per_process=1) as apart:
            for kind in ("webp", "jpeg"):
                makers: dict[str, Maker] = {
                    "Pillow": with_pillow(pool, kind), "Filerow": with_filerow(workers, kind, threads, distinct),
                    "Filerow, images_per_process=1": with_filerow(apart, kind, threads, distinct),
                }  # fmt: skip
                missing = []
                for name, maker in _others(folder) if kind == "jpeg" else ():
                    if maker is None:
                        missing.append(name)
                    else:
                        makers[name] = maker
                found = measure(photos, makers)
                for name in found:
                    print(line(kind, name, found))
                for name in missing:
                    print(f"| {kind} | {name} | not run | | | |")


if __name__ == "__main__":
    main()
