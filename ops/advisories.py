"""Whether a package of the lock file has a known advisory: pip-audit's answer, which is also right where it can't look.

pip-audit ends well when it has looked at nothing. Exit codes here: 0 nothing known, or nobody to ask, which is said;
1 a package has an advisory; with --strict also where one could not be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
WITHIN_S = 300


def verdict(answer: str, *, is_strict: bool) -> tuple[int, list[str]]:
    """Return the exit code, and lines to say.

    Args:
        answer: pip-audit's, as JSON; anything else where it could not even begin.
        is_strict: whether to fail where something could not be looked up.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError):
        return int(is_strict), ["no advisories can be reached from here: nothing was looked up"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no release'}"
        for each in packages
        for found in each.get("vulns", ())
    ]
    failed = bool(lines) or (is_strict and (bool(skipped) or not packages))
    if len(skipped) == len(packages):
        lines.append(f"no advisories can be reached from here: none of {len(packages)} packages was looked up")
    else:
        lines.append(f"{len(packages) - len(skipped)} of {len(packages)} packages looked up")
        lines += [f"not looked up: {', '.join(skipped)}"] if skipped else []
    return int(failed), lines


def main() -> int:
    """Ask, and say."""
    asked = subprocess.run(  # noqa: S603  a command of our own
        [
            *(sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"),
            *("--require-hashes", "--disable-pip", "--requirement", str(LOCK)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    code, lines = verdict(asked.stdout, is_strict="--strict" in sys.argv[1:])
    print("\n".join(lines))  # noqa: T201  a command
    return code


if __name__ == "__main__":
    sys.exit(main())
