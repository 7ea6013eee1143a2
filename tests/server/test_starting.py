"""Before a gateway is ready it says so: here its Druid takes calls and never replies."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def ask(port: int, path: str, within_s: float = 20.0) -> tuple[int, dict[str, object]]:
    """A reply of the gateway, as soon as something listens there."""
    deadline = time.monotonic() + within_s
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nothing listens"
        finally:
            connection.close()


def test_requests_are_answered_with_503_while_rooms_are_being_opened(tmp_path: Path) -> None:
    port, admin_port = free_port(), free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "gateway", "serve", "--port", str(port)]
        command += ["--admin-port", str(admin_port)]
        command += ["--data-dir", str(tmp_path), "--warehouse", "druid", "--druid-url", url]
        gateway = subprocess.Popen(command, stderr=subprocess.PIPE, env=dict(os.environ))
        try:
            status, body = ask(port, "/chc/ready")
            assert (status, body["error_code"]) == (503, 50302)
            assert ask(port, "/info")[0] == 200
            assert ask(port, "/healthcheck")[1]["serverState"] == "STARTING"
            status, body = ask(admin_port, "/dead-letters")
            assert (status, body["error_code"]) == (503, 50302)
            assert ask(admin_port, "/healthcheck")[1]["serverState"] == "STARTING"
        finally:
            gateway.send_signal(signal.SIGTERM)
            said = gateway.communicate(timeout=60)[1].decode()
    assert gateway.returncode == 0, said
