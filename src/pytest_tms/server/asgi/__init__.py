"""HTTP around the application: connections, request ids, decompression, body limits, ETags, compression."""
