"""Serves the steps of a job over HTTP, and lets anybody who reaches it set one.

    GET  /            the steps and their states
    GET  /STEP        the value of a step
    POST /STEP        the JSON in the body becomes the value of a step

It stands on the same store as the notebook beside it, and needs no kernel. It listens on this
machine alone, for it asks nobody who they are.
"""

import argparse
import contextlib
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import unquote

import pipestate


class Handler(BaseHTTPRequestHandler):
    job: pipestate.Job

    def do_GET(self) -> None:
        step = self.step()
        if not step:
            self.answer({one.name: one.state for one in self.job.status()})
        elif step in self.job:
            self.answer(self.job[step])
        else:
            self.answer(f"there is no step {step!r}", HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            self.job[self.step()] = json.loads(body)
        except (ValueError, pipestate.UsageError) as error:
            self.answer(str(error), HTTPStatus.BAD_REQUEST)
        else:
            self.answer(self.job[self.step()])

    def step(self) -> str:
        return unquote(self.path).strip("/")

    def answer(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(value, default=str).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--job", default="alerts")
    parser.add_argument("--port", type=int, default=8017, help="0 takes any that is free")
    asked = parser.parse_args()
    Handler.job = pipestate.Job(asked.job)
    Handler.job.setdefault("threshold", 25.0)
    server = HTTPServer(("127.0.0.1", asked.port), Handler)
    print(f"job {asked.job} on http://127.0.0.1:{server.server_port}", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
