"""The page of API tokens."""

from __future__ import annotations

import json
from uuid import uuid4

from tests.helpers.api import Api
from tests.helpers.processes import run_tms
from tests.integration.server.test_authentication import Visit
from tests.integration.server.test_pages import page


def test_a_token_is_listed_without_its_text_and_revoked(sqlite_api: Api) -> None:
    api, name = sqlite_api, uuid4().hex[:10]
    options = ("--name", name, "--scope", "executions:read", "--data-dir", str(api.data_dir))
    made = json.loads(run_tms("token", "create", "--json", *options).stdout)
    token_id = made["id"]
    listed = f"/tokens?after={token_id[:-1]}"  # begins at the token, however many other tests have created
    words = " ".join(page(api, listed).words.split())
    assert name in words
    assert made["token"] not in words
    visit = Visit(api.root)
    assert visit.see(listed).text.count(f"/tokens/{token_id}/revoke") == 1
    assert visit.send(f"/tokens/{token_id}/revoke").headers["Location"] == "/tokens"
    assert api.request("GET", "/executions", token=made["token"]).status_code == 401
    after = visit.see(listed).text
    assert name in after
    assert f"/tokens/{token_id}/revoke" not in after
    assert visit.send("/tokens/tok_nope/revoke").status_code == 404
