"""pytest plugin: one JSON line per test to $SUITE_RESULTS: its name, how to run it alone, passed / failed / skipped / error."""
import json
import os

where, outcome = {}, {}


def pytest_collection_modifyitems(items):
    for i in items:
        rest = i.nodeid.split("::")[1:]
        where[i.nodeid] = ("::".join([i.path.name, *rest]), "::".join([str(i.path), *rest]))


def pytest_runtest_logreport(report):
    old = outcome.get(report.nodeid)
    if report.when == "call" and not old:
        outcome[report.nodeid] = "xfailed" if hasattr(report, "wasxfail") else report.outcome
    elif report.when != "call" and not report.passed:
        outcome[report.nodeid] = "skipped" if report.skipped else "error in " + report.when


def pytest_collectreport(report):
    if not report.passed:
        outcome["collection of " + report.nodeid] = report.outcome


def pytest_sessionfinish():
    with open(os.environ["SUITE_RESULTS"], "w") as f:
        for nodeid, what in outcome.items():
            name, alone = where.get(nodeid, (nodeid, ""))
            f.write(json.dumps([name, alone, what]) + "\n")
