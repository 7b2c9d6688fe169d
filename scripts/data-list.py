"""`python scripts/data-list.py …` is `splitmix data-list …`."""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose profile.py would hide Python's own
    from splitmix.commands import main

    sys.exit(main(["data-list", *sys.argv[1:]]))
