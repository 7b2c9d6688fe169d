"""`python scripts/data-prepare.py …` is `splitmix data-prepare …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["data-prepare", *sys.argv[1:]]))
