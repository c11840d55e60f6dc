import Foundation
import Importing
import Records
import Testing

/// Single lines: what they say, and why some say nothing.
@Suite("Access log lines")
struct ParserTests {
    static let time = 1_431_857_103_000_000 as Int64

    /// A line and what must be read from it.
    struct Good: Sendable {
        var line: String
        var client = "192.0.2.7"
        var time = ParserTests.time
        var method = "GET"
        var path = "/"
        var status: UInt32? = 200
        var size: UInt64 = 5
        var agent = ""
        var host = ""
        var family = ""
    }

    static func request(_ request: String, _ rest: String = "200 5") -> String {
        "192.0.2.7 - - [17/May/2015:10:05:03 +0000] \"\(request)\" \(rest)"
    }

    static func at(_ time: String) -> String {
        "192.0.2.7 - - [\(time)] \"GET / HTTP/1.1\" 200 5"
    }

    static let good: [Good] = [
        Good(line: request("GET / HTTP/1.1")),
        Good(
            line: request("GET / HTTP/1.1", #"200 5 "-" "curl/8.5.0""#),
            agent: "curl/8.5.0",
            family: "curl"
        ),
        Good(line: request("GET / HTTP/1.1", #"200 5 "-" "-""#)),
        Good(line: request("GET / HTTP/1.1", #"200 5 "" """#)),
        Good(
            line: request("GET / HTTP/1.1", #"200 5 "-" "an \"agent\" with \\ and \x41""#),
            agent: #"an "agent" with \ and A"#,
            family: "Other"
        ),
        Good(
            line: request("GET / HTTP/1.1", #"200 5 "http://e.com/?q=\"x\"" "a""#),
            agent: "a",
            family: "Other"
        ),
        Good(
            line: request("GET / HTTP/1.1", #"200 5 "-" "Mozilla/5.0 (compat"#),
            agent: "Mozilla/5.0 (compat",
            family: "Other"
        ),
        Good(
            line: request("GET / HTTP/1.1", #"200 5 "-" "a" 0.003 extra"#),
            agent: "a",
            family: "Other"
        ),
        Good(line: request("GET / HTTP/1.1", "200 5 0.003")),
        Good(line: request("GET / HTTP/1.1", "200 -"), size: 0),
        Good(line: request("GET / HTTP/1.1", "200 0"), size: 0),
        Good(line: request("GET / HTTP/1.1", "200 99999999999"), size: 99_999_999_999),
        Good(line: request("GET / HTTP/1.1", "- 5"), status: nil),
        Good(line: request("GET / HTTP/1.1", "000 0"), status: nil, size: 0),
        Good(line: request("GET / HTTP/1.1", "599 0"), status: 599, size: 0),
        Good(line: request("GET /a/b?token=secret#f HTTP/1.1"), path: "/a/b"),
        Good(line: request("GET /with space/x HTTP/1.0"), path: "/with space/x"),
        Good(line: request("GET /http09"), path: "/http09"),
        Good(line: request("GET"), path: ""),
        Good(line: request("PURGE /cache HTTP/1.1"), method: "OTHER", path: "/cache"),
        Good(line: request("get / HTTP/1.1"), method: "OTHER"),
        Good(line: request("OPTIONS * HTTP/1.1"), method: "OPTIONS", path: "*"),
        Good(
            line: request("GET http://u:p@example.com:81/x?y HTTP/1.1"),
            path: "/x",
            host: "example.com:81"
        ),
        Good(
            line: request("CONNECT example.com:443 HTTP/1.1"),
            method: "CONNECT",
            path: "example.com:443"
        ),
        Good(line: request("-", "408 0"), method: "OTHER", path: "", status: 408, size: 0),
        Good(line: request("", "400 226"), method: "OTHER", path: "", status: 400, size: 226),
        Good(
            line: request(#"\x16\x03\x01"#, "400 226"),
            method: "OTHER",
            path: "\u{16}\u{3}\u{1}",
            status: 400,
            size: 226
        ),
        Good(
            line: request(#"\xff\xfe"#, "400 0"),
            method: "OTHER",
            path: "\u{FFFD}\u{FFFD}",
            status: 400,
            size: 0
        ),
        Good(line: request("GET /caf\u{e9} HTTP/1.1"), path: "/caf\u{e9}"),
        Good(line: request(#"GET /tab\there\q HTTP/1.1"#), path: "/tab\there\\q"),
        Good(
            line: request("GET / HTTP/1.1").replacing("192.0.2.7", with: "2001:db8::17"),
            client: "2001:db8::17"
        ),
        Good(
            line: request("GET / HTTP/1.1").replacing("192.0.2.7", with: "host.example.com"),
            client: "host.example.com"
        ),
        Good(line: request("GET / HTTP/1.1").replacing("192.0.2.7", with: "-"), client: ""),
        Good(line: request("GET / HTTP/1.1").replacing("- - [", with: "- frank [")),
        Good(line: request("GET / HTTP/1.1").replacing("- - [", with: "- f r [x] y [")),
        Good(line: at("17/May/2015:12:05:03 +0200")),
        Good(line: at("17/May/2015:02:35:03 -0730")),
        Good(line: at("17/May/2015:12:05:03 +02:00")),
        Good(line: at("17/may/2015:10:05:03 +0000")),
        Good(line: at("17/May/2015:10:05:03.25 +0000"), time: time + 250_000),
        Good(line: at("17/May/2015:10:05:03.1234567 +0000"), time: time + 123_456),
        Good(line: at("1/Jan/1970:00:00:00 +0000"), time: 0),
        Good(line: at("31/Dec/1969:23:59:59 +0000"), time: -1_000_000),
        Good(line: at("29/Feb/2000:00:00:00 +0000"), time: 951_782_400_000_000),
        Good(line: at("31/Dec/2016:23:59:60 +0000"), time: 1_483_228_800_000_000),
        Good(line: at("31/Dec/9999:23:59:59 +0000"), time: 253_402_300_799_000_000),
    ]

    @Test("good lines become records with what they say", arguments: good.indices)
    func goodLines(index: Int) throws {
        let wanted = Self.good[index]
        let bytes = Array(wanted.line.utf8)
        let parsed = try AccessLogParser.parse(bytes.span)
        var encoder = RecordEncoder()
        var lines = LineEncoder(org: "acme", api: "web", format: .combined)
        lines.encode(parsed, bytes.span, into: &encoder)
        let record = try RequestRecord(decoding: encoder.bytes.span.raw)
        #expect(record.kind == .request)
        #expect(record.org == "acme" && record.api == "web" && record.route == "__unmatched__")
        #expect(record.completedAt == wanted.time)
        #expect(record.clientIP == wanted.client)
        #expect(record.method == wanted.method)
        #expect(record.path == wanted.path)
        #expect(record.host == wanted.host)
        #expect(record.query == "")
        #expect(record.status == wanted.status)
        #expect(record.responseBytes == wanted.size)
        #expect(record.userAgent == wanted.agent)
        #expect(record.userAgentFamily == wanted.family)
        #expect(record.durationUS == nil && record.upstreamDurationUS == nil)
        switch wanted.status {
        case nil: #expect(record.outcome == .unspecified)
        case .some(..<400): #expect(record.outcome == .ok)
        case .some(400..<500): #expect(record.outcome == .clientError)
        default: #expect(record.outcome == .upstreamError)
        }
    }

    static let bad: [(String, LineProblem)] = [
        (" 192.0.2.7 - -", .noClient),
        ("this is no access log", .noTime),
        ("192.0.2.7 - - [17/May/2015:10:05:03 +0000", .badTime),
        (at("45/Foo/2015:10:05:03 +0000"), .badTime),
        (at("31/Apr/2015:10:05:03 +0000"), .badTime),
        (at("29/Feb/1900:10:05:03 +0000"), .badTime),
        (at("0/May/2015:10:05:03 +0000"), .badTime),
        (at("17/May/0000:10:05:03 +0000"), .badTime),
        (at("17/May/2015:99:05:03 +0000"), .badTime),
        (at("17/May/2015:24:00:00 +0000"), .badTime),
        (at("17/May/2015:10:60:03 +0000"), .badTime),
        (at("17/May/2015:10:05:61 +0000"), .badTime),
        (at("17/May/2015:10:05:03"), .badTime),
        (at("17/May/2015:10:05:03 0000"), .badTime),
        (at("17/May/2015:10:05:03 +9900"), .badTime),
        (at("17/May/2015:10:05:03 +00"), .badTime),
        (at("17/May/15:10:05:03 +0000"), .badTime),
        (at(""), .badTime),
        ("192.0.2.7 - - [17/May/2015:10:05:03 +0000]", .noRequest),
        ("192.0.2.7 - - [17/May/2015:10:05:03 +0000] GET / 200 5", .noRequest),
        ("192.0.2.7 - - [17/May/2015:10:05:03 +0000] \"GET /", .unterminatedRequest),
        ("192.0.2.7 - - [17/May/2015:10:05:03 +0000] \"GET /\\\" 200 5", .unterminatedRequest),
        (request("GET / HTTP/1.1", ""), .badStatus),
        (request("GET / HTTP/1.1", "99x 5"), .badStatus),
        (request("GET / HTTP/1.1", "20 5"), .badStatus),
        (request("GET / HTTP/1.1", "2000 5"), .badStatus),
        (request("GET / HTTP/1.1", "200"), .badSize),
        (request("GET / HTTP/1.1", "200 "), .badSize),
        (request("GET / HTTP/1.1", "200 -5"), .badSize),
        (request("GET / HTTP/1.1", "200 5x"), .badSize),
        (request("GET / HTTP/1.1", "200 99999999999999999999"), .badSize),
        (String(repeating: "x", count: 70_000), .tooLong),
        ("", .noClient),
        ("\u{0}\u{1}\u{2} binary \u{7f}", .noTime),
    ]

    @Test("bad lines say what is wrong", arguments: bad.indices)
    func badLines(index: Int) {
        let (line, problem) = Self.bad[index]
        let bytes = Array(line.utf8)
        #expect(throws: problem) { _ = try AccessLogParser.parse(bytes.span) }
    }

    @Test("every day of 400 years has the time that Foundation computes")
    func calendar() throws {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(secondsFromGMT: 0)
        formatter.dateFormat = "dd/MMM/yyyy:HH:mm:ss Z"
        var day = Date(timeIntervalSince1970: 0)
        for _ in 0..<(400 * 366 / 37) {
            day += 37 * 86_400 + 3_601
            let bytes = Array(Self.at(formatter.string(from: day)).utf8)
            let parsed = try AccessLogParser.parse(bytes.span)
            #expect(parsed.time == Int64(day.timeIntervalSince1970) * 1_000_000)
        }
    }

    @Test("random and mutated bytes never crash, and what parses is encoded", arguments: [1, 2, 3])
    func fuzz(seed: UInt64) throws {
        var random = Seeded(seed)
        var lines = LineEncoder(org: "acme", api: "web", format: .combined)
        var encoder = RecordEncoder()
        let seeds = (Self.good.map(\.line) + Self.bad.map(\.0)).map { Array($0.utf8) }
        var parsedCount = 0
        for round in 0..<20_000 {
            var bytes: [UInt8]
            if round % 10 == 0 {
                bytes = (0..<Int.random(in: 0..<300, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
            } else {
                bytes = seeds.randomElement(using: &random) ?? []
                if bytes.count > 1_000 { bytes.removeLast(bytes.count - 1_000) }
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let at = Int.random(in: 0...bytes.count, using: &random)
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
                    case 1 where at < bytes.count: bytes.remove(at: at)
                    case 2 where at < bytes.count:
                        bytes[at] = Array("\"\\[] x-/".utf8).randomElement(using: &random) ?? 0
                    default: bytes.removeLast(bytes.count - at)
                    }
                }
            }
            guard let parsed = try? AccessLogParser.parse(bytes.span) else { continue }
            parsedCount += 1
            encoder.removeAll()
            lines.encode(parsed, bytes.span, into: &encoder)
            let record = try RequestRecord(decoding: encoder.bytes.span.raw)
            #expect(record.completedAt == parsed.time, "seed \(seed), round \(round)")
            #expect(!record.path.contains("?"))
        }
        #expect(parsedCount > 1_000)
    }

    @Test("formats are recognised, and those to come are refused by name")
    func formats() throws {
        func detect(_ lines: [String]) -> ImportFormat? {
            ImportFormat.detect(Array(lines.joined(separator: "\n").utf8).span)
        }
        let combined = Self.request("GET / HTTP/1.1", #"200 5 "-" "a""#)
        let common = Self.request("GET / HTTP/1.1")
        #expect(detect([combined]) == .combined)
        #expect(detect([common]) == .common)
        #expect(detect(["garbage", common, common, combined]) == .combined)
        #expect(detect(["{}", "nothing"]) == nil)
        #expect(detect([]) == nil)
        #expect(try ImportFormat(name: "combined") == .combined)
        #expect(try ImportFormat(name: "common") == .common)
        for name in ["nginx-json", "envoy-json", "tyk-json", "ndjson"] {
            let error = try #require(throws: ImportError.self) { _ = try ImportFormat(name: name) }
            #expect(error.description.contains("not supported yet"))
        }
        let error = try #require(throws: ImportError.self) { _ = try ImportFormat(name: "csv") }
        #expect(error.description.contains("there is no format \"csv\""))
    }
}
