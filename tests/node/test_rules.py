"""Rules of completeness and routing: when they hold, and that they explain themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from app.config import Settings
from app.node.completeness import completeness, rule_for
from app.node.conditions import Facts, judge
from app.node.records import Collection, CollectionState
from app.node.routing import off_peak_start, route
from app.node.settings import CompletenessRule, OffPeak, RouteRule, When
from app.settings_file import ConfigurationError, read_settings
from operators.vocabulary.acquisition import SeriesKind


def head(**values: object) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


def malformed_head(keyword: str, vr: str, value: bytes) -> Dataset:
    """As pydicom reads it: nothing is decoded before it is asked for."""
    data_set = head(Modality="MR")
    tag = Tag(tag_for_keyword(keyword))
    data_set[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return data_set


def not_to_be_asked() -> frozenset[SeriesKind]:
    raise AssertionError("no rule asks for kinds")


def facts(
    *heads: Dataset,
    calling: str = "SCANNER",
    called: str = "QUANTMAP",
    kinds: Callable[[], frozenset[SeriesKind]] = not_to_be_asked,
) -> Facts:
    named = {str(number): data_set for number, data_set in enumerate(heads, start=1)}
    return Facts(named, frozenset([calling]), frozenset([called]), kinds)


def when(**parts: object) -> When:
    return When.model_validate(parts)


MR = {"series": {"Modality": {"equals": "MR"}}}
CT = {"series": {"Modality": {"equals": "CT"}}}


class TestConditions:
    @pytest.mark.parametrize(
        ("rule", "holds"),
        [
            (MR, True),
            (CT, False),
            ({"not": CT}, True),
            ({"all": [MR, {"not": CT}]}, True),
            ({"all": [MR, CT]}, False),
            ({"any": [CT, MR]}, True),
            ({"any": [CT, {"not": MR}]}, False),
            ({"calling_ae": ["OTHER", "SCANNER"]}, True),
            ({"called_ae": ["OTHER"]}, False),
            (MR | {"calling_ae": ["OTHER"]}, False),
            ({"series": {"MagneticFieldStrength": {"minimum": 2.5, "maximum": 3.5}}}, True),
        ],
    )
    def test_all_any_not(self, rule: dict, holds: bool) -> None:
        found = facts(head(Modality="MR", MagneticFieldStrength="3"))
        assert judge(when(**rule), found).holds is holds

    def test_one_series_must_meet_every_condition(self) -> None:
        rule = when(series={"Modality": {"equals": "MR"}, "SeriesNumber": {"equals": 2.0}})
        apart = facts(head(Modality="MR", SeriesNumber=1), head(Modality="SR", SeriesNumber=2))
        together = facts(head(Modality="MR", SeriesNumber=2))
        assert not judge(rule, apart).holds
        assert judge(rule, together).holds

    def test_kinds_are_asked_for_only_by_a_rule_that_needs_them(self) -> None:
        found = facts(head(Modality="MR"), kinds=lambda: frozenset([SeriesKind.DIFFUSION]))
        assert judge(when(recognised="diffusion"), found).holds
        assert not judge(when(recognised="saturation"), found).holds
        assert judge(when(**MR), facts(head(Modality="MR"))).holds

    def test_an_absent_element_meets_no_condition(self) -> None:
        rule = when(series={"SeriesNumber": {"minimum": 0}})
        assert not judge(rule, facts(head(SeriesDescription="x"), Dataset())).holds
        assert judge(
            when(**{"not": {"series": {"SeriesNumber": {"minimum": 0}}}}), facts(Dataset())
        ).holds

    @pytest.mark.filterwarnings("ignore:Invalid value for VR")
    @pytest.mark.parametrize(
        ("keyword", "vr", "value"),
        [
            ("SeriesNumber", "IS", b"one "),
            ("MagneticFieldStrength", "DS", b"3 T "),
            ("EchoTime", "DS", b"5\\x "),
            ("Rows", "US", b"abc"),
            ("TriggerWindow", "FL", b"12345"),
        ],
    )
    @pytest.mark.parametrize(
        "condition", [{"minimum": 0}, {"matches": "."}, {"matches": "nothing that is there"}]
    )
    def test_a_condition_on_a_malformed_element_never_holds_nor_its_negation(
        self, keyword: str, vr: str, value: bytes, condition: dict
    ) -> None:
        asks = {"series": {keyword: condition}}
        for rule in (asks, {"not": asks}, {"not": {"not": asks}}, {"all": [MR, {"not": asks}]}):
            verdict = judge(when(**rule), facts(malformed_head(keyword, vr, value)))
            assert not verdict.holds
            assert "malformed" in "\n".join(verdict.lines())

    def test_what_is_certain_without_the_malformed_element_is_answered(self) -> None:
        found = facts(malformed_head("Rows", "US", b"abc"), head(Modality="MR", Rows=64))
        asks = {"series": {"Rows": {"equals": 64.0}}}
        assert judge(when(**asks), found).holds
        assert judge(
            when(**{"not": {"all": [CT, {"series": {"Rows": {"equals": 9.0}}}]}}), found
        ).holds
        assert judge(when(any=[{"not": asks}, MR]), found).holds

    def test_the_explanation_names_every_condition_and_what_was_found(self) -> None:
        rule = when(all=[MR, {"not": {"calling_ae": ["TEST"]}}, {"any": [CT]}])
        text = "\n".join(judge(rule, facts(head(Modality="MR"))).lines())
        for part in ("Modality = MR", "series 1", "calling AE TEST", "SCANNER", "Modality = CT"):
            assert part in text


class TestRouting:
    rules = (
        RouteRule(name="ct", when=when(**CT)),
        RouteRule(name="mr", when=when(**MR), pipelines=("diffusion",)),
        RouteRule(name="rest"),
    )

    def test_the_first_rule_that_matches_decides(self) -> None:
        found = route(self.rules, facts(head(Modality="MR")))
        assert found.rule is not None
        assert found.rule.name == "mr"
        assert "rule ct: does not match" in found.explanation
        assert "rest" not in found.explanation

    def test_no_rule_is_an_answer_with_its_reasons(self) -> None:
        found = route(self.rules[:2], facts(head(Modality="SR")))
        assert found.rule is None
        assert "none of 1 series" in found.explanation
        assert "no routing rules" in route((), facts()).explanation

    @pytest.mark.parametrize(
        ("clock", "start"), [("20:30", "20:30"), ("03:00", "03:00"), ("07:00", "19:00")]
    )
    def test_off_peak_hours_reach_over_midnight(self, clock: str, start: str) -> None:
        now = datetime.fromisoformat(f"2026-01-02T{clock}:00+00:00")
        assert off_peak_start(OffPeak(), now).strftime("%H:%M") == start
        assert off_peak_start(OffPeak(), now) >= now

    def test_off_peak_hours_within_a_day_start_on_the_next(self) -> None:
        hours = OffPeak.model_validate({"begin": "12:00", "end": "13:00"})
        now = datetime(2026, 1, 31, 14, tzinfo=UTC)
        assert off_peak_start(hours, now) == datetime(2026, 2, 1, 12, tzinfo=UTC)


def collected(objects: int = 3, last: float = 1000.0, *, forced: bool = False) -> Collection:
    state = CollectionState.OPEN
    return Collection("1", "1", "", "", state, 1, objects, last - 60, last, forced, "")


class TestCompleteness:
    def test_quiet_time(self) -> None:
        rule = CompletenessRule(quiet_seconds=10)
        waiting = completeness(rule, collected(), [], now=1009.9)
        assert (waiting.complete, waiting.due) == (False, 1010)
        assert completeness(rule, collected(), [], now=1010).complete

    def test_the_series_that_are_named_and_a_moment_of_quiet(self) -> None:
        rule = CompletenessRule.model_validate(
            {
                "quiet_seconds": 100,
                "settle_seconds": 5,
                "after_series": [
                    {"SeriesNumber": {"equals": 4.0}},
                    {"SeriesDescription": {"matches": "t1 map"}},
                ],
            }
        )
        first, second = head(SeriesNumber=4), head(SeriesDescription="T1 map")
        assert completeness(rule, collected(), [first], now=1050).due == 1100
        assert completeness(rule, collected(), [first, second], now=1004).due == 1005
        assert completeness(rule, collected(), [first, second], now=1005).complete

    def test_an_expected_number_of_objects(self) -> None:
        rule = CompletenessRule(objects=3)
        assert completeness(rule, collected(3), [], now=1000).complete
        assert not completeness(rule, collected(2), [], now=1000).complete

    def test_a_number_that_an_object_states(self) -> None:
        rule = CompletenessRule(objects="NumberOfStudyRelatedInstances")
        heads = [Dataset(), head(NumberOfStudyRelatedInstances="3")]
        assert completeness(rule, collected(3), heads, now=1000).complete
        assert not completeness(rule, collected(2), heads, now=1000).complete
        # Where nobody states it, quiet time decides.
        assert completeness(rule, collected(2), [Dataset()], now=1060).complete

    def test_somebody_says_so(self) -> None:
        assert completeness(CompletenessRule(), collected(forced=True), [], now=1000).complete

    def test_the_first_rule_that_fits_decides_and_there_is_always_one(self) -> None:
        rules = (
            CompletenessRule(when=when(**CT), quiet_seconds=1),
            CompletenessRule(when=when(**MR), quiet_seconds=2),
        )
        assert rule_for(rules, facts(head(Modality="MR"))).quiet_seconds == 2
        assert rule_for(rules, facts(head(Modality="US"))) == CompletenessRule()


class TestRuleFile:
    def problems(self, tmp_path: Path, node: str) -> str:
        file = tmp_path / "site.yaml"
        file.write_text(node)
        with pytest.raises(ConfigurationError) as refused:
            read_settings(Settings, file)
        return str(refused.value)

    @pytest.mark.parametrize(
        ("rule", "said"),
        [
            ("when: {al: []}", "did you mean"),
            ("when: {}", "must give all, any, not"),
            ("pipelines: [difusion]", "is not a pipeline"),
            ("targets: [pacs]", "is not a target"),
            ("priority: soon", "urgent"),
            ("when: {series: {Modalty: {equals: MR}}}", "the nearest is Modality"),
            ("when: {any: [{not: {series: {Modality: {matches: '('}}}}]}", "regular expression"),
        ],
    )
    def test_an_error_is_refused_with_its_line(self, tmp_path: Path, rule: str, said: str) -> None:
        text = f"node:\n  routes:\n    - name: good\n    - name: bad\n      {rule}\n"
        found = self.problems(tmp_path, text)
        assert "line 5" in found
        assert said in found

    def test_completeness_cannot_ask_for_kinds(self, tmp_path: Path) -> None:
        text = "node:\n  completeness:\n    - when: {not: {recognised: diffusion}}\n"
        found = self.problems(tmp_path, text)
        assert "line 3" in found
        assert "before the series is complete" in found

    def test_two_rules_of_one_name(self, tmp_path: Path) -> None:
        text = "node:\n  routes: [{name: a}, {name: a}]\n"
        assert "two rules are named" in self.problems(tmp_path, text)

    def test_what_ships_is_accepted(self) -> None:
        shipped = read_settings(Settings, Path(__file__).resolve().parents[2] / "app.yaml")
        assert yaml.safe_dump(shipped.model_dump(mode="json")["node"])
