"""Character sets, illegal characters and references."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.helpers.report_files import only_result, result_of_case


@pytest.mark.parametrize(
    ("declared", "codec", "text"),
    [
        ("windows-31j", "cp932", "①テスト"),
        ("Shift_JIS", "shift_jis", "テスト"),
        ("EUC-JP", "euc_jp", "テスト"),
        ("ISO-2022-JP", "iso2022_jp", "テスト"),
        ("GBK", "gbk", "测试"),
        ("gb2312", "gbk", "測試"),
        ("GB18030", "gb18030", "测试😀"),
        ("Big5", "big5", "測試"),
        ("EUC-KR", "euc_kr", "시험"),
        ("windows-949", "cp949", "뷁"),
        ("ISO-8859-1", "latin-1", "Prüfung"),
        ("windows-1252", "cp1252", "“Prüfung” €"),
        ("Cp1252", "cp1252", "€"),
        ("windows-874", "cp874", "ทดสอบ"),
        ("KOI8-R", "koi8_r", "тест"),
        ("x-mac-roman", "mac_roman", "é"),
        ("IBM-850", "cp850", "é"),
        ("IBM037", "cp037", "é"),
        ("UTF-16", "utf-16", "тест😀"),
        ("UTF-16", "utf-16-le", "тест"),
        ("UTF-16BE", "utf-16-be", "тест"),
        ("UTF-32", "utf-32", "тест"),
        ("UTF-32", "utf-32-be", "тест"),
        ("UTF-8", "utf-8-sig", "тест"),
        ("utf-16", "utf-8", "тест"),
        ("UTF-8", "utf-16", "тест"),
        ("no-such-charset", "utf-8", "тест"),
        ("base64", "utf-8", "тест"),
        ("idna", "utf-8", "тест"),
        ("undefined", "utf-8", "тест"),
        ("unicode_escape", "utf-8", "a\\u0041"),
        ("US-ASCII", "ascii", "test"),
    ],
)
def test_every_character_set_is_read(tmp_path: Path, declared: str, codec: str, text: str) -> None:
    content = (
        f"""<?xml version="1.0" encoding="{declared}"?>\n<testsuite><testcase name="{text}"/></testsuite>"""
    )
    assert only_result(tmp_path, content.encode(codec)).title == text


def test_bytes_outside_the_character_set_are_replaced(tmp_path: Path) -> None:
    assert only_result(tmp_path, b'<testsuite><testcase name="a\xffb"/></testsuite>').title == "a\ufffdb"


@pytest.mark.parametrize("before", ["\n\n", " \r\n\t", "\ufeff\n", "\n\ufeff", "\x00\n", "\x1a"])
def test_what_is_blank_before_the_declaration_is_passed_over(tmp_path: Path, before: str) -> None:
    content = f'{before}<?xml version="1.1" encoding="utf-8"?><testsuite><testcase name="a"/></testsuite>'
    assert only_result(tmp_path, content).title == "a"


def test_a_declared_character_set_counts_after_blank_lines(tmp_path: Path) -> None:
    content = (
        b'\n\n<?xml version="1.0" encoding="windows-1252"?><testsuite><testcase name="\x80"/></testsuite>'
    )
    assert only_result(tmp_path, content).title == "€"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a\x1b[31mb\x00c\x08", "a\ufffd[31mb\ufffdc\ufffd"),
        ("a&#27;b&#x0;c&#xD800;d&#x110000;e&#xFFFE;", "a\ufffdb\ufffdc\ufffdd\ufffde\ufffd"),
        ("a\ufffeb\uffffc", "a\ufffdb\ufffdc"),
        ("<![CDATA[a\x1b&#27;&nbsp;&]]>", "a\ufffd&#27;&nbsp;&"),
        ("a&nbsp;b&eacute;c&LT;d", "a\u00a0bécxd".replace("x", "<")),
        ("a & b && c &unknown; &#; &amp; &lt;", "a & b && c &unknown; &#; & <"),
        ("]]&gt; <![CDATA[]]]]><![CDATA[>]]>", "]]> ]]>"),
        ("&#x1F600;&#10;x", "😀\nx"),
    ],
)
def test_illegal_characters_and_references_are_replaced(tmp_path: Path, written: str, expected: str) -> None:
    assert result_of_case(tmp_path, f"<system-out>{written}</system-out>").stdout == expected


def test_references_and_sections_are_whole_at_any_chunk_border(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "<![CDATA[&#27;]]]]><![CDATA[>\x1b]]>&#27;&amp;&nbsp;&x]&]]&gt;é😀"
    content = f'<?xml version="1.0"?><testsuite><testcase name="a"><system-out>{text}</system-out></testcase></testsuite>'
    monkeypatch.setattr("pytest_tms.cli.formats.report_file.HEAD_BYTES", 4)
    expected = "&#27;]]>\ufffd\ufffd&\u00a0&x]&]]>é😀"
    for size in range(2, 120):
        monkeypatch.setattr("pytest_tms.cli.formats.report_file.CHUNK_BYTES", size)
        for packed in (content.encode(), gzip.compress(content.encode(), mtime=0)):
            assert only_result(tmp_path, packed).stdout == expected, size
