"""The additions to the documented API that this server supports; see docs/protocol.md."""

CAPABILITIES = (
    "artifacts",
    "attempts",
    "cases",
    "claims",
    "control",
    "executions",
    "expected",
    "gzip",
    "history",
    "idempotency",
    "known-tests",
    "live-tests",
    "quarantine",
    "replay",
    "rerun",
    "run-key",
    "tests",
    "timings",
)
ID_TOKENS = "id-tokens"
"""Announced only if the operator trusts issuers of ID tokens."""
