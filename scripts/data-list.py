"""`python scripts/data-list.py …` is `splitmix data-list …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["data-list", *sys.argv[1:]]))
