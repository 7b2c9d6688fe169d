"""`python scripts/list.py …` is `splitmix list …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["list", *sys.argv[1:]]))
