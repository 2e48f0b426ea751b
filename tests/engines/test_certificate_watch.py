"""A watch on the folder of certificates."""

import os

from studio_worker.engines.certificate_watch import CertificateWatch

from .packages import put


def test_a_watch_notices_a_certificate_that_comes_and_one_that_goes(tmp_path):
    watch = CertificateWatch(tmp_path / "certificates")
    assert not watch.has_changed()
    path = put(tmp_path / "certificates", "fox.json", "{}")
    assert watch.has_changed()
    assert not watch.has_changed()
    path.unlink()
    assert watch.has_changed()


def test_a_watch_notices_a_certificate_that_is_written_anew_in_its_place(tmp_path):
    path = put(tmp_path / "certificates", "fox.json", "{}")
    watch = CertificateWatch(path.parent)
    os.utime(path, ns=(1, 1))
    assert watch.has_changed()
    path.write_text("{} ")
    assert watch.has_changed()


def test_a_watch_does_not_mind_what_is_no_certificate(tmp_path):
    path = put(tmp_path / "certificates", "fox.json", "{}")
    watch = CertificateWatch(path.parent)
    (path.parent / ".fox.json.partial").write_text("{")
    os.utime(path.parent, ns=(1, 1))
    assert not watch.has_changed()
