"""A small server with the parts of the Hugging Face hub's API that the tests need."""

import http.server

TOKEN = "hf_averysecrettoken"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's responses to these requests."""

    def do_GET(self) -> None:
        self.server.tokens.add(self.headers["Authorization"])
        name = "/".join(self.path.removeprefix("/api/models").split("/")[1:3])
        code = {"org/gated": "GatedRepo", "org/absent": "RepoNotFound"}.get(name)
        if "/resolve/nowhere/" in self.path:
            code = "RevisionNotFound"
        elif name == "org/other" and "/resolve/" in self.path:
            code = "EntryNotFound"
        self.send_response(503 if name == "org/ill" else 403 if code == "GatedRepo" else 404 if code else 200)
        for key, value in {"X-Error-Code": code, "X-Repo-Commit": COMMIT, "ETag": '"1"', "Content-Length": "2"}.items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"{}")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass
