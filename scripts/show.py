"""`python scripts/show.py …` is `splitmix show …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["show", *sys.argv[1:]]))
