"""`python scripts/data-check.py …` is `splitmix data-check …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["data-check", *sys.argv[1:]]))
