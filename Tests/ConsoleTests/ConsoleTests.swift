import Console
import Testing

@Suite("Units")
struct UnitsTests {
    @Test(
        "numbers read as people write them",
        arguments: [
            (0, "0"), (7, "7"), (999, "999"), (1_000, "1,000"), (9_126, "9,126"),
            (-1_234_567, "-1,234,567"), (Int64.min, "-9,223,372,036,854,775,808"),
        ] as [(Int64, String)]
    )
    func counts(number: Int64, text: String) {
        #expect(Units.count(number) == text)
    }

    @Test(
        "seconds take the unit that leaves three digits",
        arguments: [
            (0, "0 s"), (0.000_041, "41.0 µs"), (0.0412, "41.2 ms"), (0.999_999, "1,000 ms"),
            (1, "1.00 s"), (12.345, "12.3 s"), (150, "2.50 min"), (7_200, "2.00 h"),
            (259_200, "3.00 d"), (-0.5, "-500 ms"), (.infinity, "inf d"), (.nan, "nan d"),
        ]
    )
    func seconds(number: Double, text: String) {
        #expect(Units.seconds(number) == text)
    }

    @Test(
        "bytes take binary units",
        arguments: [
            (0, "0 B"), (1_023, "1,023 B"), (1_024, "1.00 KiB"), (12_897_484, "12.3 MiB"),
            (1e18, "888 PiB"),
        ]
    )
    func bytes(number: Double, text: String) {
        #expect(Units.bytes(number) == text)
    }

    @Test("shares are percent")
    func shares() {
        #expect(Units.share(0.0214) == "2.14 %")
        #expect(Units.share(1) == "100 %")
        #expect(Units.share(0) == "0.00 %")
    }
}

@Suite("Table")
struct TableTests {
    private let table: Table = {
        var table = Table(["name", "size", "note"])
        table.rows = [
            [.text("a,\"b\""), .bytes(2048), .none],
            [.text("ü\r\n\u{1B}[1m"), .bytes(5), .flag(true)],
        ]
        return table
    }()

    @Test("columns are aligned, and control characters cannot reach the terminal")
    func aligned() {
        let expected = """
            name         size  note
            a,"b"    2.00 KiB  –
            ü\u{FFFD}\u{FFFD}\u{FFFD}[1m       5 B  yes

            """
        #expect(table.text(.table) == expected)
    }

    @Test("programs get plain numbers in CSV and JSON")
    func programs() {
        #expect(
            table.text(.csv)
                == "name,size,note\n\"a,\"\"b\"\"\",2048,\n\"ü\r\n\u{1B}[1m\",5,true\n"
        )
        #expect(
            table.text(.ndjson) == """
                {"name":"a,\\"b\\"","size":2048,"note":null}
                {"name":"ü\\r\\n\\u001b[1m","size":5,"note":true}

                """
        )
        #expect(Table(["x"]).text(.json) == "[]\n")
    }
}

@Suite("CSVReader")
struct CSVReaderTests {
    @Test(
        "reads what RFC 4180 allows",
        arguments: [
            ("", []), ("a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]), ("a", [["a"]]),
            ("\"x,\"\"y\"\"\",\n", [["x,\"y\"", ""]]), ("\"two\nlines\"\n", [["two\nlines"]]),
            (",\n", [["", ""]]), ("\"open", [["open"]]),
        ] as [(String, [[String]])]
    )
    func reads(text: String, rows: [[String]]) {
        #expect(CSVReader.rows(text) == rows)
    }
}

@Suite("UsageTable")
struct UsageTableTests {
    @Test("shows units by the names of columns, and nothing for null")
    func units() {
        let csv =
            "api,requests,error_rate,latency_p99,bytes_out\r\n"
            + "orders,1200,0.0025,0.0421,1048576\r\nx,0,,,0\r\n"
        let expected = """
            api     requests  error_rate  latency_p99  bytes_out
            orders     1,200      0.25 %      42.1 ms   1.00 MiB
            x              0           –            –        0 B

            """
        #expect(UsageTable(csv).text == expected)
        #expect(UsageTable("api\r\n").text.hasPrefix("no rows"))
    }
}

@Suite("UsageHint")
struct UsageHintTests {
    private let create = "sluice token create [--config <file>] --scope <scope> [--wait]"

    @Test("names unknown options and surplus words, and only those")
    func names() {
        func check(_ words: String, _ usage: String, _ expected: String) {
            let arguments = words.split(separator: " ").map(String.init)
            #expect(UsageHint.text(arguments, usage: usage) == expected, "\(words)")
        }
        check("token create --no", create, "There is no option --no here.\n")
        check("token create x", create, "Nothing is expected where \"x\" stands.\n")
        check("token create --config x --wait --scope=y", create, "")
        check("token create --config", create, "")
        check(
            "log ls a --no",
            "sluice log ls <dir> [--format <format>]",
            "There is no option --no here.\n"
        )
        check("log ls a b", "sluice log ls <dir> [--format <format>]", "")
        check("query --no", "sluice query <options>", "")
        check("", "", "")
    }
}
