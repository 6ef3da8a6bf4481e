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
            [binary(), "--listen", "127.0.0.1:0", "--ping-timeout", "5000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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
    """A stock client whose incoming events queue up by name (each arrives on a thread of its own), so that a test can await them."""

    def __init__(self, url, transports, namespace="/", auth=None, **options):
        self.namespace = namespace
        self.events = {name: queue.Queue() for name in ("connect", "auth", "message-back")}
        self.client = socketio.Client(reconnection_delay=0.01, reconnection_delay_max=0.05, **options)
        for name, events in self.events.items():
            self.client.on(name, self._collector(events), namespace=namespace)
        self.client.connect(url, transports=transports, namespaces=[namespace], auth=auth, wait_timeout=WAIT_SECONDS)

    def _collector(self, events):
        return lambda *args: events.put(args)

    def expect(self, name):
        """The arguments of the next `name`."""
        return self.events[name].get(timeout=WAIT_SECONDS)

    def echo(self, *args):
        self.client.emit("message", args, namespace=self.namespace)
        return self.expect("message-back")

    def ask(self, *args):
        """The acknowledgement: nothing, one value, or a tuple of several, as python-socketio gives it."""
        return self.client.call("message-with-ack", args, namespace=self.namespace, timeout=WAIT_SECONDS)

    def cut(self):
        """Breaks the transport as a lost network would; the client is expected to come back."""
        engine = self.client.eio
        if engine.transport() == "websocket":
            engine.ws.close()
        else:
            engine.base_url = engine.base_url.replace("sid=", "sid=gone-")  # its next request is refused


class Conversation:
    """What every transport must carry; a subclass names the transports."""

    transports = []
    burst = 200

    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def client(self, **options):
        client = Client(self.server.url, self.transports, **options)
        self.addCleanup(client.client.disconnect)
        return client

    def test_connects_with_its_auth(self):
        client = self.client(auth={"token": "abc"})
        self.assertEqual(client.expect("auth"), ({"token": "abc"},))
        self.assertEqual(client.client.transport(), self.transports[-1])

    def test_echoes_text_and_binary(self):
        client = self.client()
        for values in VALUES:
            self.assertEqual(client.echo(*values), values)

    def test_acknowledges_text_and_binary(self):
        client = self.client()
        for values in VALUES:
            self.assertEqual(client.ask(*values), None if not values else values[0] if len(values) == 1 else values)

    def test_another_namespace(self):
        client = self.client(namespace="/custom", auth={"n": 2})
        self.assertEqual(client.expect("auth"), ({"n": 2},))
        self.assertEqual(client.echo("custom"), ("custom",))

    def test_refuses_an_unknown_namespace(self):
        with self.assertRaises(socketio.exceptions.ConnectionError):
            self.client(namespace="/random", reconnection=False)

    def test_loses_and_doubles_nothing_in_a_burst(self):
        client = self.client()
        for index in range(self.burst):
            client.client.emit("message", index)
        self.assertEqual(sorted(client.expect("message-back")[0] for _ in range(self.burst)), list(range(self.burst)))

    def test_comes_back_when_the_transport_is_cut(self):
        client = self.client()
        client.expect("connect")
        client.cut()
        client.expect("connect")
        self.assertEqual(client.echo("back"), ("back",))


class WebsocketOnly(Conversation, unittest.TestCase):
    transports = ["websocket"]


class PollingOnly(Conversation, unittest.TestCase):
    transports = ["polling"]
    burst = 10  # this client refuses a polling answer of more than 16 packets (engineio.payload.Payload.max_decode_packets)


class PollingThenUpgrade(Conversation, unittest.TestCase):
    transports = ["polling", "websocket"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
