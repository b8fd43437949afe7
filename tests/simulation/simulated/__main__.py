"""`make simulate`: lives of many seeds, judged; each that breaks a promise is cut down to a short script."""

import sys

from simulated.campaign import main

if __name__ == "__main__":
    sys.exit(main())
