"""What a server pod is to run now: decided from the settings and from what is there. Pure.

What is missing keeps nothing else from running: each part of the plan stands as soon as all of its own is
there, and code that is to be replaced runs on until what replaces it is complete. Must not read a file, nor
know how anything gets here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from modelwarden.resources.cell import CellSettings, ExplainabilitySettings, canonical_json, content_hash
from modelwarden.resources.server import (
    UPLOAD,
    AssetSlot,
    CodePlan,
    ExplainPlan,
    Role,
    ServePlan,
    ServerFile,
    ServerPlan,
)
from modelwarden_server.provision.environments import WantedEnvironment
from modelwarden_server.provision.requirements import Requirements

FILES_OF: Final[Mapping[Role, AssetSlot]] = {"explain": "explain-project", "serve": "serve-files"}
REQUIREMENTS_OF: Final[Mapping[Role, AssetSlot]] = {
    "explain": "explain-requirements",
    "serve": "serve-requirements",
}
_CALLED: Final[Mapping[AssetSlot, str]] = {
    "explain-project": "user_project.zip",
    "explain-requirements": "user_requirements_file.txt",
    "explain-explainer": "explainer.pkl",
    "serve-files": "the files of spec.serving",
    "serve-requirements": "the requirements of spec.serving",
}


@dataclass(frozen=True)
class Present:
    """What is there. `lists`: of each role whose files are there, its list of packages, None if there is
    none; a role whose list cannot be read stands in `unreadable`, with the sentence that says so. `running`:
    the code of the plan before.
    """

    files: Mapping[AssetSlot, ServerFile] = field(default_factory=dict)
    lists: Mapping[Role, str | None] = field(default_factory=dict)
    unreadable: Mapping[Role, str] = field(default_factory=dict)
    environments: Mapping[str, ServerFile] = field(default_factory=dict)
    running: Mapping[Role, CodePlan] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    """Environments that cannot be made, by their names: why, in a line."""
    background: ServerFile | None = None
    background_hash: str = ""
    background_missing: str = "a closed reference dataset"
    """What is waited for where there is no background."""


def has_server(settings: CellSettings) -> bool:
    """Whether the model is explained or served at all."""
    return settings.enrichments.explainability.enabled or settings.serving is not None


def wanted_assets(settings: CellSettings) -> dict[AssetSlot, str]:
    """The files that the settings ask for, and the hash of each one's source."""
    declared = settings.server.assets
    found: dict[AssetSlot, str] = {}
    for role in roles(settings):
        found[FILES_OF[role]] = declared.get(FILES_OF[role], UPLOAD)
        if (source := declared.get(REQUIREMENTS_OF[role])) is not None:
            found[REQUIREMENTS_OF[role]] = source
    if "explain" in roles(settings) and (source := declared.get("explain-explainer")) is not None:
        found["explain-explainer"] = source
    return found


def roles(settings: CellSettings) -> tuple[Role, ...]:
    """For what user code runs. A served model that is explained without a project is explained by its
    flow."""
    found: list[Role] = []
    served = settings.serving is not None
    if settings.enrichments.explainability.enabled and (
        not served or "explain-project" in settings.server.assets
    ):
        found.append("explain")
    return (*found, "serve") if served else tuple(found)


def wanted_environments(settings: CellSettings, present: Present) -> tuple[WantedEnvironment, ...]:
    """The environments that are needed: one for each list, whoever has it."""
    found: dict[str, WantedEnvironment] = {}
    for role in roles(settings):
        requirements = _requirements(settings, present, role)
        if requirements is not None:
            before = found.get(requirements.hash)
            both = (role,) if before is None else (*before.roles, role)
            found[requirements.hash] = WantedEnvironment(requirements, both)
    return tuple(found.values())


def server_plan(settings: CellSettings, present: Present) -> ServerPlan:
    """The plan as things are now."""
    missing: list[str] = []
    if not settings.archived:
        found = {role: _code(settings, present, role, missing) for role in roles(settings)}
        codes = [code for role in found if (code := found[role] or present.running.get(role)) is not None]
        explain = _explain(settings, present, codes, missing)
        serve = _serve(settings)
    else:
        codes, explain, serve = [], None, None
    plan = ServerPlan(
        plan_hash="", waiting_for=tuple(missing), codes=tuple(codes), explain=explain, serve=serve
    )
    return plan.model_copy(update={"plan_hash": content_hash(canonical_json(plan))})


def _code(settings: CellSettings, present: Present, role: Role, missing: list[str]) -> CodePlan | None:
    files = present.files.get(FILES_OF[role])
    if files is None:
        missing.append(_CALLED[FILES_OF[role]])
        return None
    if role in present.unreadable:
        missing.append(f"a list of packages that can be read ({present.unreadable[role]})")
        return None
    listed = REQUIREMENTS_OF[role]
    if listed in settings.server.assets and listed not in present.files:
        missing.append(_CALLED[listed])
        return None
    environment = None
    requirements = _requirements(settings, present, role)
    if requirements is not None:
        environment = present.environments.get(requirements.hash)
        if environment is None:
            why = present.broken.get(requirements.hash)
            missing.append("the packages that the code needs" + (f" ({why})" if why else ""))
            return None
    explainability, serving = settings.enrichments.explainability, settings.serving
    if role == "explain":
        asked, path = explainability.python_version, explainability.import_path
    else:
        assert serving is not None
        asked, path = serving.python_version, None
    code = CodePlan(
        role=role,
        code_hash="",
        files=files,
        environment=environment,
        python_version=asked,
        import_path=path,
        flow=serving.flow if role == "serve" and serving is not None else (),
    )
    # By what it holds, not by what it is called; the Python that runs it changes the pod, not the plan.
    told = canonical_json(code.model_copy(update={"python_version": settings.server.runtime or asked}))
    return code.model_copy(update={"code_hash": content_hash(told)})


def _requirements(settings: CellSettings, present: Present, role: Role) -> Requirements | None:
    """The list that an environment is made of for this role; None: the packages of the image do."""
    serving, explainability = settings.serving, settings.enrichments.explainability
    if (serving is not None and serving.image) or explainability.image:
        return None
    listed = present.lists.get(role)
    if listed is None:
        return None
    asked = explainability.python_version if role == "explain" or serving is None else serving.python_version
    found = Requirements(listed, settings.server.runtime or asked or "")
    return found if found.wants_packages else None


def _explain(
    settings: CellSettings, present: Present, codes: Sequence[CodePlan], missing: list[str]
) -> ExplainPlan | None:
    explainability: ExplainabilitySettings = settings.enrichments.explainability
    if not explainability.enabled:
        return None
    if present.background is None:
        missing.append(present.background_missing)
        return None
    role: Role = "explain" if "explain" in roles(settings) else "serve"
    if not any(code.role == role for code in codes):
        return None
    return ExplainPlan(
        background=present.background,
        background_hash=present.background_hash,
        algorithm=explainability.algorithm,
        samples=explainability.samples,
        seed=explainability.seed,
        expected_values=explainability.expected_values,
        code=role,
        streaming=explainability.streaming,
        threads=explainability.threads,
    )


def _serve(settings: CellSettings) -> ServePlan | None:
    serving = settings.serving
    if serving is None:
        return None
    return ServePlan(inputs=serving.inputs, outputs=serving.outputs, webhooks=serving.webhooks)
