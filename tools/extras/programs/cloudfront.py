"""Extra ``cloudfront``: a signed URL and cookies, with a key made here."""

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from filerow.backends.base import SignRequest
from filerow.backends.cloudfront import CloudFront


def main() -> None:
    """Sign."""
    key = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    cdn = CloudFront("https://media.example.org", key_id="K2JCJMDEHXQW5F", private_key=key)
    assert "Signature=" in cdn.sign("a.txt", SignRequest("GET", 60))
    assert "CloudFront-Signature" in str(cdn.cookies("docs"))


if __name__ == "__main__":
    main()
