import Gateway
import Testing

/// What comes from clients and upstreams, kept and changed.
@Suite("Fuzz of HTTP", .serialized, .timeLimit(.minutes(30)))
struct HTTPFuzzTests {
    @Test("HTTP heads and chunked bodies: pieces of any size get the verdict of the whole")
    func http() async throws {
        let limits = GatewayLimits()
        let pieces = [
            "\r\n\r\n", ": ", "Host: h", "Content-Length: ", "chunked", "\t", "0\r\n\r\n",
        ]
        try await Fuzzer("http", pieces: pieces).run(rounds: 4_000, countMax: 8_192) {
            bytes,
            choices in
            let end = choices.below(bytes.count + 1)
            var whole = RequestParser()
            var pieced = RequestParser()
            let verdict = whole.parse(bytes.span, limits)
            var step = pieced.parse(bytes.span.extracting(0..<end), limits)
            if step == .more { step = pieced.parse(bytes.span, limits) }
            if step != verdict { throw Difference("request: \(step), the whole \(verdict)") }
            var response = ResponseParser()
            _ = response.parse(bytes.span, limits)
            try decodeChunks(bytes, limits)
        }
    }

    /// Decodes a chunked body to its end; a decoder that makes no progress is a hang.
    private func decodeChunks(_ bytes: [UInt8], _ limits: GatewayLimits) throws {
        var decoder = ChunkedDecoder()
        var start = 0
        for _ in 0...2 * bytes.count + 2 {
            switch decoder.next(bytes.span.extracting(start..<bytes.count), limits) {
            case .data(let skipped, let count): start += skipped + count
            default: return
            }
        }
        throw Difference("the decoder of chunks makes no progress")
    }
}
