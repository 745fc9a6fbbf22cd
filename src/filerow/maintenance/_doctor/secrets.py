"""Check how strong the secrets of URLs and claims are; never show them."""

from __future__ import annotations

from collections.abc import Iterator

from filerow._tokens import ADVICE, ENVIRONMENT, WANTED_BITS, Keys, is_in_environment
from filerow.exceptions import SecretError
from filerow.maintenance._report import Finding, Level


def secret_findings(error: SecretError, backend: str, missing: Level, advice: str) -> Iterator[Finding]:
    """Find why there are no keys: the secret is refused, or missing."""
    if is_in_environment():
        message = f"the secret of {ENVIRONMENT} is refused: {str(error).partition(';')[0]}"
        yield Finding("secret-weak", message, backend=backend, advice=ADVICE)
    else:
        yield Finding("secret-missing", str(error), missing, backend=backend, advice=advice)


def key_findings(keys: Keys, backend: str) -> Iterator[Finding]:
    """Find secrets that could be guessed, and those that only this process knows."""
    if keys.is_of_process:
        message = "its URLs are signed with a random secret of this process (development=True); no other process accepts them"
        advice = f"fine on a developer's machine; elsewhere set {ENVIRONMENT}, the same for all processes"
        yield Finding("secret-random", message, "warning", backend=backend, advice=advice)
    elif keys.least_bits < WANTED_BITS:
        message = f"a signing secret has {keys.least_bits} bits of entropy at most; it needs {WANTED_BITS}, or it can be guessed"
        yield Finding("secret-weak", message, "warning", backend=backend, advice=f"{ADVICE}; put it first, and drop the old one")
