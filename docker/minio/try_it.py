"""Stores a file by the name that the store has inside, and prints a URL that works outside; see README.md."""

import os

from filerow import FileObject, storages

storages.register_backend(
    f"s3://{os.environ['BUCKET']}/try",  # AWS_ENDPOINT_URL and AWS_ACCESS_KEY_ID and its like say the rest
    key="docs",
    public_endpoint=os.environ["PUBLIC_ENDPOINT"],
)
file = FileObject("docs", "hello.txt", content=b"Hello from a container.\n").save()
print(file.sign(expires_in=600, inline=True))
