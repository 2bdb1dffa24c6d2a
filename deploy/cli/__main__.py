"""`python -m roughfed.deploy.cli`."""

import sys

from roughfed.deploy.cli import main

if __name__ == "__main__":
    sys.exit(main())
