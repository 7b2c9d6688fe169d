"""`python scripts/report.py …` is `splitmix report …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
