package import Records

/// Makes records of access log lines.
///
/// What a log does not know is absent: latencies, above all. What every record has in common is
/// encoded once.
package struct LineEncoder {
    /// The most bytes of a line that could not be read that are kept.
    package static let rawLineBytesMax = 8 * 1024

    /// Kind, org, api and route, encoded.
    private let common: [UInt8]
    private let format: ImportFormat
    private var scratch: [UInt8] = []

    /// Makes an encoder for the records of one file.
    package init(org: String, api: String, format: ImportFormat) {
        var encoder = RecordEncoder()
        encoder.put(.kind, UInt64(RecordKind.request.rawValue))
        encoder.put(.org, org)
        encoder.put(.api, api)
        encoder.put(.route, Route.unmatched)
        common = encoder.bytes
        self.format = format
    }

    /// Encodes the record of a line that was parsed from `bytes`.
    package mutating func encode(
        _ line: AccessLogLine,
        _ bytes: Span<UInt8>,
        into encoder: inout RecordEncoder
    ) {
        encoder.put(encoded: common.span)
        encoder.put(.completedAt, signed: line.time)
        let outcome = Self.outcome(line.status)
        if outcome != .unspecified { encoder.put(.outcome, UInt64(outcome.rawValue)) }
        if let status = line.status { encoder.put(.status, UInt64(status)) }
        if line.size > 0 { encoder.put(.responseBytes, line.size) }

        let target = RequestTarget(bytes, line.request.range.range)
        encoder.put(.method, RequestMethod(bytes.extracting(target.method)).name)
        put(.path, part(line.request, target.path), bytes, &encoder)
        if !target.host.isEmpty { put(.host, part(line.request, target.host), bytes, &encoder) }
        if !isDash(line.client, bytes) { put(.clientIP, line.client, bytes, &encoder) }
        guard format == .combined, !isDash(line.userAgent, bytes) else { return }
        put(.userAgent, line.userAgent, bytes, &encoder)
        guard line.userAgent.range.count > 0 else { return }
        let agent = bytes.extracting(line.userAgent.range.range)
        encoder.put(.userAgentFamily, UserAgentFamily(agent).name)
        let platform = ClientPlatform(agent).name
        if !platform.isEmpty { encoder.put(.platform, platform) }
    }

    /// Encodes a line that could not be read: its reason and its first bytes.
    package static func encodeUnparsed(
        _ line: Span<UInt8>,
        length: Int,
        _ problem: LineProblem,
        org: String,
        api: String,
        into encoder: inout RecordEncoder
    ) {
        encoder.put(.kind, UInt64(RecordKind.unparsed.rawValue))
        encoder.put(.org, org)
        encoder.put(.api, api)
        encoder.putTag(key: "reason", value: problem.rawValue)
        encoder.putCapture(
            .capturedRequest,
            line.extracting(first: min(line.count, rawLineBytesMax)),
            originalLength: UInt64(length)
        )
    }

    /// The outcome that a status tells; a log does not say whose fault a 5xx was.
    static func outcome(_ status: UInt32?) -> Outcome {
        switch status {
        case nil: .unspecified
        case .some(..<400): .ok
        case .some(400..<500): .clientError
        default: .upstreamError
        }
    }

    private func part(_ text: AccessLogLine.Text, _ range: Range<Int>) -> AccessLogLine.Text {
        AccessLogLine.Text(
            range: ByteRange(start: UInt32(range.lowerBound), count: UInt32(range.count)),
            hasEscape: text.hasEscape,
            isASCII: text.isASCII
        )
    }

    /// Puts text; empty text is absent.
    private mutating func put(
        _ field: RecordField,
        _ text: AccessLogLine.Text,
        _ bytes: Span<UInt8>,
        _ encoder: inout RecordEncoder
    ) {
        guard text.range.count > 0 else { return }
        let piece = bytes.extracting(text.range.range)
        if !text.hasEscape, text.isASCII {
            encoder.put(field, piece)
            return
        }
        scratch.removeAll(keepingCapacity: true)
        QuotedText.unescape(piece, into: &scratch)
        encoder.put(field, QuotedText.repaired(scratch))
    }

    private func isDash(_ text: AccessLogLine.Text, _ bytes: Span<UInt8>) -> Bool {
        text.range.count == 1 && bytes[Int(text.range.start)] == UInt8(ascii: "-")
    }
}
