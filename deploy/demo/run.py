"""The demo, top to bottom: data, then for each act settings and CA, processes and watching; then the report."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast

import numpy as np
from rich.console import Console

from roughfed.data.federate import holdings
from roughfed.data.rough import task_classes
from roughfed.data.roughness import roughness
from roughfed.deploy.demo.attack_success import with_reached
from roughfed.deploy.demo.attackers import Attackers
from roughfed.deploy.demo.federations import CLEAN_RUN, LAST_RUN, PLAIN_RUN, Act, acts_of
from roughfed.deploy.demo.folder import DemoPlace, furnish, make_place
from roughfed.deploy.demo.heterogeneity import clients_table, models_table
from roughfed.deploy.demo.live_view import DemoScene
from roughfed.deploy.demo.memorised import with_memorised
from roughfed.deploy.demo.options import DemoOptions, data_settings, settled
from roughfed.deploy.demo.outcome import DemoResult, Runs, final_table, last_words, result_of, write_report
from roughfed.deploy.demo.running import Show, play
from roughfed.deploy.demo.scenarios import scenario_of
from roughfed.deploy.demo.terminal import screen_for
from roughfed.deploy.summary import run_summary
from roughfed.report.summary import RunSummary, TaskSpan, with_class_counts


def run_demo(options: DemoOptions) -> DemoResult:
    """Run a whole federation on this machine and show it, before it what it is to be compared with, of the same seed.

    People's words go to stderr with `options.json`.

    Args:
        options: the flags.

    Returns:
        its figures; the caller prints them where `--json` is asked for.

    Raises:
        ConfigError: an option that cannot be; nothing was started.
        ProcessDied: a process ended when it should not have; the others were ended.
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything was ended.
    """
    began, options = time.monotonic(), settled(options)
    acts = acts_of(options)
    data = data_settings(options, scenario_of(options.scenario))
    held = holdings(**cast("Any", {**data, "data_dir": options.data_dir}))
    place = make_place(options.out)
    console = Console(stderr=options.json, highlight=False)
    shows = [_show(act, options, place, held, console) for act in acts]
    play(shows, place)
    attackers = acts[-1].attackers
    found = {show.act.name: _outcome(show, options, data, held, attackers) for show in shows}
    last = replace(found[LAST_RUN], seconds_total=time.monotonic() - began)
    runs = Runs(last, found.get(PLAIN_RUN), found.get(CLEAN_RUN))
    write_report(runs, place)
    result = result_of(runs, place)
    console.print()
    console.print(final_table(result))
    console.print()
    if result.heterogeneity is not None:
        for table in (models_table(result.heterogeneity), clients_table(result.heterogeneity)):
            if table.row_count:
                console.print(table)
                console.print()
    for line in last_words(result, options):
        console.print(line, markup=False, soft_wrap=True)  # a path stays whole, for copying
    return result


def _show(act: Act, options: DemoOptions, whole: DemoPlace, held: np.ndarray, console: Console) -> Show:
    place = whole if act.name == LAST_RUN else whole.act(act.name)
    furnish(place, act.fed, act.clients if act.apart or place is whole else {})
    data = data_settings(options, scenario_of(options.scenario))
    scene = DemoScene(
        title=_title(act, options, data),
        server_sees=options.server_sees,
        folder=str(place.folder),
        held=dict(zip(options.names, held.sum(axis=1).tolist(), strict=True)),
        rounds_wanted=act.rounds,
    )
    return Show(act, place, scene, screen_for(scene, console))


def _outcome(
    show: Show, options: DemoOptions, data: dict[str, object], held: np.ndarray, attackers: Attackers | None
) -> RunSummary:
    """What came of an act; `attackers`: whose goal is looked for, also where they did not take part."""
    act, run = show.act, run_summary(show.place.server)
    run = replace(
        run,
        config=run.config | {"demo": {**data, "method": act.method, "hostile": list(act.hostile)}},
        scenario=options.scenario,
        attack=act.attackers.attack if act.attackers is not None else "",
        hostile=list(act.hostile),
        holdings=held.tolist(),
        client_names=options.names,
        tasks=_tasks(data, num_classes=held.shape[1], rounds=act.rounds),
    )
    if run.tasks:  # what arrives later is in no client's counts; the demo knows
        run = with_class_counts(run, held.sum(axis=0).tolist())
    run = with_reached(run, show.place, data, attackers.goal if attackers is not None else "")
    return with_memorised(run, show.place, data)


def _title(act: Act, options: DemoOptions, data: dict[str, object]) -> str:
    dealt = f"{options.clients} clients, {options.data} dealt out by Dirichlet({data['alpha']:g})"
    if options.scenario == "clean":
        return dealt
    return f"{options.scenario}, {act.shown or act.method}: {dealt}"


def _tasks(data: dict[str, object], *, num_classes: int, rounds: int) -> list[TaskSpan]:
    """When each task of the data ends; none where everything is there from the start."""
    rough = roughness(str(data["name"]), str(data["scenario"]), data)
    if rough.tasks == 1:
        return []
    ends = [min(rounds, rough.rounds_per_task * (at + 1)) for at in range(rough.tasks)]
    ends[-1] = rounds
    return [TaskSpan(g.tolist(), end) for g, end in zip(task_classes(num_classes, rough.tasks), ends, strict=True)]
