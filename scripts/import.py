"""`python scripts/import.py …` is `splitmix import …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["import", *sys.argv[1:]]))
