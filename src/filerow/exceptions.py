"""Every error Filerow raises.

::

    FilerowError
    ├── StorageError                  a backend could not do what was asked (operation, backend, path)
    │   ├── ObjectNotFoundError       … also FileNotFoundError
    │   ├── ObjectExistsError         … also FileExistsError
    │   ├── StoragePermissionError    … also PermissionError
    │   │   └── ObjectHiddenError     … missing or forbidden: credentials that may not list do not show which
    │   ├── StorageTimeoutError       … also TimeoutError
    │   ├── InvalidPathError          … also ValueError
    │   ├── InvalidOptionError        … also ValueError: a header, metadata key or expiry that no store accepts
    │   ├── UnsupportedOperationError … also NotImplementedError
    │   ├── ForkedProcessError        … also RuntimeError
    │   └── IntegrityError            … also ValueError: the bytes are not the ones the row describes
    ├── RegistryError
    │   ├── BackendNotFoundError      … also LookupError
    │   ├── BackendExistsError        … also ValueError
    │   └── ConfigurationError        … also ValueError: a setting of a backend is missing or wrong
    ├── ContentError                  … also TypeError, ValueError: this cannot be read as the bytes of a file
    ├── FetchError                    … also ValueError: a web address is refused, or does not return a file
    ├── FileStateError                … also RuntimeError: a pending file has no bytes to read, a stored one no setters
    ├── DocumentError                 … also ValueError: a stored JSON document cannot be understood
    ├── UntrustedDocumentError        … also ValueError: a client sent a document of its own
    ├── BackendMismatchError          … also ValueError: a file names another backend than its column
    ├── FileValidationError           … also ValueError: a column's rules refuse the file
    │   ├── FileTooLargeError         … status 413
    │   ├── FileTooSmallError         … status 422
    │   ├── ContentTypeError          … status 415
    │   ├── ImageDimensionsError      … status 422: too many pixels, too wide, too narrow, …
    │   └── VariantRefusedError       … status 422: no variant can be made, where the column wants it before the commit
    ├── SecretError                   … also ValueError: there is no secret to sign with, or a weak one
    ├── InvalidTokenError             … also PermissionError: a signed URL or a claim that is not ours, or was changed
    │   ├── ExpiredTokenError         … it was ours, and is too old
    │   └── ClaimError                … also ValueError: the upload does not match its claim, or the claim was used before
    ├── VariantError                  a variant of an image cannot be made (code)
    │   ├── RecipeError               … also ValueError: a recipe is wrong, or its function fails
    │   ├── UndecodableError          … also ValueError: these bytes are not an image that can be decoded
    │   ├── VariantTooLargeError      … also ValueError: too many bytes, pixels or frames, or too much memory
    │   ├── VariantBusyError          … also TimeoutError: all workers were busy for too long
    │   ├── VariantTimeoutError       … also TimeoutError: making it took too long
    │   └── WorkerError               … also RuntimeError: no worker can be started here, or it ended early
    ├── UndeleteError                 … also LookupError: a removed file cannot be restored (any more)
    ├── MaintenanceRefusedError       … also RuntimeError: some rows may be hidden, so nothing is deleted
    └── UnsupportedRouteError         … also RuntimeError: a way to write to the database that Filerow cannot follow

Each error also subclasses the builtin that a caller would catch, names the operation, the backend and the path, and keeps
the store's own error as ``__cause__``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy.exc import DontWrapMixin

__all__ = (
    "BackendExistsError",
    "BackendMismatchError",
    "BackendNotFoundError",
    "ClaimError",
    "ConfigurationError",
    "ContentError",
    "ContentTypeError",
    "DocumentError",
    "ExpiredTokenError",
    "FetchError",
    "FileStateError",
    "FileTooLargeError",
    "FileTooSmallError",
    "FileValidationError",
    "FilerowError",
    "ForkedProcessError",
    "ImageDimensionsError",
    "IntegrityError",
    "InvalidOptionError",
    "InvalidPathError",
    "InvalidTokenError",
    "MaintenanceRefusedError",
    "ObjectExistsError",
    "ObjectHiddenError",
    "ObjectNotFoundError",
    "RecipeError",
    "RegistryError",
    "SecretError",
    "StorageError",
    "StoragePermissionError",
    "StorageTimeoutError",
    "UndecodableError",
    "UndeleteError",
    "UnsupportedOperationError",
    "UnsupportedRouteError",
    "UntrustedDocumentError",
    "VariantBusyError",
    "VariantError",
    "VariantRefusedError",
    "VariantTimeoutError",
    "VariantTooLargeError",
    "WorkerError",
)


class FilerowError(DontWrapMixin, Exception):
    """Base of every error in this library.

    SQLAlchemy passes it on unwrapped (``DontWrapMixin``), so ``except FilerowError`` works around a flush too.
    """

    _given: ClassVar[tuple[str, ...]] = ()
    """The arguments besides the message, which a pickled error keeps; that of ``OSError`` would lose them."""

    def __reduce__(self) -> str | tuple[Any, ...]:
        if not self._given:
            return super().__reduce__()
        return _rebuild, (type(self), getattr(self, "message", str(self)), {name: getattr(self, name) for name in self._given})


def _rebuild(cls: type[FilerowError], message: str, given: dict[str, Any]) -> FilerowError:
    return cls(message, **given)


class StorageError(FilerowError):
    """A storage backend could not do what was asked.

    Args:
        message: What went wrong and what to do about it.
        operation: The operation that failed: ``put``, ``read``, ``head``, ``delete``, ``copy``, ``list``, ``sign``, ``url``,
            ``connect``.
        backend: The key of the backend.
        path: The path of the object inside the backend; empty when the operation has none.
    """

    _given = ("operation", "backend", "path")

    def __init__(self, message: str, *, operation: str = "", backend: str = "", path: str = "") -> None:
        self.message = message
        self.operation = operation
        self.backend = backend
        self.path = path
        super().__init__(message)

    def __str__(self) -> str:
        where = f" {self.path!r}" if self.path else ""
        return f"{self.operation}{where} on backend {self.backend!r}: {self.message}" if self.operation else self.message


class ObjectNotFoundError(StorageError, FileNotFoundError):
    """There is no object at this path, or, on most stores, no such bucket."""


class ObjectExistsError(StorageError, FileExistsError):
    """A create-only write found an object at the path; nothing was overwritten."""


class StoragePermissionError(StorageError, PermissionError):
    """The store refused the credentials, or the credentials may not do this."""


class ObjectHiddenError(StoragePermissionError):
    """The object does not exist, or the credentials may not read it.

    Stores report a missing object only to credentials that may list. Show a client a missing file; code that changes rows must
    not treat it as one.
    """


class StorageTimeoutError(StorageError, TimeoutError):
    """The store did not answer in time."""


class InvalidPathError(StorageError, ValueError):
    """The path could escape the backend, or some store could not hold it."""


class InvalidOptionError(StorageError, ValueError):
    """An option cannot be stored or signed, such as a header with line breaks."""


class UnsupportedOperationError(StorageError, NotImplementedError):
    """This backend cannot do this; the message says which can, or how."""


class ForkedProcessError(StorageError, RuntimeError):
    """The backend's native runtime was used before ``os.fork()``, and would hang."""


class IntegrityError(StorageError, ValueError):
    """The size or checksum of the stored bytes is not that of the document."""


class RegistryError(FilerowError):
    """A backend could not be registered or found."""


class BackendNotFoundError(RegistryError, LookupError):
    """No backend is registered under this key."""


class BackendExistsError(RegistryError, ValueError):
    """Another backend is registered under this key already."""


class ConfigurationError(RegistryError, ValueError):
    """A setting of a backend is missing or wrong.

    The message says where it was written, and shows no secret.
    """


class ContentError(FilerowError, TypeError, ValueError):
    """The content is missing, or its type cannot be read as bytes here."""


class FetchError(FilerowError, ValueError):
    """A web address is refused, or does not return a file."""


class FileStateError(FilerowError, RuntimeError):
    """The file's state does not allow this: it is pending, used up, or read-only."""


class DocumentError(FilerowError, ValueError):
    """A document is not Filerow's, nor of a library whose documents it reads."""


class UntrustedDocumentError(FilerowError, ValueError):
    """A client sent a file document, which could point to any object of any backend."""


class BackendMismatchError(FilerowError, ValueError):
    """A pending file names a backend other than its column's."""


class FileValidationError(FilerowError, ValueError):
    """A file breaks a rule of its column.

    Args:
        message: What the rule is and what the file is.
        field: The column or form field, if known.
        limit: The rule's value.
        actual: The file's value, as far as it was read.
        rule: The rule's name, an argument of ``StoredObject`` such as ``max_width``. Default: that of the class.
        code: A stable word for the reason, for translations. Default: that of the class.
    """

    status_code = 422
    """The matching HTTP status (RFC 9110)."""

    code: str = "file-refused"
    """A stable word for the reason, the last part of a problem's ``type``."""

    rule: str = ""
    """The rule that is broken, an argument of ``StoredObject``."""

    _given = ("field", "limit", "actual", "rule", "code")

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        limit: object = None,
        actual: object = None,
        rule: str | None = None,
        code: str | None = None,
    ) -> None:
        self.message = message
        self.field = field
        self.limit = limit
        self.actual = actual
        self.rule = type(self).rule if rule is None else rule
        self.code = type(self).code if code is None else code
        super().__init__(message)


class FileTooLargeError(FileValidationError):
    """The file has more bytes than the column's ``max_size``."""

    status_code = 413
    code = "file-too-large"
    rule = "max_size"


class FileTooSmallError(FileValidationError):
    """The file has fewer bytes than the column's ``min_size``."""

    code = "file-too-small"
    rule = "min_size"


class ContentTypeError(FileValidationError):
    """The file's sniffed type is not among the column's ``content_types``."""

    status_code = 415
    code = "type-not-allowed"
    rule = "content_types"


class ImageDimensionsError(FileValidationError):
    """The image has more pixels than allowed, or is wider, narrower, higher or lower."""

    code = "image-dimensions"


class VariantRefusedError(FileValidationError):
    """No variant can be made of an image, and its column wants one before the commit.

    Its code is that of the ``VariantError`` that caused it, after ``variant-``. A column with ``make_variants="first_use"``
    accepts such an image.
    """

    code = "variant-refused"
    rule = "variants"


class SecretError(FilerowError, ValueError):
    """The signing secret is missing or too short. The message never contains it."""


class InvalidTokenError(FilerowError, PermissionError):
    """A signed URL or a claim was changed, or was not made by this application.

    Args:
        message: What is wrong.
        code: A stable word for the reason, for translations. Default: that of the class.
        field: The column that a claim is for, if known.
        limit: What the claim requires, for example a size.
        actual: What the upload has instead.
    """

    status_code = 403
    code: str = "token-invalid"
    _given = ("code", "field", "limit", "actual")

    def __init__(
        self, message: str, *, code: str | None = None, field: str = "", limit: object = None, actual: object = None
    ) -> None:
        self.message = message
        self.code = type(self).code if code is None else code
        self.field = field
        self.limit = limit
        self.actual = actual
        super().__init__(message)


class ExpiredTokenError(InvalidTokenError):
    """A signed URL or a claim has expired."""

    code = "token-expired"


class ClaimError(InvalidTokenError, ValueError):
    """An upload does not match its claim, or the claim was used before."""

    status_code = 422
    code = "claim-refused"


class VariantError(FilerowError):
    """A variant of an image cannot be made.

    Args:
        message: Why, and what to do.
        code: A stable word for the reason. Default: that of the class.
    """

    status_code = 422
    """The matching HTTP status (RFC 9110)."""

    code: str = "variant"
    """A stable word for the reason."""

    _given = ("code",)

    def __init__(self, message: str, *, code: str | None = None) -> None:
        self.code = type(self).code if code is None else code
        super().__init__(message)


class RecipeError(VariantError, ValueError):
    """A recipe is wrong, or its function fails."""

    status_code = 500
    code = "recipe"


class UndecodableError(VariantError, ValueError):
    """The bytes are not an image that can be decoded."""

    code = "broken"


class VariantTooLargeError(VariantError, ValueError):
    """An image has too many bytes, pixels or frames, or needs too much memory."""

    code = "too-large"


class VariantBusyError(VariantError, TimeoutError):
    """All workers were busy for as long as a variant may wait; try again later."""

    status_code = 503
    code = "busy"


class VariantTimeoutError(VariantError, TimeoutError):
    """Making a variant took more time than it may."""

    code = "timeout"


class WorkerError(VariantError, RuntimeError):
    """No worker can be started here, or one ended before it had begun."""

    status_code = 500
    code = "worker"


class UndeleteError(FilerowError, LookupError):
    """A removed file cannot be restored: it was not recorded, or is being deleted."""


class MaintenanceRefusedError(FilerowError, RuntimeError):
    """Some rows may be hidden from this program, so nothing is deleted or rewritten.

    The message says what may hide rows, and what to do.

    Args:
        message: Why, and what to do.
        code: ``another-database`` or ``another-server`` if another one swept this place last; else empty.
    """

    _given = ("code",)

    def __init__(self, message: str, code: str = "") -> None:
        self.code = code
        super().__init__(message)


class UnsupportedRouteError(FilerowError, RuntimeError):
    """This way to write would separate bytes and rows; the message names another."""
