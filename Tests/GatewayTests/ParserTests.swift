import Gateway
import NIOCore
import Testing

/// A deterministic generator; tests print its seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

/// Feeds a request parser in pieces that end at the given positions.
func parseRequest(_ bytes: [UInt8], splits: [Int] = []) -> (step: ParseStep, head: RequestHead) {
    var parser = RequestParser()
    let limits = GatewayLimits()
    for end in splits {
        let step = parser.parse(bytes.span.extracting(0..<end), limits)
        if step != .more { return (step, parser.head) }
    }
    return (parser.parse(bytes.span, limits), parser.head)
}

/// Feeds a response parser in pieces that end at the given positions.
func parseResponse(_ bytes: [UInt8], splits: [Int] = []) -> (step: ParseStep, head: ResponseHead) {
    var parser = ResponseParser()
    let limits = GatewayLimits()
    for end in splits {
        let step = parser.parse(bytes.span.extracting(0..<end), limits)
        if step != .more { return (step, parser.head) }
    }
    return (parser.parse(bytes.span, limits), parser.head)
}

/// What a decoder makes of a chunked body that arrives in pieces.
struct Decoded: Equatable {
    var data: [UInt8] = []
    var trailers = 0
    var isComplete = false
    var isRejected = false
    var surplus = 0
}

/// Decodes pieces as the connections do: what is not done with is offered again.
func decodeChunks(_ bytes: [UInt8], splits: [Int] = []) -> Decoded {
    var decoder = ChunkedDecoder()
    var result = Decoded()
    let limits = GatewayLimits()
    var start = 0
    for end in splits + [bytes.count] {
        feeding: while start < end {
            switch decoder.next(bytes.span.extracting(start..<end), limits) {
            case .more(let count):
                start += count
                break feeding
            case .data(let skipped, let count):
                result.data += bytes[(start + skipped)..<(start + skipped + count)]
                start += skipped + count
            case .end(let count):
                result.trailers = decoder.trailers.fields.count
                result.isComplete = true
                result.surplus = bytes.count - start - count
                return result
            case .rejected:
                result.isRejected = true
                return result
            }
        }
    }
    return result
}

@Suite("Parsers")
struct ParserTests {
    @Test("every request head of the table gets its verdict, however it is split")
    func requestTable() {
        #expect(ParserTables.requests.count > 250)
        for entry in ParserTables.requests {
            let bytes = Array(entry.input.utf8)
            let whole = parseRequest(bytes)
            if let rejection = entry.rejection {
                #expect(whole.step == .rejected(rejection), "\(entry)")
            } else {
                #expect(whole.step == .end(bytes.count), "\(entry)")
            }
            let each = parseRequest(bytes, splits: Array(0..<bytes.count))
            #expect(each == whole, "\(entry), byte by byte")
            guard bytes.count < 200 else { continue }
            for split in 1..<max(2, bytes.count) {
                #expect(
                    parseRequest(bytes, splits: [split]) == whole,
                    "\(entry), split at \(split)"
                )
            }
        }
    }

    @Test("every response head of the table gets its verdict, however it is split")
    func responseTable() {
        for entry in ResponseTables.heads {
            let bytes = Array(entry.input.utf8)
            let whole = parseResponse(bytes)
            if let rejection = entry.rejection {
                #expect(whole.step == .rejected(rejection), "\(entry)")
            } else {
                #expect(whole.step == .end(bytes.count), "\(entry)")
                if let framing = entry.framing {
                    #expect(whole.head.framing(isHead: false) == framing, "\(entry)")
                    #expect(whole.head.framing(isHead: true) == .none, "\(entry)")
                }
            }
            for split in 0..<bytes.count {
                #expect(parseResponse(bytes, splits: [split]) == whole, "\(entry) at \(split)")
            }
            #expect(parseResponse(bytes, splits: Array(0..<bytes.count)) == whole, "\(entry)")
        }
    }

    @Test("every chunked body of the table is decoded or refused, however it is split")
    func chunkTable() {
        for entry in ResponseTables.chunked {
            let bytes = Array(entry.input.utf8)
            let whole = decodeChunks(bytes)
            if let data = entry.data {
                #expect(whole.isComplete && !whole.isRejected, "\(entry)")
                #expect(whole.data == Array(data.utf8), "\(entry)")
                #expect(whole.trailers == entry.trailers, "\(entry)")
                #expect(whole.surplus == 0, "\(entry)")
            } else {
                #expect(!whole.isComplete, "\(entry)")
                #expect(whole.isRejected || entry.input.isEmpty, "\(entry)")
            }
            var each = decodeChunks(bytes, splits: Array(0..<bytes.count))
            each.surplus = whole.surplus
            #expect(each.isComplete == whole.isComplete && each.isRejected == whole.isRejected)
            if whole.isComplete { #expect(each == whole, "\(entry)") }
        }
    }

    @Test("a head's parts lie where they were written")
    func parts() throws {
        let input =
            "PUT http://Api.Example:81/a/b?q=1?2 HTTP/1.1\r\nHost: other\r\nUser-Agent: curl/8 \r\n"
            + "Connection: close, X-Hop\r\nTE: gzip;q=0.5, trailers\r\nExpect: 100-continue\r\n"
            + "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
            + "Content-Length: 12\r\n\r\n"
        let bytes = Array(input.utf8)
        let (step, head) = parseRequest(bytes)
        #expect(step == .end(bytes.count))
        func text(_ place: Place) -> String { String(decoding: bytes[place.range], as: UTF8.self) }
        #expect(text(head.method) == "PUT")
        #expect(text(head.path) == "/a/b")
        #expect(text(head.query) == "q=1?2")
        #expect(text(head.authority) == "Api.Example:81")
        #expect(text(head.userAgent) == "curl/8")
        #expect(head.framing == .length(12))
        #expect(!head.keepsAlive && head.hasConnectionOptions && head.takesTrailers)
        #expect(head.expectsContinue)
        #expect(text(head.traceparent).hasPrefix("00-4bf92f"))
    }

    @Test("keep-alive follows version and Connection")
    func keepAlive() {
        let cases: [(String, String, Bool)] = [
            ("1.1", "", true), ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: CLOSE\r\n", false), ("1.1", "Connection: keep-alive\r\n", true),
            ("1.1", "Connection: keep-alive, close\r\n", false), ("1.0", "", false),
            ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ]
        for (version, field, isKept) in cases {
            let head = parseRequest(Array("GET / HTTP/\(version)\r\nHost: h\r\n\(field)\r\n".utf8))
                .head
            #expect(head.keepsAlive == isKept, "\(version) \(field)")
        }
    }

    @Test("random bytes never crash a parser, and splits never change a verdict")
    func randomBytes() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        let alphabet = Array("GET / HTTP/1.1\r\nHost: h\r\n :\t,chunked0123456789abcdef;\u{0}".utf8)
        for _ in 0..<3_000 {
            let count = Int.random(in: 0..<120, using: &random)
            let bytes = (0..<count).map { _ in
                Bool.random(using: &random)
                    ? alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
                    : UInt8.random(in: 0...255, using: &random)
            }
            checkSplits(bytes, &random)
        }
    }

    @Test("mutated heads never crash a parser, and splits never change a verdict")
    func mutatedHeads() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        let seeds =
            ParserTables.requests.map(\.input) + ResponseTables.heads.map(\.input)
            + ResponseTables.chunked.map(\.input)
        for _ in 0..<6_000 {
            var bytes = Array(seeds[Int.random(in: 0..<seeds.count, using: &random)].utf8)
            guard bytes.count < 500 else { continue }
            for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: place)
                case 2:
                    bytes.insert(bytes[Int.random(in: 0..<bytes.count, using: &random)], at: place)
                default: bytes.swapAt(place, Int.random(in: 0..<bytes.count, using: &random))
                }
            }
            checkSplits(bytes, &random)
        }
    }

    /// Compares the verdicts on whole and split input.
    private func checkSplits(_ bytes: [UInt8], _ random: inout SeededRandom) {
        let splits = (0..<3).map { _ in Int.random(in: 0...bytes.count, using: &random) }.sorted()
        let each = Array(0..<bytes.count)
        let request = parseRequest(bytes)
        #expect(parseRequest(bytes, splits: splits) == request)
        #expect(parseRequest(bytes, splits: each) == request)
        let response = parseResponse(bytes)
        #expect(parseResponse(bytes, splits: splits) == response)
        #expect(parseResponse(bytes, splits: each) == response)
        let chunks = decodeChunks(bytes)
        let split = decodeChunks(bytes, splits: splits)
        #expect(split.isComplete == chunks.isComplete && split.isRejected == chunks.isRejected)
        #expect(split.isRejected || split.data == chunks.data)
        // What is accepted has been understood completely.
        if case .end(let length) = request.step {
            #expect(length <= bytes.count && request.head.path.range.upperBound <= length)
        }
    }

    @Test("known fields are recognised in any case, and nothing else is")
    func knownFields() {
        let names: [(String, KnownField)] = [
            ("Host", .host), ("CONTENT-LENGTH", .contentLength),
            ("Transfer-Encoding", .transferEncoding),
            ("connection", .connection), ("Keep-Alive", .keepAlive),
            ("Proxy-Connection", .proxyConnection), ("TE", .te), ("Upgrade", .upgrade),
            ("HTTP2-Settings", .http2Settings), ("Proxy-Authorization", .proxyAuthorization),
            ("Proxy-Authenticate", .proxyAuthenticate), ("Trailer", .trailer), ("Expect", .expect),
            ("User-Agent", .userAgent), ("traceparent", .traceparent),
            ("X-Forwarded-For", .forwardedFor),
            ("X-Forwarded-Proto", .forwardedProto), ("X-Forwarded-Host", .forwardedHost),
            ("Via", .via),
            ("Date", .date), ("Hosu", .other), ("Hos", .other), ("Content-Lengtg", .other),
            ("X-Forwarded-Fo", .other), ("a", .other), ("Transfer_Encoding", .other), ("", .other),
        ]
        for (name, field) in names {
            #expect(KnownField(Array(name.utf8).span) == field, "\(name)")
            #expect(KnownField(Array(name.uppercased().utf8).span) == field, "\(name)")
        }
    }

    @Test("numbers are written as digits")
    func digits() {
        for value in [
            0, 1, 9, 10, 99, 200, 12_345, 99_999_999, 100_000_000, 1_234_567_890_123, .max,
        ] {
            var buffer = ByteBuffer()
            buffer.writeDecimal(value)
            #expect(String(buffer: buffer) == "\(value)")
            buffer.clear()
            buffer.writeHexadecimal(value)
            #expect(String(buffer: buffer) == String(value, radix: 16))
        }
    }

    @Test("dates have the form of RFC 9110")
    func dates() {
        func text(_ seconds: Int64) -> String {
            String(decoding: HTTPDate.format(seconds), as: UTF8.self)
        }
        #expect(text(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(text(0) == "Thu, 01 Jan 1970 00:00:00 GMT")
        #expect(text(951_782_400) == "Tue, 29 Feb 2000 00:00:00 GMT")
        #expect(text(1_795_219_199) == "Fri, 20 Nov 2026 23:59:59 GMT")
    }
}
