"""The API: one module per resource. Handlers decode, call the store, and answer."""
