"""A small HTTP server that speaks the endpoints of the Hugging Face hub which a download needs.

In: repositories as folders of bytes, faults to make. Out: a URL for ``HF_ENDPOINT``, and the requests that came.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT, OTHER = "a" * 40, "b" * 40


class Hub:
    """Files by repository and revision.

    Faults: ``gated`` repositories, ``cut`` (bytes after which a file's connection closes), sizes that are not true,
    files without an ETag, a status that everything is answered with.
    """

    def __init__(self, repos: Mapping[str, Mapping[str, Mapping[str, bytes]]]):
        self.repos = repos
        self.gated: set[str] = set()
        self.tokens: set[str] = {"good"}
        self.cut: dict[str, int] = {}
        self.false_size: dict[str, int] = {}
        self.no_etag: set[str] = set()
        self.fail_with = 0
        self.requests: list[tuple[str, str, str | None]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                hub.answer(self, body=True)

            def do_HEAD(self):
                hub.answer(self, body=False)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fetched(self) -> list[str]:
        """Names of the files whose bytes were asked for."""
        found = [re.search(r"/resolve/[^/]+/(.+)", path) for method, path, _ in self.requests if method == "GET"]
        return sorted({match[1] for match in found if match})

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        path = request.path.split("?")[0]
        self.requests.append((request.command, path, request.headers.get("Range")))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = (api or file)[1] if api or file else ""
        if self.fail_with:
            return self._json(request, self.fail_with, {"error": "down"}, {})
        if repo not in self.repos:
            code = "RepoNotFound" if token in self.tokens else ""
            return self._json(
                request, 404 if code else 401, {"error": "?"}, {"X-Error-Code": code or "RepoNotFound"}
            )
        if repo in self.gated and token not in self.tokens and (file or (api and api[2] == "tree")):
            return self._json(request, 401, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        wanted = (api[3] if api else file[2]) or "main"
        commit = {"main": COMMIT, "other": OTHER}.get(wanted, wanted)
        files = self.repos[repo].get({COMMIT: "main", OTHER: "other"}.get(commit, ""))
        if files is None:
            return self._json(request, 404, {"error": "?"}, {"X-Error-Code": "RevisionNotFound"})
        if api and api[2] == "tree":
            tree = [
                {"type": "file", "path": name, "size": self._size(name, data), "oid": self._etag(data)}
                for name, data in files.items()
            ]
            return self._json(request, 200, tree, {})
        if api:
            siblings = [{"rfilename": name} for name in files]
            return self._json(request, 200, {"id": repo, "sha": commit, "siblings": siblings}, {})
        if file[3] not in files:
            return self._json(request, 404, {"error": "?"}, {"X-Error-Code": "EntryNotFound"})
        self._file(request, file[3], files[file[3]], commit, body)

    def _file(self, request: BaseHTTPRequestHandler, name: str, data: bytes, commit: str, body: bool) -> None:
        ranged = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        start = int(ranged[1]) if ranged else 0
        request.send_response(206 if ranged else 200)
        if name not in self.no_etag:
            request.send_header("ETag", f'"{self._etag(data)}"')
        request.send_header("X-Repo-Commit", commit)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(self._size(name, data) - start))
        if ranged:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        if not body:
            return
        stop = self.cut.get(name)
        request.wfile.write(data[start:] if stop is None else data[start:stop])
        request.wfile.flush()
        if stop is not None or name in self.false_size:
            request.close_connection = True

    def _size(self, name: str, data: bytes) -> int:
        return self.false_size.get(name, len(data))

    @staticmethod
    def _etag(data: bytes) -> str:
        return hashlib.sha1(data).hexdigest()

    @staticmethod
    def _json(request: BaseHTTPRequestHandler, status: int, value: object, headers: Mapping[str, str]) -> None:
        content = json.dumps(value).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        for name, text in headers.items():
            request.send_header(name, text)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)
