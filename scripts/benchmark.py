"""`python scripts/benchmark.py …` is `splitmix benchmark …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
