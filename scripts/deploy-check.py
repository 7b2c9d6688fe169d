"""`python scripts/deploy-check.py …` is `splitmix deploy-check …`."""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose profile.py would hide Python's own
    from splitmix.commands import main

    sys.exit(main(["deploy-check", *sys.argv[1:]]))
