"""Use cases: one function and one transaction each, called by the API, the pages and the jobs."""
