"""splitmix deploy-init: what the folder of a fleet holds, who may read it, and what is refused."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

import splitmix
from splitmix.commands import main

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'splitmix[flower]' (Python 3.11)")

WORDS = ["host=fleet.example", "dataset=folder", "dataset.image_size=28"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_of_a_fleet(place):
    from splitmix.deploy.fleet_env import read_environment
    from splitmix.deploy.health_keys import check_node_key, check_server_certificate, check_server_key
    from splitmix.deploy.node_settings import read_node
    from splitmix.fleet import read_fleet

    assert (
        main(["deploy-init", "nodes=[clinic-a,b.2]", "port=9000", "listen=10.0.0.5", "budget.widths=4-1", *WORDS]) == 0
    )
    fleet = place / "fleet"
    clients = read_fleet(fleet / "fleet.yaml").clients
    assert [(one.id, one.domain, one.budget) for one in clients] == [("clinic-a",) * 2 + (0.25,), ("b.2",) * 2 + (1.0,)]
    assert f'folder = "{fleet}"' in (fleet / "app" / "pyproject.toml").read_text()
    private = sorted(path.relative_to(fleet).as_posix() for path in fleet.rglob("*.key"))
    assert private == ["ca.key", "nodes/b.2/node.key", "nodes/clinic-a/node.key", "server/server.key"]
    assert all(mode(fleet / name) == 0o600 for name in private)
    server = fleet / "server"
    told = check_server_certificate(server / "server.crt", server / "ca.crt", ["fleet.example", "10.0.0.5"])
    assert told.startswith("for fleet.example, until 2")
    check_server_key(server / "server.key", server / "server.crt")
    for number, name in enumerate(("clinic-a", "b.2")):
        node = fleet / "nodes" / name
        settings = read_node(node / "node.yaml")
        assert (settings.client, settings.dataset, settings.split) == (name, "folder", "own")
        assert settings.root == "/opt/splitmix/images" and settings.memory == str(node / "memory")
        check_node_key(node / "node.key", node / "node.pub")
        known = read_environment(node / "fleet.env")
        assert (known.host, known.port) == ("fleet.example", 9000) and known.own_address == ("10.0.0.5", 9000)
        assert f"NODE_PORT={9094 + number} " in (node / "fleet.env").read_text()
    assert (fleet / "nodes" / "b.2" / "node.pub").read_text() != (fleet / "nodes" / "clinic-a" / "node.pub").read_text()
    for script in fleet.rglob("start.sh"):
        assert mode(script) & 0o100
        subprocess.run(["sh", "-n", script], check=True)
    services = yaml.safe_load((fleet / "nodes" / "b.2" / "compose.yaml").read_text())["services"]
    assert "/opt/splitmix/images:/opt/splitmix/images:ro" in services["node-b.2"]["volumes"]
    assert f"'splitmix[flower]=={splitmix.__version__}'" in services["node-b.2"]["build"]["dockerfile_inline"]
    # What goes to the builder of an image: no key.
    assert (fleet / "nodes" / "b.2" / ".dockerignore").read_text().splitlines()[1:] == ["*", "!*.whl"]
    for file in yaml.safe_load((fleet / "compose.yaml").read_text())["include"]:
        assert yaml.safe_load((fleet / file).read_text())["services"]
    assert "{{" not in "".join(path.read_text() for path in fleet.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_units(place):
    assert main(["deploy-init", "nodes=1", "out=a b%/fleet", *WORDS]) == 0
    units = [str(unit) for unit in (place / "a b%").rglob("*.service")]
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    assert len(units) == 2 and "Unknown" not in checked.stderr and "lvalue" not in checked.stderr, checked.stderr


@pytest.mark.slow
def test_keys_are_never_overwritten(place, capsys):
    assert main(["deploy-init", "nodes=1", *WORDS]) == 0
    before = (place / "fleet" / "ca.key").read_bytes()
    assert main(["deploy-init", "nodes=1", *WORDS]) == 2
    assert "out=" in capsys.readouterr().err and (place / "fleet" / "ca.key").read_bytes() == before
    assert main(["deploy-init", "nodes=1", "force=true", *WORDS]) == 0
    [aside] = place.glob("fleet.before-*")
    assert (aside / "ca.key").read_bytes() == before != (place / "fleet" / "ca.key").read_bytes()
    assert str(aside) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["host=null"], "host: give the name"),
        (["host=a:8000"], "host=a:8000"),
        (["nodes=0"], "nodes=0"),
        (["nodes=[a,a]"], "a stands twice"),
        (["nodes=[../a]"], "rename the node"),
        (["min_clients=3"], "min_clients=3"),
        (["dataset.root=/tmp"], "dataset.root"),
        (["fit_data=true"], "fit_data"),
        (["budget.redraw=round"], "budget.redraw"),
        (["split=partition", "nodes=17"], "clients=17"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_leave_nothing(place, capsys, words, said):
    assert main(["deploy-init", *WORDS, *words]) == 2
    assert said in capsys.readouterr().err
    assert list(place.iterdir()) == []


def test_a_failure_in_the_middle_leaves_nothing(place, monkeypatch):
    from splitmix.deploy import init

    def full(*values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(init, "write_node_keys", full)
    assert main(["deploy-init", *WORDS]) == 2
    assert list(place.iterdir()) == []
