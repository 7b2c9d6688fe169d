"""`python scripts/data-show.py …` is `splitmix data-show …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["data-show", *sys.argv[1:]]))
