"""Programs that developers run: `make` names them."""
