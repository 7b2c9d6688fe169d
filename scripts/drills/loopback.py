"""A server and eight nodes of four budgets on the loopback, with TLS and keys: undisturbed, then with failures.

    python scripts/drills/loopback.py

takes many minutes, about 10 GB of memory and the extra `flower`. It ends with 0 if every check holds. All runs are on
minidigits and must have the bits of a simulation, in which clients that were left out are declared as absent. `--parts`
names some of the three: `undisturbed`; `disturbed`, by bad updates, a killed node and a killed server; `gigabyte`, a
smaller fleet of which one node sends a message of 1 GB.
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
# On a busy machine a round of eight nodes takes many minutes; that is not what is tried here.
LONG = "round_seconds=3600"
MESSAGE = "Receiving"
"""What the log of a node says when a message comes."""
REFUSED_BY_FLOWER = "could not establish a connection to the SuperLink"
BAD_ROUND, KILLED_ROUND, ROUNDS = 2, 3, 5
# Flower gives an answer up that takes it longer than a minute to carry; a quicker machine brings it to the server.
BAD = {
    "nan": {REFUSED: "not finite"},
    "shape": {REFUSED: "wrong shape"},
    "gigabyte": {REFUSED: "too long", FAILED: "Flower"},
}


def undisturbed(drill: Drill) -> None:
    """Two rounds and the final test, beside nodes that have no registered key."""
    fleet = FleetFolder(drill, "undisturbed", NODES, [BUDGETS, LONG, "rounds=2", "test.widths=[0.125,0.25,0.5,1]"])
    with processes(drill.place / "logs-undisturbed", ENVIRONMENT) as started:
        start_all(drill, fleet, started)
        logs = {stranger: started.logs / f"{stranger}.log" for stranger in ("unknown-key", "no-key")}
        for stranger in logs:
            started.start(stranger, ["sh", str(a_stranger(fleet, stranger) / "start.sh")])
        drill.wait(lambda: fleet.saved_rounds == 1, "the first round does not end")
        for stranger, file in logs.items():
            # The others are in, and the stranger, which knocks again and again, is not.
            wait_for_more(drill, file, REFUSED_BY_FLOWER)
            drill.check(MESSAGE not in text_of(file), f"a node with {stranger} is turned away and gets no message")
            started.end(stranger)
        drill.wait(lambda: started.running["server"].poll() is not None, "the run does not end")
        check_ended_well(drill, started)
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
    words = [BUDGETS, LONG, f"rounds={ROUNDS}", "validate_every=9", "test.widths=0.5"]
    fleet = FleetFolder(drill, "disturbed", NODES, words)
    bad = {fleet.names[1]: "nan", fleet.names[2]: "shape"}
    killed = fleet.names[4]
    with processes(drill.place / "logs-disturbed", ENVIRONMENT) as started:
        start_all(drill, fleet, started, bad)
        drill.wait(lambda: fleet.saved_rounds == BAD_ROUND, f"round {BAD_ROUND} does not end")
        drill.say(f"round {BAD_ROUND} is done")
        wait_for_more(drill, started.logs / f"{killed}.log", MESSAGE)
        started.end(killed, hard=True)
        started.start(killed, fleet.node_command(killed))
        drill.say(f"node {killed} was killed in round {KILLED_ROUND} and started again")
        drill.wait(lambda: fleet.saved_rounds == KILLED_ROUND, f"round {KILLED_ROUND} does not end")
        wait_for_more(drill, started.logs / f"{fleet.names[0]}.log", MESSAGE)
        started.end("server", hard=True)
        drill.say(f"the server was killed in round {KILLED_ROUND + 1}, and is started again")
        started.start("server", fleet.server_command())
        drill.wait(lambda: started.running["server"].poll() is not None, "the run does not end")
        check_ended_well(drill, started)
        resumed = text_of(started.logs / "server.log").count("resuming")
        drill.check(resumed == 1, "the run went on from its checkpoint")
    print(outcomes(fleet.entries))
    check_refused(drill, fleet, bad)
    outcome, reason = became(fleet, KILLED_ROUND, killed)
    drill.check(outcome in (FAILED, MISSING), f"the killed node {killed} was left out: {outcome} ({reason})")
    expected = {number: list(fleet.names) for number in range(1, ROUNDS + 1)}
    expected[BAD_ROUND] = [name for name in fleet.names if name not in bad]
    expected[KILLED_ROUND].remove(killed)
    drill.check(fleet.accepted() == expected, "every other update is taken, and all are there again in the next round")
    fleet.check_equal(fleet.simulate("disturbed-simulated"))


def gigabyte(drill: Drill) -> None:
    """Two rounds of a good node and one that answers the second with 1 GB."""
    words = ["budget.widths=8", LONG, f"rounds={BAD_ROUND}", "validate_every=9", "test.widths=0.125"]
    fleet = FleetFolder(drill, "gigabyte", 2, words)
    bad = {fleet.names[1]: "gigabyte"}
    with processes(drill.place / "logs-gigabyte", ENVIRONMENT) as started:
        start_all(drill, fleet, started, bad)
        drill.wait(lambda: started.running["server"].poll() is not None, "the run does not end")
        check_ended_well(drill, started)
    print(outcomes(fleet.entries))
    check_refused(drill, fleet, bad)
    drill.check(fleet.accepted() == {1: fleet.names, BAD_ROUND: fleet.names[:1]}, "the good node's round goes on")
    fleet.check_equal(fleet.simulate("gigabyte-simulated"))


def became(fleet: FleetFolder, number: int, name: str) -> tuple[str, str]:
    """What became of a client in a round, and why."""
    return next((e.outcome, e.reason) for e in fleet.entries if (e.round + 1, e.client) == (number, name))


def check_refused(drill: Drill, fleet: FleetFolder, bad: dict[str, str]) -> None:
    """Check that the updates of bad nodes were left out for what they are."""
    for name, kind in bad.items():
        outcome, reason = became(fleet, BAD_ROUND, name)
        holds = reason.startswith(BAD[kind].get(outcome, "\n"))
        drill.check(holds, f"{kind} from node {name} was left out: {outcome} ({reason})")


def start_all(drill: Drill, fleet: FleetFolder, started: Processes, bad: dict[str, str] | None = None) -> None:
    """Start the server and its nodes, some of which are bad."""
    started.start("server", fleet.server_command())
    fleet.wait_for_server(started.logs / "server.log")
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


def wait_for_more(drill: Drill, log: Path, text: str) -> None:
    """Wait until a log says something once more."""
    before = text_of(log).count(text)
    drill.wait(lambda: text_of(log).count(text) > before, f"{log} does not say {text}")


def check_ended_well(drill: Drill, started: Processes) -> None:
    """Check that the server ended with its run."""
    code = started.running["server"].returncode
    if code:
        print(text_of(started.logs / "server.log")[-4000:])
    drill.check(code == 0, f"the server ended with exit code {code}")


if __name__ == "__main__":
    parts = {"undisturbed": undisturbed, "disturbed": disturbed, "gigabyte": gigabyte}
    with drilled(__doc__, parts={"nargs": "+", "choices": list(parts), "default": list(parts)}) as (the_drill, given):
        for part in given.parts:
            parts[part](the_drill)
