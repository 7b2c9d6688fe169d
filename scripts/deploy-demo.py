"""`python scripts/deploy-demo.py …` is `splitmix deploy-demo …`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main(["deploy-demo", *sys.argv[1:]]))
