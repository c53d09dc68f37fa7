"""Train every network, measure it, and judge every claim, in a study that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from joblib import Parallel, delayed

from eigenboundary.experiments.archive import Archive
from eigenboundary.experiments.claims.claims import CLAIMS, Claim, ClaimResult, judge
from eigenboundary.experiments.claims.measures import MEASURES, Numbers, Subject
from eigenboundary.experiments.config import load_config
from eigenboundary.experiments.threads import one_thread
from eigenboundary.experiments.train import TrainedNetwork, check_seeds, train_experiment
from eigenboundary.runtime import version
from eigenboundary.runtime.arguments import check_integer
from eigenboundary.runtime.interrupts import deferred_interrupts

#: Called with (what, done, total).
ClaimsProgress = Callable[[str, int, int], None]


def check_claims(
    seeds: int | Sequence[int] = 10,
    *,
    folder: str | Path,
    claims: Sequence[Claim] = CLAIMS,
    jobs: int = 1,
    progress: ClaimsProgress | None = None,
) -> list[ClaimResult]:
    """Test the paper's claims.

    Parameters
    ----------
    seeds : int or sequence of int
        Number of seeds, from 0, or the seeds. Each is another draw of the data, the initial
        weights and the order of the samples.
    folder : path
        Folder that keeps networks and measurements as soon as they are there: the same call goes
        on where an earlier one stopped.
    claims : sequence of Claim
    jobs : int
        Processes that measure in parallel; training takes one.
    progress : callable, optional
        Called as ``progress(what, done, total)``.

    Returns
    -------
    list of ClaimResult
        In the order of the claims.

    Raises
    ------
    InvalidInputError
        If an argument is not as described.
    KeyboardInterrupt
        On Ctrl-C.
    """
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        check_integer(seeds, "seeds")
        seeds = range(seeds)
    chosen = check_seeds(list(seeds))
    check_integer(jobs, "jobs")
    place = Path(folder)
    needed = list(dict.fromkeys(key for claim in claims for key in claim.needs))
    measured: list[dict[tuple[str, str], Numbers]] = [{} for _ in chosen]
    report, measure = progress or (lambda *_: None), delayed(_measure_one)
    with one_thread():
        for config in dict.fromkeys(config for _, config in needed):
            kinds = [kind for kind, name in needed if name == config]
            trained = train_experiment(
                load_config(config),
                chosen,
                folder=place / "networks",
                progress=lambda which, at, of: report(f"training {which.name}", at, of),
            )
            workers = Parallel(n_jobs=min(jobs, len(trained)), return_as="generator")
            found = workers(measure(network, kinds, place) for network in trained)
            for done, (numbers, of_kinds) in enumerate(zip(measured, found, strict=True), 1):
                numbers.update({(kind, config): values for kind, values in of_kinds.items()})
                report(f"measuring {config}", done, len(trained))
    return [judge(claim, list(measured)) for claim in claims]


def _measure_one(network: TrainedNetwork, kinds: list[str], folder: Path) -> dict[str, Numbers]:
    """Take all measures of one network; a process of its own has threads of its own to limit."""
    archive = Archive(folder / "measures")
    algorithms = f"analysis {version.ANALYSIS_ALGORITHM}, measures {version.MEASURES_ALGORITHM}"
    key = network.derived_key(algorithms, network.data.train)
    name = f"{network.config.name}-{network.seed}.safetensors"
    files = {kind: (f"{kind}-{name}", key) for kind in kinds}
    with one_thread(), deferred_interrupts():
        kept, subject, result = archive.find(files, strict=False), Subject(network), {}
        for kind, (file, _) in files.items():
            if kind in kept:
                result[kind] = kept[kind].values
                continue
            function, _ = MEASURES[kind]
            result[kind] = {name: float(value) for name, value in function(subject).items()}
            archive.write(file, key, {}, result[kind])
        return result
