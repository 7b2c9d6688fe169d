"""`python -m splitmix` is `splitmix`."""

import sys

from splitmix.commands import main

if __name__ == "__main__":
    sys.exit(main())
