"""`python scripts/train.py …` is `splitmix train …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
