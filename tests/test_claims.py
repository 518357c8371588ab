"""The ledger: its files, verdicts, tables, the page, and `cnncourse claims`."""

import json
import textwrap

import pytest
from typer.testing import CliRunner

from cnncourse import claims, reads
from cnncourse.claims import command
from cnncourse.claims.evidence import Evidence
from cnncourse.claims.ledger import Claim
from cnncourse.cli import app
from cnncourse.errors import CourseError
from cnncourse.project import Project
from cnncourse.results import Curve, DataRecord, Metric, Provenance, Results

MNIST = DataRecord(name="MNIST", kind="original", sha256="0" * 64, sizes={"train": 50000})
CIFAR = DataRecord(name="CIFAR-10", kind="original", sha256="1" * 64, sizes={"train": 45000})
COPY = DataRecord(name="CIFAR-10", kind="copy", sha256="2" * 64, sizes={"train": 45000})
CATS = DataRecord(name="cats and dogs", kind="original", sha256="3" * 64, sizes={"train": 2560})


def run(profile="laptop", data=(MNIST,), curves=None, **metrics):
    provenance = Provenance(
        profile=profile, seed=0, seeds=[0], device="cpu", device_name="a processor", threads=1, data=list(data),
        python="3.11.7", packages={}, finished="2026-01-02 03:04 UTC", wall_time_s=1.0,
    )  # fmt: skip
    return Results(notebook="02_test", provenance=provenance, metrics=metrics, curves=curves or {})


def exact(value, **options):
    return Metric(kind="exact", value=value, **options)


def seeds(*values, data="MNIST", **options):
    return Metric(kind="trained", per_seed=dict(enumerate(values)), data=data, **options)


def claim(rule=None, **fields):
    content = {
        "id": "ift6135-x", "where": "Problem 1", "kind": "number", "notebook": "02_test", "claim": "A claim.",
        "reported": {"acc": [1.0, 97.9]}, "rule": rule,
    }  # fmt: skip
    return Claim.model_validate(content | fields)


NUMBER = {"within": {"metric": "acc", "reported": "acc.-1", "tolerance": 0.5}}
COMPARISON = {"greater": {"metric": "acc", "than": "base"}}
COUNT = {"equal": {"metric": "count", "value": 7}}


class TestVerdicts:
    def test_reproduced(self):
        v = claims.verdict(claim(NUMBER), run(acc=seeds(97.9, 97.8, 98.0, unit="%")))
        assert (v.verdict, v.reason, v.measured) == ("reproduced", "", "accuracy: 97.90 ± 0.25 %")
        assert (v.profile, v.data, v.seeds, v.date) == ("laptop", "MNIST", 3, "2026-01-02")
        assert v.origin == "laptop, MNIST, n = 3, 2026-01-02"
        assert v.reported == "accuracy: 1, 97.9"

    def test_not_reproduced(self):
        v = claims.verdict(claim(NUMBER), run(acc=seeds(90, 90.1, 90.2)))
        assert (v.verdict, v.reason) == ("not reproduced", "“accuracy” is not within 0.5 of 97.9")

    def test_corrected_when_the_right_statement_is_proved(self):
        correction = {"text": "It is 90.", "rule": {"within": {"metric": "acc", "value": 90, "tolerance": 1}}}
        v = claims.verdict(claim(NUMBER, correction=correction), run(acc=seeds(90, 90.1, 90.2)))
        assert (v.verdict, v.reason) == ("corrected", "It is 90.")
        assert v.measured.startswith("accuracy: 90.10")

    @pytest.mark.parametrize(
        "rule", [{"equal": {"metric": "acc", "value": 5}}, {"equal": {"metric": "gone", "value": 5}}]
    )
    def test_a_correction_that_is_not_proved_corrects_nothing(self, rule):
        v = claims.verdict(claim(NUMBER, correction={"text": "?", "rule": rule}), run(acc=seeds(90, 90.1, 90.2)))
        assert v.verdict == "not reproduced"

    def test_a_correction_does_not_outweigh_a_rule_that_holds(self):
        correction = {"text": "?", "rule": {"between": {"metric": "acc", "min": 0}}}
        v = claims.verdict(claim(NUMBER, correction=correction), run(acc=seeds(97.9, 97.9, 97.9)))
        assert v.verdict == "reproduced"

    @pytest.mark.parametrize(
        ("rule", "results", "reason"),
        [
            (None, run(), "no rule yet"),
            (NUMBER, None, "not measured yet"),
            (NUMBER, run(other=exact(1)), "this run recorded no 'acc'"),
            (NUMBER, run(acc=seeds(97.2, 97.9, 98.6)), "the interval of “accuracy” contains 97.4 and 98.4"),
            (NUMBER, run("smoke", acc=seeds(97.9, 97.9, 97.9)), "training is judged in the laptop and full profiles"),
            (NUMBER, run(data=[COPY], acc=seeds(9, 9, 9, data="CIFAR-10")), "other data: CIFAR-10 (copy)"),
        ],
    )
    def test_open(self, rule, results, reason):
        v = claims.verdict(claim(rule), results)
        assert (v.verdict, v.reason) == ("open", reason)

    def test_a_reason_replaces_a_rule(self):
        v = claims.verdict(claim(reason="nobody can measure it"), run())
        assert (v.verdict, v.reason) == ("open", "nobody can measure it")

    def test_exact_claims_are_judged_in_smoke(self):
        assert claims.verdict(claim(COUNT), run("smoke", count=exact(7))).verdict == "reproduced"

    def test_the_best_profile_that_decides_is_taken(self):
        full, laptop = run("full", acc=seeds(97.2, 97.9, 98.6)), run("laptop", acc=seeds(97.9, 97.9, 97.9))
        assert claims.best_verdict(claim(NUMBER), [full, laptop]).profile == "laptop"
        better = run("full", acc=seeds(97.8, 97.9, 97.9))
        assert claims.best_verdict(claim(NUMBER), [better, laptop]).profile == "full"

    def test_if_none_decides_the_one_that_measured_is_shown(self):
        v = claims.best_verdict(claim(NUMBER), [run("full"), run("laptop", acc=seeds(97.9))])
        assert (v.verdict, v.profile) == ("open", "laptop")
        assert "one seed" in v.measured


class TestNeeds:
    @pytest.mark.parametrize(
        ("need", "rule", "results", "verdict", "reason"),
        [
            ("original-cifar10", NUMBER, run(data=[CIFAR], acc=seeds(97.9, 97.9, data="CIFAR-10")), "reproduced", ""),
            (
                "original-cifar10", COMPARISON,
                run(data=[COPY], acc=seeds(2, 2, 2, data="CIFAR-10"), base=seeds(1, 1, 1, data="CIFAR-10")),
                "open", "needs the original CIFAR-10",
            ),
            ("paired-seeds-3", COMPARISON, run(acc=seeds(2, 2, 2), base=seeds(1, 1, 1)), "reproduced", ""),
            (
                "paired-seeds-3", COMPARISON, run(acc=seeds(2, 2, 2), base=seeds(1, 1)),
                "open", "needs 3 paired seeds (here 2)",
            ),
            ("paired-interval", COMPARISON, run(acc=seeds(2, 2), base=seeds(1, 1)), "reproduced", ""),
            (
                "paired-interval", COMPARISON, run(acc=seeds(2), base=seeds(1)),
                "open", "needs an interval over paired seeds (here 1)",
            ),
            (
                "images-16000", NUMBER, run(data=[CATS], acc=seeds(97.9, 97.9, data="cats and dogs")),
                "open", "needs 16,000 training images for a number (here 2,560)",
            ),
            ("images-16000", NUMBER, run(acc=seeds(97.9, 97.9)), "reproduced", ""),
            (
                "full-scale", COMPARISON, run(profile="laptop", acc=seeds(2, 2, 2), base=seeds(1, 1, 1)),
                "open", "needs the report's own number of images, channels and epochs (profile full)",
            ),
            ("full-scale", COMPARISON, run(profile="full", acc=seeds(2, 2, 2), base=seeds(1, 1, 1)), "reproduced", ""),
            ("imagenet-weights", COUNT, run(count=exact(7)), "open", "needs weights trained on ImageNet"),
            ("imagenet-weights", COUNT, run(count=exact(7), imagenet_weights=exact(False)), "open",
             "needs weights trained on ImageNet"),
            ("imagenet-weights", COUNT, run(count=exact(7), imagenet_weights=exact(True)), "reproduced", ""),
            ("hand-labels", COUNT, run(count=exact(7)), "open", "needs labels made by hand, blind to the prediction"),
            ("hand-labels", COUNT, run(count=exact(7), hand_labels=exact(True)), "reproduced", ""),
        ],
    )  # fmt: skip
    def test_are_checked_before_a_verdict(self, need, rule, results, verdict, reason):
        v = claims.verdict(claim(rule, needs=[need]), results)
        assert (v.verdict, v.reason) == (verdict, reason)

    def test_a_comparison_may_be_judged_on_fewer_images_and_names_them(self):
        few = run(data=[CATS], acc=seeds(2, 2, 2, data="cats and dogs"), base=seeds(1, 1, 1, data="cats and dogs"))
        v = claims.verdict(claim(COMPARISON, needs=["images-16000"]), few)
        assert (v.verdict, v.data) == ("reproduced", "cats and dogs")

    def test_pairs_are_common_seeds(self):
        base = Metric(kind="trained", per_seed={0: 1.0, 8: 1.0, 9: 1.0}, data="MNIST")
        v = claims.verdict(claim(COMPARISON, needs=["paired-seeds-3"]), run(acc=seeds(2, 2, 2), base=base))
        assert v.reason == "needs 3 paired seeds (here 1)"


LEDGER = """\
report: ift6135
title: IFT6135, a test
claims:
- id: ift6135-count
  where: Problem 1
  kind: math
  notebook: 02_test
  claim: There are 7 | of them.
  reported: {count: 7}
  rule: {equal: {metric: count, reported: count}}

- id: ift6135-acc
  where: Problem 1
  kind: number
  notebook: 02_test
  claim: The accuracy is 97.9%.
  reported: {acc: 97.9}
  rule: {within: {metric: acc, reported: acc, tolerance: 0.5}}

- id: ift6135-later
  where: Problem 2
  kind: figure
  notebook: 05_later
  claim: There is a figure.
  reported: {curves: 3}
"""


@pytest.fixture
def project(tmp_path):
    for folder in ("notebooks", "book/claims/labels", "results/smoke", "results/laptop"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "book/claims/labels/02_test.yml").write_text("acc: test accuracy\ncount: count\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: notebooks/02_test\n")
    (tmp_path / "notebooks/02_test.ipynb").write_text("{}")
    (tmp_path / "book/claims/ift6135.yml").write_text(LEDGER)
    run("smoke", count=exact(7), acc=seeds(10.0, 11.0)).save(tmp_path / "results/smoke/02_test.json")
    run("laptop", count=exact(7), acc=seeds(97.9, 97.8, 98.0, unit="%")).save(tmp_path / "results/laptop/02_test.json")
    return Project(tmp_path)


@pytest.fixture
def committed(project, monkeypatch):
    """The package finds the test project's committed files."""
    where = {"claims": project.ledger, "results": project.results}
    for module in ("claims.labels", "claims.ledger", "claims.tables", "claims.verdicts", "reads"):
        monkeypatch.setattr(f"cnncourse.{module}.committed", where.__getitem__)
    return project


def change(project, before, after):
    path = project.ledger / "ift6135.yml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


class TestLedgerFiles:
    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            ("  where: Problem 1\n", "  wher: Problem 1\n", "ift6135-count: wher: unknown field"),
            ("kind: math", "kind: maths", "ift6135-count: kind: Input should be 'architecture', 'math'"),
            ("notebook: 02_test", "notebook: numpy", "ift6135-count: notebook: String should match"),
            ("reported: count}", "reported: total}", "ift6135-count: the reported values have nothing at 'total'"),
            ("tolerance: 0.5", "tolerance: wide", "ift6135-acc: rule.within.tolerance: Input should be a valid number"),
            ("{equal:", "{equals:", "ift6135-count: rule.equals: unknown field"),
            ("reported: {acc: 97.9}", "reported: {acc: high}", "is no number: 'within' needs one"),
            ("  rule: {equal", "  needs: [gpu]\n  rule: {equal", "ift6135-count: needs.0: Input should be"),
            ("  rule: {e", "  needs: [paired-interval]\n  rule: {e", "no part of the rule is judged by an interval"),
            ("  rule: {equal", "  reason: so\n  rule: {equal", "'reason' says why there is no rule"),
            ("kind: math", "kind: math\n  kind: figure", "line 7 is not valid YAML: the key 'kind' occurs twice"),
            ("report: ift6135", "report: b", "the id 'ift6135-count' does not begin with the report's name 'b'"),
            ("- id: ift6135-later", "- id: ift6135-acc", "The claim ift6135-acc occurs twice"),
            ("claims:", "claims: [", "is not valid YAML"),
        ],
    )  # fmt: skip
    def test_faults_are_named_with_file_claim_and_field(self, project, before, after, message):
        change(project, before, after)
        with pytest.raises(CourseError) as error:
            claims.load(project.ledger)
        assert message in error.value.what
        assert "ift6135.yml" in error.value.what

    def test_a_correction_without_a_rule_is_refused(self, project):
        change(project, "  rule: {equal: {metric: count, reported: count}}\n", textwrap.indent(
            "correction:\n  text: so\n  rule: {equal: {metric: count, value: 8}}\n", "  "))  # fmt: skip
        with pytest.raises(CourseError, match="a correction needs a rule"):
            claims.load(project.ledger)

    def test_an_edit_is_seen_at_once(self, project):
        assert claims.load(project.ledger)[0].claims[0].claim == "There are 7 | of them."
        change(project, "There are 7", "There are 8")
        assert claims.load(project.ledger)[0].claims[0].claim == "There are 8 | of them."

    def test_an_empty_folder_is_an_error(self, tmp_path):
        with pytest.raises(CourseError, match="No ledger"):
            claims.load(tmp_path)


class TestJudgingACheckout:
    def test_best_profile_of_each_claim(self, project):
        verdicts = claims.judge_all(claims.load(project.ledger), project)
        assert [(v.claim.id, v.verdict, v.profile) for v in verdicts] == [
            ("ift6135-count", "reproduced", "laptop"),
            ("ift6135-acc", "reproduced", "laptop"),
            ("ift6135-later", "open", ""),
        ]
        assert verdicts[2].reason == "notebook not written yet"
        assert claims.totals(verdicts) == {"reproduced": 2, "corrected": 0, "not reproduced": 0, "open": 1}

    def test_a_notebook_without_results_is_not_measured(self, project):
        (project.notebooks / "05_later.ipynb").write_text("{}")
        change(project, "  reported: {curves: 3}", "  reported: {curves: 3}\n  rule: {recorded: {curves: [loss]}}")
        assert claims.judge_all(claims.load(project.ledger), project)[2].reason == "not measured yet"

    def test_the_page_gives_every_claim_to_the_site_as_data(self, project):
        page = claims.page(project)
        assert "### IFT6135, a test" in page
        rows = {row["id"]: row for line in page.splitlines() if line.startswith("{") for row in [json.loads(line)]}
        assert list(rows) == ["ift6135-count", "ift6135-acc", "ift6135-later"]
        assert rows["ift6135-count"]["claim"] == "There are 7 | of them."
        assert rows["ift6135-acc"]["measured"] == "test accuracy: 97.90 ± 0.25 %"
        assert rows["ift6135-acc"]["origin"] == "laptop, MNIST, n = 3, 2026-01-02"
        assert rows["ift6135-acc"]["metrics"] == ["acc"]
        assert [row["verdict"] for row in rows.values()] == ["reproduced", "reproduced", "open"]

    def test_the_page_changes_with_any_result(self, project):
        before = claims.page(project)
        path = next(project.results.glob("laptop/*.json"))
        path.write_text(path.read_text().replace('"wall_time_s"', ' "wall_time_s"'))
        assert claims.page(project) != before


class TestTableInANotebook:
    def test_rows_have_reported_measured_and_verdict(self, committed):
        table = claims.table(run("full", count=exact(8), acc=seeds(97.9, 97.9, 97.9)))
        frame = table.to_frame().set_index("id")
        assert list(frame.verdict) == ["not reproduced", "reproduced"]
        assert frame.loc["ift6135-count", ["reported", "measured"]].tolist() == ["count: 7", "count: 8"]

    def test_smoke_judges_counts_itself_and_takes_training_from_the_committed_runs(self, committed):
        first, second = (
            repr(claims.table(run("smoke", count=exact(7), acc=seeds(*values)))) for values in ((1.0, 2.0), (3.0, 4.0))
        )
        assert first == second  # a committed output holds no digit of its own training
        assert "count: 7 [smoke]" in first
        assert "test accuracy: 97.90 ± 0.25 % [laptop, MNIST, n = 3]" in first

    def test_without_committed_runs_training_stays_open_in_smoke(self, committed):
        (committed.results / "laptop/02_test.json").unlink()
        (v,) = claims.table(run("smoke", acc=seeds(97.9, 97.9, 97.9)), ["ift6135-acc"]).verdicts
        assert (v.verdict, v.measured) == ("open", "")

    def test_a_run_that_decides_nothing_shows_the_published_verdict(self, committed):
        (v,) = claims.table(run("full", acc=seeds(97.2, 98.6)), ["ift6135-acc"]).verdicts
        assert (v.verdict, v.profile) == ("reproduced", "laptop")

    def test_selected_claims_in_the_order_asked_for(self, committed):
        table = claims.table(run("smoke", count=exact(7)), ["ift6135-acc", "ift6135-count"])
        assert [v.claim.id for v in table.verdicts] == ["ift6135-acc", "ift6135-count"]

    def test_an_unknown_id_is_an_error_with_a_hint(self, committed):
        with pytest.raises(CourseError, match="Did you mean ift6135-count") as error:
            claims.table(run("smoke"), ["ift6135-cuont"])
        assert "02_test has no claim 'ift6135-cuont'" in error.value.what

    def test_html_is_escaped(self, committed):
        change(committed, "There are 7 |", "There are <b> &")
        text = claims.table(run("smoke", count=exact(7)))._repr_html_()
        assert "&lt;b&gt; &amp;" in text
        assert ">count: 7</span><small>smoke</small></td>" in text

    def test_inputs_are_the_ledger_and_the_other_profiles(self, committed):
        names = ["claims/ift6135.yml#02_test", "claims/labels/02_test.yml", "results/full/02_test.json"]
        assert claims.inputs("02_test", "laptop") == names

    def test_a_page_depends_on_its_own_claims_alone(self, committed):
        mine, other = reads.content("claims/ift6135.yml#02_test"), reads.content("claims/ift6135.yml#05_later")
        change(committed, "There is a figure.", "There are figures.")
        assert reads.content("claims/ift6135.yml#02_test") == mine
        assert reads.content("claims/ift6135.yml#05_later") != other
        change(committed, "notebook: 05_later", "notebook: 02_test")
        assert reads.content("claims/ift6135.yml#02_test") != mine

    def test_a_result_that_comes_is_noticed(self, committed):
        assert reads.content("results/full/02_test.json") == reads.MISSING
        run("full", count=exact(7)).save(committed.results / "full/02_test.json")
        assert reads.content("results/full/02_test.json") != reads.MISSING


class TestLabels:
    def test_an_entry_may_have_words_of_its_own(self):
        evidence = Evidence(run(sizes=exact([8, 4])), {"sizes": "side", "sizes.1": "side behind the pooling"})
        assert [evidence.read(name).label for name in ("sizes", "sizes.0", "sizes.1")] == [
            "side", "side[0]", "side behind the pooling",
        ]  # fmt: skip

    def test_without_a_label_the_name_is_put_into_words(self):
        assert Evidence(run(best_val_acc=exact(7))).read("best_val_acc").label == "best validation accuracy"

    @pytest.mark.parametrize(
        ("text", "message"),
        [("- acc\n", "no table"), ("acc: 7\n", "'acc' has no words, but 7"), ("acc: [\n", "not valid YAML")],
    )
    def test_a_broken_file_is_named(self, committed, text, message):
        (committed.ledger / "labels/02_test.yml").write_text(text)
        with pytest.raises(CourseError, match=f"labels/02_test.yml.*{message}"):
            claims.table(run("smoke", count=exact(7)))


class TestCommand:
    def call(self, project, *options):
        return CliRunner().invoke(app, ["claims", "--project", str(project.root), *options], catch_exceptions=True)

    def test_lists_claims_and_totals(self, project):
        result = self.call(project)
        assert result.exit_code == 0
        assert "3 claims: 2 reproduced, 1 open" in result.stdout
        assert "notebook not written yet" in result.stdout

    @pytest.mark.parametrize(
        ("options", "ids"),
        [
            (["--report", "ift6135"], ["count", "acc", "later"]),
            (["--notebook", "02"], ["count", "acc"]),
            (["--verdict", "open"], ["later"]),
            (["--verdict", "open", "--notebook", "02_test"], []),
        ],
    )
    def test_filters(self, project, options, ids):
        rows = json.loads(self.call(project, "--json", *options).stdout)
        assert [row["id"] for row in rows] == [f"ift6135-{name}" for name in ids]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--report", "ift"], "No report 'ift'"),
            (["--notebook", "99"], "No notebook '99'"),
            (["--verdict", "true"], "No verdict 'true'"),
        ],
    )
    def test_unknown_filters_are_errors(self, project, options, message):
        result = self.call(project, *options)
        assert result.exit_code == 1
        assert message in result.exception.what

    def test_check_passes(self, project):
        result = self.call(project, "--check")
        assert (result.exit_code, result.stdout) == (
            0, "3 claims: 2 with a verdict or a reason, 1 of later notebooks.\n",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("before", "after", "problem"),
        [
            (
                "metric: acc", "metric: ac",
                "ift6135-acc: metric 'ac': this run recorded no 'ac' (did you mean acc?)",
            ),
            (
                "metric: acc", "metric: acc.3",
                "ift6135-acc: metric 'acc.3': 'acc' is no list: it has no entries",
            ),
            (
                "  rule: {equal: {metric: count, reported: count}}\n", "",
                "ift6135-count: has neither a rule nor a reason why it stays open.",
            ),
            (
                "notebook: 02_test", "notebook: 02_tset",
                "ift6135-count: there is no notebook '02_tset' (did you mean 02_test?).",
            ),
        ],
    )  # fmt: skip
    def test_check_names_what_is_missing(self, project, before, after, problem):
        change(project, before, after)
        result = self.call(project, "--check")
        assert result.exit_code == 1
        assert problem in result.exception.what

    def test_check_names_the_typo_in_a_correction(self, project):
        change(project, "reported: count}}\n", "reported: count}}\n  correction: {text: so, rule: {equal: "
               "{metric: cuont, value: 8}}}\n")  # fmt: skip
        assert command.problems(project) == [
            "ift6135-count: metric 'cuont': this run recorded no 'cuont' (did you mean count?)"
        ]

    def test_check_wants_results_of_a_written_notebook(self, project):
        for profile in ("smoke", "laptop"):
            (project.results / profile / "02_test.json").unlink()
        assert command.problems(project) == [
            "ift6135-count: 02_test has no committed results.",
            "ift6135-acc: 02_test has no committed results.",
        ]

    def test_check_wants_words_for_every_metric_that_a_reader_sees(self, project):
        (project.ledger / "labels/02_test.yml").write_text("acc: test accuracy\n")
        assert command.problems(project) == ["ift6135-count: 'count' has no words in book/claims/labels/02_test.yml."]

    def test_check_lists_all_problems_at_once(self, project):
        change(project, "metric: acc", "metric: ac")
        change(project, "metric: count", "metric: cuont")
        with pytest.raises(CourseError, match="2 problems"):
            command.check(project)


class TestTheCourse:
    """The ledger that comes with the course."""

    def test_all_claims_of_the_five_reports_are_there(self):
        counts = {report.report: len(report.claims) for report in claims.load()}
        assert counts == {"ai604": 49, "ece661": 57, "ift6135": 92, "nndl": 70, "tdt4265": 54}
        ids = [c.id for report in claims.load() for c in report.claims]
        assert len(ids) == len(set(ids)) == 322

    def test_every_claim_says_something(self):
        for report in claims.load():
            for c in report.claims:
                assert c.reported, c.id
                assert c.claim.rstrip(')"').endswith((".", "?")), c.id

    def test_the_ledger_is_complete_and_its_metrics_are_measured(self):
        assert command.problems(Project.find(claims.files()[0].parent)) == []


def test_a_curve_can_stand_for_a_metric():
    """A series over epochs is recorded once, as a curve; rules read its entries."""
    loss = Curve(x=[1, 2], per_seed={0: [2.0, 1.0], 1: [2.0, 1.0]}, x_label="Epoch", y_label="Loss", data="MNIST")
    rule = {"within": {"metric": "loss.-1", "value": 1, "tolerance": 0.1}}
    assert claims.verdict(claim(rule), run(curves={"loss": loss})).verdict == "reproduced"
