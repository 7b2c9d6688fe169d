"""A server and eight nodes of four budgets on the loopback, with TLS and keys: undisturbed, then with failures.

    python scripts/drills/loopback.py

takes many minutes, several gigabytes of memory (one node sends a message of 1 GB) and the extra `flower`. It ends with
0 if every check holds. Both runs are on minidigits and must have the bits of a simulation, the second those of one in
which the clients that were left out are declared as absent.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from drill import CHECKOUT, ENVIRONMENT, Drill, FleetFolder, drilled, outcomes, own_port, text_of

from splitmix.deploy.journal import ACCEPTED, FAILED, MISSING, REFUSED
from splitmix.deploy.keys import write_node_keys
from splitmix.deploy.processes import Processes, processes

NODES, BUDGETS = 8, "budget.widths=8-4-2-1"
BAD_ROUND, KILLED_ROUND, ROUNDS = 2, 3, 5
# Flower gives an answer up that takes it longer than a minute to carry; a quicker machine brings it to the server.
BAD = {
    "nan": {REFUSED: "not finite"},
    "shape": {REFUSED: "wrong shape"},
    "gigabyte": {REFUSED: "too long", FAILED: "Flower"},
}


def undisturbed(drill: Drill) -> None:
    """Two rounds and the final test, beside nodes that have no registered key."""
    fleet = FleetFolder(drill, "undisturbed", NODES, [BUDGETS, "rounds=2", "test.widths=[0.125,0.25,0.5,1]"])
    with processes(drill.place / "logs-undisturbed", ENVIRONMENT) as started:
        start_all(drill, fleet, started)
        for stranger in ("unknown-key", "no-key"):
            started.start(stranger, ["sh", str(a_stranger(fleet, stranger) / "start.sh")])
        drill.wait(lambda: started.running["server"].poll() is not None, "the run does not end")
        check_ended_well(drill, started)
        for stranger in ("unknown-key", "no-key"):
            log = text_of(started.logs / f"{stranger}.log")
            refused = next((line for line in log.splitlines() if "could not" in line or "rror" in line), "nothing")
            drill.check(
                "[RUN" not in log and "Receiving" not in log, f"node with {stranger} got no message; it says: {refused}"
            )
    print(outcomes(fleet.entries))
    accepted = [(e.round, e.client) for e in fleet.entries if e.outcome == ACCEPTED]
    drill.check(
        accepted == [(number, name) for number in range(2) for name in fleet.names],
        "all updates of eight nodes in two rounds are taken",
    )
    budgets = [client["budget"] for client in fleet.results["clients"]]
    drill.check(sorted(set(budgets)) == [0.125, 0.25, 0.5, 1], f"budgets: {budgets}")
    payload = {client["id"]: client["bytes_up"] for client in fleet.results["clients"]}
    most = max(abs(size / payload[e.client] - 1) for e in fleet.entries for size in (e.bytes_down, e.bytes_up))
    drill.check(most < 0.02, f"messages are at most {100 * most:.2f} % from the bytes in results.json")
    fleet.check_equal(fleet.simulate("undisturbed-simulated"))


def disturbed(drill: Drill) -> None:
    """Bad updates, a node that is killed in mid-round, a server that is killed in mid-round."""
    words = [BUDGETS, f"rounds={ROUNDS}", "validate_every=9", "test.widths=0.5"]
    fleet = FleetFolder(drill, "disturbed", NODES, words)
    bad = dict(zip(fleet.names[1:4], BAD, strict=True))
    killed = fleet.names[4]
    with processes(drill.place / "logs-disturbed", ENVIRONMENT) as started:
        start_all(drill, fleet, started, bad)
        drill.wait(lambda: fleet.saved_rounds == BAD_ROUND, f"round {BAD_ROUND} does not end")
        drill.say(f"round {BAD_ROUND} is done")
        kill_in_mid_round(drill, fleet, started, killed)
        started.start(killed, fleet.node_command(killed))
        drill.say(f"node {killed} was killed in round {KILLED_ROUND} and started again")
        drill.wait(lambda: fleet.saved_rounds == KILLED_ROUND, f"round {KILLED_ROUND} does not end")
        wait_for_request(drill, started, fleet.names[0])
        started.end("server", hard=True)
        drill.say(f"the server was killed in round {KILLED_ROUND + 1}, and is started again")
        started.start("server", fleet.server_command())
        drill.wait(lambda: started.running["server"].poll() is not None, "the run does not end")
        check_ended_well(drill, started)
        resumed = text_of(started.logs / "server.log").count("resuming")
        drill.check(resumed == 1, "the run went on from its checkpoint")
    print(outcomes(fleet.entries))
    became = {(entry.round + 1, entry.client): (entry.outcome, entry.reason) for entry in fleet.entries}
    for name, kind in bad.items():
        outcome, reason = became[BAD_ROUND, name]
        allowed = BAD[kind]
        drill.check(allowed.get(outcome, "\n") in reason, f"{kind} from node {name} was left out: {outcome} ({reason})")
    outcome, reason = became[KILLED_ROUND, killed]
    drill.check(outcome in (FAILED, MISSING), f"the killed node {killed} was left out: {outcome} ({reason})")
    expected = {number: list(fleet.names) for number in range(1, ROUNDS + 1)}
    expected[BAD_ROUND] = [name for name in fleet.names if name not in bad]
    expected[KILLED_ROUND].remove(killed)
    drill.check(fleet.accepted() == expected, "every other update is taken, and all are there again in the next round")
    fleet.check_equal(fleet.simulate("disturbed-simulated"))


def start_all(drill: Drill, fleet: FleetFolder, started: Processes, bad: dict[str, str] | None = None) -> None:
    """Start the server and its nodes, some of which are bad."""
    started.start("server", fleet.server_command())
    path = drill.place / "bad"
    if bad:
        path.mkdir(exist_ok=True)
        shutil.copy(Path(__file__).with_name("bad_node.py"), path / "sitecustomize.py")
    for name in fleet.names:
        spoil = []
        if kind := (bad or {}).get(name):
            spoil = ["env", f"PYTHONPATH={path}{os.pathsep}{CHECKOUT}", f"BAD_NODE={kind}", f"BAD_ROUND={BAD_ROUND}"]
        started.start(name, [*spoil, *fleet.node_command(name)])
    drill.say(f"a server and {len(fleet.names)} nodes of {fleet.path.name} are started")


def a_stranger(fleet: FleetFolder, kind: str) -> Path:
    """A node with the fleet's certificate and a client's settings, but another key or none."""
    stranger = fleet.path.with_name(kind)
    shutil.copytree(fleet.node(fleet.names[0]), stranger)
    for key in ("node.key", "node.pub"):
        (stranger / key).unlink()
    if kind == "unknown-key":
        write_node_keys(stranger)
    else:
        script = stranger / "start.sh"
        script.write_text(script.read_text().replace('--auth-supernode-private-key "$here/node.key"', ""))
    own_port(stranger)
    return stranger


def wait_for_request(drill: Drill, started: Processes, name: str) -> None:
    """Wait until a node has got one more message."""
    log = started.logs / f"{name}.log"
    before = text_of(log).count("Receiving")
    drill.wait(lambda: text_of(log).count("Receiving") > before, f"no request to {name}")


def kill_in_mid_round(drill: Drill, fleet: FleetFolder, started: Processes, name: str) -> None:
    """Kill a node when the request of the next round has come to it."""
    wait_for_request(drill, started, name)
    started.end(name, hard=True)


def check_ended_well(drill: Drill, started: Processes) -> None:
    """Check that the server ended with its run."""
    code = started.running["server"].returncode
    if code:
        print(text_of(started.logs / "server.log")[-4000:])
    drill.check(code == 0, f"the server ended with exit code {code}")


if __name__ == "__main__":
    with drilled(__doc__) as (the_drill, _):
        undisturbed(the_drill)
        disturbed(the_drill)
