"""Starts a real `oyez` on a random loopback port for tests with stock Python clients; the twin of tests/e2e/harness.mjs."""

import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
API_KEY = "test-api-key-0123456789-abcdefghijklmnopqrstuvwxyz"
SECRET = "test-jwt-secret-0123456789-abcdefghijklmnopqrstuvwxyz"
START_SECONDS = 20


class Server:
    """`with Server("examples/ticketing/oyez.toml") as server:` runs it; `server.url` is where it listens."""

    def __init__(self, config):
        self.config = ROOT / config
        self.url = None
        self.logs = []
        self._settled = threading.Event()

    def __enter__(self):
        binary = os.environ.get("OYEZ_BIN") or ROOT / "target/debug/oyez"
        secrets = {"JWT_SECRET": SECRET, "AUTH_SECRET": SECRET, "OYEZ_API_KEY": API_KEY}
        self._process = subprocess.Popen(
            [binary, "serve", "--config", self.config, "--listen", "127.0.0.1:0"],
            env=os.environ | secrets, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._settled.wait(START_SECONDS)
        if self.url is None:
            self.__exit__()
            raise RuntimeError("server did not start:\n" + "".join(self.logs))
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read(self):
        for line in self._process.stdout:
            self.logs.append(line)
            if self.url is None and (match := re.search(r'Listening on (http://[^\s"]+)', line)):
                self.url = match[1]
                self._settled.set()
        self._settled.set()  # it ended: nothing more will come

    def publish(self, to, event, data, **more):
        """Publishes with the API key; raises unless the server accepts."""
        body = json.dumps({"to": to, "event": event, "data": data, **more}).encode()
        headers = {"authorization": f"Bearer {API_KEY}", "content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1/publish", body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
