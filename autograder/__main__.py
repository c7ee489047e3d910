"""`python -m autograder` is `lsml`."""

import sys

from autograder.cli import main

sys.exit(main())
