"""Motion: a user's files, PAMAP2 and USC-HAD in their own formats (written here, with faults), HAPT and its pickle."""

from __future__ import annotations

import builtins
import os
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from llmhar.data.load_report import DataError
from llmhar.fusion.clips import hapt, pamap2, usc_had
from llmhar.fusion.clips.clip import CHANNELS, Signal, check_folds
from llmhar.fusion.clips.motion_files import MAX_NOTES, read_motion
from llmhar.fusion.clips.motion_runs import FADE, MotionRun, join, join_runs, motion_clips
from tests.timing import quiet_seconds


def table(seconds=10.0, rate=50.0, start=0.0):
    """Gravity on z, a slow swing on x: what straight lines follow exactly between samples."""
    t = start + np.arange(round(seconds * rate)) / rate
    columns = {"t": t, "acc_x": 0.01 * t, "acc_y": 0 * t, "acc_z": 1 + 0 * t}
    return pd.DataFrame(columns | {"gyro_x": 0.1 * t, "gyro_y": 0 * t, "gyro_z": -0.2 * t})


def write(frame, file, **how):
    frame.to_parquet(file) if file.suffix == ".parquet" else frame.to_csv(file, index=False, **how)
    return file


@pytest.mark.parametrize("name", ["imu.csv", "imu.parquet"])
def test_a_part_on_the_asked_grid(tmp_path, name):
    signal, notes = read_motion(write(table(), tmp_path / name), 2.0, 6.0)
    assert signal.samples.shape == (200, 6) and signal.samples.dtype == np.float32 and notes == []
    np.testing.assert_allclose(signal.samples[:, 0], 0.01 * (2 + np.arange(200) / 50), atol=1e-6)


def test_columns_may_have_other_names_and_order(tmp_path):
    frame = table().rename(columns=dict(zip(["t", *CHANNELS], ["Time", "ax", "AY", "az", "gx", "gy", "gz"])))
    frame["note"] = "x"
    signal, _ = read_motion(write(frame[frame.columns[::-1]], tmp_path / "imu.csv"), 1.0, 2.0)
    np.testing.assert_allclose(signal.samples[0], [0.01, 0, 1, 0.1, 0, -0.2], atol=1e-6)


@pytest.mark.parametrize("name", ["imu.csv", "imu.parquet"])
def test_ego4ds_own_header_is_converted_and_said(tmp_path, name):
    ours = table()
    columns = {"canonical_timestamp_ms": ours.t * 1000} | {f"gyro_{axis}": ours[f"gyro_{axis}"] for axis in "xyz"}
    columns |= {f"accl_{axis}": ours[f"acc_{axis}"] * 9.80665 for axis in "xyz"}
    theirs = pd.DataFrame({"component_idx": 0, "component_timestamp_ms": ours.t * 1000, **columns})
    theirs.loc[7, "gyro_x"] = float("nan")
    expected, _ = read_motion(write(ours.drop(7), tmp_path / f"ours-{name}"), 2.0, 6.0)
    signal, notes = read_motion(
        write(theirs, tmp_path / name, **({"na_rep": "NULL"} if name[-1] == "v" else {})), 2.0, 6.0
    )
    np.testing.assert_allclose(signal.samples, expected.samples, atol=1e-6)
    assert [tuple(note) for note in notes] == [
        (name, 0, "Ego4D's own header: ms / 1000 is read as s, m/s2 / 9.80665 as g")
    ]
    mixed = theirs.rename(columns={"canonical_timestamp_ms": "t"})  # not unmistakable: nothing is guessed
    with pytest.raises(DataError, match="no column acc_x"):
        read_motion(write(mixed, tmp_path / f"mixed-{name}"), 2.0, 6.0)


@settings(max_examples=30, deadline=None)
@given(st.floats(8, 400), st.integers(0, 2**31))
def test_any_rate_and_any_jitter_give_the_same_motion(tmp_path_factory, rate, seed):
    frame = table(rate=rate)
    jitter = np.random.default_rng(seed).uniform(-0.3, 0.3, len(frame)) / rate
    frame = table(rate=rate).assign(t=frame.t + jitter)
    for column, slope in (("acc_x", 0.01), ("gyro_x", 0.1), ("gyro_z", -0.2)):
        frame[column] = slope * frame.t
    file = write(frame, tmp_path_factory.mktemp("imu") / "imu.csv")
    signal, _ = read_motion(file, 2.0, 6.0)
    assert signal.samples.shape == (200, 6)
    np.testing.assert_allclose(signal.samples[5:-5, 3], 0.1 * (2 + np.arange(5, 195) / 50), atol=5e-3)


def test_fast_trembling_does_not_turn_into_slow_swinging(tmp_path):
    frame = table(rate=500.0)
    frame["gyro_y"] = np.sin(2 * np.pi * 49 * frame.t)  # by every tenth sample alone: a swing of 1 Hz
    signal, _ = read_motion(write(frame, tmp_path / "imu.csv"), 2.0, 8.0)
    assert np.abs(signal.samples[20:-20, 4]).max() < 0.1


def test_bad_rows_are_reported_by_line(tmp_path):
    frame = table().astype(object)
    frame.loc[10, "acc_y"] = float("nan")  # line 12: header, and lines from 1
    frame.loc[20, "gyro_z"] = "what"
    frame.loc[30, "t"] = frame.loc[29, "t"]
    frame.loc[[50, 51]] = frame.loc[[51, 50]].to_numpy()
    file = write(frame, tmp_path / "imu.csv")
    lines = file.read_text().splitlines()
    lines[40] = "0.78,1,2"  # line 41
    file.write_text("\n".join(lines) + "\n")
    signal, notes = read_motion(file, 0.0, 9.0)
    assert {(note.line, note.reason.split(":")[0]) for note in notes} == {
        (12, "a value is no number"),
        (22, "a value is no number"),
        (32, "a time that was there"),
        (41, "too few columns"),
        (53, "out of order"),
    }
    np.testing.assert_allclose(signal.samples[:, 3], 0.1 * np.arange(450) / 50, atol=1e-6)


def test_many_bad_rows_are_counted(tmp_path):
    frame = table()
    frame.loc[100:349:3, "acc_x"] = np.nan
    _, notes = read_motion(write(frame, tmp_path / "imu.csv"), 0.0, 9.0)
    assert len(notes) == MAX_NOTES + 1 and notes[-1].reason.startswith("64 more rows: a value is no number")
    assert read_motion(tmp_path / "imu.csv", 7.5, 9.0)[1] == []  # they lie elsewhere


def test_without_gyroscope_zeros_stand_for_it(tmp_path):
    signal, notes = read_motion(write(table().iloc[:, :4], tmp_path / "imu.csv"), 0.0, 9.0)
    assert (signal.samples[:, 3:] == 0).all() and (signal.samples[:, 2] == 1).all()
    assert [note.reason for note in notes] == ["no gyroscope: zeros stand for it"]


def spoilt(case):
    frame = table()
    if case == "no row holds numbers":
        frame.loc[:, "acc_x"] = np.nan
    elif case == "no column gyro_z":
        frame = frame.drop(columns="gyro_z")
    elif case == "m/s2.*9.80665":
        frame[["acc_x", "acc_y", "acc_z"]] *= 9.80665
    elif case == "degrees/s.*pi/180":
        frame["gyro_x"] = np.linspace(-200, 200, len(frame))
    elif case == r"line 102: no samples for 2\.02 s":
        frame = frame.drop(index=range(101, 201))
    elif case == "2 samples a second":
        frame = table(rate=2.0)
    elif case == "is t in seconds":
        frame["t"] *= 1000
    elif case == "there is no part from 2 to 6 s":
        frame["t"] += 1.6e9
    elif case == "no rows":
        frame = frame.iloc[:0]
    return frame


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "case",
    [
        *("no row holds numbers", "no column gyro_z", "m/s2.*9.80665", "degrees/s.*pi/180", "2 samples a second"),
        *("is t in seconds", "there is no part from 2 to 6 s", "no rows"),
    ],
)
def test_what_cannot_be_used_is_one_clear_error(tmp_path, case, suffix):
    file = write(spoilt(case), tmp_path / f"imu.{suffix}")
    with pytest.raises(DataError, match=rf"imu\.{suffix}.*{case}"):
        read_motion(file, 2.0, 6.0)


def test_a_gap_is_not_bridged(tmp_path):
    file = write(spoilt(r"line 102: no samples for 2\.02 s"), tmp_path / "imu.csv")
    with pytest.raises(DataError, match=r"line 102: no samples for 2\.02 s after t = 2"):
        read_motion(file, 0.0, 9.0)
    assert read_motion(file, 5.0, 9.0)[0].seconds == 4.0  # the gap is elsewhere


@pytest.mark.parametrize("name", ["absent.csv", "empty.csv", "noise.parquet", "noise.csv", "cut.parquet"])
def test_no_table_at_all(tmp_path, name):
    (tmp_path / "empty.csv").write_bytes(b"")
    for noise in ("noise.parquet", "noise.csv"):
        (tmp_path / noise).write_bytes(np.random.default_rng(0).bytes(4000))
    whole = write(table(), tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_motion(tmp_path / name, 0.0, 5.0)


def test_a_cut_csv_loses_its_last_row_alone(tmp_path):
    file = write(table(), tmp_path / "imu.csv")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) - 9])
    signal, _ = read_motion(file, 0.0, 9.5)
    assert signal.seconds == 9.5
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"there is no part from 0 to 9.5 s"):
        read_motion(file, 0.0, 9.5)


def test_of_two_hours_a_part(tmp_path):
    frame = pd.DataFrame({"t": np.arange(2 * 3600 * 50) / 50, "ax": 0.0, "ay": 0.0, "az": 1.0})
    file = write(frame, tmp_path / "long.parquet")
    assert read_motion(file, 7000.0, 7020.0)[0].samples.shape == (1000, 6)
    with pytest.raises(DataError, match=r"long\.parquet.*more than the 600 s"):
        read_motion(file)
    csv = write(frame, tmp_path / "long.csv")
    assert quiet_seconds(lambda: read_motion(csv, 7000.0, 7020.0), runs=1) < 8
    assert read_motion(csv, 7000.0, 7020.0)[0].samples.shape == (1000, 6)
    assert quiet_seconds(lambda: read_motion(csv, 3000.0, 3020.0), runs=1) < 1  # the next clip of one recording


def test_stretches_flow_into_each_other():
    a, b = Signal(np.zeros((100, 6), np.float32), 50.0), Signal(np.ones((80, 6), np.float32), 50.0)
    joined = join([a, b])
    assert joined.samples.shape == (180 - FADE, 6) and joined.samples.dtype == np.float32
    assert (joined.samples[: 100 - FADE] == 0).all() and (joined.samples[100:] == 1).all()
    assert (np.diff(joined.samples[:, 0]) >= 0).all() and np.diff(joined.samples[:, 0]).max() < 0.2


def run(person, label, seconds=50.0):
    return MotionRun(person, label, Signal(np.full((round(seconds * 50), 6), person, np.float32), 50.0))


def test_motion_clips_have_one_person_each_and_people_have_one_fold():
    runs = [run(person, label) for person in range(7) for label in ("a", "b", None)] + [run(1, "a", 19.9)]
    made = motion_clips(runs, name="toy", title="Toy", labels=("a", "b"), provenance="")
    assert len(made.clips) == 7 * 2 * 2 and made.n_folds == 5 and {clip.label for clip in made.clips} == {"a", "b"}
    check_folds(made.clips)
    assert len({clip.clip_id for clip in made.clips}) == len(made.clips)
    for clip in made.clips:
        signal = clip.read_motion()
        assert signal.seconds == clip.motion_s == 20.0 and f"person:{signal.samples[0, 0]:.0f}" == clip.cluster
        assert clip.audio_s is None and len(clip.steps) == 9
    with pytest.raises(DataError, match="no labelled stretch"):
        motion_clips([run(1, "a", 10)], name="toy", title="Toy", labels=("a",), provenance="")
    assert len(motion_clips([run(1, "a")] * 2, name="t", title="T", labels=("a",), provenance="").clips) == 4
    (whole,) = join_runs([run(1, "a", 10), run(1, "a", 15)])
    assert len(whole.signal.samples) == 25 * 50 - FADE


def pamap2_rows(activity, seconds, start, heart=80.0):
    """Rows in PAMAP2's format: the strap speaks every 11th row, unused columns hold 7."""
    rows = np.full((round(seconds * 100), 54), 7.0)
    rows[:, 0] = start + np.arange(len(rows)) / 100
    rows[:, 1] = activity
    rows[:, 2] = np.nan
    rows[::11, 2] = heart
    for at in (3, 20, 37):
        rows[:, at + 1 : at + 4] = [0, 0, 9.80665]
        rows[:, at + 4 : at + 7] = np.nan  # the +-6 g sensor: not to be read
        rows[:, at + 7 : at + 10] = [0.1, 0.2, 0.3 + at]
    return rows


def write_pamap2(folder, name, *parts):
    file = folder / "Protocol" / name
    file.parent.mkdir(exist_ok=True)
    np.savetxt(file, np.vstack(parts), fmt="%.6g")
    return file


@pytest.fixture
def pamap2_folder(tmp_path):
    lossy = pamap2_rows(4, 25, 45, heart=130)
    lossy[500:520, 4:13] = np.nan  # 0.2 s: bridged
    write_pamap2(tmp_path, "subject101.dat", pamap2_rows(0, 5, 0), pamap2_rows(1, 40, 5, 60), lossy)
    broken = pamap2_rows(5, 50, 0, heart=170)
    broken[2000:2200, 4:7] = np.nan  # 2 s: the stretch ends there
    write_pamap2(tmp_path, "subject102.dat", broken, pamap2_rows(8, 3, 50))
    return tmp_path


def test_pamap2(pamap2_folder):
    runs = pamap2.load(pamap2_folder.parent / pamap2_folder.name)
    assert [(r.person, r.label, len(r.signal.samples)) for r in runs] == [
        *[(1, "lying", 4000), (1, "walking", 2500)],
        *[(2, "running", 2000), (2, "running", 2800)],
    ]
    assert runs[0].start == pytest.approx(5) and runs[3].start == pytest.approx(22)
    for own in runs:
        np.testing.assert_allclose(own.signal.samples, [[0, 0, 1, 0.1, 0.2, 3.3]] * len(own.signal.samples), atol=1e-5)
    np.testing.assert_array_equal(runs[1].heart_rate, np.float32(130))  # between two words of the strap, the last one
    assert pamap2.load(pamap2_folder, sensor="ankle")[0].signal.samples[0, 5] == pytest.approx(37.3)


def test_pamap2_clips_have_the_heart_rate_zone(pamap2_folder):
    clips = pamap2.pamap2_clips(pamap2_folder)
    zones = {(clip.label, clip.context["heart rate zone"]) for clip in clips.clips}
    assert zones == {("lying", "very light"), ("walking", "moderate"), ("running", "vigorous")}
    assert clips.labels == ("lying", "walking", "running") and clips.n_folds == 2
    check_folds(clips.clips)
    assert [(note.file, note.line) for note in clips.mended] == [("Protocol/subject101.dat", 4501)]
    assert not clips.refused and [tuple(rows) for rows in clips.dropped] == [
        ("Protocol/subject101.dat", 1, "no activity (0)", 500),
        ("Protocol/subject102.dat", 5001, "no activity (8)", 300),
        ("Protocol/subject102.dat", 2001, "no motion, nor can it be bridged", 200),
        ("all files", 0, "too few for a clip", 1300),
    ]
    n_rows = 7000 + 5300
    assert n_rows == 2000 * len(clips.clips) + sum(rows.rows for rows in clips.dropped), "no row goes without a word"
    assert clips.to_json()["dropped"][3] == {"file": "all files", "line": 0, "reason": "too few for a clip",
                                             "rows": 1300}  # fmt: skip


def test_pamap2_zones():
    found = [pamap2.zone(beats) for beats in (60, 108, 109, 121, 122, 146, 147, 200)]
    assert found == ["very light"] * 2 + ["light"] * 2 + ["moderate"] * 2 + ["vigorous"] * 2


@pytest.mark.parametrize(
    ("content", "said"), [("1 2 3\n4 5 6\n", "3 columns"), ("a b c\n", "54 numbers"), ("", "54 numbers")]
)
def test_pamap2_refuses_other_files(tmp_path, content, said):
    (tmp_path / "subject101.dat").write_text(content)
    with pytest.raises(DataError, match=rf"subject101.dat.*{said}"):
        pamap2.load(tmp_path)


def test_pamap2_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"no subject101.dat"):
        pamap2.load(tmp_path)
    with pytest.raises(DataError, match="hand, chest, ankle"):
        pamap2.load(tmp_path, sensor="nose")


def test_usc_had(tmp_path):
    rng = np.random.default_rng(0)
    readings = rng.normal(size=(1500, 6))
    for name, content in {
        "Subject1/a1t1.mat": {"sensor_readings": readings, "activity_number": "1"},
        "Subject1/a1t2.mat": {"sensor_readings": readings, "activity_numbr": "1"},  # misspelt in some of its files
        "Subject14/a12t5.mat": {"sensor_readings": np.tile(readings, (2, 1))},
        "Subject2/a2t1.mat": {"sensor_readings": readings[:, :3]},
        "Subject2/a3t1.mat": {"something": readings},
        "Subject2/a13t1.mat": {"sensor_readings": readings},
        "Subject2/a4t1.mat": {"sensor_readings": np.full((10, 6), np.nan)},
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        savemat(tmp_path / name, content)
    (tmp_path / "Subject2" / "a5t1.mat").write_bytes(b"MATLAB 5.0 MAT-file" + rng.bytes(200))
    runs = usc_had.load(tmp_path)
    assert [(r.person, r.label) for r in runs] == [(1, "walking forward")] * 2 + [(14, "elevator down")]
    np.testing.assert_allclose(runs[0].signal.samples[:, :3], readings[:, :3], atol=1e-6)
    np.testing.assert_allclose(runs[0].signal.samples[:, 3:], readings[:, 3:] * np.pi / 180, atol=1e-6)
    clips = usc_had.usc_had_clips(tmp_path)
    assert [clip.label for clip in clips.clips] == ["walking forward", "elevator down"]
    assert [note.file for note in clips.refused] == [f"Subject2/a{n}t1.mat" for n in (2, 3, 4, 5, 13)]
    with pytest.raises(DataError, match=r"no Subject1/a1t1.mat"):
        usc_had.load(tmp_path / "Subject1")


class Hostile:
    """Unpickling it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (os.system, "touch {marker}"),
        (builtins.eval, "open({marker!r}, 'w')"),
        (builtins.exec, "open({marker!r}, 'w')"),
        (builtins.getattr, "a", "upper"),
        (builtins.open, "{marker}", "w"),
        (__import__("importlib").import_module, "this"),
        (__import__("subprocess").check_call, "touch {marker}"),
        (np.load, "x"),
        (pd.read_pickle, "x"),
    ],
    ids=lambda call: f"{call[0].__module__}.{call[0].__name__}",
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, call, protocol):
    marker = tmp_path / "was-here"
    arguments = [text.format(marker=str(marker)) for text in call[1:]]
    content = pickle.dumps({1: [Hostile(call[0], *arguments)]}, protocol)
    with pytest.raises(DataError, match="which is not allowed: not read"):
        hapt.read_frames(content)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"cos\nsystem\n(S'true'\ntR.",
        b"ccopy_reg\n_reconstructor\n(cnumpy\ndtype\nc__builtin__\nobject\nNtR.",  # makes something else than a frame
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",  # another encoding
        b"cbuiltins\n__dict__\n.",
        pickle.dumps({1: [pd.DataFrame({"a": [1.0]})]}),
        pickle.dumps([1, 2, 3]),
        pickle.dumps({1: [5]}),
    ],
)
def test_another_pickle_is_refused(content):
    with pytest.raises(DataError, match="HAPT"):
        hapt.read_frames(content)


def test_only_names_of_the_file_are_answered_and_none_by_foreign_code():
    for stand_in in hapt._ALLOWED.values():
        assert stand_in is slice or stand_in.__module__ == "llmhar.fusion.clips.hapt"


@pytest.fixture(scope="session")
def real_hapt():
    try:
        return hapt.load_hapt()
    except DataError as error:
        pytest.skip(f"UCI HAPT: {error}")


@pytest.mark.real
def test_hapt_is_what_was_published(real_hapt):
    assert {r.person for r in real_hapt.runs} == set(range(1, 31)) and real_hapt.names == hapt.NAMES
    assert sum(len(r.signal.samples) for r in real_hapt.runs) == 1_122_772
    count = {name: sum(r.label == name for r in real_hapt.runs) for name in (*hapt.NAMES, None)}
    assert list(count.values()) == [127, 183, 186, 120, 120, 120, 60, 62, 60, 60, 58, 58, 633]
    still = np.concatenate([r.signal.samples for r in real_hapt.runs if r.label == "standing"])
    assert np.median(np.linalg.norm(still[:, :3], axis=1)) == pytest.approx(1.0, abs=0.05)  # gravity: so it is in g
    assert np.abs(still[:, 3:]).mean() < 0.1
    with np.load(hapt.converted(), allow_pickle=False) as held:  # what is opened from now on is no pickle
        assert set(held.files) == {"samples", "label", "person", "recording"}


@pytest.mark.real
def test_hapt_stretches_follow_one_another(real_hapt):
    for before, after in zip(real_hapt.runs, real_hapt.runs[1:]):
        if before.recording == after.recording:
            assert before.start + before.signal.seconds == pytest.approx(after.start) and before.label != after.label
            assert before.person == after.person
        else:
            assert after.start == 0


@pytest.mark.real
def test_hapt_windows_are_pieces_of_their_own_label(real_hapt):
    six, twelve = hapt.hapt_windows(classes=6), hapt.hapt_windows(classes=12)
    assert six.X.shape == (6216, 200, 6) and twelve.X.shape == (7606, 200, 6)
    assert six.X.dtype == np.float32 and set(six.y) == set(range(6)) and set(twelve.y) == set(range(12))
    assert six.names == hapt.NAMES[:6] and twelve.names == hapt.NAMES
    walking = [r for r in real_hapt.of(7, "walking") if r.signal.seconds >= 4]
    expected = [r.signal.samples[at : at + 200] for r in walking for at in range(0, len(r.signal.samples) - 199, 100)]
    np.testing.assert_array_equal(six.X[(six.persons == 7) & (six.y == 0)], expected)
    lying_flat = np.abs(six.X[six.y == 5][:, :, 0].mean(axis=1)) < 0.5  # the phone's upright axis
    assert lying_flat.mean() > 0.95
    assert len(hapt.hapt_windows(seconds=2.0, hop=2.0, classes=6).X) > len(six.X)
    with pytest.raises(DataError, match="not 7"):
        hapt.hapt_windows(classes=7)


@pytest.mark.real
def test_hapt_clips(real_hapt):
    clips = hapt.hapt_clips()
    check_folds(clips.clips)
    assert clips.n_folds == 5 and clips.labels == hapt.NAMES[:6] and {c.label for c in clips.clips} == set(clips.labels)
    assert len(clips.clips) > 600 and clips.clips[5].read_motion().samples.shape == (1000, 6)


def test_another_archive_is_not_opened(tmp_path):
    (tmp_path / hapt.ARCHIVE).write_bytes(b"something else")
    with pytest.raises(DataError, match="remove it"):
        hapt._member(tmp_path / hapt.ARCHIVE)


def test_without_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    monkeypatch.setattr(hapt, "URLS", ("http://127.0.0.1:9/nothing.tar.gz",))
    with pytest.raises(DataError, match=rf"{hapt.ARCHIVE} could not be fetched.*check the network.*downloads"):
        hapt.load_hapt()
    assert not list(tmp_path.glob("hapt/*.npz"))


def test_pamap2_activities_that_are_no_numbers_of_its_own_are_named(tmp_path):
    rows = [pamap2_rows(number, 25, 25 * i) for i, number in enumerate((4, 4.5, 1e308))]
    write_pamap2(tmp_path, "subject101.dat", *rows)
    clips = pamap2.pamap2_clips(tmp_path)
    assert [(rows.line, rows.reason, rows.rows) for rows in clips.dropped] == [
        (2501, "no activity (4.5, 1e+308)", 5000),
        (0, "too few for a clip", 500),
    ]
    assert {clip.label for clip in clips.clips} == {"walking"}


@pytest.mark.parametrize("line", ["1 " * 300_000 + "\n", "1 " * 54 + "\n" + "x" * 300_000 + "\n"])
def test_pamap2_answers_a_huge_line_in_few_words(tmp_path, line):
    (tmp_path / "subject101.dat").write_text(line)
    with pytest.raises(DataError, match=r"subject101\.dat") as error:
        pamap2.load(tmp_path)
    assert len(str(error.value)) < 1000


def test_usc_had_values_beyond_32_bits_are_refused(tmp_path):
    (tmp_path / "Subject1").mkdir()
    for trial, value in ((1, 0.5), (2, 1e300)):
        savemat(tmp_path / "Subject1" / f"a1t{trial}.mat", {"sensor_readings": np.full((2500, 6), value)})
    clips = usc_had.usc_had_clips(tmp_path)
    assert [note.file for note in clips.refused] == ["Subject1/a1t2.mat"] and len(clips.clips) == 1


def test_a_usc_had_trial_too_short_to_be_joined_is_refused(tmp_path):
    (tmp_path / "Subject1").mkdir()
    for trial, n in ((1, 2500), (2, 3)):
        savemat(tmp_path / "Subject1" / f"a1t{trial}.mat", {"sensor_readings": np.ones((n, 6))})
    clips = usc_had.usc_had_clips(tmp_path)
    assert [note.reason for note in clips.refused] == ["sensor_readings is (3, 6), not (n, 6) with n ≥ 5"]
    assert [tuple(rows) for rows in clips.dropped] == [("all files", 0, "too few for a clip", 500)]
