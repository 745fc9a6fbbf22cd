"""How objects are named, and how a client's name is made fit to be shown.

A path is ours: ``{table}/{column}/{uuid7 hex}{extension}``. A client's filename only ever gives it a short, checked extension.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

STAGING = "staged"
"""The folder of files that were saved on their own, before any row owned them."""

COPIES = "copies"
"""The folder, in that one, of copies that no row owns yet."""

PROBES = "probes"
"""The folder, in that one, of objects by which a store is tried. A process that is killed leaves its probe to a sweep."""

CLAIMS = "claims"
"""The folder, beside that, of objects that say which claims were used. A sweep removes them when the claims have expired."""

CLAIM_LIFE = 12 * 3600
"""Seconds that a claim may be good for, at most: half of the time that a sweep leaves an object without a row alone."""

RECORD = f"{STAGING}/places/00000000000070008000000000000000.json"
"""The object that says which database may delete in this place; named like a generated path, so never chosen."""

RESERVED = "_filerow"
"""The folder, in each backend, that no column, application or upload stores in: what Filerow derives from files lies there."""

MAX_FILENAME_BYTES = 255

_LONGEST_NAME = 1024
"""Characters of a client's name that are looked at: to normalise a text takes time that grows with the square of its length."""

_DEFAULT_NAME = "file"
_EXTENSION = re.compile(r"\.[a-z0-9]{1,10}")
_LONGEST_EXTENSION = 11
_EXECUTED = re.compile(
    r"(?!ya?ml\Z|toml\Z)[a-z0-9]*ml|[sx]?htm|xht|xhtm|sht|stm|svgz?|xslt?|xs[df]|x[bu]l|rdf|rss|atom|wsdl|dtd|dae|gpx|mpd|opf"
    r"|osm|smil?|tei|x3dz?|xdp|xlf|xop|xpdl|xspf|[mc]?js|jsx|es|ecma|jse|vb[se]|wsf|ht[act]|htt|css|wasm|swf|mht|nws|mail"
    r"|appcache|(?:web)?manifest|webapp|rng|owl|odd|dbk|rsd?|wadl|srx|xdf|xpl|xvm|fo|ncx|mods|mets|its|yin|stpx|mime|art|sh"
    r"|php[0-9s]?|pht|phar|as[apchm]|as[pacm]x|ashx|cer|f?cgi|jspx?|jspf|jsw|jsv|cfc|pl|py|rb"
    # as Apache's list of types has them: XML of all kinds, and mails
    r"|1km|atom(?:cat|srv|svc)|bmed|ccmp|cdfx|cl|clue|cpl|csl|davmount|dd[2f]|distz?|dwd|emma|ent|e[st]3|fdt|gsheet|hal|held|ink"
    r"|irp|lbe|lgr|link66|mads|maei|meta4|mod|mpkg|mrcx|musd|obgx|pkg|provx|rapd|relo|rif|rld?|rsat|r?sheet|rusd|s1h|scl|sdk[dm]"
    r"|sens?mlx|shf|sls|sru|swidtag|td|teicorpus|tfi|u8(?:dsn|hdr|mdn|msg)|uis|uo|uvv?t|vpm|wbs|wif|wspolicy|xav|xc[as]|xdm"
    r"|xdssc|xe[lr]|xmls|xns|xsm|zaz|zmm"
)
"""What a browser executes or shows as a page, what a store guesses such a type from, and what a web server runs. A path goes
without: the type that is stored says what the object is, and a download has its filename."""
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]*[A-Za-z0-9_]\Z")
_SEPARATORS = re.compile(r"[/\\]")
# version 7 and its variant where RFC 9562 puts them, then what safe_extension() may return
_TOKEN = re.compile(r"([0-9a-f]{12})7[0-9a-f]{3}[89ab][0-9a-f]{7}([0-9a-f]{8})(?:\.[a-z0-9]{1,10})?\Z")
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_UNSAFE_SEGMENT = re.compile(r"[^A-Za-z0-9_.-]")
# RFC 8187 attr-char: what a filename* parameter may hold unescaped besides letters and digits.
_ATTR_CHARS = "!#$&+-.^_`|~"
# "Cc" controls, "Cf" formats (RTL overrides, zero-width characters), "Cs" lone surrogates, "Zl"/"Zp" line separators.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class PathRequest(NamedTuple):
    """What a ``StoredObject(path=...)`` callable is given to build a path from.

    Attributes:
        table: Name of the table the column belongs to.
        column: Name of the column.
        token: A fresh UUIDv7 (RFC 9562) in hex: unique, and ordered by time. Put it into the path.
        extension: ``.png`` or the like, lower-case and checked; empty when the filename has none worth keeping.
        filename: The cleaned client filename. A hint, never a path: it is the client's choice.
        instance: The mapped object, when the ORM stores the file.
    """

    table: str
    column: str
    token: str
    extension: str
    filename: str
    instance: object = None


Chooser: TypeAlias = Callable[[PathRequest], str]
"""What a column's ``path=`` is."""


def checked_path(chooser: Chooser | str | os.PathLike[str] | None) -> Chooser | None:
    """Return a column's ``path=``.

    Raises:
        TypeError: It is the name of a folder.
    """
    if isinstance(chooser, str | os.PathLike):
        raise TypeError(f"path is a function that gets a PathRequest and returns a path, not {type(chooser).__name__}")
    return chooser


def checked_shards(number: int) -> int:
    """Return a column's ``shards=``.

    Raises:
        ValueError: It is not a number of folders.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"shards is a number of folders, 0 for none, not {number!r}")
    return number


def uuid7_hex() -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7) as 32 hex digits: time, then random."""
    random = os.urandom(10).hex()
    return f"{time.time_ns() // 1_000_000:012x}7{random[:3]}{_VARIANT[random[3]]}{random[4:19]}"


def safe_extension(filename: str) -> str:
    """Return a filename's lower-case extension if short, plain and not executable."""
    end = filename[-_LONGEST_EXTENSION - 1 :].lower()
    dot = end.rfind(".")
    return _kept(end[dot:]) if dot > 0 else ""


@lru_cache(maxsize=1024)  # there are few
def _kept(extension: str) -> str:
    return extension if _EXTENSION.fullmatch(extension) and not _EXECUTED.fullmatch(extension[1:]) else ""


def generate_path(table: str, column: str, filename: str, *, shards: int = 0) -> str:
    """Return a path that was never used and never will be.

    Args:
        table: Table name; characters that a store could trip over become ``_``.
        column: Column name; likewise.
        filename: Where the extension comes from.
        shards: Spread the paths over this many folders, so that a busy column has no single hot prefix; 0 for none.
    """
    token = uuid7_hex()
    folder = _folder(table, column)
    if shards > 1:
        folder = f"{folder}/{_shard(token[-8:], shards)}"
    return f"{folder}/{token}{safe_extension(filename)}"


@lru_cache(maxsize=1024)
def _folder(table: str, column: str) -> str:
    return f"{_segment(table)}/{_segment(column)}"


def _shard(last_digits: str, shards: int) -> str:
    width = len(f"{shards - 1:x}")
    return f"{int(last_digits, 16) % shards:0{width}x}"


def folders_of(table: str, column: str, shards: int = 0) -> list[str]:
    """Return the folders of :func:`generate_path` for a column, in order."""
    folder = _folder(table, column)
    return [f"{folder}/{_shard(f'{number:x}', shards)}" for number in range(shards)] if shards > 1 else [folder]


def generated_at(path: str, table: str, column: str, shards: int = 0) -> float | None:
    """Return when a column's path was generated (Unix time), or ``None``."""
    folder, _, name = path.rpartition("/")
    token = _TOKEN.match(name)
    if token is None:
        return None
    expected = _folder(table, column)
    if shards > 1:
        expected = f"{expected}/{_shard(token[2], shards)}"
    return int(token[1], 16) / 1000 if folder == expected else None


def is_generated(path: str) -> bool:
    """Return True if a path ends as those of :func:`generate_path` do."""
    return time_in(path) is not None


def time_in(path: str) -> float | None:
    """Return when a path was generated (Unix time), by its last part only."""
    token = _TOKEN.match(path.rpartition("/")[2])
    return None if token is None else int(token[1], 16) / 1000


def path_before(folder: str, seconds: float) -> str:
    """Return what sorts between a folder's paths before a moment and later ones."""
    return f"{folder}/{max(int(seconds * 1000) - 1, 0):012x}g"


def _segment(name: str) -> str:
    cleaned = _UNSAFE_SEGMENT.sub("_", name)[:80]
    if cleaned.lower() == RESERVED:
        return f"{cleaned}_"
    return cleaned if cleaned.strip(".") else "_"


def is_reserved(path: str) -> bool:
    """Return True if a path lies where only Filerow itself stores."""
    return path == RECORD or path.partition("/")[0].lower() == RESERVED  # a filesystem may ignore case


def clean_filename(name: str | None) -> str:
    """Return a client's filename made safe to show, of at most 255 bytes.

    The result is for people and for headers that encode it; it never reaches a path.
    """
    if not name:
        return _DEFAULT_NAME
    if len(name) <= MAX_FILENAME_BYTES and _PLAIN.match(name):  # most names need nothing
        return name
    name = name[-_LONGEST_NAME:]  # folders come first, and the extension last
    import unicodedata  # most names do not come this far

    visible = "".join(c for c in name if unicodedata.category(c) not in _INVISIBLE)
    visible = unicodedata.normalize("NFC", visible)  # only now, for what was between two characters may have kept them apart
    base = _SEPARATORS.split(visible.rstrip("/\\ "))[-1].strip()
    if not base.strip(". "):
        return _DEFAULT_NAME
    return _shorten(base)


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_FILENAME_BYTES:
        return name
    suffix = os.path.splitext(name)[1]  # noqa: PTH122 - a display name, not a path of this machine
    suffix = suffix if len(suffix.encode()) <= 20 else ""  # noqa: PLR2004 - longer is not an extension
    room = MAX_FILENAME_BYTES - len(suffix.encode())
    return name.removesuffix(suffix).encode()[:room].decode(errors="ignore").rstrip() + suffix


def content_disposition(filename: str, *, inline: bool = False) -> str:
    """Return a ``Content-Disposition`` value (RFC 6266, RFC 8187) in ASCII."""
    kind = "inline" if inline else "attachment"
    name = clean_filename(filename)
    if _PLAIN.match(name):  # most names need no quoting and no other form
        return f'{kind}; filename="{name}"'
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    value = f'{kind}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"
    return value
