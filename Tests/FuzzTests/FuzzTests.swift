import Aggregator
import Importing
import Query
import Records
import SluiceConfiguration
import Testing

/// Kept and changed inputs for every parser that reads what others have written: no crash, no hang,
/// bounded memory. `make soak` gives each of them minutes instead of a moment.
@Suite("Fuzz, with kept corpora", .serialized, .timeLimit(.minutes(30)))
struct FuzzTests {
    @Test("record decoder: what is decoded is encoded again and means the same")
    func records() async throws {
        try await Fuzzer("record").run(countMax: 4_096) { bytes, _ in
            guard let record = try? RequestRecord(decoding: bytes.span.raw) else { return }
            let again = try RequestRecord(decoding: record.encoded().span.raw)
            if again != record { throw Difference("the record read again is another one") }
        }
    }

    @Test("access log lines: what is parsed becomes a record that can be read")
    func accessLogs() async throws {
        var lines = LineEncoder(org: "acme", api: "web", format: .combined)
        var encoder = RecordEncoder()
        let fuzzer = try Fuzzer(
            "access-log",
            pieces: ["[", "]", "+0000", "GET ", " HTTP/1.1", "\\x"]
        )
        try await fuzzer.run(countMax: 8_192) { bytes, _ in
            _ = ImportFormat.detect(bytes.span)
            guard let parsed = try? AccessLogParser.parse(bytes.span) else { return }
            encoder.removeAll()
            lines.encode(parsed, bytes.span, into: &encoder)
            let record = try RequestRecord(decoding: encoder.bytes.span.raw)
            if record.completedAt != parsed.time { throw Difference("the time is another one") }
        }
    }

    @Test("configuration: any text is loaded or refused")
    func configuration() async throws {
        struct NoFile: Error {}
        let pieces = [
            "{", "}", "[", "]", ": ", "- ", "&x ", "*x", "!!", "|", ">", "---\n", "<<: ", "env:X",
            "listen: ", "apis:\n", "\u{FEFF}", "\u{85}", "10ms", "5GiB",
        ]
        try await Fuzzer("configuration", pieces: pieces).run(rounds: 1_000, countMax: 8_192) {
            bytes,
            _ in
            let text = String(decoding: bytes, as: UTF8.self)
            let loader = ConfigurationLoader(
                environment: [:],
                hostName: "host",
                kafkaRefusal: { _, _ in nil },
                readFile: { _ in throw NoFile() }
            )
            _ = loader.load(text, name: "sluice.yaml")
        }
    }

    @Test("questions to the query API: understood or refused")
    func queries() async throws {
        let pieces = [
            "from=", "to=", "granularity=", "tz=", "metrics=", "group_by=", "filter=", "order=",
            "limit=", "cursor=", "compare=", "&", "=", ",", ":", "%", "-24h", "now",
            "Europe/Berlin",
        ]
        try await Fuzzer("query", pieces: pieces).run(rounds: 4_000, countMax: 4_096) { bytes, _ in
            let text = String(decoding: bytes, as: UTF8.self)
            _ = TimeExpression(text)
            _ = try? Filter(text)
            _ = try? UsageParameters(json: bytes)
            guard let parameters = try? UsageParameters(query: text),
                let request = try? UsageRequest(parameters, now: 1_773_144_000_000_000)
            else { return }
            _ = try? Planner().plan(request)
        }
    }

    @Test("headers of Kafka messages: any bytes are an identity, a marker, or nothing")
    func messages() async throws {
        try await Fuzzer("kafka", pieces: ["skip", "end", "damaged"]).run(rounds: 8_000) {
            bytes,
            _ in
            var headers = MessageHeaders()
            // One header a line, in the order of the names.
            let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            for (name, line) in zip(MessageHeader.allCases, lines) {
                headers.put(name, Array(line).span)
            }
            if let identity = headers.identity, identity.log != headers.log {
                throw Difference("another identity than the headers say")
            }
        }
    }
}

/// Something that two ways of reading the same bytes disagree about.
struct Difference: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
