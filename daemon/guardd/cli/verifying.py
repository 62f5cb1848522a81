"""The look back at a restore: what came out, the repo's imports, its own commands. Imported before the first file is written."""

from guardd.beneath import Root
from guardd.checking.check import Conditions
from guardd.cli.context import Context
from guardd.recovery import verify as verifying
from guardd.recovery.plan import Plan
from guardd.recovery.report import Report
from guardd.recovery.resolving import count_imports


def verify(context: Context, plan: Plan, report: Report) -> verifying.Verified:
    """What became of a restore, by the repo's settings."""
    repo, settings = context.repo, context.settings
    about = next((one for one in settings.repo if one.path == repo.path), None)
    written = {*report.restored, *report.removed}
    replaced = {item.path: item.current for item in plan.work if item.path in written}
    imports = count_imports(context.store, repo, Conditions.of(repo.path, settings.detection, about), replaced)
    with Root(repo.path) as root:
        verified = verifying.verify(
            context.store, root, report.written, settings.detection.markers, about.verify if about else (),
            repo.rules.max_file_size, settings.response.verify_timeout / 1e9,
        )  # fmt: skip
    return verified._replace(imports=imports)
