/// Finds the data in a chunked body, incrementally and in place (RFC 9112 §7.1).
///
/// Strict: hexadecimal digits, then CR or an extension; CR LF everywhere; extensions are skipped
/// and never forwarded. Owner: the connection.
package struct ChunkedDecoder {
    /// What the next bytes are.
    package enum Step: Equatable, Sendable {
        /// More bytes are needed; so many of those given are done with.
        case more(consumed: Int)
        /// Framing of `skipped` bytes, then so many bytes of data.
        case data(skipped: Int, count: Int)
        /// The body is complete; so many bytes are done with. Trailer fields are in `trailers`,
        /// with positions from the first byte given, and their section begins at `trailerStart`.
        case end(consumed: Int)
        /// The framing is refused.
        case rejected(HTTPRejection)
    }

    /// What comes next; each state lists its successors.
    private enum State: UInt8 {
        /// At the first digit of a size: `size`.
        case sizeStart
        /// Inside a size: `sizeLineFeed`, `chunkExtension`.
        case size
        /// Inside an extension: `sizeLineFeed`.
        case chunkExtension
        /// Behind the CR of a size line: `data`, `trailers`.
        case sizeLineFeed
        /// Inside the data: `dataReturn`.
        case data
        /// Behind the data: `dataLineFeed`.
        case dataReturn
        /// Behind the CR behind the data: `sizeStart`.
        case dataLineFeed
        /// In the trailer section: the end.
        case trailers
    }

    /// The trailer section's parser; its fields are valid after `.end`.
    package var trailers = FieldParser()

    /// Where the trailer section begins in the bytes given to the call that returned `.end`.
    package private(set) var trailerStart = 0

    private var state = State.sizeStart
    private var remaining: UInt64 = 0
    private var extensionBytes = 0

    /// A decoder at the beginning of a body.
    package init() {}

    /// Starts over with the next body.
    package mutating func reset() {
        state = .sizeStart
        remaining = 0
        extensionBytes = 0
        trailers.reset(at: 0)
    }

    /// Looks at the next bytes.
    ///
    /// - Parameters:
    ///   - bytes: everything that is not done with yet.
    ///   - limits: bounds of the trailer section.
    package mutating func next(_ bytes: Span<UInt8>, _ limits: GatewayLimits) -> Step {
        var at = 0
        while at < bytes.count {
            let byte = bytes[at]
            switch state {
            case .sizeStart:
                guard let digit = ByteClass.hexadecimal(byte) else { return .rejected(.badChunk) }
                remaining = UInt64(digit)
                at += 1
                state = .size
            case .size:
                at += 1
                if let digit = ByteClass.hexadecimal(byte) {
                    // 15 digits: sizes stay below 2⁶⁰ and cannot overflow.
                    guard remaining < 1 << 56 else { return .rejected(.badChunk) }
                    remaining = remaining << 4 | UInt64(digit)
                } else if byte == ByteClass.carriageReturn {
                    state = .sizeLineFeed
                } else if byte == 0x3B {
                    state = .chunkExtension
                } else {
                    return .rejected(.badChunk)
                }
            case .chunkExtension:
                at += 1
                if byte == ByteClass.carriageReturn {
                    state = .sizeLineFeed
                } else {
                    // Chosen: 4 KiB of extensions in a whole body.
                    extensionBytes += 1
                    guard extensionBytes <= 4_096, ByteClass.isFieldValue(byte) else {
                        return .rejected(.badChunk)
                    }
                }
            case .sizeLineFeed:
                guard byte == ByteClass.lineFeed else { return .rejected(.badChunk) }
                at += 1
                state = remaining == 0 ? .trailers : .data
            case .data:
                let count = Int(min(remaining, UInt64(bytes.count - at)))
                remaining -= UInt64(count)
                if remaining == 0 { state = .dataReturn }
                return .data(skipped: at, count: count)
            case .dataReturn:
                guard byte == ByteClass.carriageReturn else { return .rejected(.badChunk) }
                at += 1
                state = .dataLineFeed
            case .dataLineFeed:
                guard byte == ByteClass.lineFeed else { return .rejected(.badChunk) }
                at += 1
                state = .sizeStart
            case .trailers:
                return parseTrailers(bytes.extracting(at..<bytes.count), limits, start: at)
            }
        }
        return .more(consumed: at)
    }

    /// Parses the trailer section, of which nothing is done with before all of it is there.
    private mutating func parseTrailers(
        _ section: Span<UInt8>,
        _ limits: GatewayLimits,
        start: Int
    ) -> Step {
        while true {
            let step = trailers.next(
                section,
                bytesMax: limits.trailerBytesMax,
                fieldsMax: limits.headersMax
            )
            switch step {
            case .more: return .more(consumed: start)
            case .field: continue
            case .end(let length):
                trailerStart = start
                return .end(consumed: start + length)
            case .rejected(.headTooLong): return .rejected(.trailersTooLong)
            case .rejected(let rejection): return .rejected(rejection)
            }
        }
    }
}
