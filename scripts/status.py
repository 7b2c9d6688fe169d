"""`python scripts/status.py …` is `splitmix status …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["status", *sys.argv[1:]]))
