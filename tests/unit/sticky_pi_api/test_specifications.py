from inspect import isabstract
from pathlib import Path

import pytest
from sticky_pi_api.client import BaseClient
from sticky_pi_api.configuration import LocalAPIConf
from sticky_pi_api.specifications import BaseAPI, BaseAPISpec, LocalAPI


def test_the_embedded_api_works_without_a_client(tmp_path, make_trap_picture):
    with LocalAPI(LocalAPIConf(LOCAL_DIR=str(tmp_path / "store"))) as api:
        path = make_trap_picture()
        with path.open("rb") as file:
            (row,) = api._put_new_images([file])
        (found,) = api.get_images([row], "image")
        assert Path(found["url"]).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", [BaseAPISpec, BaseAPI, BaseClient])
def test_what_is_only_specified_cannot_be_used(kind):
    assert isabstract(kind)
    assert not isabstract(LocalAPI)


def test_every_verb_that_is_documented_has_to_be_provided():
    assert BaseAPISpec.__abstractmethods__ >= {
        *("get_images", "get_image_series", "get_users", "put_users"),
        *("get_uid_annotations", "get_uid_annotations_series", "put_uid_annotations"),
    }
    with pytest.raises(TypeError, match="abstract"):
        BaseAPI(LocalAPIConf(LOCAL_DIR="/nowhere"))
    with pytest.raises(TypeError, match="abstract"):
        BaseClient("/nowhere")
