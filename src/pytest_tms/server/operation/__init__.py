"""What operators observe of a running server: health, metrics, logs and traces; and its ordered shutdown."""
