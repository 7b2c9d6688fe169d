"""splitmix deploy-check: each thing that can be wrong with a node or a server is found, and its mend is told."""

import shutil
import socket
import ssl
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fleets import noise_tree

from splitmix.commands import main
from splitmix.deploy.processes import free_port

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'splitmix[flower]' (Python 3.11)")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A fleet of one node, whose images are there, for a server on a free port of the loopback."""
    place = tmp_path_factory.mktemp("fleet")
    words = ["dataset=folder", "dataset.image_size=28", "nodes=[a]", "host=127.0.0.1", f"port={free_port()}"]
    assert main(["deploy-init", f"out={place / 'fleet'}", *words]) == 0
    root = noise_tree(place / "images", domains=("a",))
    node = place / "fleet" / "nodes" / "a"
    (node / "node.yaml").write_text((node / "node.yaml").read_text().replace('"/opt/splitmix/images"', str(root)))
    return place


@pytest.fixture
def fleet(made, tmp_path):
    shutil.copytree(made / "fleet", tmp_path / "fleet")
    return tmp_path / "fleet"


def told(capsys, folder, code, seconds=60):
    """What the verb says of each check: whether all is well, and the words."""
    assert main(["deploy-check", f"folder={folder}", f"seconds={seconds}"]) == code
    said = capsys.readouterr()
    rows = [line.split(None, 2) for line in said.out.splitlines()]
    return {what: (state == "ok", words) for state, what, words in rows}, said.err


class Quiet(BaseHTTPRequestHandler):
    """A server that says what time it is, `shift` too late."""

    shift = timedelta(0)

    def do_HEAD(self):
        self.send_response_only(404)
        self.send_header("Date", format_datetime(datetime.now(timezone.utc) + self.shift, usegmt=True))
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def serve():
    """Serve a fleet's port over TLS, with a clock that differs."""
    servers = []

    def start(fleet, shift=0.0):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(fleet / "server" / "server.crt", fleet / "server" / "server.key")
        handler = type("Shifted", (Quiet,), {"shift": timedelta(seconds=shift)})
        server = HTTPServer(("127.0.0.1", port_of(fleet)), handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True).start()
        servers.append(server)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def port_of(fleet):
    lines = dict(line.partition("=")[::2] for line in (fleet / "server" / "fleet.env").read_text().splitlines())
    return int(lines["PORT"])


def test_all_is_well(fleet, serve, capsys):
    serve(fleet)
    checks, _ = told(capsys, fleet / "nodes" / "a", 0)
    assert list(checks) == [
        "python", "splitmix", "flwr", "torch", "authority", "key", "port", "certificate", "clock", "memory", "data",
    ]  # fmt: skip
    assert all(ok for ok, _ in checks.values())
    assert checks["data"][1] == "18 training, 18 validation, 10 test images of 3x28x28, 2 classes"
    checks, _ = told(capsys, fleet, 0)
    assert checks["server"][0] and "private keys still here: a" in checks["nodes"][1]


def test_a_server_that_is_not_started(fleet, capsys):
    checks, error = told(capsys, fleet / "nodes" / "a", 2)
    assert not checks["port"][0] and "start the server" in checks["port"][1]
    assert checks["clock"][0] and "no server to ask" in checks["clock"][1]
    assert "1 of 10 checks failed: port" in error
    checks, _ = told(capsys, fleet, 0)
    assert "is free" in checks["port"][1]


@pytest.mark.slow
def test_a_port_that_another_listens_on(fleet, capsys):
    with socket.create_server(("127.0.0.1", port_of(fleet))):
        checks, _ = told(capsys, fleet, 2, seconds=2)
    assert not checks["server"][0] and "no answer over TLS" in checks["server"][1]


@pytest.mark.parametrize(("shift", "ok"), [(-60, False), (60, True), (400, False)])
def test_the_clock_against_the_servers(fleet, serve, capsys, shift, ok):
    # Flower takes signatures of the last five minutes, and none of the future.
    serve(fleet, shift)
    checks, _ = told(capsys, fleet / "nodes" / "a", 0 if ok else 2)
    assert checks["clock"][0] == ok and (ok or "set the clock" in checks["clock"][1])


def test_a_server_of_another_fleet(fleet, serve, capsys, tmp_path):
    assert main(["deploy-init", f"out={tmp_path / 'other'}", "host=127.0.0.1", f"port={port_of(fleet)}"]) == 0
    serve(tmp_path / "other")
    capsys.readouterr()
    checks, _ = told(capsys, fleet / "nodes" / "a", 2)
    assert not checks["certificate"][0] and "take ca.crt from" in checks["certificate"][1]


@pytest.mark.parametrize(
    ("of", "check", "spoil", "mend"),
    [
        ("nodes/a", "key", lambda folder: (folder / "node.key").chmod(0o644), "chmod 600"),
        ("nodes/a", "key", lambda folder: (folder / "node.key").unlink(), "restore it"),
        ("nodes/a", "authority", lambda folder: (folder / "ca.crt").write_text("x"), "no certificate"),
        ("nodes/a", "splitmix", lambda folder: edit(folder, "SPLITMIX=", "SPLITMIX=9."), "pip install 'splitmix==9."),
        ("nodes/a", "flwr", lambda folder: edit(folder, "FLWR=1", "FLWR=7"), "pip install 'flwr==7."),
        ("nodes/a", "data", lambda folder: spoil_yaml(folder, "root:", "root: /nowhere #"), "/nowhere"),
        ("nodes/a", "memory", lambda folder: spoil_yaml(folder, "memory:", "memory: node.key/x #"), "chown"),
        (".", "certificate", lambda folder: edit(folder / "server", "127.0.0.1:", "10.9.8.7:"), "not for 10.9.8.7"),
        (".", "key", lambda folder: shutil.copy(folder / "ca.key", folder / "server" / "server.key"), "not the key"),
        (".", "nodes", lambda folder: (folder / "nodes" / "a" / "node.pub").unlink(), "restore it"),
        (".", "fleet", lambda folder: (folder / "fleet.yaml").write_text("clients: 3"), "fleet.yaml"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_mend(fleet, capsys, of, check, spoil, mend):
    spoil(fleet / of)
    checks, error = told(capsys, fleet / of, 2)
    assert not checks[check][0] and mend in checks[check][1] and check in error
    assert {what for what, (ok, _) in checks.items() if not ok} <= {check, "port", "clock", "memory", "data"}


def edit(folder, before, after):
    text = (folder / "fleet.env").read_text()
    (folder / "fleet.env").write_text(text.replace(before, after))


def spoil_yaml(folder, before, after):
    text = (folder / "node.yaml").read_text()
    (folder / "node.yaml").write_text(text.replace(before, after))


def test_dates_of_certificates(tmp_path):
    from splitmix.deploy import health_keys, keys
    from splitmix.errors import UserError

    authority = keys.Authority("a")
    certificate = authority.server(["a.example"], 1)[1]
    keys.write_certificate(tmp_path / "soon.crt", certificate)
    assert "only 0 more days" in health_keys.until(health_keys.read_certificate(tmp_path / "soon.crt"))
    long_ago = authority.server(["a.example"], 0)[1]
    keys.write_certificate(tmp_path / "ended.crt", long_ago)
    with pytest.raises(UserError, match="ended on"):
        health_keys.read_certificate(tmp_path / "ended.crt")


def test_a_folder_of_neither_is_refused(tmp_path, capsys):
    assert main(["deploy-check", f"folder={tmp_path}"]) == 2
    assert "neither node.yaml nor fleet.yaml" in capsys.readouterr().err
