"""`python -m pgdyn.cli`: the program `pgdyn` where its script is not installed."""

import sys

from pgdyn.cli import main

sys.exit(main())
