"""`python -m pytest_qllm.cli`."""

import sys

from pytest_qllm.cli import main

sys.exit(main())
