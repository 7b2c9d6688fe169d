"""The command `splitmix <verb> key=value …`: finds the verb and runs it."""

from __future__ import annotations

import errno
import sys
from importlib import import_module

import splitmix
from splitmix.binding import nearest
from splitmix.commands.interrupts import one_interrupt
from splitmix.commands.layout import entry
from splitmix.commands.streams import complain, failure_of_output, open_streams
from splitmix.errors import UserError
from splitmix.printing import excerpt

VERBS = {
    "train": "train a federation, then test it at every width",
    "test": "test customised models of a finished run, without retraining",
    "data-list": "the datasets, and whether their files are there",
    "data-prepare": "fetch a dataset, or unpack its archives",
    "data-check": "read all of a dataset: what is there, what is wrong",
    "data-show": "draw samples of a dataset and its clients",
    "report": "tables and figures over many runs",
    "show": "one run: status, config, results, files",
    "export": "hand a run over: a bundle of all widths, or one model in a runtime's own file",
    "explore": "a run on a local page with two dials, width and robustness",
    "profile": "MACs, parameters, bytes per round and latency by width",
    "audit": "what a client's upload gives away of its images",
    "import": "turn a checkpoint of the authors' code into a run folder",
    "deploy-demo": "the federation on real nodes: Flower's processes on this machine",
    "probe": "time and weigh training on this device: device.json with the budget that fits",
    "plan": "from probed devices to a fleet: budgets, time and bytes per round",
    "deploy-init": "the folder of a fleet: app, keys, start scripts, services",
    "deploy-check": "a node or the server of a fleet: what is well, and what to mend",
    "status": "a deployment: its clients by round, seen, refused and why",
    "benchmark": "time fixed workloads on this machine",
    "list": "print what there is to choose: datasets, algorithms, models, …",
}

MODULES = {"import": "import_"}  # where a verb is a word of Python's


def main(argv: list[str] | None = None) -> int:
    """Run a verb.

    Returns:
        The exit code: 2 for a mistake of the user's, 130 after Ctrl-C, 141 where the reader of our output, such as
        `head`, has had enough.
    """
    open_streams()
    try:
        if argv is not None:
            return ended(run(argv))
        with one_interrupt():
            return ended(run(sys.argv[1:]))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        failure = failure_of_output(error)
        if failure is None:
            raise
        if failure.errno == errno.EPIPE:
            return 141
        complain(f"splitmix: standard output cannot be written ({failure.strerror}); lead it elsewhere")
        return 2


def ended(code: int) -> int:
    """The exit code, after all output is written (OSError: it cannot be)."""
    sys.stdout.flush()
    return code


def run(arguments: list[str]) -> int:
    """`main` with these arguments."""
    if "--version" in arguments:
        print(f"splitmix {splitmix.__version__}")
        return 0
    if arguments[:1] == ["--completion"]:
        return complete(arguments[1:])
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print("Split-Mix federated learning\n\nusage: splitmix <verb> [flag …] key=value …\n")
        print("\n".join(entry(f"  {verb}", what, 16) for verb, what in VERBS.items()))
        print("\nsplitmix <verb> --help explains its keys and groups; splitmix --version: which it is.")
        print("splitmix --completion bash|zsh|fish: a script that lets your shell complete verbs, keys and options.")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        complain(f"splitmix: unknown verb {excerpt(verb)}{nearest(verb, VERBS)}; verbs: {', '.join(VERBS)}")
        return 2
    module = MODULES.get(verb, verb.replace("-", "_"))
    code: int = import_module(f"splitmix.commands.{module}").main(rest)
    return code


def complete(shells: list[str]) -> int:
    """Print the completion script of a shell."""
    from splitmix.commands.completion import completion

    try:
        print(completion(" ".join(shells), VERBS), end="")
    except UserError as error:
        complain(f"splitmix: {error}")
        return 2
    return 0
