"""JUnit XML: properties and attachments."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.report_files import read, result_of_case


def test_repeated_properties_are_lists(tmp_path: Path) -> None:
    inside = """<properties><property name="step" value="one"/><property name="step">two</property>
    <property name="step" value="three"/><property name="owner" value="me"/><property/></properties>"""
    assert result_of_case(tmp_path, inside).properties == {"step": ["one", "two", "three"], "owner": "me"}


def test_properties_of_suites_are_kept_by_suite(tmp_path: Path) -> None:
    content = """<testsuites><testsuite name="a"><properties><property name="os" value="linux"/>
    <property name="tag" value="x"/><property name="tag" value="y"/></properties><testcase name="t"/></testsuite>
    <testsuite name="b"><properties><property name="os" value="mac"/></properties></testsuite></testsuites>"""
    (result,), report = read(tmp_path, content)
    assert report.properties == {"a": {"os": "linux", "tag": ["x", "y"]}, "b": {"os": "mac"}}
    assert result.properties is None


def test_attachments_become_artifacts(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a[1].png").write_bytes(b"")
    inside = """<properties><property name="attachment" value="video.webm"/>
    <property name="testrail_attachment" value="C:\\logs\\app.txt"/><property name="screenshot" value="x.jpeg"/>
    <property name="attachments" value="3"/><property name="screenshot" value="off"/>
    <property name="attachment" value="https://example.com/a.png"/></properties>
    <system-out>before
[[ATTACHMENT|out/a[1].png]]
  [[ATTACHMENT|trace.zip]]
see [[ATTACHMENT|video.webm]] there
after</system-out><system-err>[[ATTACHMENT|/etc/none.log]]</system-err>
    <attachments><attachment><filePath>db.log</filePath><description>d</description></attachment></attachments>"""
    result = result_of_case(tmp_path, inside)
    assert [(each.name, each.kind, each.path) for each in result.artifacts or ()] == [
        ("a[1].png", "screenshot", str(tmp_path / "out" / "a[1].png")),
        ("trace.zip", "trace", "trace.zip"),
        ("video.webm", "video", "video.webm"),
        ("none.log", "log", "/etc/none.log"),
        ("app.txt", "log", "C:\\logs\\app.txt"),
        ("x.jpeg", "screenshot", "x.jpeg"),
        ("db.log", "log", "db.log"),
    ]
    assert (result.stdout, result.stderr) == ("before\nsee [[ATTACHMENT|video.webm]] there\nafter", None)
    assert result.properties == {
        "attachments": "3",
        "screenshot": "off",
        "attachment": "https://example.com/a.png",
    }


def test_attachments_of_a_suite_are_the_report_s(tmp_path: Path) -> None:
    content = """<testsuite><properties><property name="attachment" value="all.mp4"/></properties><testcase name="t"/>
    <system-out>[[ATTACHMENT|server.log]]</system-out></testsuite>"""
    _, report = read(tmp_path, content)
    assert [(each.kind, each.path) for each in report.artifacts] == [
        ("video", "all.mp4"),
        ("log", "server.log"),
    ]
