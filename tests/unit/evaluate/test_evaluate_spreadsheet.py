"""A table as a spreadsheet writes it: what is certain is read, a guess is counted, a fault names row and column."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.evaluate.spreadsheet import read_sheet
from pipeline.evaluate.warm_start import ArmStart, Shown, arm_starts, foreign_arms, log_of_sheet
from tests.samples import define, plain_policy

POLICY = define(plain_policy())
GERMAN = "Arm;Reward;Propensity\nä;0,5;0,25\nb;1;0,5\n"


def read(raw: bytes):
    return read_sheet(raw, "log.csv", ("arm", "reward"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_encodings_delimiters_and_decimal_commas_are_read(encoding, delimiter):
    sheet = read(GERMAN.replace(";", delimiter).encode(encoding))
    assert sheet.words("arm") == ["ä", "b"]
    assert sheet.numbers("reward").tolist() == [0.5, 1.0]
    assert any("decimal comma (1 times)" in words for words in sheet.doubts_told())
    assert any("Windows-1252" in words for words in sheet.doubts_told()) == (encoding == "cp1252")


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbfarm,reward,note\na,1,Stra\xdfe\nb,0,\xef\xbf\xbd\n",  # Latin-1 behind UTF-8's mark
        b"arm,reward,note\na,1,\x81\nb,0,\xe9\n",  # 0x81 is nothing in Windows-1252
        "arm,reward,note\na,1,".encode("utf-16") + b"\x00\xdc" + "x\nb,0,y\n".encode("utf-16-le"),  # half a pair
    ],
    ids=["utf-8", "cp1252", "utf-16"],
)
def test_what_is_no_letter_is_counted_whatever_the_encoding(raw):
    assert [words.endswith("were read as \ufffd (1 times)") for words in read(raw).doubts_told()].count(True) == 1


def test_thousands_are_told_from_decimals_by_the_rest_of_the_column():
    assert read(b"arm;reward\na;1.234,5\nb;2.000\n").numbers("reward").tolist() == [1234.5, 2000.0]
    assert read(b'arm,reward\na,"1,234.5"\nb,"2,000"\nc,0.125\n').numbers("reward").tolist() == [1234.5, 2000.0, 0.125]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arm,reward\na,2\n", r"row 2, column reward: '2', expected a number in \[0.0, 1.0\]"),
        ("arm,reward,propensity\na,1,1e-300\n", "row 2, column propensity: '1e-300'"),
        ("arm,reward,propensity\na,1,0.5\na,1,0\n", "row 3, column propensity: '0'"),
        ("arm,reward,propensity\na,1,1.5\n", "row 2, column propensity: '1.5'"),
        ("arm,reward\na,nan\n", "row 2, column reward: 'nan'"),
        ("arm,reward\na\n", "row 2: has 1 cells, the header has 2"),
        ("arm,reward\na,25%\n", "row 2, column reward: '25%'"),
        ("arm;reward\na;ja\nb;nein\n", "row 3, column reward: 'nein'"),
        ("arm,reward\na,TRUE\n", "row 2, column reward: 'TRUE'"),
        ("arm,reward\na,2024-01-02\n", "row 2, column reward: '2024-01-02'"),
        ("arm,reward\na,#DIV/0!\n", "row 2, column reward: '#DIV/0!'"),
        ("arm,reward\na,1\nb\0,1\n", "row 3: holds a byte 0"),
        ("sep=;\narm;reward\na\0;1\n", "row 3: holds a byte 0"),
        ('arm,reward\na,1\n"b,1\n' + "c,1\n" * 50_000, "row 3: can't be cut into cells"),
        ("arm,reward\na," + "1" * 200_000, "row 2: can't be cut into cells"),
        ("arm,reward,reward\na,1,1\n", "column reward is there 2 times"),
        ("", "column arm is missing"),
        ("arm,reward\n", "holds no row below its header"),
        ("PK\x03\x04\x14", "is a workbook"),
    ],
)
def test_faults_name_row_and_column(text, words):
    with pytest.raises(ConfigError, match=words):
        log_of_sheet(read(text.encode()), POLICY)


@pytest.mark.parametrize(
    "text",
    [
        'arm,reward,note\na,0.5,"x\ny"\nb,1,z\n',
        "arm,reward,,\r\na,0.5,,\r\nb,1,,\r\n",
        "arm,reward,at\ra,0.5,03:04\rb,1,2024-01-02\r",
        "Arm , REWARD\na , 0.5\n,\nb,1\n",
        "sep=|\narm|reward\na|0,5\nb|1,0\n",
        'arm,reward,note\na,0.5,x\x0by\nb,1,"\u2028"\n',
    ],
)
def test_line_ends_within_cells_empty_columns_and_rows_and_other_columns_are_read(text):
    assert arm_starts(log_of_sheet(read(text.encode()), POLICY), trust=1.0, limit=9.0) == [
        ArmStart("a", 1, 0.5, 1.0, 1.0),
        ArmStart("b", 1, 1.0, 1.0, 1.0),
    ]


def test_foreign_arms_are_counted():
    log = Shown(["a", "A", "A", "b"], read(b"arm,reward\na,1\n").numbers("reward"), None)
    assert foreign_arms(log, POLICY) == {"A": 2}
