"""Taking in archives that may be broken or hostile."""

import io
import os
import shutil
import stat
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhar.data import archives, fetch, registry
from llmhar.data.registry import DataError, load

MURAL = Path(__file__).parents[1] / "fixtures" / "mural"
MARBLE = Path(__file__).parents[1] / "fixtures" / "marble"


@pytest.fixture(autouse=True)
def data(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


@pytest.fixture
def archive(tmp_path):
    """The MuRAL fixture as .zip or .tar.gz, with further entries."""

    def make(kind="zip", extra=()):
        path = tmp_path / f"MuRAL.{kind}"
        files = [(f"MuRAL/{p.relative_to(MURAL).as_posix()}", p.read_bytes()) for p in MURAL.rglob("*") if p.is_file()]
        if kind == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
                for name, content in [*files, *extra]:
                    out.writestr(name, content)
        else:
            with tarfile.open(path, "w:gz") as out:
                for name, content in files:
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    out.addfile(info, io.BytesIO(content))
                for info in extra:
                    out.addfile(info)
        return path

    return make


def _left(data):
    return sorted(p.name for p in data.iterdir()) if data.exists() else []


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_taken_in(archive, data, kind):
    assert fetch.add("mural", archive(kind)) == data / "mural"
    assert load("mural").sessions == load("mural", MURAL).sessions
    assert _left(data) == ["mural"]
    assert archive(kind).exists()


def test_a_folder_is_taken_in(data):
    fetch.add("marble", MARBLE)
    assert load("marble").sessions == load("marble", MARBLE).sessions
    assert _left(data) == ["marble"]


def test_what_is_there_is_not_overwritten_unless_asked(archive, data):
    fetch.add("mural", MURAL)
    (data / "mural" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match=r"MuRAL is already at .*--replace"):
        fetch.add("mural", archive())
    assert (data / "mural" / "mine.txt").exists()
    fetch.add("mural", archive(), replace=True)
    assert not (data / "mural" / "mine.txt").exists()
    assert _left(data) == ["mural"]


def test_what_does_not_load_leaves_the_old_one(archive, data, tmp_path):
    fetch.add("mural", MURAL)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as out:
        out.writestr("readme.txt", "not MuRAL")
    with pytest.raises(DataError, match=r"other.zip was not added as mural: activities.json is missing in .*other.zip"):
        fetch.add("mural", tmp_path / "other.zip", replace=True)
    assert len(load("mural").sessions) == 3
    assert _left(data) == ["mural"]


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "MuRAL/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "\\evil.txt", "C:/evil.txt", "C:\\evil"],
)
def test_zip_slip(archive, data, tmp_path, name):
    with pytest.raises(DataError, match="would lie outside the data set's folder"):
        fetch.add("mural", archive(extra=[(name, b"x")]))
    assert _left(data) == []
    assert not list(tmp_path.rglob("evil*")) and not Path("/tmp/evil.txt").exists()


def test_tar_slip(archive, data):
    with pytest.raises(DataError, match="would lie outside"):
        fetch.add("mural", archive("tar.gz", extra=[tarfile.TarInfo("../evil.txt")]))
    assert _left(data) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar(archive, data, kind):
    link = tarfile.TarInfo("MuRAL/link")
    link.type, link.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match="'MuRAL/link' is a link or a device"):
        fetch.add("mural", archive("tar.gz", extra=[link]))
    assert _left(data) == []


def test_links_in_a_zip_and_in_a_folder(archive, data, tmp_path):
    link = zipfile.ZipInfo("MuRAL/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match="'MuRAL/link' is a link or a device"):
        fetch.add("mural", archive(extra=[(link, "/etc/passwd")]))
    shutil.copytree(MURAL, tmp_path / "folder")
    os.symlink("/etc/passwd", tmp_path / "folder" / "link")
    with pytest.raises(DataError, match="'link' is a link or a device"):
        fetch.add("mural", tmp_path / "folder")
    assert _left(data) == []


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_caps(archive, data, kind, monkeypatch):
    path = archive(kind)
    monkeypatch.setattr(archives, "MAX_FILES", 5)
    with pytest.raises(DataError, match="holds more than 5 files"):
        fetch.add("mural", path)
    monkeypatch.undo()
    monkeypatch.setenv("LLMHAR_DATA", str(data))
    monkeypatch.setattr(archives, "MAX_UNPACKED", 1000)
    with pytest.raises(DataError, match="holds more than 1,000 bytes"):
        fetch.add("mural", path)
    assert _left(data) == []


def test_a_bomb_stops_at_the_cap(archive, data, monkeypatch):
    path = archive(extra=[("MuRAL/bomb", bytes(50_000_000))])
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(archives, "MAX_UNPACKED", 5_000_000)
    with pytest.raises(DataError, match="holds more than 5,000,000 bytes"):
        fetch.add("mural", path)
    assert _left(data) == []


def test_a_tar_header_as_a_bomb(data, tmp_path, monkeypatch):
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 50_000_000
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as out:
        out.addfile(header, io.BytesIO(b"a" * 50_000_000))
    with pytest.raises(DataError, match="a header of 50,000,000 bytes"):
        fetch.add("mural", tmp_path / "bomb.tar.gz")


def packed(path, *, name="inner.zip", depth=1):
    """An archive with the archive ``path`` inside, so many times."""
    for i in range(depth):
        outer = path.with_name(f"outer-{i}-{name}.zip")
        with zipfile.ZipFile(outer, "w") as out:
            out.writestr("readme.txt", "see inside")
            out.writestr(f"__MACOSX/download/._{name}", b"\x00\x05\x16\x07")
            out.write(path, f"download/{name if i == 0 else path.name}")
        path = outer
    return path


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_inside_an_archive_is_opened(archive, data, kind):
    fetch.add("mural", packed(archive(kind), name=f"MuRAL.{kind}", depth=2))
    loaded = load("mural")
    assert loaded.sessions == load("mural", MURAL).sessions and _left(data) == ["mural"]
    assert loaded.report.mended[0].file.endswith(f"/download/MuRAL.{kind}/MuRAL/01/data.csv")


def test_an_archive_beside_the_data_stays_closed(archive, data, tmp_path):
    (tmp_path / "broken.zip").write_text("no zip")
    fetch.add("mural", archive(extra=[("MuRAL/photos.zip", b"no zip either")]))
    assert (data / "mural" / "MuRAL" / "photos.zip").read_bytes() == b"no zip either"


def test_archives_inside_archives_share_the_caps(archive, data, monkeypatch):
    bomb = archive(extra=[("MuRAL/bomb", bytes(3_000_000))])
    monkeypatch.setattr(archives, "MAX_UNPACKED", 2_000_000)
    with pytest.raises(DataError, match=r"outer.*zip was not added .*inner.zip holds more than 2,000,000 bytes"):
        fetch.add("mural", packed(bomb))
    monkeypatch.setattr(archives, "MAX_FILES", 8)  # the archive alone has 9
    with pytest.raises(DataError, match=r"inner.zip holds more than 8 files"):
        fetch.add("mural", packed(archive()))
    monkeypatch.setattr(archives, "MAX_FILES", 20_000)
    with pytest.raises(DataError, match=r"activities.json is missing in .*whatever archives in it are opened"):
        fetch.add("mural", packed(archive(), depth=archives.MAX_NESTED + 1))
    assert _left(data) == []


def test_a_broken_archive_inside_is_named(data, tmp_path):
    (tmp_path / "broken.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"outer-0-inner.zip.zip/download/inner.zip is no folder, .zip or .tar.gz"):
        fetch.add("mural", packed(tmp_path / "broken.zip"))
    assert _left(data) == []


def test_adding_never_advises_to_add(data, tmp_path):
    for name in ("mural", "marble", "uci_adl", "simulated"):
        with pytest.raises(DataError, match=r"is missing in .*: give the archive or the whole folder of") as caught:
            fetch.add(name, MARBLE.parent / "recorded")
        assert "data add" not in str(caught.value)


def test_outer_folders_are_found(data, tmp_path):
    shutil.copytree(MURAL, tmp_path / "downloads" / "MuRAL-main" / "dataset" / "MuRAL")
    fetch.add("mural", tmp_path / "downloads")
    assert load("mural").sessions == load("mural", MURAL).sessions


def test_a_name_twice_is_refused(archive, data):
    with pytest.warns(UserWarning), pytest.raises(DataError, match="File exists"):
        fetch.add("mural", archive(extra=[("MuRAL/activities.json", b"[]")]))
    assert _left(data) == []


def test_the_release_of_2025_is_fetched_by_size_and_md5(data, tmp_path, monkeypatch):
    """With a small archive in its place: nobody has fetched the real one from here."""
    place, asked = tmp_path / "labeled_data.zip", []
    with zipfile.ZipFile(place, "w") as out:
        out.writestr("labeled_data/hh106.csv", '2011-06-15,01:03:39.14962,Bedroom,ON,Sleep="begin"\n' * 2000)
        out.writestr("labeled_data/README", "no data\n")
    monkeypatch.setattr(fetch, "download", lambda *given: asked.append(given) or place)
    with pytest.raises(DataError, match=r"labeled_data.zip has [\d,]+ bytes, not 236,037,656 as its source states"):
        fetch.fetch("casas2025")
    entry = registry.DATASETS["casas2025"]
    assert asked[0][:2] == ("casas2025.zip", "md5:ec37d679e85a6ae39e84994888afd514") and _left(data) == []
    assert asked[0][2] == [entry.archive.url] and "llmhar data add casas2025 FILE" in asked[0][3]
    small = replace(entry, archive=replace(entry.archive, n_bytes=place.stat().st_size))
    monkeypatch.setitem(registry.DATASETS, "casas2025", small)
    with monkeypatch.context() as patched:
        patched.setattr("llmhar.data.casas_rows.FileRows.read", None)  # its beginning is looked at, no more
        assert fetch.fetch("casas2025") == data / "casas2025"
    (session,) = load("casas2025").sessions
    assert (session.dataset, session.home, len(session.events)) == ("casas2025", "hh106", 2000)
    assert "run `llmhar data fetch casas2025` (236 MB)" in entry.cure


def test_no_archive_at_all(data, tmp_path):
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"x.zip is no folder, .zip or .tar.gz that can be unpacked"):
        fetch.add("mural", tmp_path / "x.zip")
    with pytest.raises(DataError, match=r"nothing.zip is not there: give a folder"):
        fetch.add("mural", tmp_path / "nothing.zip")
    with pytest.raises(DataError, match="no data set 'nowhere'"):
        fetch.add("nowhere", tmp_path)
    assert _left(data) == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["zip", "tar.gz"]), st.floats(0, 1), st.binary(min_size=1, max_size=4), st.booleans())
def test_a_damaged_archive_gives_a_data_error_or_loads(archive, data, kind, where, patch, cut):
    path = archive(kind)
    content = bytearray(path.read_bytes())
    at = int(where * (len(content) - 1))
    content[at : at + len(patch)] = patch
    path.write_bytes(content[:at] if cut else content)
    try:
        fetch.add("mural", path, replace=True)
    except DataError as error:
        assert "\n" not in str(error)
    assert set(_left(data)) <= {"mural"}


def test_data_folder_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(DataError, match="cannot be written"):
        fetch.add("mural", MURAL)


@pytest.mark.parametrize("name", ["mural", "marble", "uci_adl"])
def test_fetch_says_how_to_get_it_by_hand(name):
    with pytest.raises(
        DataError, match=f"no address with a known sha256: get it by hand .*llmhar data add {name} FILE"
    ):
        fetch.fetch(name)


def test_fetch_leaves_what_is_there(data):
    fetch.add("mural", MURAL)
    assert fetch.fetch("mural") == data / "mural"


def test_fetch_writes_the_simulated_home(data):
    pytest.importorskip("llmhar.data.simulated", reason="the simulated home is not there yet")
    assert fetch.fetch("simulated") == data / "simulated"
    assert len(load("simulated").sessions) == 21


def test_listing(data):
    fetch.add("mural", MURAL)
    rows = fetch.listing()
    assert [(row["name"], row["kind"], row["present"]) for row in rows] == [
        ("mural", "real", True),
        ("marble", "real", False),
        ("uci_adl", "real", False),
        ("casas", "real", False),
        ("casas2025", "real", False),
        ("kasteren", "real", False),
        ("simulated", "simulated", False),
        ("simulated_long", "simulated", False),
        ("simulated_other", "simulated", False),
        ("simulated_final", "simulated", False),
        ("simulated_homes", "simulated", False),
        ("validation_homes", "simulated", False),
        ("odd_homes", "simulated", False),
    ]
    assert rows[0]["path"] == str(data / "mural")
    assert all(set(row) == {"name", "title", "kind", "licence", "source", "path", "present"} for row in rows)
