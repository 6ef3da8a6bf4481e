"""python-socketio against `examples/embed/conformance`: the Socket.IO client of backends, scripts and devices.

Needs requirements.txt beside this file. The server is $OYEZ_CONFORMANCE_BIN, else target/{debug,release}/examples/conformance.
Run: python tests/clients/python_socketio.py
"""

import os
import pathlib
import queue
import re
import subprocess
import threading
import unittest

import socketio

ROOT = pathlib.Path(__file__).resolve().parents[2]
WAIT_SECONDS = 10
WAYS = {
    "websocket only": ["websocket"],
    "polling only": ["polling"],
    "polling, then upgrade": ["polling", "websocket"],
}
VALUES = [
    (),
    ("text beyond ASCII: 订阅成功 é 😀",),
    (1, "two", {"three": [3, None]}, True),
    (b"\x00\x01\xff",),
    ({"bytes": b"inside", "list": [b"", "x"]}, b"second"),
]


def binary():
    """The conformance server to run."""
    named = os.environ.get("OYEZ_CONFORMANCE_BIN")
    built = [ROOT / "target" / profile / "examples" / "conformance" for profile in ("debug", "release")]
    for path in ([named] if named else []) + built:
        if pathlib.Path(path).exists():
            return str(path)
    raise SystemExit("no conformance server: run `cargo build --examples` first, or set OYEZ_CONFORMANCE_BIN")


class Server:
    """The conformance server on a random port of the loopback."""

    def __init__(self):
        self.child = subprocess.Popen(
            [binary(), "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        for line in self.child.stdout:
            self.lines.append(line)
            if match := re.search(r"Listening on (http://[^\s\"]+)", line):
                self.url = match.group(1)
                break
        else:
            raise SystemExit("the server did not start:\n" + "".join(self.lines))
        threading.Thread(target=lambda: self.lines.extend(self.child.stdout), daemon=True).start()

    def stop(self):
        self.child.terminate()
        self.child.wait(WAIT_SECONDS)
        self.child.stdout.close()


class Client:
    """A stock client whose incoming events queue up, so that a test can await them."""

    def __init__(self, url, transports, namespace="/", auth=None, **options):
        self.namespace = namespace
        self.events = queue.Queue()
        self.connections = queue.Queue()
        self.client = socketio.Client(reconnection_delay=0.01, reconnection_delay_max=0.05, **options)
        for name in ("auth", "message-back"):
            self.client.on(name, self._collector(name), namespace=namespace)
        self.client.on("connect", lambda: self.connections.put(True), namespace=namespace)
        self.client.connect(url, transports=transports, namespaces=[namespace], auth=auth, wait_timeout=WAIT_SECONDS)

    def _collector(self, name):
        return lambda *args: self.events.put((name, args))

    def expect(self, name):
        """The arguments of the next event, which must be `name`."""
        got, args = self.events.get(timeout=WAIT_SECONDS)
        if got != name:
            raise AssertionError(f"expected {name}, got {got} {args}")
        return args

    def echo(self, *args):
        self.client.emit("message", args, namespace=self.namespace)
        return self.expect("message-back")

    def ask(self, *args):
        """The acknowledgement: nothing, one value, or a list of several, as python-socketio gives it."""
        return self.client.call("message-with-ack", args, namespace=self.namespace, timeout=WAIT_SECONDS)


class PythonSocketIO(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def client(self, transports, **options):
        client = Client(self.server.url, transports, **options)
        self.addCleanup(client.client.disconnect)
        return client

    def ways(self):
        for name, transports in WAYS.items():
            with self.subTest(name):
                yield transports

    def test_connects_with_its_auth(self):
        for transports in self.ways():
            client = self.client(transports, auth={"token": "abc"})
            self.assertEqual(client.expect("auth"), ({"token": "abc"},))
            self.assertEqual(client.client.transport(), transports[-1])

    def test_echoes_text_and_binary(self):
        for transports in self.ways():
            client = self.client(transports)
            client.expect("auth")
            for values in VALUES:
                self.assertEqual(client.echo(*values), values)

    def test_acknowledges_text_and_binary(self):
        for transports in self.ways():
            client = self.client(transports)
            for values in VALUES:
                answer = client.ask(*values)
                self.assertEqual(answer, None if not values else values[0] if len(values) == 1 else list(values))

    def test_another_namespace(self):
        for transports in self.ways():
            client = self.client(transports, namespace="/custom", auth={"n": 2})
            self.assertEqual(client.expect("auth"), ({"n": 2},))
            self.assertEqual(client.echo("custom"), ("custom",))

    def test_refuses_an_unknown_namespace(self):
        for transports in self.ways():
            with self.assertRaisesRegex(socketio.exceptions.ConnectionError, "namespaces failed|Invalid namespace"):
                self.client(transports, namespace="/random", reconnection=False)

    def test_keeps_the_order_of_a_burst(self):
        for transports in self.ways():
            client = self.client(transports)
            client.expect("auth")
            for index in range(200):
                client.client.emit("message", index)
            self.assertEqual([client.expect("message-back")[0] for _ in range(200)], list(range(200)))

    def test_comes_back_when_the_transport_is_cut(self):
        for transports in self.ways():
            client = self.client(transports)
            client.connections.get(timeout=WAIT_SECONDS)
            client.expect("auth")
            engine = client.client.eio
            if engine.transport() == "websocket":
                engine.ws.close()
            else:
                engine.base_url = engine.base_url.replace("sid=", "sid=gone-")  # its next request is refused
            client.connections.get(timeout=WAIT_SECONDS)
            client.expect("auth")
            self.assertEqual(client.echo("back"), ("back",))


if __name__ == "__main__":
    unittest.main(verbosity=2)
