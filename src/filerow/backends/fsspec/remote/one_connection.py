"""FTP, SFTP and SMB have one connection, whose calls wait for each other.

Their clients would mix up the answers of two calls, also after a timeout, when the answer comes late, and they never connect
again. So a connection that has failed is closed here, and the next call gets a new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any, Self

from filerow.backends._deadlines import is_timeout
from filerow.backends._paths import DERIVED
from filerow.backends.fsspec.flavour import KEPT, Flavour

_LOST = "_filerow_lost"


class OneConnection(Flavour):
    """A filesystem behind one connection."""

    takes_turns = True

    def may_remove(self, root: str, folder: str) -> bool:
        """Return True for the folders of variants.

        There is one for each original. Others hold the files of a whole column, and each look at them would cost a request.
        """
        return f"{folder}/".startswith(f"{root.rstrip('/')}/{DERIVED}")

    @contextmanager
    def turn(self, fs: Any, name: str, *, in_file: bool) -> Generator[None]:
        with self.lock(fs):
            try:
                if not in_file:
                    self.connect(fs)
                yield
                self.check(fs)
            except Exception as error:
                meant = self.meaning(error, name)
                if is_timeout(meant) or isinstance(meant, (ConnectionError, EOFError)) or str(meant) == "Socket is closed":
                    self.give_up(fs)
                if meant is error:
                    raise
                raise meant from error

    def lock(self, fs: Any) -> AbstractContextManager[Any]:
        """Return the lock of a connection, which several backends may share."""
        lock: threading.RLock = vars(fs).setdefault("_filerow_lock", threading.RLock())
        return lock

    def connect(self, fs: Any) -> None:
        """Make a connection in the place of one that was lost.

        Raises:
            OSError: It cannot be made.
        """
        if not (vars(fs).pop(_LOST, False) or self.is_lost(fs)):
            return
        try:
            fs._connect()  # noqa: SLF001 - as its __init__() does
            self.set_up(fs, getattr(fs, KEPT, None))
        except OSError:
            self.give_up(fs)
            raise
        except Exception as error:
            self.give_up(fs)
            msg = f"the connection was lost, and there is no new one: {error}"  # paramiko's errors are not of one tree
            raise ConnectionError(msg) from error

    def is_lost(self, fs: Any) -> bool:
        """Return True if the client knows that the connection is of no more use."""
        return False

    def check(self, fs: Any) -> None:
        """Check, after a call, that the connection was not lost in it.

        Raises:
            OSError: It was.
        """

    def meaning(self, error: Exception, name: str) -> Exception:
        """Return the builtin error that an error stands for, or the error itself."""
        return error

    def give_up(self, fs: Any) -> None:
        """Close a connection that is of no more use."""
        setattr(fs, _LOST, True)
        with suppress(Exception):
            self.end(fs)

    def end(self, fs: Any) -> None:
        """Close the connection."""
        raise NotImplementedError


class InTurn:
    """A filesystem, or an open file of one, whose calls are made in turn.

    A turn lasts for one call: between two chunks of a source, which may itself read from the same filesystem, others have theirs.

    Args:
        wrapped: The filesystem or file.
        turn: Returns the context of a call by the method's name.
    """

    def __init__(self, wrapped: Any, turn: Callable[..., AbstractContextManager[None]], *, is_file: bool = False) -> None:
        self._wrapped = wrapped
        self._turn = turn
        self._is_file = is_file

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name)
        if not callable(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            with self._turn(name, in_file=self._is_file):
                result = value(*args, **options)
            return InTurn(result, self._turn, is_file=True) if name == "open" else result

        return call

    def __enter__(self) -> Self:
        with self._turn("open", in_file=True):
            self._wrapped.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with nullcontext() if error is None else suppress(Exception), self._turn("close", in_file=True):
            self._wrapped.__exit__(kind, error, trace)
