"""`python scripts/benchmark.py …` is `splitmix benchmark …`."""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose profile.py would hide Python's own
    from splitmix.commands import main

    sys.exit(main(["benchmark", *sys.argv[1:]]))
