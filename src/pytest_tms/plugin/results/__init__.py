"""From pytest's reports to the results of tests."""
