"""Downloads are served from this machine: only the right content is kept, from whichever address has it."""

import hashlib
import http.server
import threading
from functools import partial

import pytest

from llmhar import paths
from llmhar.data.download import download
from llmhar.data.load_report import DataError

CONTENT = b"a data set"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Address of a server that has ``good`` and ``bad`` and notes what it was asked for."""
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    served = tmp_path / "served"
    served.mkdir()
    (served / "good").write_bytes(CONTENT)
    (served / "bad").write_bytes(b"another data set")

    class Noting(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Noting, directory=str(served))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_first_address_that_has_it_gives_it_and_no_one_is_asked_again(server):
    url, asked = server
    place = download("set.zip", SHA256, [f"{url}/nothing", f"{url}/bad", f"{url}/good", f"{url}/never"])
    assert place == paths.cache() / "downloads" / "set.zip" and place.read_bytes() == CONTENT
    assert files(paths.cache()) == [place]
    n = len(asked)
    assert download("set.zip", SHA256, [f"{url}/good"]) == place and len(asked) == n
    place.write_bytes(b"damaged")
    assert download("set.zip", SHA256, [f"{url}/good"]).read_bytes() == CONTENT


def test_md5_where_a_source_states_that_alone(server):
    url, _ = server
    md5 = f"md5:{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"
    assert download("set.zip", md5, [f"{url}/bad", f"{url}/good"]).read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"\(md5 [0-9a-f]{15}…\)"):
        download("other.zip", md5, [f"{url}/bad"])


def test_another_content_is_never_kept(server, tmp_path):
    url, _ = server
    with pytest.raises(DataError, match=r"set.zip could not be fetched .*hash.*: check the network.*/bad elsewhere"):
        download("set.zip", SHA256, [f"{url}/bad"])
    target = tmp_path / "own" / "set.bin"
    with pytest.raises(DataError, match=r"/bad or http.*/nothing could not be fetched \(404.*\): ask its authors$"):
        download(target, SHA256, [f"{url}/bad", f"{url}/nothing"], "ask its authors")
    assert files(paths.cache()) == files(target.parent) == []
    assert download(target, SHA256, [f"{url}/good"]) == target
