"""The additions to the documented API that this server supports; see docs/protocol.md."""

CAPABILITIES = (
    "artifacts",
    "attempts",
    "control",
    "executions",
    "expected",
    "gzip",
    "idempotency",
    "live-tests",
    "replay",
    "run-key",
    "tests",
)
