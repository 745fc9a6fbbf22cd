"""What nobody may be able to do, entry point by entry point.

=============================================  ==============================================================================
line of docs/security.md                       shown by
=============================================  ==============================================================================
paths: every operation of every backend        ``test_traversal``; ``tests/backends/``, ``tests/test_paths.py``
filename, ``to_filename``, path callable       ``test_entry_points``; ``tests/cases/test_names.py`` (on every route of the ORM)
documents in rows, also of other libraries     ``test_entry_points``
adopt, migrate, check, sweep                   ``test_entry_points``, ``test_links``
claims, begin of a direct upload               ``test_entry_points``, ``test_tokens``; ``tests/direct/``
our own URLs, the routes of four frameworks    ``test_entry_points``; ``tests/http/``, ``tests/ext/``
links, pipes, sockets, devices in a root       ``test_links``; ``tests/backends/test_local.py`` (operations, swapped links)
headers of answers, objects and signed URLs    ``test_header_injection``; ``tests/http/test_safety.py``, ``tests/file/``
types that a browser would execute             ``tests/http/test_safety.py``, ``tests/http/test_browser.py``
forged, changed, replayed, confused tokens     ``test_tokens``; ``tests/backends/signing/``, ``tests/direct/test_claims.py``
secrets in repr, logs, errors, pickles, CLI    ``test_secrets``; ``tests/backends/signing/``, ``tests/backends/``, ``tests/cli/``
URLs as content, backends chosen by clients    ``test_requests_of_ours``; ``tests/file/test_pydantic.py``
bombs and traps in images                      ``test_bombs``; ``tests/validation/test_images.py``
whatever nobody has thought of                 ``tests/soak/fuzz/``
=============================================  ==============================================================================
"""
