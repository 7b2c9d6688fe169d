"""`python scripts/explore.py …` is `splitmix explore …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["explore", *sys.argv[1:]]))
