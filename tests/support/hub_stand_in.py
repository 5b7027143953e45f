"""A hub on the loopback address: as much of Hugging Face's HTTP interface as pushing and pulling a model takes.

Written from the requests that the client sends. Large files go by Git LFS' basic transfer, as the interface has it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

import yaml

LARGE = 1000
"""From so many bytes on a file goes by LFS, bytes; the real hub goes by the file's name and content."""


@dataclass
class HubStandIn:
    """What the hub has: repositories, each with its files, and what was asked of it.

    token: that a client has to show, or empty
    """

    address: str = ""
    token: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    corrupt: bool = False


@contextmanager
def hub_running(token: str = "") -> Iterator[HubStandIn]:
    """Run one until the end of the `with`."""
    hub = HubStandIn(token=token)

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: HubStandIn

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        known = self.headers.get("Authorization") == f"Bearer {self.state.token}"
        if self.state.token and not known and "/lfs/" not in path:
            return self._send(401, {"error": "Invalid username or password."})
        for pattern, handle in (
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", self._validate),
            (r"/api/models/([^/]+/[^/]+)/preupload/main", self._preupload),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/lfs/(\w+)", self._store),
            (r"/api/models/([^/]+/[^/]+)/commit/main", self._commit),
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._info),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
        ):
            if found := re.fullmatch(pattern, path):
                return handle(body, *found.groups())
        return self._send(404, {"error": "not here"})

    def _send(self, status: int, answer: object = None, *, data: bytes | None = None, **headers: str) -> None:
        data = json.dumps(answer).encode() if data is None else data
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if asked.get("private") or asked.get("visibility") == "private":
            self.state.private.add(name)
        status = 409 if name in self.state.repositories else 200
        self.state.repositories.setdefault(name, {})
        self._send(status, {"url": f"{self.state.address}/{name}", "error": "You already created this model repo"})

    def _validate(self, body: bytes) -> None:
        head = yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
        errors = [] if isinstance(head.get("tags", []), list) else [{"message": '"tags" must be an array'}]
        self._send(400 if errors else 200, {"errors": errors, "warnings": []})

    def _preupload(self, body: bytes, _: str) -> None:
        files = [
            {"path": each["path"], "uploadMode": "lfs" if each["size"] >= LARGE else "regular", "shouldIgnore": False}
            for each in json.loads(body)["files"]
        ]
        self._send(200, {"files": files})

    def _batch(self, body: bytes, _: str) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.state.address}/lfs/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _store(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.state.large[oid] = body
        self._send(200, {})

    def _commit(self, body: bytes, name: str) -> None:
        files = self.state.repositories[name]
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.state.large[value["oid"]]
        url = f"{self.state.address}/{name}/commit/{self._sha(name)}"
        self._send(200, {"commitUrl": url, "commitOid": self._sha(name), "success": True})

    def _sha(self, name: str) -> str:
        return hashlib.sha1(repr(sorted(self.state.repositories[name].items())).encode()).hexdigest()

    def _info(self, _: bytes, name: str, revision: str | None = None) -> None:
        if name not in self.state.repositories:
            return self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if revision not in (None, "main", self._sha(name)):
            return self._send(404, {"error": "no such revision"}, X_Error_Code="RevisionNotFound")
        siblings = []
        for path, data in self.state.repositories[name].items():
            sha = hashlib.sha256(data).hexdigest()
            lfs = {"lfs": {"sha256": sha, "size": len(data), "pointerSize": 130}} if len(data) >= LARGE else {}
            siblings.append({"rfilename": path, "size": len(data), "blobId": sha[:40], **lfs})
        return self._send(200, {"id": name, "sha": self._sha(name), "private": False, "siblings": siblings})

    def _file(self, _: bytes, name: str, revision: str, path: str) -> None:
        data = self.state.repositories[name][path]
        etag = hashlib.sha256(data).hexdigest()
        if self.state.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self._send(200, data=data, ETag=f'"{etag}"', X_Repo_Commit=self._sha(name), Accept_Ranges="none")
