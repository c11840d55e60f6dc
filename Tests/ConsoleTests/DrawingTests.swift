import Console
import Foundation
import Testing

/// Compares text with a checked-in file; `UPDATE_GOLDENS=1` rewrites it.
func checkGolden(_ text: String, _ name: String) throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Goldens/\(name)")
    if ProcessInfo.processInfo.environment["UPDATE_GOLDENS"] == "1" {
        try text.write(to: file, atomically: true, encoding: .utf8)
    }
    let expected = try String(contentsOf: file, encoding: .utf8)
    #expect(text == expected, "\(name) differs; UPDATE_GOLDENS=1 rewrites it")
}

private let unicode = Drawing(isUnicode: true, hasColour: false)
private let ascii = Drawing(isUnicode: false, hasColour: false)

@Suite("Drawing")
struct DrawingTests {
    @Test(
        "bars fill their share, and what is more than nothing can be seen",
        arguments: [
            (0, "", ""), (0.000_1, "▏", "#"), (0.5, "████", "####"), (1, "████████", "########"),
            (0.33, "██▋", "###"), (7, "████████", "########"), (-1, "", ""), (.nan, "", ""),
        ] as [(Double, String, String)]
    )
    func bars(share: Double, wanted: String, plain: String) {
        #expect(unicode.bar(share, width: 8) == wanted)
        #expect(ascii.bar(share, width: 8) == plain)
    }

    @Test("a sparkline goes from zero to the largest value, and gaps stay blank")
    func sparklines() {
        #expect(unicode.sparkline([0, 1, nil, 4, 8]) == "▁▂ ▅█")
        #expect(ascii.sparkline([0, 1, nil, 4, 8]) == "_. =#")
        #expect(unicode.sparkline([0, 0]) == "▁▁")
        #expect(unicode.sparkline([]).isEmpty)
        #expect(Drawing.condensed([1, 5, nil, nil, 2, 3], 3) == [5, nil, 3])
        #expect(Drawing.condensed([1, 2], 5) == [1, 2])
    }

    @Test(
        "the locale says whether Unicode can be shown",
        arguments: [
            ([:], false), (["LANG": "C"], false), (["LANG": "de_DE.UTF-8"], true),
            (["LANG": "C.utf8"], true), (["LANG": "de_DE.UTF-8@euro"], true),
            (["LC_ALL": "C", "LANG": "en_US.UTF-8"], false),
            (["LC_ALL": "", "LC_CTYPE": "C.UTF-8", "LANG": "C"], true),
        ] as [([String: String], Bool)]
    )
    func locales(environment: [String: String], expected: Bool) {
        #expect(Drawing.showsUnicode(environment) == expected)
    }

    @Test("text is cut and filled by the columns that it takes")
    func widths() {
        #expect(TextWidth.columns("aé日本") == 6)
        #expect(TextWidth.fitted("日本語", 5, unicode) == "日本…")
        #expect(TextWidth.fitted("日本語", 4, unicode) == "日… ")
        #expect(TextWidth.fitted("long name", 5, ascii) == "long~")
        #expect(TextWidth.fitted("7", 3, isNumber: true, unicode) == "  7")
        #expect(ascii.shown("41 µs – …") == "41 us - ...")
        #expect(ascii.shown("straße") == "straße")
    }

    @Test("styles need colour")
    func styles() {
        #expect(unicode.styled("x", .red) == "x")
        #expect(
            Drawing(isUnicode: true, hasColour: true).styled("x", .red) == "\u{1B}[31mx\u{1B}[0m"
        )
    }
}

@Suite("BucketTime")
struct BucketTimeTests {
    private func places(_ texts: [String]) -> [Int] {
        BucketTime.places(texts.compactMap { BucketTime($0) })
    }

    @Test("buckets without a row leave their place free, whatever the clocks do")
    func places() {
        #expect(
            places(["2026-03-10T12:00:00Z", "2026-03-10T12:01:00Z", "2026-03-10T12:04:00Z"])
                == [0, 1, 4]
        )
        // The hour from two to three occurs twice, then once.
        #expect(
            places([
                "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00",
                "2026-10-25T03:00:00+01:00", "2026-10-25T05:00:00+01:00",
            ]) == [0, 1, 2, 4]
        )
        // A day of 23 hours is a day.
        #expect(
            places([
                "2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00",
                "2026-03-30T00:00:00+02:00", "2026-04-30T00:00:00+02:00",
            ]) == [0, 1, 2, 33]
        )
        #expect(
            places(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2027-03-01T00:00:00Z"])
                == [0, 1, 14]
        )
        #expect(places(["2026-01-01T00:00:00Z"]) == [0])
    }

    @Test("times are read as the query API writes them")
    func reading() {
        #expect(BucketTime("1970-01-01T01:00:01+01:00")?.absolute == 1)
        #expect(BucketTime("1969-12-31T23:30:00-00:30")?.absolute == 0)
        #expect(BucketTime("2026-03-10T12:00:00.25Z")?.absolute == 1_773_144_000)
        for wrong in ["", "2026-03-10", "2026-03-10T12:00:00", "x026-03-10T12:00:00Z"] {
            #expect(BucketTime(wrong) == nil, "\(wrong)")
        }
        #expect(BucketTime.clock(1_773_144_061) == "12:01:01")
    }
}

@Suite("UsageGraph")
struct UsageGraphTests {
    private let byTime = """
        bucket,requests,error_rate,latency_p99\r
        2026-03-10T12:00:00Z,120,0.01,0.04\r
        2026-03-10T12:05:00Z,1200,0,0.5\r
        2026-03-10T12:20:00Z,600,0.25,\r

        """
    private let byGroup = """
        bucket,api,requests\r
        2026-03-10T12:00:00Z,orders,120\r
        2026-03-10T12:00:00Z,,1\r
        2026-03-10T12:05:00Z,orders,40\r

        """
    private let compared = """
        api,requests,error_rate,requests_previous,error_rate_previous\r
        orders,1500,0.02,1200,0.01\r
        new,3,0,0,\r
        gone,0,,400,0.5\r

        """

    @Test("a terminal gets bars beside the rows and sparklines below")
    func drawn() throws {
        try checkGolden(
            [byTime, byGroup, compared].flatMap { csv in
                [unicode, ascii].map { UsageTable(csv, drawing: $0, width: 80).text }
            }.joined(separator: "\n"),
            "usage_drawn.txt"
        )
    }

    @Test("a pipe gets text alone, with the earlier window beside each metric")
    func plain() {
        let expected = """
            api     requests  before   change  error_rate  before    change
            orders     1,500   1,200  +25.0 %      2.00 %  1.00 %  +1.00 pp
            new            3       0      new      0.00 %       –         –
            gone           0     400   -100 %           –  50.0 %         –

            """
        #expect(UsageTable(compared).text == expected)
    }

    @Test("no line is wider than the terminal if the table itself is not")
    func narrow() {
        for width in [60, 70, 80, 100, 200] {
            for csv in [byTime, byGroup] {
                for line in UsageTable(csv, drawing: unicode, width: width).text.split(
                    separator: "\n"
                ) {
                    #expect(TextWidth.columns(String(line)) <= width, "\(width): \(line)")
                }
            }
        }
    }
}
