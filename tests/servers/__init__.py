"""Real servers for tests, demo and benchmarks: one module per server, none of them needs pytest.

Every server module has a ``start()`` that returns a running server, which is also a context manager::

    from tests.servers import seaweedfs

    with seaweedfs.start() as s3:
        bucket = s3.make_bucket()
        ...  # s3.endpoint, s3.access_key, s3.secret_key, s3.region

The import name is ``tests.servers`` everywhere: pytest puts the root of the checkout on the path, and so does
``python -m demo`` started in that root.

``start()`` raises `ServerMissingError`, which says how to install the server, when there is nothing to start, and
`ServerFailedError` with the end of the server's log when it would not start. All of them listen on 127.0.0.1 only, on
ports that were free, keep their data in a folder of their own that goes with them, and die with the process that
started them, even when that is killed.
"""

from tests.servers._process import ServerFailedError, ServerMissingError

__all__ = ["ServerFailedError", "ServerMissingError"]
