"""What fsspec leaves to each filesystem to define: headers, copies, signatures."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from filerow.backends._answers import NO_PLACE
from filerow.backends._conditions import Conditions, honoured
from filerow.backends._sign_request import Bound
from filerow.backends._status import code_of
from filerow.backends._stored_with import encryption_of
from filerow.backends._types import Capabilities, ObjectInfo, PutOptions, Rewritten, SignRequest, Unfinished
from filerow.exceptions import UnsupportedOperationError

ANSWER = frozenset({"content_disposition", "content_type"})
"""What a URL to read can make the clouds answer with."""

KEPT = "_filerow_timeout"
"""Where filesystems, and connections of them, keep their limit in seconds."""


class Flavour:
    """A filesystem that promises nothing beyond fsspec's own interface, such as hdfs.

    Attributes:
        capabilities: What a backend on it can do.
        objects: It stores whole objects under keys, written at close or not at all. Others are files, which show while they are
            written and so are moved into place.
        bulk_delete: ``rm`` with a list is one request for many.
        exclusive_mode: The mode of ``open`` that takes a name which nothing has; ``None`` where there is none.
        takes_turns: Each call is made within :meth:`turn`.
        opens_blindly: ``open`` for writing sends no request, so it does not fail where a folder is missing.
        one_refusal: The server has one error for missing, forbidden and in the way, so the reason must be found out.
        cuts_short: A connection that is cut ends an upload as if it were whole, so its size must be checked.
        removes_folders: ``rm_file`` removes an empty folder, too.
        binds: What the signed URLs bind; none where the filesystem signs nothing.
        misread: Names that the filesystem takes for something else, and so for another object.
        defaults: Options for building one.
        public_host: How its URLs get to another host: ``signed`` for it by a filesystem of its own, or ``moved`` there, where
            no signature covers the host; empty where neither can be done.
        encryptions: The algorithms that it takes.
        instead: What to do where it does not take an option.
        kms_key: Google's key that it encrypts with, if any.
    """

    capabilities: Capabilities = Capabilities(ordered_list=True, exclusive=False)
    public_host: Literal["", "signed", "moved"] = ""
    objects = False
    bulk_delete = False
    exclusive_mode: str | None = None
    takes_turns = False
    opens_blindly = False
    one_refusal = False
    cuts_short = False
    removes_folders = True
    binds: Bound = {}  # noqa: RUF012 - a Mapping
    misread: re.Pattern[str] | None = None
    defaults: ClassVar[Mapping[str, Any]] = {}
    encryptions: frozenset[str] = frozenset()
    instead: ClassVar[Mapping[str, str]] = {
        "acl": "leave it out, and let the store's own settings say who may read",
        "checksum": "leave it out",
        "encryption": "leave it out, and let the store itself encrypt: Azure's container has a default encryption scope",
    }
    kms_key: str | None = None

    def capabilities_of(self, fs: Any) -> Capabilities:
        """Return what a backend on this very filesystem can do."""
        return self.capabilities

    # -- building one --------------------------------------------------------------------------------------------------

    def client_options(self) -> Collection[str]:
        """Return options that the filesystem hands to its client, ``*`` for any."""
        return ("*",)

    def with_limits(self, options: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return options with limits to the server's silence, where they name none."""
        return dict(options)

    def set_up(self, fs: Any, seconds: float | None) -> None:
        """Set up a filesystem that was just made or given, or whose connection is new.

        Args:
            fs: The filesystem.
            seconds: How long the server may be silent; ``None`` keeps the filesystem's own limits.
        """
        if seconds is not None:
            setattr(fs, KEPT, seconds)
            self.limit(fs, seconds)

    def limit(self, fs: Any, seconds: float) -> None:
        """Set the limits that the client takes no option for."""

    def leave_behind(self) -> None:
        """Forget, in a forked child, what the filesystems of its parent share."""

    def turn(self, fs: Any, name: str, *, in_file: bool) -> AbstractContextManager[None]:
        """Return the context of one call.

        Args:
            fs: The filesystem.
            name: The method's name.
            in_file: It is a call of an open file.
        """
        return nullcontext()

    # -- deleting ------------------------------------------------------------------------------------------------------

    def may_remove(self, root: str, folder: str) -> bool:
        """Return True if an empty folder may be removed: one below the root.

        Object stores have none. Of a filesystem that nobody here knows, folders stay.
        """
        return False

    # -- writing -------------------------------------------------------------------------------------------------------

    def replace(self, fs: Any, source: str, target: str) -> None:
        """Move a file, over another one if there is one."""
        fs.mv(source, target)

    def prepare_file(self, file: Any) -> None:
        """Set up a file that has just been opened for writing."""

    def write_options(self, key: str, encryption: object, acl: object, checksum: object) -> dict[str, dict[str, Any]]:
        """Return options of the filesystem that encrypt and permit what it writes.

        Args:
            key: Key of the backend, for errors.
            encryption: See :class:`filerow.Encryption`.
            acl: A canned ACL.
            checksum: Refused.

        Raises:
            UnsupportedOperationError: The filesystem does not take it; the message says what to do.
        """
        if acl is not None:
            raise self.refused(key, "acl")
        if checksum is not None:
            raise self.refused(key, "checksum")
        found = encryption_of(encryption, self.encryptions, backend=key, store=self._named, instead=self.instead["encryption"])
        if found is not None and found.algorithm == "gcp:kms":
            self.kms_key = found.key
        return {}

    def refused(self, key: str, name: str) -> UnsupportedOperationError:
        """Return the error of an option that this filesystem does not take."""
        text = f"backend {key!r}: {self._named} takes no {name}= for what it writes; {self.instead[name]}"
        return UnsupportedOperationError(text, backend=key)

    @property
    def _named(self) -> str:
        return f"fsspec's filesystem ({type(self).__name__})"

    def tag_options(self, tags: Mapping[str, str]) -> dict[str, Any]:
        """Return the options of ``pipe_file`` and ``open`` that store tags."""
        return {}

    def finish(self, fs: Any, path: str, options: PutOptions) -> None:
        """Add to an object that was just written what it could not be written with."""

    def pipe_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        """Return the options of ``pipe_file`` that store headers and metadata."""
        return {}

    def open_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        """Return the options of ``open`` for writing that do the same."""
        return self.pipe_options(headers, metadata)

    def copy(self, fs: Any, source: str, target: str) -> None:
        """Copy an object; refuse a target that is taken, where the store can be asked to."""
        fs.cp_file(source, target)

    def copy_over(self, fs: Any, source: str, target: str) -> None:
        """Copy an object to a name that nothing else can have."""
        self.copy(fs, source, target)

    def rewrite(self, fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions) -> Rewritten | None:
        """Copy a client's upload with these headers alone; ``None`` if unable."""
        return None

    def conditions(self, fs: Any, backend: str, at: Callable[[str], str], remove: Callable[..., Any], *, off: bool) -> Conditions:
        """Return what the store's conditions are worth; only S3's have to be found out."""
        return honoured(backend, off=off)

    def delete_many(self, fs: Any, names: Mapping[str, str]) -> dict[str, BaseException]:
        """Delete objects in few requests; return the paths that failed.

        Raises:
            OSError: The request failed as a whole, and nobody knows which objects it has deleted.
        """
        try:
            fs.rm(list(names))
        except FileNotFoundError:  # raised when none of them is there
            if not self.has_place(fs, next(iter(names))):
                raise
        return {}

    def is_refusal(self, error: BaseException) -> bool:
        """Return True if a bulk delete failed because the store does not know such."""
        return False

    # -- reading -------------------------------------------------------------------------------------------------------

    def may_list(self, fs: Any, root: str) -> bool:
        """Return False if the credentials may not list, so missing means forbidden."""
        return True

    def has_place(self, fs: Any, root: str) -> bool:
        """Return False if the bucket itself is missing; asked if nothing was found."""
        return True

    def sign(self, fs: Any, path: str, request: SignRequest) -> str:
        """Return a URL that binds what is asked, which is among :attr:`binds`."""
        raise NotImplementedError

    def outside(self, fs: Any, origin: str, *, virtual: bool) -> Any:
        """Return a filesystem that signs for the public host, and does nothing else.

        Args:
            fs: The filesystem of the backend.
            origin: Scheme and host, without the bucket.
            virtual: The host begins with the bucket.
        """
        return fs

    def upload_headers(self, fs: Any, request: SignRequest) -> dict[str, str]:
        """Return what a signed upload must come with besides its type."""
        return {}

    def unfinished(self, fs: Any, root: str, prefix: str) -> Iterator[Unfinished]:
        """Yield the uploads below a folder that have not ended."""
        return iter(())

    def abort(self, fs: Any, root: str, upload: Unfinished) -> None:
        """Discard what was sent for an upload."""


def is_found(look: Callable[[], Any]) -> bool:
    """Return False if a request fails because the place is missing."""
    try:
        look()
    except Exception as error:  # noqa: BLE001
        return not isinstance(error, FileNotFoundError) and code_of(error) not in NO_PLACE
    return True


_FTP_TIME = re.compile(r"\d{14}(?:\.\d+)?\Z")  # of MLSD, always in UTC (RFC 3659); what LIST shows has no year


def _seconds_in(info: Mapping[str, Any]) -> float | None:
    """Return when an object was changed, in seconds since the Unix epoch."""
    names = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
    time = next((info[name] for name in names if info.get(name) is not None), None)
    if time is None and _FTP_TIME.match(str(info.get("modify"))):
        time = datetime.strptime(info["modify"][:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return time.timestamp() if isinstance(time, datetime) else time


def first_of(values: Any, *names: str) -> str | None:
    """Return the first of some values that is there, without quotes."""
    found = next((values[name] for name in names if values.get(name)), None)
    return str(found).strip('"') if found else None


def info_of(info: Mapping[str, Any], path: str) -> ObjectInfo:
    """Return the facts of an object, under any filesystem's names for them."""
    settings = info.get("content_settings")  # adlfs
    stored_type = settings["content_type"] if settings else None
    return ObjectInfo(
        path=path,
        size=int(info["size"]),
        etag=first_of(info, "ETag", "etag"),
        version_id=first_of(info, "VersionId", "version_id"),
        last_modified=_seconds_in(info),
        content_type=first_of(info, "ContentType", "contentType", "content_type") or stored_type,
    )
