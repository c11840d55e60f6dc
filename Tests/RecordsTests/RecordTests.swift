import Foundation
import Records
import Testing

/// The schema, the golden record, views and JSON.
@Suite("Records")
struct RecordTests {
    /// The record of the golden file and of `docs/formats/record.md`.
    static let example: RequestRecord = {
        var record = RequestRecord(kind: .request)
        record.schemaVersion = 1
        record.logID = LogID("0190b2c4-5d6e-4f70-8192-a3b4c5d6e7f8")
        record.offset = Offset(42)
        record.completedAt = 1_767_225_600_000_000
        record.outcome = .ok
        record.org = "acme"
        record.api = "orders"
        record.route = "/orders/{id}"
        record.method = "GET"
        record.status = 200
        record.durationUS = 12_345
        record.upstreamDurationUS = 11_000
        record.responseBytes = 2_048
        record.keyID = "5f2b"
        record.clientIP = "192.0.2.7"
        record.tags = [RecordTag(key: "tenant", value: "blue")]
        record.capturedRequest = RecordCapture(data: [1, 2, 255], originalLength: 3)
        record.unknownFields = [0xC0, 0x3E, 0x07]
        return record
    }()

    @Test("the golden record encodes to the golden bytes and back")
    func golden() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Goldens/request_record.hex")
        let bytes = Self.example.encoded()
        if ProcessInfo.processInfo.environment["UPDATE_GOLDENS"] == "1" {
            try (Hexadecimal.text(bytes) + "\n").write(to: file, atomically: true, encoding: .utf8)
        }
        let text = try String(contentsOf: file, encoding: .utf8)
        #expect(text == Hexadecimal.text(bytes) + "\n")
        #expect(try RequestRecord(bytes) == Self.example)
    }

    @Test("field numbers and names are those of the proto")
    func schema() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("schemas/sluice/v1/request_record.proto")
        let text = try String(contentsOf: file, encoding: .utf8)
        let message = try #require(text.components(separatedBy: "message RequestRecord {").last)
        var numbers: [String: UInt32] = [:]
        for match in message.matches(of: /(?m)^\s+(?:optional |repeated )?\w+ (\w+) = (\d+);/) {
            numbers[String(match.1)] = UInt32(match.2)
        }
        #expect(numbers.count == RecordField.allCases.count)
        for field in RecordField.allCases {
            #expect(numbers[field.name] == field.rawValue, "\(field.name)")
        }
    }

    @Test("a view finds what was encoded, wherever it lies")
    func view() throws {
        let bytes = Self.example.encoded()
        let view = try RecordView.decode(bytes.span.raw)
        #expect(view.kind == .request)
        #expect(view.outcome == .ok)
        #expect(view.status == 200)
        #expect(view.durationUS == 12_345)
        #expect(view.gatewayDurationUS == nil)
        let route = view.text(view.route, in: bytes.span.raw)
        #expect(route == "/orders/{id}")
        #expect(view.host.isEmpty)
        let found = view.identity(in: bytes.span.raw)
        let identity = try #require(found)
        #expect(identity.log.description == "0190b2c4-5d6e-4f70-8192-a3b4c5d6e7f8")
        #expect(identity.offset == Offset(42))
        var tags: [String] = []
        view.forEachTag(in: bytes.span.raw) { key, value in
            let text =
                String(decoding: bytes[key.range], as: UTF8.self) + "="
                + String(decoding: bytes[value.range], as: UTF8.self)
            tags.append(text)
        }
        #expect(tags == ["tenant=blue"])
    }

    @Test("tags between other fields are all found")
    func scatteredTags() throws {
        var random = SeededRandom(seed: 51)
        for _ in 0..<500 {
            let bytes = FieldSoup(40, &random).bytes
            let record = try RequestRecord(bytes)
            let view = try RecordView.decode(bytes.span.raw)
            var tags: [RecordTag] = []
            view.forEachTag(in: bytes.span.raw) { key, value in
                tags.append(
                    RecordTag(
                        key: String(decoding: bytes[key.range], as: UTF8.self),
                        value: String(decoding: bytes[value.range], as: UTF8.self)
                    )
                )
            }
            try #require(tags == record.tags)
        }
    }

    @Test("a newer schema is reported as such, also when the rest cannot be read")
    func newerSchema() {
        for bytes in [[0x08, 2], [0x08, 0xE7, 0x07, 0x0A], [0x3A, 0, 0x08, 9, 0x07]] as [[UInt8]] {
            do throws(RecordError) {
                _ = try RecordView.decode(bytes.span.raw)
                Issue.record("accepted")
            } catch {
                guard case .unknownSchemaVersion = error else {
                    Issue.record("\(error)")
                    continue
                }
            }
        }
    }

    @Test("text that is not UTF-8 is replaced, not refused")
    func brokenText() throws {
        let record = try RequestRecord([0x3A, 3, 0x61, 0xFF, 0x62])
        #expect(record.org == "a\u{FFFD}b")
    }

    @Test("JSON is one line with the names of the proto and what is known")
    func json() throws {
        var record = Self.example
        record.path = "/a\"b\\c\n\u{1}é"
        let line = record.json()
        #expect(!line.contains("\n"))
        let object = try #require(
            JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        )
        #expect(object["path"] as? String == record.path)
        #expect(object["log_id"] as? String == "0190b2c4-5d6e-4f70-8192-a3b4c5d6e7f8")
        #expect(object["offset"] as? Int == 42)
        #expect(object["outcome"] as? String == "ok")
        #expect(object["status"] as? Int == 200)
        #expect(object["host"] == nil)
        let capture = try #require(object["captured_request"] as? [String: Any])
        #expect(capture["data"] as? String == "AQL/")
        let tags = try #require(object["tags"] as? [[String: String]])
        #expect(tags == [["key": "tenant", "value": "blue"]])
        #expect(RequestRecord().json() == "{}")
    }

    @Test("Base64 in JSON has padding", arguments: 0...7)
    func base64(count: Int) throws {
        var random = SeededRandom(seed: UInt64(count))
        var record = RequestRecord()
        let data = random.bytes(count)
        record.capturedResponse = RecordCapture(data: data, originalLength: 9)
        let line = record.json()
        #expect(line.contains("\"data\":\"\(Data(data).base64EncodedString())\""))
    }
}

/// Identifiers and fixed lists.
@Suite("Names")
struct NameTests {
    @Test("a log id's text, bytes and halves agree")
    func logIDs() throws {
        var random = SeededRandom(seed: 61)
        for _ in 0..<1_000 {
            let id = LogID(random: &random)
            let uuid = try #require(UUID(uuidString: id.description))
            #expect(uuid.uuidString.lowercased() == id.description)
            #expect(LogID(id.description) == id)
            #expect(LogID(id.description.uppercased()) == id)
            let bytes = id.bytes
            let again = LogID(bytes: bytes.span)
            #expect(again == id)
            let parts = id.description.split(separator: "-")
            #expect(parts[2].first == "4")
            #expect("89ab".contains(parts[3].first ?? " "))
        }
    }

    @Test(
        "what is no UUID is no log id",
        arguments: [
            "", "0190b2c4", "0190b2c45d6e4f708192a3b4c5d6e7f8",
            "0190b2c4-5d6e-4f70-8192-a3b4c5d6e7f", "0190b2c4-5d6e-4f70-8192-a3b4c5d6e7f80",
            "0190b2c4-5d6e-4f70-8192-a3b4c5d6e7fg", "0190b2c4x5d6e-4f70-8192-a3b4c5d6e7f8",
        ]
    )
    func badLogIDs(text: String) {
        #expect(LogID(text) == nil)
    }

    @Test("methods of the fixed list keep their name, others become OTHER")
    func methods() {
        for method in RequestMethod.allCases where method != .other {
            let read = RequestMethod(Array(method.name.utf8).span)
            #expect(read == method)
            #expect(RequestMethod(method.name) == method)
        }
        for text in ["", "get", "GE", "GETS", "PROPFIND", "BREW", "OTHER"] {
            let read = RequestMethod(Array(text.utf8).span)
            #expect(read == .other)
        }
    }

    @Test("names of outcomes are unique and read back")
    func outcomes() {
        for outcome in Outcome.allCases { #expect(Outcome(name: outcome.name) == outcome) }
        #expect(Outcome(name: "fine") == nil)
        #expect(Set(RecordKind.allCases.map(\.name)).count == RecordKind.allCases.count)
        #expect(
            Set(UserAgentFamily.allCases.map(\.name)).count == UserAgentFamily.allCases.count
        )
    }

    static let userAgents: [(String, UserAgentFamily, ClientPlatform)] = [
        ("", .none, .none),
        ("-", .other, .other),
        ("curl/8.5.0", .curl, .other),
        ("Wget/1.21.3 (linux-gnu)", .wget, .linux),
        ("python-requests/2.31.0", .pythonRequests, .other),
        ("Python-urllib/3.11", .python, .other),
        ("Go-http-client/1.1", .go, .other),
        ("okhttp/4.12.0", .okhttp, .other),
        ("Apache-HttpClient/4.5.14 (Java/17.0.9)", .java, .other),
        ("PostmanRuntime/7.36.0", .postman, .other),
        ("kube-probe/1.29", .monitor, .other),
        ("axios/1.6.2", .node, .other),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", .googlebot,
            .other
        ),
        (
            "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", .bingbot,
            .other
        ),
        ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", .bot, .other),
        ("Sogou web spider/4.0", .bot, .other),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
                + "Chrome/124.0.0.0 Safari/537.36", .chrome, .windows
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
                + "Chrome/124.0.0.0 Safari/537.36 Edg/124.0.0.0", .edge, .windows
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0", .firefox,
            .linux
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_4) AppleWebKit/605.1.15 (KHTML, like Gecko) "
                + "Version/17.4 Safari/605.1.15", .safari, .macOS
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
                + "like Gecko) CriOS/124.0 Mobile/15E148 Safari/604.1", .chrome, .ios
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) "
                + "SamsungBrowser/24.0 Chrome/117.0.0.0 Mobile Safari/537.36", .samsungInternet,
            .android
        ),
        (
            "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; .NET CLR 2.0)",
            .internetExplorer, .windows
        ),
        ("Opera/9.80 (Windows NT 6.1) Presto/2.12.388 Version/12.18", .opera, .windows),
        ("MyApp/3 CFNetwork/1494.0.7 Darwin/23.4.0", .swift, .macOS),
        ("wrk/4.2.0", .loadTest, .other),
        ("something else entirely", .other, .other),
    ]

    @Test("user agents fall into the fixed lists", arguments: userAgents)
    func classify(text: String, family: UserAgentFamily, platform: ClientPlatform) {
        let bytes = Array(text.utf8)
        let readFamily = UserAgentFamily(bytes.span)
        let readPlatform = ClientPlatform(bytes.span)
        #expect(readFamily == family)
        #expect(readPlatform == platform)
    }

    @Test("any bytes at all are classified without a trap")
    func strangeUserAgents() {
        var random = SeededRandom(seed: 71)
        for _ in 0..<2_000 {
            let bytes = random.bytes(Int.random(in: 0...60, using: &random))
            _ = UserAgentFamily(bytes.span)
            _ = ClientPlatform(bytes.span)
        }
    }
}
