"""A stand-in for the metadata server of Google's cloud: what it says of an instance may be changed."""

import http.server
import threading

_PLACE = "/computeMetadata/v1/instance/"


class Metadata(http.server.ThreadingHTTPServer):
    """Context manager. values: by name; "" for one that is answered with an error. host: for GCE_METADATA_HOST."""

    def __init__(self) -> None:
        super().__init__(("localhost", 0), _Handler)
        self.values = {"preempted": "FALSE", "maintenance-event": "NONE"}
        self.asked, self.flavors = 0, set()
        self.host = f"localhost:{self.server_port}"

    def __enter__(self) -> "Metadata":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Metadata

    def do_GET(self) -> None:
        self.server.asked += 1
        self.server.flavors.add(self.headers["Metadata-Flavor"])
        value = self.server.values.get(self.path.removeprefix(_PLACE), "")
        self.send_response(200 if value else 503)
        self.end_headers()
        self.wfile.write(value.encode())

    def log_message(self, *_: object) -> None: ...
