"""The HTTP API: handlers decode a request, call a service and encode its result."""
