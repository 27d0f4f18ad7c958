"""What a run stores, compared test by test with the results of pytest's own reporters."""
