"""Extra ``url``: a file comes from a web address, and a private address is refused."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from filerow import FileObject
from filerow.exceptions import FetchError
from tools.extras.programs.model import CONTENT


class Handler(BaseHTTPRequestHandler):
    """Answers with one file."""

    def do_GET(self) -> None:
        """Answer a request."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)


def main() -> None:
    """Fetch from loopback, with and without an allowance."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/a.txt"
        assert FileObject.from_url(url, allow=["127.0.0.0/8"]).get_content() == CONTENT
        try:
            FileObject.from_url("http://127.0.0.1/")
        except FetchError:
            return
        finally:
            server.shutdown()
    raise AssertionError("a private address was fetched")


if __name__ == "__main__":
    main()
