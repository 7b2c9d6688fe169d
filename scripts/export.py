"""`python scripts/export.py …` is `splitmix export …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
