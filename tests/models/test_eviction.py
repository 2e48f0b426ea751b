from __future__ import annotations

from pathlib import Path

from studio_worker.models.ledger import Ledger, Record, Seen
from studio_worker.models.quota import evict, to_evict
from studio_worker.models.shelf import look


def chosen(ledger: Ledger, path: Path) -> Record:
    """A download that the quota asks for."""
    path.write_bytes(b"weights")
    found = look(path)
    assert isinstance(found, Seen)
    ledger.own(found, sha256="a" * 64, url="https://x/a", model="m", now=5.0)
    [record] = to_evict(ledger, 0)
    return record


def test_an_evicted_file_is_gone_and_forgotten_and_the_log_says_why(state: Path, tmp_path: Path, caplines):
    ledger = Ledger.of(state)
    record = chosen(ledger, tmp_path / "a.gguf")
    assert evict(ledger, record, "quota")
    assert not record.path.exists()
    assert ledger.record(record.path) is None
    assert [(line["file"], line["why"]) for line in caplines if line["event"] == "models.removed"] == [
        ("a.gguf", "quota")
    ]
    ledger.close()


def test_a_file_that_another_process_began_to_use_after_it_was_chosen_is_not_evicted(
    state: Path, tmp_path: Path, another_process, caplines
):
    ledger = Ledger.of(state)
    record = chosen(ledger, tmp_path / "a.gguf")
    another_process("use", state, record.path)
    assert not evict(ledger, record, "quota")
    assert record.path.exists()
    assert not [line for line in caplines if line["event"] == "models.removed"]
    ledger.close()
