"""Passwords are kept as scrypt hashes (RFC 7914), which take time and memory to guess."""

import asyncio
import hashlib
import hmac
import secrets

COST = {"n": 2**15, "r": 8, "p": 3, "maxmem": 64 * 1024 * 1024}
"""As much as OWASP's Password Storage Cheat Sheet asks for: 32 MiB, about a quarter of a second."""


def hash_password(password: str) -> str:
    """Return what to store: the salt and the hash."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${_scrypt(password, salt).hex()}"


def is_password(password: str, stored: str) -> bool:
    """Return True if a password is the one that was hashed."""
    salt, _, digest = stored.partition("$")
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), bytes.fromhex(digest))


async def is_password_of(password: str, stored: str | None) -> bool:
    """Return True if a password is a user's, without keeping the event loop busy.

    Args:
        password: What was typed.
        stored: The user's hash; ``None`` when there is no such user, which a quicker answer must not reveal.
    """
    matches = await asyncio.to_thread(is_password, password, stored or f"{'00' * 16}${'00' * 64}")
    return matches and stored is not None


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=COST["n"], r=COST["r"], p=COST["p"], maxmem=COST["maxmem"])
