"""What `/metrics` answers, read as Prometheus reads it: by the parser of its own client library, which refuses what the
format forbids.

Needs requirements.txt beside this file. The server is $OYEZ_BIN, else target/{debug,release}/oyez.
Run: python tests/clients/scrape.py
"""

import os
import pathlib
import re
import subprocess
import threading
import unittest
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

ROOT = pathlib.Path(__file__).resolve().parents[2]
WAIT_SECONDS = 10
SECRETS = {name: "a-secret-for-tests-0123456789abcdef" for name in ("JWT_SECRET", "AUTH_SECRET", "OYEZ_API_KEY")}


def binary():
    """The server to run."""
    named = os.environ.get("OYEZ_BIN")
    for path in ([named] if named else []) + [ROOT / "target" / profile / "oyez" for profile in ("debug", "release")]:
        if pathlib.Path(path).exists():
            return str(path)
    raise SystemExit("no oyez binary: run `cargo build` first, or set OYEZ_BIN")


class Scrape(unittest.TestCase):
    """One scrape of a server that has published something."""

    @classmethod
    def setUpClass(cls):
        config = str(ROOT / "examples/ticketing/oyez.toml")
        command = [binary(), "serve", "--config", config, "--listen", "127.0.0.1:0"]
        cls.child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **SECRETS}
        )
        cls.addClassCleanup(cls.child.stdout.close)
        cls.addClassCleanup(cls.child.wait, WAIT_SECONDS)
        cls.addClassCleanup(cls.child.terminate)
        for line in cls.child.stdout:
            if match := re.search(r"Listening on (http://[^\s\"]+)", line):
                cls.url = match.group(1)
                break
        else:
            raise SystemExit("the server did not start")
        threading.Thread(target=lambda: [None for _ in cls.child.stdout], daemon=True).start()
        cls.ask("/api/v1/publish", b'{"to": "*", "event": "tick", "data": {"text": "\\"quoted\\"\\n"}}')
        response = cls.ask("/metrics")
        cls.kind = response.headers["Content-Type"]
        cls.families = {family.name: family for family in text_string_to_metric_families(response.read().decode())}

    @classmethod
    def ask(cls, path, body=None):
        request = urllib.request.Request(cls.url + path, body, {"Authorization": f"Bearer {SECRETS['OYEZ_API_KEY']}"})
        return urllib.request.urlopen(request, timeout=WAIT_SECONDS)

    def test_the_kind_is_that_of_the_format(self):
        self.assertEqual(self.kind, "application/openmetrics-text; version=1.0.0; charset=utf-8")

    def test_every_metric_of_the_page_has_its_kind_and_labels(self):
        page = (ROOT / "docs/metrics.md").read_text()
        rows = re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \| ([^|]*) \| [^|]+ \|$", page, re.MULTILINE)
        self.assertGreater(len(rows), 20)
        shown = {name.removesuffix("_total"): (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
        for name, family in self.families.items():
            kind, labels = shown[name]
            self.assertEqual(family.type, kind, name)
            self.assertTrue(family.documentation.endswith("."), name)
            for sample in family.samples:
                self.assertEqual(set(sample.labels) - {"le"}, labels, sample)
        # What nothing has happened for has no series yet.
        alone = {name for name in shown if name.startswith(("oyez_cluster_", "oyez_neighbours"))}
        self.assertEqual(set(shown) - set(self.families) - alone, {"oyez_messages_dropped", "oyez_connects_refused", "oyez_connect_errors", "oyez_disconnects", "oyez_tls_handshakes"})

    def test_figures_are_right(self):
        self.assertEqual([sample.value for sample in self.families["oyez_publications"].samples], [1])
        buckets = [s.value for s in self.families["oyez_delivery_latency_seconds"].samples if s.name.endswith("_bucket")]
        self.assertEqual(buckets, sorted(buckets))
        self.assertGreater(self.families["process_resident_memory_bytes"].samples[0].value, 1_000_000)


if __name__ == "__main__":
    unittest.main()
