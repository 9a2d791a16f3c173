"""How fast is a long REST list read, and in how much memory? Rows/s and the largest RSS.

    python benchmarks/rest.py [rows=500000] [rows in a page=1000]

The list is served by another process over one loopback connection, pages by a cursor in the body.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include")]
COLUMNS = {
    "id": "int64", "name": "string", "amount": "decimal(12,2)", "status": "string",
    "changed": "timestamp",
}  # fmt: skip


class Pages(BaseHTTPRequestHandler):
    """Rows that are numbered from 1, made as they are asked for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rows = size = 0

    def do_GET(self) -> None:
        after = int(dict(parse_qsl(urlsplit(self.path).query)).get("after", 0))
        last = min(after + self.size, self.rows)
        items = [
            {"id": id, "name": f"customer number {id % 977}", "amount": id % 100_000 / 100,
             "status": "paid", "changed": f"2026-03-01T{id % 24:02}:00:00.000001Z"}
            for id in range(after + 1, last + 1)
        ]  # fmt: skip
        text = json.dumps({"data": items, "next": last if last < self.rows else None}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args) -> None:
        """Silence."""


def serve(rows: int, size: int) -> None:
    """Serve until killed; the port is printed."""
    Pages.rows, Pages.size = rows, size
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def read(port: int, rows: int) -> None:
    """Read the list, and print what it took."""
    from tidegate.connections import Endpoint
    from tidegate.sources import open_source
    from tidegate.sources.rest.options import RestStream

    stream = RestStream.model_validate({
        "request": "/orders", "rows": "data", "primary_key": "id", "columns": COLUMNS,
        "pages": {"by": "cursor", "param": "after", "at": "next"}, "page_rows": 10_000,
    })  # fmt: skip
    endpoint = Endpoint("shop", "http", "127.0.0.1", port)
    began, processor, count = time.perf_counter(), time.process_time(), 0
    with open_source(endpoint, stream, "shop.orders") as source:
        for page in source.pull(1, None, None):
            count += page.num_rows
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert count == rows, count
    print(
        f"{count:,} rows in {seconds:.1f} s: {count / seconds:,.0f} rows/s "
        f"({count / processor:,.0f} for each second of processor time); largest RSS "
        f"{largest:.0f} MB; load of the machine {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Serve in a process of its own, and read."""
    rows, size = (int(text) for text in (*sys.argv[1:], *("500000", "1000")[len(sys.argv) - 1 :]))
    command = [sys.executable, __file__, "serve", str(rows), str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            read(int(server.stdout.readline()), rows)
        finally:
            server.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
