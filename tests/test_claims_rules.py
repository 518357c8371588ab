"""The rules of the ledger: when each holds, fails, or leaves a claim undecided."""

import pytest
from pydantic import ValidationError

from cnncourse.claims.evidence import Evidence, Missing
from cnncourse.claims.rules import Rule, follow
from cnncourse.results import Curve, DataRecord, Metric, Provenance, Results

MNIST = DataRecord(name="MNIST", kind="original", sha256="0" * 64, sizes={"train": 50000})
COPY = DataRecord(name="CIFAR-10", kind="copy", sha256="1" * 64, sizes={"train": 50000})
DIGITS = DataRecord(name="scikit-learn digits", kind="embedded", sha256="2" * 64, sizes={"train": 1197})


def run(metrics=None, curves=None, profile="laptop", data=(MNIST,)):
    provenance = Provenance(
        profile=profile, seed=0, seeds=[0], device="cpu", device_name="a processor", threads=1, data=list(data),
        python="3.11.7", packages={}, finished="2026-01-02 03:04 UTC", wall_time_s=1.0,
    )  # fmt: skip
    return Results(notebook="02_numpy_mlp", provenance=provenance, metrics=metrics or {}, curves=curves or {})


def exact(value, **options):
    return Metric(kind="exact", value=value, **options)


def seeds(*values, data="MNIST", **options):
    return Metric(kind="trained", per_seed=dict(enumerate(values)), data=data, **options)


def judge(rule, reported=None, **results):
    return Rule.model_validate(rule).judge(Evidence(run(**results)), reported or {})


def state(rule, reported=None, **metrics):
    return judge(rule, reported, metrics=metrics).state


class TestEqual:
    @pytest.mark.parametrize(
        ("value", "target", "expected"),
        [
            (973702, 973702, "holds"),
            (973701, 973702, "fails"),
            ("ReLU", "ReLU", "holds"),
            (["b3"], ["b3"], "holds"),
            (["b3"], [], "fails"),
            ([784, 666], [784, 666, 10], "fails"),
            (True, True, "holds"),
            (1, True, "fails"),  # a count is no truth value, although Python says 1 == True
            (0.0, 0, "holds"),
        ],
    )
    def test_exactly_the_value(self, value, target, expected):
        assert state({"equal": {"metric": "m", "value": target}}, m=exact(value)) == expected

    def test_of_the_report(self):
        rule = {"equal": {"metric": "m.1", "reported": "params.fc2"}}
        assert state(rule, {"params": {"fc2": 7}}, m=exact([5, 7])) == "holds"

    def test_in_every_seed(self):
        rule = {"equal": {"metric": "m", "value": 3}}
        assert state(rule, m=seeds(3, 3)) == "holds"
        assert state(rule, m=seeds(3, 4)) == "fails"

    def test_a_failure_says_what_was_found(self):
        outcome = judge({"equal": {"metric": "fc3_input", "value": 500}}, metrics={"fc3_input": exact(666)})
        assert outcome.reason == "fc3 input: 666, not 500"


class TestWithin:
    rule = {"within": {"metric": "m", "value": 97.0, "tolerance": 1.0}}  # noqa: RUF012

    def test_interval_inside_the_band_holds(self):
        assert state(self.rule, m=seeds(97.0, 97.1, 96.9)) == "holds"

    def test_interval_outside_the_band_fails(self):
        assert state(self.rule, m=seeds(95.0, 95.1, 94.9)) == "fails"

    def test_interval_across_the_edge_is_undecided(self):
        outcome = judge(self.rule, metrics={"m": seeds(97.6, 97.9, 97.7)})  # the mean alone would be inside
        assert (outcome.state, outcome.reason) == ("undecided", "the interval of “m” contains 98")

    def test_one_seed_is_undecided(self):
        outcome = judge(self.rule, metrics={"m": seeds(97.0)})
        assert outcome.state == "undecided"
        assert "one seed decides nothing" in outcome.reason

    def test_a_value_without_seeds_counts_as_it_is(self):
        assert state(self.rule, m=exact(97.9)) == "holds"
        assert state(self.rule, m=exact(98.1)) == "fails"

    def test_the_edge_belongs_to_the_band(self):
        assert state({"within": {"metric": "m", "value": 2.3025, "tolerance": 1e-4}}, m=exact(2.3024)) == "holds"

    def test_relative_tolerance(self):
        rule = {"within": {"metric": "m", "value": -200, "tolerance": 0.01, "relative": True}}
        assert state(rule, m=exact(-201.9)) == "holds"
        assert state(rule, m=exact(-202.1)) == "fails"

    def test_a_list_is_compared_entry_by_entry(self):
        rule = {"within": {"metric": "loss", "reported": "loss", "tolerance": 0.01}}
        reported = {"loss": [2.0, 1.0]}
        assert state(rule, reported, loss=seeds([2.0, 1.001], [2.001, 1.0], [2.0, 1.0])) == "holds"
        assert state(rule, reported, loss=seeds([2.0, 1.5], [2.0, 1.5], [2.0, 1.5])) == "fails"
        assert state(rule, reported, loss=seeds([2.0, 1.0], [2.0, 1.02], [2.0, 0.98])) == "undecided"
        assert state(rule, reported, loss=exact([2.0, 1.02])) == "fails"

    def test_a_shorter_run_is_undecided(self):
        rule = {"within": {"metric": "loss", "reported": "loss", "tolerance": 0.01}}
        outcome = judge(rule, {"loss": [3.0, 2.0, 1.0]}, metrics={"loss": seeds([3.0], [3.0])})
        assert (outcome.state, outcome.reason) == ("undecided", "loss: 1 values for the report's 3")

    def test_the_measured_text_has_the_interval_and_the_unit(self):
        outcome = judge(self.rule, metrics={"m": seeds(97.0, 97.1, 96.9, unit="%")})
        assert outcome.measured == ("m: 97.00 ± 0.25 %",)


class TestBetween:
    def test_one_bound(self):
        rule = {"between": {"metric": "m", "min": 10}}
        assert state(rule, m=seeds(12, 12.1, 11.9)) == "holds"
        assert state(rule, m=seeds(8, 8.1, 7.9)) == "fails"
        assert state(rule, m=seeds(10, 10.5, 9.9)) == "undecided"

    def test_both_bounds(self):
        rule = {"between": {"metric": "m", "min": 500_000, "max": 1_000_000}}
        assert state(rule, m=exact(973_702)) == "holds"
        assert state(rule, m=exact(1_333_770)) == "fails"

    def test_each_seed_is_stricter_than_the_mean(self):
        rule = {"between": {"metric": "m", "min": 97, "each_seed": True}}
        assert state(rule, m=seeds(97.1, 97.2, 97.05)) == "holds"
        assert state(rule, m=seeds(99.0, 99.0, 96.9)) == "fails"

    def test_each_seed_takes_every_entry_of_a_list(self):
        rule = {"between": {"metric": "d.1:", "max": 1e-6, "each_seed": True}}
        small, large = [5.0, 1e-7, 1e-8], [5.0, 1e-7, 1e-5]
        assert state(rule, d=seeds(small, small, small)) == "holds"
        assert state(rule, d=seeds(small, small, large)) == "fails"
        assert state({"between": {"metric": "d.3:", "max": 1, "each_seed": True}}, d=seeds(small)) == "undecided"

    def test_each_of_two_seeds_is_too_few_to_hold_but_one_refutes(self):
        rule = {"between": {"metric": "m", "min": 97, "each_seed": True}}
        assert state(rule, m=seeds(98.0, 98.0)) == "undecided"
        assert state(rule, m=seeds(96.0)) == "fails"


class TestGreater:
    rule = {"greater": {"metric": "a", "than": "b", "by": 1.0}}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("a", "b", "text"),
        [
            ("loss of SGD", "time", "loss of SGD minus time"),
            ("loss, SGD", "loss, Adam", "loss, SGD minus Adam"),
            ("loss (SGD at 0.1)", "loss (SGD at 1)", "loss (SGD at 0.1) minus (SGD at 1)"),
            ("loss with SGD", "loss with Adam", "loss with SGD minus that with Adam"),
            ("loss of VGG", "loss of VGG with dropout", "loss of VGG minus that of VGG with dropout"),
            ("after", "afternoon", "after minus afternoon"),
        ],
    )
    def test_what_the_labels_begin_with_stands_once(self, a, b, text):
        evidence = Evidence(run({"a": seeds(5, 15, unit="%"), "b": seeds(3, 13, unit="%")}), {"a": a, "b": b})
        outcome = Rule.model_validate(self.rule).judge(evidence, {})
        assert outcome.measured == (f"{text}: +2 points",)

    def test_interval_of_the_difference_decides(self):
        assert state(self.rule, a=seeds(5, 15, 25), b=seeds(3, 13.1, 22.9)) == "holds"
        assert state(self.rule, a=seeds(5, 15, 25), b=seeds(5, 14.9, 25.1)) == "fails"
        assert state(self.rule, a=seeds(5, 15, 25), b=seeds(3, 14.1, 24.5)) == "undecided"

    def test_only_common_seeds_count(self):
        b = Metric(kind="trained", per_seed={1: 10.0, 2: 20.0, 9: 900.0}, data="MNIST")
        assert state(self.rule, a=seeds(-900, 12.0, 22.3), b=b) == "undecided"  # two seeds: 12.7 standard errors
        assert state(self.rule, a=seeds(-900, 12.0, 22.0), b=b) == "holds"

    def test_one_common_seed_is_undecided(self):
        b = Metric(kind="trained", per_seed={2: 0.0, 9: 0.0}, data="MNIST")
        outcome = judge(self.rule, metrics={"a": seeds(50, 50, 50), "b": b})
        assert outcome.state == "undecided"
        assert "one seed decides nothing" in outcome.reason

    def test_no_common_seed_is_undecided(self):
        b = Metric(kind="trained", per_seed={9: 0.0}, data="MNIST")
        assert state(self.rule, a=seeds(50, 50), b=b) == "undecided"

    def test_values_without_seeds_are_compared_as_they_are(self):
        assert state({"greater": {"metric": "a", "than": "b"}}, a=exact(3), b=exact(2)) == "holds"
        assert state({"greater": {"metric": "a", "than": "b"}}, a=exact(2), b=exact(2)) == "fails"

    def test_a_list_needs_an_index(self):
        outcome = judge(self.rule, metrics={"a": seeds([1.0, 2.0]), "b": seeds(1.0)})
        assert outcome.state == "undecided"
        assert "name an entry, such as a.-1" in outcome.reason


class TestMonotone:
    def test_several_metrics_in_order(self):
        rule = {"monotone": {"metrics": ["a", "b", "c"], "direction": "increasing"}}
        low, middle, high = seeds(1, 1.1, 1.2), seeds(2, 2.1, 2.3), seeds(3, 3.1, 3.1)
        assert state(rule, a=low, b=middle, c=high) == "holds"
        assert state(rule, a=low, b=high, c=middle) == "fails"
        assert state(rule, a=low, b=seeds(1.2, 1, 1.3), c=high) == "undecided"
        falling = {"monotone": {"metrics": ["a", "b"], "direction": "decreasing"}}
        assert state(falling, a=high, b=low) == "holds"

    def test_one_list_in_every_seed(self):
        rule = {"monotone": {"metric": "loss", "direction": "decreasing"}}
        assert state(rule, loss=seeds([3.0, 2.0, 1.0], [3.0, 2.5, 1.0], [5.0, 4.0, 3.0])) == "holds"
        assert state(rule, loss=seeds([3.0, 2.0, 1.0], [3.0, 2.0, 2.0], [5.0, 4.0, 3.0])) == "fails"
        assert state(rule, loss=seeds([3.0, 2.0], [3.0, 2.0])) == "undecided"
        assert state(rule, loss=exact([3.0, 2.0])) == "holds"


class TestRecorded:
    curve = Curve(x=[1, 2], per_seed={0: [2.0, 1.0]}, x_label="Epoch", y_label="Loss", data="MNIST")

    def test_a_figure_exists(self):
        outcome = judge({"recorded": {"curves": ["loss"], "points": 2}}, curves={"loss": self.curve})
        assert (outcome.state, outcome.measured) == ("holds", ("loss: 2 values in 1 run",))

    def test_a_short_figure_is_undecided(self):
        outcome = judge({"recorded": {"curves": ["loss"], "points": 10}}, curves={"loss": self.curve})
        assert (outcome.state, outcome.reason) == ("undecided", "loss has 2 of 10 points")

    def test_a_missing_figure_is_missing(self):
        with pytest.raises(Missing):
            judge({"recorded": {"curves": ["los"]}}, curves={"loss": self.curve})


class TestLogic:
    """Undecided is neither true nor false: it decides only when the rest cannot change the result."""

    holds = {"equal": {"metric": "one", "value": 1}}  # noqa: RUF012
    fails = {"equal": {"metric": "one", "value": 2}}  # noqa: RUF012
    open_ = {"between": {"metric": "seeded", "min": 0}}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            ({"all": ["holds", "holds"]}, "holds"),
            ({"all": ["holds", "open"]}, "undecided"),
            ({"all": ["open", "fails"]}, "fails"),
            ({"any": ["fails", "fails"]}, "fails"),
            ({"any": ["fails", "open"]}, "undecided"),
            ({"any": ["open", "holds"]}, "holds"),
            ({"not": "holds"}, "fails"),
            ({"not": "fails"}, "holds"),
            ({"not": "open"}, "undecided"),
        ],
    )
    def test_three_values(self, rule, expected):
        ((key, inner),) = rule.items()
        parts = {"holds": self.holds, "fails": self.fails, "open": self.open_}
        built = {key: parts[inner] if isinstance(inner, str) else [parts[i] for i in inner]}
        assert state(built, one=exact(1), seeded=seeds(5)) == expected


class TestWhatARunCanJudge:
    number = {"within": {"metric": "acc", "value": 97, "tolerance": 5}}  # noqa: RUF012
    comparison = {"greater": {"metric": "acc", "than": "base"}}  # noqa: RUF012

    def of(self, rule, **options):
        data = options["data"][0].name
        metrics = {"acc": seeds(97, 97.1, 97.2, data=data), "base": seeds(90, 90.1, 90.3, data=data)}
        return judge(rule, metrics=metrics, **options)

    def test_smoke_never_judges_training(self):
        for rule in (self.number, self.comparison):
            outcome = self.of(rule, profile="smoke", data=[MNIST])
            assert (outcome.state, outcome.reason) == (
                "undecided",
                "training is judged in the laptop and full profiles",
            )

    def test_smoke_judges_mathematics(self):
        close = {"between": {"metric": "error", "max": 1e-6}}
        metrics = {"error": Metric(kind="trained", value=3e-12), "count": exact(7)}
        assert judge(close, metrics=metrics, profile="smoke", data=[]).state == "holds"
        equal = {"equal": {"metric": "count", "value": 7}}
        assert judge(equal, metrics=metrics, profile="smoke", data=[]).state == "holds"

    def test_a_number_on_other_data_stays_open_and_is_shown(self):
        outcome = self.of(self.number, data=[COPY])
        assert (outcome.state, outcome.reason) == ("undecided", "other data: CIFAR-10 (copy)")
        assert outcome.measured == ("accuracy: 97.10 ± 0.25",)

    def test_a_comparison_may_be_judged_on_a_copy(self):
        assert self.of(self.comparison, data=[COPY]).state == "holds"

    def test_a_stand_in_decides_nothing_about_data(self):
        for rule in (self.number, self.comparison):
            assert self.of(rule, data=[DIGITS]).reason == "stand-in data: scikit-learn digits"
        sizes = {"equal": {"metric": "sizes", "value": [50000]}}
        outcome = judge(sizes, metrics={"sizes": exact([1197], data=DIGITS.name)}, data=[DIGITS])
        assert outcome.reason == "stand-in data: scikit-learn digits"

    def test_data_under_a_general_name_are_those_of_the_run(self):
        metrics = {"acc": seeds(97, 97, 97, data="mnist digits")}
        assert judge(self.number, metrics=metrics, data=[DIGITS]).reason == "stand-in data: scikit-learn digits"
        assert judge(self.number, metrics=metrics, data=[]).reason.startswith("the run does not say")

    def test_an_entry_beyond_the_end_is_undecided(self):
        outcome = judge({"between": {"metric": "loss.9", "max": 1}}, metrics={"loss": seeds([2.0, 1.0])})
        assert outcome.reason == "'loss' has 2 entries: there is no entry 9 (they count from 0)"


class TestWords:
    def test_an_entry_of_a_curve_is_named_by_its_place(self):
        curve = Curve(x=[1, 2], per_seed={0: [2.0, 1.0]}, x_label="Epoch", y_label="Loss", data="MNIST")
        for reference, label in {"loss.-1": "loss at epoch 2", "loss.0:": "loss from epoch 1", "loss": "loss"}.items():
            assert Evidence(run(curves={"loss": curve})).read(reference).label == label

    def test_a_difference_names_its_place_once(self):
        a, b = seeds([1.0, 5.0], [1.0, 6.0], [1.0, 5.5]), seeds([0.0, 1.0], [0.0, 2.0], [0.0, 1.5])
        outcome = judge({"greater": {"metric": "a.1", "than": "b.1"}}, metrics={"a": a, "b": b})
        assert outcome.measured == ("a minus b[1]: +4",)

    def test_a_sequence_says_in_how_many_runs_it_is_ordered(self):
        rule = {"monotone": {"metric": "loss", "direction": "decreasing"}}
        outcome = judge(rule, metrics={"loss": seeds([2.0, 1.0], [2.0, 3.0], [3.0, 2.0])})
        assert outcome.measured == ("loss decreasing throughout in 2 of 3 runs",)


class TestSchema:
    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ({"equals": {"metric": "m", "value": 1}}, "Extra inputs"),
            ({"equal": {"metric": "m", "value": 1}, "not": {}}, "exactly one key"),
            ({}, "exactly one key"),
            ({"equal": None}, "empty"),
            ({"equal": {"metric": "m"}}, "either 'value' or 'reported'"),
            ({"equal": {"metric": "m", "value": 1, "reported": "a"}}, "either 'value' or 'reported'"),
            ({"within": {"metric": "m", "value": 1}}, "tolerance"),
            ({"within": {"metric": "m", "value": 1, "tolerance": -1}}, "greater than or equal"),
            ({"within": {"metric": "m", "value": "x", "tolerance": 1}}, "valid number"),
            ({"between": {"metric": "m"}}, "'min', 'max' or both"),
            ({"between": {"metric": "m", "min": 2, "max": 1}}, "larger than"),
            ({"monotone": {"direction": "increasing"}}, "either 'metrics'"),
            ({"monotone": {"metrics": ["a"], "direction": "increasing"}}, "at least 2"),
            ({"recorded": {}}, "'curves', 'metrics' or both"),
            ({"all": []}, "at least 1"),
        ],
    )
    def test_malformed_rules_are_refused(self, rule, message):
        with pytest.raises(ValidationError, match=message):
            Rule.model_validate(rule)

    @pytest.mark.parametrize("path", ["b", "acc.2", "acc.x", "acc.0.1", "table"])
    def test_paths_into_the_reported_values_have_to_lead_somewhere(self, path):
        with pytest.raises(ValueError, match=r"nothing at|a table"):
            follow(path, {"acc": [1, 2], "table": {"x": 1}})
