"""Every cell of the corpus: what each file is, and each rule, by form and by direct upload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from filerow import StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import ContentTypeError
from tests.corpus import FILES, RULES, Sample, samples
from tests.corpus.uploads import BACKEND, PREFIX, SECRET, direct_upload, form_upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from filerow import FileObject

SAMPLES = samples()
TABLE = Table(
    "files",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("anything", StoredObject(BACKEND)),
    *(Column(rule, StoredObject(BACKEND, content_types=types)) for rule, types in RULES.items()),
)


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    storages.register_backend(MemoryBackend(BACKEND, base_url=f"http://127.0.0.1{PREFIX}", secret=SECRET))
    yield
    storages.clear_backends()


def by_form(sample: Sample, rule: str) -> FileObject:
    column = TABLE.c[rule].type
    assert isinstance(column, StoredObject)
    return column.check(form_upload(sample))


def by_direct_upload(sample: Sample, rule: str) -> FileObject:
    return direct_upload(sample, TABLE.c[rule])


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(SAMPLES) >= 150
    assert len({sample.type for sample in SAMPLES}) >= 70
    assert {path.name for path in FILES.iterdir()} == {sample.kept_as for sample in SAMPLES}
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 1_700_000


@pytest.mark.parametrize(
    "upload", [pytest.param(by_form, id="form"), pytest.param(by_direct_upload, id="direct", marks=pytest.mark.one_in(3))]
)
@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_each_file_is_what_it_is_and_matches_its_rules(sample: Sample, upload: Callable[[Sample, str], FileObject]) -> None:
    if sample.poses and upload is by_direct_upload:
        for column in ("anything", *RULES):
            with pytest.raises(ContentTypeError):
                upload(sample, column)
        return
    assert upload(sample, "anything").content_type == sample.type
    taken = set()
    for rule in RULES:
        try:
            taken.add(rule) if upload(sample, rule).content_type == sample.type else None
        except ContentTypeError:
            continue
    assert taken == set(sample.matches)
