"""Composed scenes: what they are made of (no data needed), then the clips themselves on the real recordings."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from llmhar import paths
from llmhar.data.load_report import DataError
from llmhar.fusion.clips import sounds
from llmhar.fusion.clips.clip import check_folds
from llmhar.fusion.clips.hapt import NAMES, load_hapt
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.clips.scenes import (
    ENCODER_PERSONS,
    N_FOLDS,
    SCENE_PERSONS,
    SCENES,
    compose_scenes,
    plans,
    read_scene_index,
)
from tests.timing import quiet_seconds
from tests.tools.record_fusion import write_scene_index


def test_people_of_scenes_train_no_encoder():
    assert not set(SCENE_PERSONS) & set(ENCODER_PERSONS)
    assert set(SCENE_PERSONS) | set(ENCODER_PERSONS) == set(range(1, 31))
    assert {plan.person for plan in plans()} == set(SCENE_PERSONS)


def test_the_table_of_activities():
    every = [sound for scene in SCENES for sound in scene.sounds]
    assert len(every) == len(set(every))  # a recording makes one activity
    for scene in SCENES:
        assert len(scene.sounds) >= N_FOLDS
        assert set(scene.motions) <= set(NAMES[:6]) and scene.against in NAMES[:6]
        assert scene.against not in scene.motions
    assert len({scene.label for scene in SCENES}) == len(SCENES) >= 8


def test_no_recording_and_no_person_is_in_two_folds():
    folds: dict[object, set[int]] = {}
    for plan in plans():
        for source in (plan.sound, plan.person):
            folds.setdefault(source, set()).add(plan.number % N_FOLDS)
    assert all(len(own) == 1 for own in folds.values())


def test_every_fold_has_every_activity_and_its_share_of_conflicts():
    drawn = plans()
    assert 96 <= len(drawn) <= 144 and len({plan.clip_id for plan in drawn}) == len(drawn)
    assert 0.07 < np.mean([plan.conflict for plan in drawn]) < 0.13
    for fold in range(N_FOLDS):
        own = [plan for plan in drawn if plan.number % N_FOLDS == fold]
        assert {plan.scene for plan in own if not plan.conflict} == set(range(len(SCENES)))
        assert sum(plan.conflict for plan in own) == 4
    used = {plan.sound for plan in drawn}
    assert len(used) > 0.9 * sum(len(scene.sounds) for scene in SCENES)


def test_conflict_clips_contradict_and_others_do_not():
    for plan in plans():
        scene = SCENES[plan.scene]
        assert plan.sound in scene.sounds
        assert (plan.motion == scene.against) if plan.conflict else (plan.motion in scene.motions)


def test_a_debian_package_is_unpacked_without_debian(tmp_path):
    """An ar archive of our own with an odd-sized member before the data."""
    import io
    import tarfile

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for name in ("./usr/share/x/Effects/a.wav", "./usr/share/x/Effects/notes.txt", "./usr/share/y/Effects/b.wav",
                     "./usr/share/x/../../../evil.wav", "./usr/share/x/Other/c.wav"):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"sound"))
        link = tarfile.TarInfo("./usr/share/x/Effects/link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)

    def member(name, content):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        return header + content + b"\n" * (len(content) % 2)

    deb = tmp_path / "x.deb"
    deb.write_bytes(b"!<arch>\n" + member("debian-binary", b"2.0\n") + member("control.tar.xz", b"odd")
                    + member("data.tar.xz", packed.getvalue()))  # fmt: skip
    package = sounds.PACKAGES[0]._replace(name="x", folder="./usr/share/x", prefixes=("Effects/",))
    kept = sounds._unpack(deb, package, tmp_path / "made")
    assert list(kept) == ["Effects/a.wav"] and (tmp_path / "made/x/Effects/a.wav").read_bytes() == b"sound"
    assert [p.name for p in (tmp_path / "made").rglob("*") if p.is_file()] == ["a.wav"]
    for broken in (b"", b"no archive", deb.read_bytes()[:100]):
        deb.write_bytes(broken)
        with pytest.raises(DataError, match=r"no Debian package"):
            sounds._unpack(deb, package, tmp_path / "made")


def test_without_network_or_apt_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    monkeypatch.setattr(sounds.shutil, "which", lambda _name: None)
    monkeypatch.setattr(sounds.Package, "urls", ("http://127.0.0.1:9/x.deb",))
    assert not sounds.sounds_here()
    with pytest.raises(DataError, match="not here; run: llmhar data fetch"):
        compose_scenes()
    with pytest.raises(DataError, match=r"scratch_.*could not be fetched.*check the network"):
        sounds.fetch_sounds()
    assert not sounds.sounds_here() and [p.name for p in (tmp_path / "sounds").iterdir() if p.is_dir()] == []


@pytest.fixture(scope="session")
def scenes():
    try:
        sounds.fetch_sounds()
        load_hapt()
    except DataError as error:
        pytest.skip(f"composed scenes: {error}")
    return compose_scenes()


def by_id(scenes):
    return {clip.clip_id: clip for clip in scenes.clips}


@pytest.mark.debian
def test_recordings_are_the_packages_own(scenes):
    here = sounds.recordings()
    assert all(paths.file_sha256(r.path) == r.sha256 for r in here.values())
    assert {r.licence.split(",")[0] for r in here.values()} == {"CC-BY-SA-3.0", "CC0"}
    assert here["scratch/Effects/WaterRunning.mp3"].path.stat().st_size == 17_807


@pytest.mark.debian
def test_a_lost_sound_is_noticed(scenes, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(sounds.folder(), tmp_path / "sounds" / sounds.folder().name)
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    assert sounds.sounds_here()
    (sounds.folder() / "scratch/Effects/WaterRunning.mp3").unlink()
    assert not sounds.sounds_here()


@pytest.mark.debian
def test_clips_are_whole_quick_and_within_bounds(scenes):
    check_folds(scenes.clips)
    assert scenes.kind == "composed from real recordings" and scenes.n_folds == 3 and "CC-BY-SA" in scenes.provenance
    scenes.clips[0].read_motion(), scenes.clips[0].read_audio()

    def read() -> None:
        for clip in scenes.clips[:44]:
            clip.read_audio(), clip.read_motion()

    assert quiet_seconds(read, runs=1) / 44 < 0.05  # some 0.012 s
    for clip in scenes.clips[:44]:
        sound, motion = clip.read_audio(), clip.read_motion()
        assert (sound.rate, sound.samples.shape, sound.samples.dtype) == (16_000, (320_000,), np.float32)
        assert (motion.rate, motion.samples.shape, motion.samples.dtype) == (50, (1000, 6), np.float32)
        assert 0.25 < np.abs(sound.samples).max() <= 0.9 and np.isfinite(motion.samples).all()
        assert len(clip.steps) == 9 and clip.audio_s == clip.motion_s == 20.0


@pytest.mark.debian
def test_the_same_seed_makes_the_same_clips_in_any_order(scenes):
    some = [clip.clip_id for clip in scenes.clips[5:60:18]]
    expected = {
        name: (by_id(scenes)[name].read_audio().sha256, by_id(scenes)[name].read_motion().sha256) for name in some
    }
    again, other = by_id(compose_scenes(0)), by_id(compose_scenes(1))
    for name in reversed(some):
        assert (again[name].read_audio().sha256, again[name].read_motion().sha256) == expected[name]
        assert other[name].read_audio().sha256 != expected[name][0]
    limited = compose_scenes(0, limit=11)
    assert [clip.clip_id for clip in limited.clips] == [clip.clip_id for clip in scenes.clips[:11]]
    assert {clip.label for clip in limited.clips} == set(scenes.labels)


@pytest.mark.debian
def test_motion_is_the_persons_own(scenes):
    """Each clip holds long runs of samples that stand in that person's stretches of that label, and nowhere else."""
    plan_of = {plan.clip_id: plan for plan in plans()}
    for clip in scenes.clips[::13]:
        plan = plan_of[clip.clip_id]
        assert clip.sources == {f"person:{plan.person}", f"sound:{plan.sound}"} and clip.conflict == plan.conflict
        own = np.concatenate([run.signal.samples for run in load_hapt().of(plan.person, plan.motion)])
        rows = {row.tobytes() for row in own}
        found = np.mean([row.tobytes() in rows for row in clip.read_motion().samples])
        assert found > 0.97  # all but the cross-fades
        strange = {row.tobytes() for run in load_hapt().of(1, plan.motion) for row in run.signal.samples}
        assert np.mean([row.tobytes() in strange for row in clip.read_motion().samples]) < 0.1


@pytest.mark.debian
def test_sound_is_the_recording_over_quiet_noise(scenes):
    clip = by_id(scenes)["playing-with-a-pet-00"]
    assert clip.cluster == "sound:scratch/Animal/Dog1.wav"
    samples = clip.read_audio().samples.reshape(-1, 800)  # 50 ms
    level = 20 * np.log10(np.sqrt((samples**2).mean(axis=1)))
    loud, quiet = np.percentile(level, 98), np.percentile(level, 20)
    assert 12 < loud - quiet < 45 and np.mean(level > loud - 10) < 0.6  # barks with pauses


@pytest.mark.debian
def test_an_index_says_the_same_without_signals(scenes, tmp_path):
    few = replace(scenes, clips=scenes.clips[:12])
    write_scene_index(few, tmp_path / "index.jsonl")
    index = read_scene_index(tmp_path / "index.jsonl")
    assert index.kind == "recorded" and index.labels == scenes.labels
    for ours, live in zip(index.clips, few.clips, strict=True):
        for name in ("clip_id", "label", "sources", "cluster", "fold", "conflict", "audio_s", "motion_s", "context"):
            assert getattr(ours, name) == getattr(live, name)
        assert ours.read_audio is None and ours.read_motion is None
    assert index.clips[3].audio_sha256 == few.clips[3].read_audio().sha256
    write_scene_index(index, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "index.jsonl").read_bytes()
    assert load_clipset("scenes", tmp_path / "index.jsonl").kind == "recorded"
    assert len(load_clipset("scenes", options={"limit": 5}).clips) == 5


def line(**changes):
    content = {
        "clip_id": "a", "label": "singing", "sources": ["person:19"], "cluster": "sound:x", "fold": 0,
        "conflict": False, "audio_s": 20.0, "motion_s": 20.0, "audio_sha256": "0", "motion_sha256": "1", "context": {},
    }  # fmt: skip
    return json.dumps(content | changes) + "\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (line() + "{\n", "line 2"),
        (line() + "[1]\n", "line 2"),
        (line(unknown=1), "line 1.*unknown"),
        ("{}\n", "line 1"),
        (line() + line(clip_id="b", fold=1), "person:19 is in a .fold 0. and b .fold 1."),
    ],
)
def test_a_broken_index_is_an_error(tmp_path, content, said):
    (tmp_path / "index.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        read_scene_index(tmp_path / "index.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_scene_index(tmp_path / "absent.jsonl")
