"""`python scripts/audit.py …` is `splitmix audit …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["audit", *sys.argv[1:]]))
