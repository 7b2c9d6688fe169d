"""A server and three nodes on hosts of their own, in network namespaces; one is cut off in mid-run and comes back.

    sudo python scripts/drills/hosts.py

needs Linux, root and `ip` (iproute2), and the extra `flower`. It ends with 0 if every check holds. It also tells what
went over each node's cable, all of Flower's own traffic and TLS with it, beside the messages that the run counted.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from drill import ENVIRONMENT, Drill, FleetFolder, drilled, outcomes, text_of

from splitmix.deploy.journal import ACCEPTED, EVALUATIONS, read_journal
from splitmix.deploy.processes import processes

SERVER = "10.77.0.1"
ROUNDS, CUT_AFTER, BACK_AFTER = 6, 1, 3
ROUND_S = 120


class Hosts:
    """Hosts in network namespaces, on one network: the server has the address 10.77.0.1.

    Args:
        names: of the other hosts, which have the addresses from 10.77.0.2 on.
    """

    def __init__(self, names: Sequence[str]):
        self.mark, self.names = secrets.token_hex(2), ("server", *names)
        self.cables = {name: f"v{self.mark}{number}" for number, name in enumerate(names)}

    def make(self) -> None:
        """Make them, every one connected."""
        for name in self.names:
            self.ip("netns", "add", self.space(name))
            self.ip("-n", self.space(name), "link", "set", "lo", "up")
        server = ("-n", self.space("server"))
        self.ip(*server, "link", "add", "switch", "type", "bridge")
        self.ip(*server, "address", "add", f"{SERVER}/24", "dev", "switch")
        self.ip(*server, "link", "set", "switch", "up")
        for number, (name, cable) in enumerate(self.cables.items(), 2):
            far = ("name", "wire", "netns", self.space(name))
            self.ip(*server, "link", "add", cable, "type", "veth", "peer", *far)
            self.ip(*server, "link", "set", cable, "master", "switch")
            self.ip("-n", self.space(name), "address", "add", f"10.77.0.{number}/24", "dev", "wire")
            self.ip("-n", self.space(name), "link", "set", "wire", "up")
            self.connect(name, True)

    def ip(self, *words: str) -> str:
        """Run `ip`; what it printed."""
        return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

    def space(self, name: str) -> str:
        """The network namespace of a host."""
        return f"splitmix-{self.mark}-{name}"

    def on(self, name: str, command: Sequence[str]) -> list[str]:
        """The command as that host runs it."""
        return ["ip", "netns", "exec", self.space(name), *command]

    def connect(self, name: str, connected: bool) -> None:
        """Plug a host's cable in, or pull it."""
        self.ip("-n", self.space("server"), "link", "set", self.cables[name], "up" if connected else "down")

    def carried(self, name: str) -> tuple[int, int]:
        """Bytes that came down a node's cable, and that went up."""
        [wire] = json.loads(self.ip("-n", self.space(name), "-s", "-j", "link", "show", "wire"))
        return wire["stats64"]["rx"]["bytes"], wire["stats64"]["tx"]["bytes"]


@contextmanager
def hosts(names: Sequence[str]) -> Iterator[Hosts]:
    """Such hosts, taken down at the end."""
    net = Hosts(names)
    try:
        net.make()
        yield net
    finally:
        for name in net.names:
            subprocess.run(["ip", "netns", "delete", net.space(name)], check=False, capture_output=True)


def cut_off(drill: Drill) -> None:
    """A run of six rounds, in the second of which the last node's cable is pulled; after the third it is plugged in."""
    words = ["budget.widths=8-2-1", "min_clients=2", f"rounds={ROUNDS}", f"round_seconds={ROUND_S}", "validate_every=9"]
    fleet = FleetFolder(drill, "hosts", 3, [*words, "test.widths=0.5"], host=SERVER)
    lost = fleet.names[-1]
    with hosts(fleet.names) as net, processes(drill.place / "logs", ENVIRONMENT) as started:
        server = started.start("server", net.on("server", fleet.server_command()))
        fleet.wait_for_server(started.logs / "server.log")
        for name in fleet.names:
            started.start(name, net.on(name, fleet.node_command(name)))
        drill.say(f"a server on {SERVER} and three nodes, on a host each, are started")
        drill.wait(lambda: fleet.saved_rounds >= CUT_AFTER or server.poll() is not None, "the first round does not end")
        net.connect(lost, False)
        drill.say(f"node {lost} is cut off after round {fleet.saved_rounds}")
        drill.wait(lambda: fleet.saved_rounds >= BACK_AFTER or server.poll() is not None, "the others do not go on")
        net.connect(lost, True)
        drill.say(f"node {lost} is connected again after round {fleet.saved_rounds}")
        drill.wait(lambda: server.poll() is not None, "the run does not end")
        if server.returncode:
            print(text_of(started.logs / "server.log")[-4000:])
        drill.check(server.returncode == 0, f"the server ended with exit code {server.returncode}")
        carried = {name: net.carried(name) for name in fleet.names}
    print(outcomes(fleet.entries))
    taken = [entry for entry in fleet.entries if entry.outcome == ACCEPTED]
    rounds = {name: {entry.round + 1 for entry in taken if entry.client == name} for name in fleet.names}
    everyone = set(range(1, ROUNDS + 1))
    drill.check(all(rounds[name] == everyone for name in fleet.names[:-1]), "the others were in every round")
    missed = sorted(everyone - rounds[lost])
    drill.check(bool(missed) and {1, ROUNDS} <= rounds[lost], f"{lost} was left out of {missed}, and came back")
    fleet.check_equal(fleet.simulate("hosts-simulated"))
    counted = [*fleet.entries, *read_journal(fleet.path / "run" / EVALUATIONS)]
    for name, (down, up) in carried.items():
        messages = [sum(getattr(e, key) for e in counted if e.client == name) for key in ("bytes_down", "bytes_up")]
        drill.say(
            f"cable of {name}: {down / 1e6:.2f} MB down and {up / 1e6:.2f} MB up,"
            f" of which messages {messages[0] / 1e6:.2f} and {messages[1] / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    with drilled(__doc__) as (the_drill, _):
        cut_off(the_drill)
