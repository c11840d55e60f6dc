import Records

/// Reads lines of the Common and Combined log formats.
///
/// `client ident user [time] "request" status size "referrer" "user agent"`; the last two are
/// missing in the Common format, and may be missing in any line. A missing last quote is forgiven,
/// as servers cut long lines. Quotes inside quoted parts are escaped by a backslash. What stands
/// between client and time, and after the user agent, is passed over. One pass, nothing allocated.
package enum AccessLogParser {
    /// The longest line that is read; chosen: eight times the longest request line that common
    /// servers accept.
    package static let lineBytesMax = 64 * 1024

    /// Parses a line without its line end.
    package static func parse(_ line: Span<UInt8>) throws(LineProblem) -> AccessLogLine {
        guard line.count <= lineBytesMax else { throw .tooLong }
        var result = AccessLogLine()
        var position = 0
        result.client = token(line, &position)
        guard result.client.range.count > 0 else { throw .noClient }
        result.time = try time(line, &position)
        guard skip(line, &position, space), skip(line, &position, quote) else { throw .noRequest }
        guard quoted(line, &position, &result.request) else { throw .unterminatedRequest }
        guard skip(line, &position, space) else { throw .badStatus }
        result.status = try status(line, &position)
        guard skip(line, &position, space) else { throw .badSize }
        result.size = try size(line, &position)
        // The rest is not needed for a record.
        guard skip(line, &position, space), skip(line, &position, quote) else { return result }
        guard quoted(line, &position, &result.referrer) else { return result }
        guard skip(line, &position, space), skip(line, &position, quote) else { return result }
        result.isWholeCombined = quoted(line, &position, &result.userAgent)
        return result
    }

    /// The time in the first pair of brackets that holds one.
    private static func time(
        _ line: Span<UInt8>,
        _ position: inout Int
    ) throws(LineProblem) -> Int64 {
        var hasBracket = false
        while position + 1 < line.count {
            guard line[position] == space, line[position + 1] == UInt8(ascii: "[") else {
                position += 1
                continue
            }
            hasBracket = true
            var end = position + 2
            if let time = AccessLogTime.parse(line, &end),
                skip(line, &end, UInt8(ascii: "]"))
            {
                position = end
                return time
            }
            position += 1
        }
        throw hasBracket ? .badTime : .noTime
    }

    /// Three digits or "-".
    private static func status(
        _ line: Span<UInt8>,
        _ position: inout Int
    ) throws(LineProblem) -> UInt32? {
        if skip(line, &position, UInt8(ascii: "-")) { return nil }
        var value: UInt32 = 0
        for _ in 0..<3 {
            guard position < line.count, isDigit(line[position]) else { throw .badStatus }
            value = value * 10 + UInt32(line[position] - 0x30)
            position += 1
        }
        guard position == line.count || line[position] == space else { throw .badStatus }
        return value < 100 ? nil : value
    }

    /// Digits or "-", up to the end of the line or a blank.
    private static func size(
        _ line: Span<UInt8>,
        _ position: inout Int
    ) throws(LineProblem) -> UInt64 {
        var value: UInt64 = 0
        let start = position
        if !skip(line, &position, UInt8(ascii: "-")) {
            while position < line.count, isDigit(line[position]) {
                let (scaled, first) = value.multipliedReportingOverflow(by: 10)
                let (next, second) = scaled.addingReportingOverflow(UInt64(line[position] - 0x30))
                // Sums of sizes are kept in signed numbers.
                if first || second || next > UInt64(Int64.max) { throw .badSize }
                value = next
                position += 1
            }
        }
        guard position > start, position == line.count || line[position] == space else {
            throw .badSize
        }
        return value
    }

    /// The bytes up to a blank.
    private static func token(_ line: Span<UInt8>, _ position: inout Int) -> AccessLogLine.Text {
        let start = position
        var bits: UInt8 = 0
        while position < line.count, line[position] != space {
            bits |= line[position]
            position += 1
        }
        return AccessLogLine.Text(
            range: ByteRange(start: UInt32(start), count: UInt32(position - start)),
            isASCII: bits < 0x80
        )
    }

    /// The bytes up to the closing quote, or to the end of the line; says whether there was one.
    private static func quoted(
        _ line: Span<UInt8>,
        _ position: inout Int,
        _ text: inout AccessLogLine.Text
    ) -> Bool {
        let start = position
        var bits: UInt8 = 0
        var hasEscape = false
        var isClosed = false
        while position < line.count {
            let byte = line[position]
            if byte == quote {
                isClosed = true
                break
            }
            bits |= byte
            if byte == UInt8(ascii: "\\"), position + 1 < line.count {
                hasEscape = true
                position += 1
                bits |= line[position]
            }
            position += 1
        }
        text = AccessLogLine.Text(
            range: ByteRange(start: UInt32(start), count: UInt32(position - start)),
            hasEscape: hasEscape,
            isASCII: bits < 0x80
        )
        if isClosed { position += 1 }
        return isClosed
    }

    private static let space = UInt8(ascii: " ")
    private static let quote = UInt8(ascii: "\"")

    @inline(__always)
    private static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

    @inline(__always)
    private static func skip(_ line: Span<UInt8>, _ position: inout Int, _ byte: UInt8) -> Bool {
        guard position < line.count, line[position] == byte else { return false }
        position += 1
        return true
    }
}
