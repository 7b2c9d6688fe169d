"""`python scripts/test.py …` is `splitmix test …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["test", *sys.argv[1:]]))
