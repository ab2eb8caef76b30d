"""What a server pod is to run, from settings and what is there: pure."""

from dataclasses import replace
from typing import Any

import census_like
import pytest

from modelwarden.resources.cell import (
    CellSettings,
    ExplainabilitySettings,
    ServerSettings,
    ServingSettings,
)
from modelwarden.resources.server import ServerFile
from modelwarden.resources.serving import FlowStage
from modelwarden_server.provision.plan import (
    Present,
    has_server,
    server_plan,
    wanted_assets,
    wanted_environments,
)
from modelwarden_server.provision.requirements import Requirements

PROJECT = ServerFile(sha256="a" * 64, bytes=10, name="user_project.zip")
FILES = ServerFile(sha256="f" * 64, bytes=10, name="files.zip")
PACKAGES = ServerFile(sha256="e" * 64, bytes=10, name="environment.tar.gz")
SAMPLE = ServerFile(sha256="b" * 64, bytes=10, name="background.arrow")
LIST = "scikit-learn==1.7\n"


def settings(
    serving: ServingSettings | None = None, assets: dict[str, str] | None = None, **explain: Any
) -> CellSettings:
    base = census_like.settings()
    explained = ExplainabilitySettings(**{"enabled": True, **explain})
    return base.model_copy(
        update={
            "enrichments": base.enrichments.model_copy(update={"explainability": explained}),
            "serving": serving,
            "server": ServerSettings.model_validate(
                {"assets": {"explain-project": "upload"} if assets is None else assets, "runtime": "3.11"}
            ),
        }
    )


def flow() -> ServingSettings:
    return ServingSettings(flow=(FlowStage(model_type="SKLEARN", file="model.pkl"),))


def everything(text: str | None = LIST) -> Present:
    bare = Present({"explain-project": PROJECT, "serve-files": FILES}, {"explain": text, "serve": None})
    made = {}
    if text is not None:
        name = Requirements(text, "3.11").hash
        made = {name: PACKAGES if text == LIST else PACKAGES.model_copy(update={"sha256": name})}
    return replace(bare, environments=made, background=SAMPLE, background_hash="r" * 64)


def test_a_complete_plan_names_all_that_a_pod_fetches() -> None:
    plan = server_plan(settings(), everything())
    assert plan.waiting_for == ()
    (code,) = plan.codes
    assert (code.role, code.files, code.environment) == ("explain", PROJECT, PACKAGES)
    assert plan.explain is not None
    assert (plan.explain.background, plan.explain.code) == (SAMPLE, "explain")
    assert plan.serve is None


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        (Present(background=SAMPLE), "user_project.zip"),
        (replace(everything(), environments={}), "the packages that the code needs"),
        (replace(everything(), background=None), "a closed reference dataset"),
        (
            replace(
                everything(), environments={}, broken={Requirements(LIST, "3.11").hash: "no such version"}
            ),
            "the packages that the code needs (no such version)",
        ),
        (
            replace(everything(), lists={}, unreadable={"explain": "it is no text"}),
            "a list of packages that can be read (it is no text)",
        ),
    ],
)
def test_what_is_missing_is_named(present: Present, missing: str) -> None:
    plan = server_plan(settings(), present)
    assert plan.waiting_for == (missing,)
    assert plan.explain is None


def test_settings_of_explanations_load_no_code_anew() -> None:
    before, after = (server_plan(settings(samples=n, streaming=n == 5), everything()) for n in (5, 50))
    assert before.plan_hash != after.plan_hash
    assert before.codes == after.codes


@pytest.mark.parametrize(
    "changed",
    [
        server_plan(settings(import_path="other"), everything()),
        server_plan(settings(), everything("scikit-learn==1.8\n")),
        server_plan(settings(), everything(None)),
    ],
)
def test_another_entry_or_list_is_other_code(changed: Any) -> None:
    ours = server_plan(settings(), everything())
    assert changed.waiting_for == ()
    assert changed.codes[0].code_hash != ours.codes[0].code_hash


def test_code_that_is_to_be_replaced_runs_on_until_its_packages_are_there() -> None:
    old = server_plan(settings(), everything()).codes[0]
    new_list = replace(everything(), lists={"explain": "torch\n"}, running={"explain": old})
    plan = server_plan(settings(), new_list)
    assert plan.codes == (old,)
    assert plan.explain is not None
    assert plan.waiting_for == ("the packages that the code needs",)


def test_a_served_model_without_a_project_is_explained_by_its_flow() -> None:
    plan = server_plan(settings(flow(), assets={"serve-files": "upload"}), everything())
    assert [code.role for code in plan.codes] == ["serve"]
    assert plan.explain is not None
    assert plan.explain.code == "serve"
    assert plan.serve is not None


def test_serving_goes_on_without_a_project_for_explanations() -> None:
    present = replace(everything(), files={"serve-files": FILES}, lists={"serve": None})
    both = {"serve-files": "upload", "explain-project": "upload"}
    plan = server_plan(settings(flow(), assets=both), present)
    assert [code.role for code in plan.codes] == ["serve"]
    assert plan.waiting_for == ("user_project.zip",)


def test_two_roles_with_one_list_share_an_environment() -> None:
    both = {"serve-files": "upload", "explain-project": "upload"}
    present = replace(everything(), lists={"explain": LIST, "serve": f"# the same\n{LIST}"})
    (wanted,) = wanted_environments(settings(flow(), assets=both), present)
    assert wanted.roles == ("explain", "serve")


def test_an_image_of_the_users_own_needs_no_environment() -> None:
    assert wanted_environments(settings(image=True), everything()) == ()
    (code,) = server_plan(settings(image=True), everything()).codes
    assert code.environment is None


@pytest.mark.parametrize("text", ["", "# nothing\n\n", "--index-url https://index.example/simple\n"])
def test_a_list_without_packages_needs_no_environment(text: str) -> None:
    present = replace(everything(None), lists={"explain": text})
    assert wanted_environments(settings(), present) == ()
    assert server_plan(settings(), present).waiting_for == ()


def test_another_python_gets_another_environment() -> None:
    assert Requirements(LIST, "3.11").hash != Requirements(LIST, "3.12").hash


def test_comments_do_not_make_another_environment() -> None:
    assert Requirements(LIST).hash == Requirements(f"# pinned in May\n\n  {LIST}").hash


def test_a_model_that_is_neither_explained_nor_served_has_no_server() -> None:
    assert not has_server(settings(enabled=False))
    assert wanted_assets(settings(enabled=False)) == {}
    assert has_server(settings(flow(), enabled=False))


def test_an_archived_model_runs_nothing() -> None:
    archived = settings().model_copy(update={"archived": True})
    plan = server_plan(archived, everything())
    assert (plan.codes, plan.explain, plan.waiting_for) == ((), None, ())


def test_the_explainer_is_wanted_but_no_part_of_the_plan() -> None:
    declared = {"explain-project": "upload", "explain-explainer": "c" * 64}
    asked = settings(assets=declared)
    assert wanted_assets(asked)["explain-explainer"] == "c" * 64
    assert "explainer" not in server_plan(asked, everything()).model_dump_json()
