import pytest
from sticky_pi_api.configuration import BaseAPIConf, LocalAPIConf, RequiredConfVar


class Conf(BaseAPIConf):
    PLACE = "default"
    NEEDED = RequiredConfVar()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("PLACE", "NEEDED", "LOCAL_DIR", "SECRET_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def env_file(tmp_path):
    path = tmp_path / "conf.env"
    path.write_text("# a comment\n\nexport NEEDED='from file'\nPLACE = \"file\"\n", encoding="utf-8")
    return path


def test_a_keyword_wins_over_environment_over_file_over_default(env_file, environment):
    assert Conf(NEEDED="x")["PLACE"] == "default"
    assert Conf(env_file)["PLACE"] == "file"
    environment.setenv("PLACE", "environment")
    assert Conf(env_file)["PLACE"] == "environment"
    assert Conf(env_file, PLACE="keyword")["PLACE"] == "keyword"


def test_values_are_items_and_attributes(env_file):
    conf = Conf(env_file)
    assert (conf.NEEDED, conf["NEEDED"], conf.PLACE) == ("from file", "from file", "file")
    conf["PLACE"] = "changed"
    assert conf.PLACE == "changed"


def test_a_required_variable_that_is_missing_is_named():
    with pytest.raises(ValueError, match="NEEDED must be configured"):
        Conf()
    with pytest.raises(ValueError, match="LOCAL_DIR must be configured"):
        LocalAPIConf()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.env"):
        Conf(tmp_path / "absent.env")


def test_a_line_that_means_nothing_is_named_with_its_number(tmp_path):
    path = tmp_path / "conf.env"
    path.write_text("PLACE=here\nwhat is this\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"conf\.env, line 2"):
        Conf(path, NEEDED="x")


def test_the_embedded_store_needs_its_folder_only():
    conf = LocalAPIConf(LOCAL_DIR="/store")
    assert conf.LOCAL_DIR == "/store"
    assert conf.SECRET_API_KEY
