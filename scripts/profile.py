"""`python scripts/profile.py …` is `splitmix profile …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["profile", *sys.argv[1:]]))
