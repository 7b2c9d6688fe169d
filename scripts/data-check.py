"""`python scripts/data-check.py …` is `splitmix data-check …`."""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose profile.py would hide Python's own
    from splitmix.commands import main

    sys.exit(main(["data-check", *sys.argv[1:]]))
