"""What is stored of a run, compared test by test with what pytest's own reporters say of it."""

import pytest

pytest.register_assert_rewrite("tests.truth.harness")
