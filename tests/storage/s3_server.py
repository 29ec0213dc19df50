"""A real S3 protocol server (moto's) in a process of its own, behind a layer that can answer with 503, break off, and keep a log.

python s3_server.py        prints its address
GET /-/log                 the requests so far, as JSON: [method, path, range, status]; forgets them
PUT /-/faults?refuse=2     each request that is asked for the first and second time is refused with 503
PUT /-/faults?cut=1        each answer with a body breaks off half-way the first time
PUT /-/fill?bucket=B&prefix=P&count=N       puts N small objects into a bucket at once
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from urllib.parse import parse_qsl

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


class Faulty:
    """Passes requests on to the server, but for the faults that were asked for."""

    def __init__(self, server):
        self.server, self.log, self.seen = server, [], Counter()
        self.faults = {"refuse": 0, "cut": 0}

    def __call__(self, environ, start):
        if environ["PATH_INFO"] == "/-/log":
            log, self.log = self.log, []
            return self._say(start, json.dumps(log).encode())
        if environ["PATH_INFO"] == "/-/faults":
            self.faults = {"refuse": 0, "cut": 0} | {k: int(v) for k, v in parse_qsl(environ["QUERY_STRING"])}
            self.seen.clear()
            return self._say(start, b"")
        if environ["PATH_INFO"] == "/-/fill":
            return self._say(start, self._fill(**dict(parse_qsl(environ["QUERY_STRING"]))))
        what = (
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"] + "?" + environ["QUERY_STRING"],
            environ.get("HTTP_RANGE"),
        )
        self.seen[what] += 1
        if self.seen[what] <= self.faults["refuse"]:
            self.log.append([*what, 503])
            return self._say(start, b"<Error><Code>ServiceUnavailable</Code></Error>", "503 Service Unavailable")

        def started(status, headers, *rest):
            self.log.append([*what, int(status.split()[0])])
            return start(status, headers, *rest)

        body = b"".join(self.server(environ, started))
        if what[0] == "GET" and len(body) > 1 and self.seen[what] <= self.faults["cut"]:
            return [body[: len(body) // 2]]  # the header promised all of it
        return [body]

    def _fill(self, bucket, prefix, count):
        for number in range(int(count)):
            key = f"{prefix}{number:05d}.txt"
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, key, str(number).encode())
        return b""

    def _say(self, start, body, status="200 OK"):
        start(status, [("Content-Length", str(len(body)))])
        return [body]


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, Faulty(DomainDispatcherApplication(create_backend_app)), threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
