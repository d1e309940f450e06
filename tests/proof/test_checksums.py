"""What checksums cost: a check as dear as the look-up is seen, and the look-up without one is without one."""

from llmhar.ask.store import Store
from tests.bench import checksums


class Twice(Store):
    """Looks everything up a second time."""

    def find(self, *args, **kwargs):
        super().find(*args, **kwargs)
        return super().find(*args, **kwargs)


def test_a_check_that_takes_as_long_as_the_look_up_is_missed():
    (claim,) = checksums.compare(2_000, 3, summed=Twice, plain=Store)
    assert claim.verdict == "missed" and "misses the figure by" in claim.why and "2,000 answers" in claim.why


def test_the_look_up_without_checksums_has_none(tmp_path, capsys):
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        keys = checksums.fill(store, 3)
        store._db.execute("UPDATE attempts SET text = 'changed' WHERE request_key = ?", keys[:1])
    with checksums.Unsummed(path) as bare:
        assert len(bare.find(keys)) == 3
    with Store(path) as summed:
        assert set(summed.find(keys)) == set(keys[1:])
    assert "1 of the answers" in capsys.readouterr().err
