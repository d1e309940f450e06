"""Manifests: good rows become clips, each bad one is refused with its line and reason; and sets of clips by name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from llmhar import paths
from llmhar.data.load_report import DataError, WrongCall
from llmhar.fusion.clips.clip import CHANNELS, check_folds
from llmhar.fusion.clips.manifest import EGO4D_LABELS, load_manifest
from llmhar.fusion.clips.registry import CLIPSETS, add_clips, fetch_clips, load_clipset


@pytest.fixture
def folder(tmp_path):
    """Three recordings of 30 s with sound and motion, one of them with motion alone."""
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-0.1, 0.1, 30 * 8000), 8000)
    (tmp_path / "imu").mkdir()
    for name in ("one", "two", "three"):
        frame = pd.DataFrame({"t": np.arange(1501) / 50, **{channel: 0.0 for channel in CHANNELS}}).assign(acc_z=1.0)
        frame.to_csv(tmp_path / "imu" / f"{name}.csv", index=False)
    return tmp_path


HEADER = "clip_id,audio,imu,start,end,label,person,recording,context:heart rate zone"
GOOD = [
    "a,one.wav,imu/one.csv,0,20,cooking,p1,r1,light",
    "b,one.wav,,10,30,eating,p1,r1,",
    "c,two.wav,imu/two.csv,5,25,cooking,p2,r2,vigorous",
    "d,,imu/three.csv,0,10.5,reading a book,p3,,",
]


def write(folder, *rows, name="manifest.csv", header=HEADER):
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / name


def test_rows_become_clips(folder):
    clips = load_manifest(write(folder, *GOOD))
    assert not clips.refused and not clips.mended and clips.kind == "real"
    assert clips.labels == ("cooking", "eating", "reading a book")  # in the order of S2's twelve
    a, b, c, d = clips.clips
    assert (a.audio_s, a.motion_s, a.context) == (20, 20, {"heart rate zone": "light"})
    assert (b.audio_s, b.motion_s, b.read_motion, b.context) == (20, None, None, {})
    assert (d.audio_s, d.motion_s, d.read_audio) == (None, 10.5, None)
    assert a.sources == {"person:p1", "recording:r1", "file:one.wav", "file:imu/one.csv"} and a.cluster == "person:p1"
    whole = soundfile.read(folder / "two.wav", dtype="float32")[0]
    np.testing.assert_array_equal(c.read_audio().samples, whole[5 * 8000 : 25 * 8000])
    assert c.read_motion().samples.shape == (1000, 6) and len(a.steps) == 9 and len(d.steps) == 4
    assert c.audio_sha256 == c.read_audio().sha256 and d.motion_sha256 == d.read_motion().sha256
    assert a.fold == b.fold and clips.n_folds == 3
    check_folds(clips.clips)


def test_parquet_says_the_same(folder):
    file = write(folder, *GOOD)
    expected = load_manifest(file)
    pd.read_csv(file).to_parquet(folder / "manifest.parquet")
    found = load_manifest(folder)  # Parquet comes first where both are there
    assert found.title == "Clips of manifest.parquet"
    for ours, theirs in zip(found.clips, expected.clips, strict=True):
        for name in (
            "clip_id",
            "label",
            "sources",
            "cluster",
            "audio_s",
            "motion_s",
            "context",
            "fold",
            "audio_sha256",
        ):
            assert getattr(ours, name) == getattr(theirs, name), name


BAD = {
    ",one.wav,,0,20,cooking,,,": "no clip_id",
    "x,one.wav,,0,20,,,,": "no label",
    "x,,,0,20,cooking,,,": "neither audio nor imu",
    "x,one.wav,,zero,20,cooking,,,": "start 'zero' is no number",
    "x,one.wav,,0,nan,cooking,,,": "end 'nan' is no number",
    "x,one.wav,,20,20,cooking,,,": "lasts from 20 to 20",
    "x,one.wav,,-1,20,cooking,,,": "lasts from -1 to 20",
    "x,one.wav,,0,7200,cooking,,,": "at most 600 s",
    "x,one.wav,,15,35,cooking,,,": "lasts 30.00 s",
    "x,imu/one.csv,,0,20,cooking,,,": "cannot be read as sound",
    "x,,one.wav,0,20,cooking,,,": "NUL byte|no column|not UTF-8",
    "x,absent.wav,,0,20,cooking,,,": "'absent.wav' is not in the manifest's folder",
    "x,../one.wav,,0,20,cooking,,,": "stay in it",
    "x,imu/../../one.wav,,0,20,cooking,,,": "stay in it",
    "x,/etc/passwd,,0,20,cooking,,,": "stay in it",
    r"x,..\one.wav,,0,20,cooking,,,": "stay in it",
    r"x,C:\one.wav,,0,20,cooking,,,": "stay in it",
    "x,imu,,0,20,cooking,,,": "is not in the manifest's folder",
    "a,two.wav,,0,20,cooking,,,": "'a' was there before",
    "x,one.wav,,0,20": "too few columns",
}


@pytest.mark.parametrize("row", BAD)
def test_a_bad_row_is_refused_by_line_and_the_others_stay(folder, row):
    clips = load_manifest(write(folder, *GOOD[:2], row, *GOOD[2:]))
    assert [clip.clip_id for clip in clips.clips] == list("abcd")
    (note,) = clips.refused
    assert note.file == "manifest.csv" and note.line == 4
    assert re.search(BAD[row], note.reason), note.reason


def test_what_was_mended_is_reported(folder):
    samples = np.zeros(8000 * 5, np.float32)
    samples[7] = np.nan
    soundfile.write(folder / "nan.wav", samples, 8000, subtype="FLOAT")
    clips = load_manifest(write(folder, "n,nan.wav,,0,5,cooking,,,"))
    assert [(note.file, note.reason[:8]) for note in clips.mended] == [("nan.wav", "n: 1 of ")]
    assert clips.n_folds == 1 and clips.clips[0].cluster == "file:nan.wav"


def test_labels_that_differ_by_case_or_blanks_are_one(folder):
    rows = ["Cooking", "cooking", " cooking", "Tai  Chi", "tai chi", "Cooking"]
    written = write(folder, *[f"{i},one.wav,,{i},{i + 4},{label},,," for i, label in enumerate(rows)])
    clips = load_manifest(written)
    assert clips.labels == ("cooking", "Tai Chi")
    assert [clip.label for clip in clips.clips] == ["cooking"] * 3 + ["Tai Chi"] * 2 + ["cooking"]
    assert [tuple(note) for note in clips.mended] == [
        ("manifest.csv", 2, "label 'Cooking' is read as 'cooking', 2 times"),
        ("manifest.csv", 4, "label ' cooking' is read as 'cooking', 1 times"),
        ("manifest.csv", 5, "label 'Tai  Chi' is read as 'Tai Chi', 1 times"),
        ("manifest.csv", 6, "label 'tai chi' is read as 'Tai Chi', 1 times"),
    ]


def test_bytes_in_columns_that_nobody_reads_refuse_nothing(folder):
    file = write(folder, *GOOD)
    lines = [line.encode() + b",caf\xe9" for line in file.read_text().splitlines()]
    file.write_bytes(b"\n".join(lines) + b"\n")
    assert load_manifest(file).labels == ("cooking", "eating", "reading a book")
    file.write_text(file.read_text(encoding="latin-1").replace(",", ";"))
    with pytest.raises(DataError, match=r"manifest.csv, line 1: parted by ';', not by commas"):
        load_manifest(file)


def test_unchecked_recordings_are_read_when_asked_for(folder):
    clips = load_manifest(write(folder, *GOOD, "x,imu/one.csv,,0,20,cooking,,,"), check=False)
    assert len(clips.clips) == 5 and not clips.clips[0].audio_sha256
    with pytest.raises(DataError, match="cannot be read as sound"):
        clips.clips[4].read_audio()


def test_clips_of_one_file_are_never_parted(folder):
    rows = [f"{i},one.wav,,{i},{i + 4},cooking,p{i},," for i in range(10)] + ["z,two.wav,,0,4,cooking,p99,,"]
    clips = load_manifest(write(folder, *rows))
    assert clips.n_folds == 2 and len({clip.fold for clip in clips.clips[:10]}) == 1
    check_folds(clips.clips)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no column clip_id"),
        ("clip_id,start,end,label\n", "no column audio or imu"),
        ("clip_id,audio,start,end\nx,one.wav,0,4\n", "no column label"),
        (HEADER + "\n", "no usable clip"),
        (
            HEADER + "\nx,absent.wav,,0,20,cooking,,,\n",
            "no usable clip; first: manifest.csv, line 2: audio 'absent.wav'",
        ),
    ],
)
def test_a_manifest_without_clips_is_an_error(folder, content, said):
    (folder / "manifest.csv").write_text(content)
    with pytest.raises(DataError, match=rf"manifest.csv.*{said}"):
        load_manifest(folder)


def test_no_manifest(tmp_path):
    with pytest.raises(DataError, match=r"holds no manifest.csv"):
        load_manifest(tmp_path)
    with pytest.raises(DataError, match="is not there"):
        load_manifest(tmp_path / "m.csv")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"m\.parquet cannot be read"):
        load_manifest(tmp_path / "m.parquet")


def test_s2_has_twelve_activities():
    assert len(EGO4D_LABELS) == len(set(EGO4D_LABELS)) == 12


def test_clip_sets_by_name(folder, monkeypatch):
    assert set(CLIPSETS) == {"scenes", "scenes-recorded", "manifest", "pamap2", "usc_had", "hapt"}
    assert all(entry.licence.endswith(".") and entry.source.endswith(".") for entry in CLIPSETS.values())
    assert load_clipset("manifest", write(folder, *GOOD), {"check": False}).name == "manifest"
    monkeypatch.setenv("LLMHAR_DATA", str(folder))
    for name in ("pamap2", "usc_had", "manifest"):
        with pytest.raises(
            DataError, match=rf"{folder / name}: get it .*llmhar data add {name} FILE`, or give its path"
        ):
            load_clipset(name)


def test_clips_are_taken_in_as_data_sets_are(folder, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path_factory.mktemp("data")))
    write(folder, *GOOD)
    expected = load_clipset("manifest", folder)
    outer = tmp_path_factory.mktemp("zipped")
    shutil.make_archive(str(outer / "inner"), "zip", folder.parent, folder.name)
    shutil.make_archive(str(outer.with_suffix("")) + "-outer", "zip", outer)
    place = add_clips("manifest", Path(str(outer.with_suffix("")) + "-outer.zip"))
    loaded = load_clipset("manifest")
    assert place == paths.data() / "manifest" and [c.clip_id for c in loaded.clips] == [
        c.clip_id for c in expected.clips
    ]
    assert loaded.clips[0].audio_sha256 == expected.clips[0].audio_sha256
    report = loaded.to_json()
    assert (report["clips"], report["audio_s"], report["motion_s"]) == (4, 60.0, 50.5)
    assert report["labels"] == {"cooking": 2, "eating": 1, "reading a book": 1}
    with pytest.raises(DataError, match=r"is already at .*--replace"):
        add_clips("manifest", folder)
    with pytest.raises(DataError, match="is a manifest: give the folder that holds it"):
        add_clips("manifest", folder / "manifest.csv", replace=True)
    for name in ("pamap2", "usc_had"):
        with pytest.raises(DataError, match=r"was not added as .*give the archive or the whole folder of") as caught:
            add_clips(name, folder)
        assert "data add" not in str(caught.value)
        with pytest.raises(DataError, match=f"cannot be downloaded by llmhar: get it .*data add {name} FILE"):
            fetch_clips(name)
    with pytest.raises(WrongCall, match="come by themselves"):
        add_clips("hapt", folder)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("nothing", {}), "choose one of scenes, scenes-recorded, manifest, pamap2, usc_had, hapt"),
        (("scenes", {"sead": 1}), "it has: seed, limit"),
        (("hapt", {"seed": 1}), "it has: none"),
        (("scenes", {"limit": "ten"}), "must be int"),
        (("manifest", {"check": 1}), "must be bool"),
    ],
)
def test_wrong_names_and_options_list_what_there_is(call, said):
    with pytest.raises(DataError, match=said):
        load_clipset(call[0], options=call[1])
