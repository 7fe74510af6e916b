"""`python -m pytest_qllm.cli`."""

import sys

from pytest_qllm.cli import main

if __name__ == "__main__":
    sys.exit(main())
