"""An HTTP server on loopback for a finding's Python: it says 200 and whatever the finding wants it to say."""

import http.server
import threading
from collections.abc import Callable

Answer = tuple[dict[str, str], bytes]


def serve(answer: Callable[[str], Answer]) -> str:
    """Serve in a thread that ends with the process; return the address.

    Args:
        answer: returns the headers and the body for a path.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers, body = answer(self.path)
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
