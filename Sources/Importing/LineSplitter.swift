/// Cuts a stream of bytes into lines; memory is bounded by the longest line that is read.
struct LineSplitter {
    /// The beginning of a line whose end has not come yet, at most one byte more than is read.
    private var carried: [UInt8] = []
    /// The length of that line so far, with what was not kept.
    private var carriedLength = 0

    /// Takes the next bytes and calls `body` with every line that they complete: the line without
    /// its line end (`\n` or `\r\n`), and its true length, which is greater than the span's when
    /// the line is too long to be read.
    mutating func feed(
        _ bytes: Span<UInt8>,
        _ body: (_ line: Span<UInt8>, _ length: Int) throws(ImportError) -> Void
    ) throws(ImportError) {
        var start = 0
        for index in bytes.indices where bytes[index] == 0x0A {
            if carriedLength == 0 {
                let line = Self.withoutReturn(bytes.extracting(start..<index))
                try body(line, line.count)
            } else {
                carry(bytes.extracting(start..<index))
                try finish(body)
            }
            start = index + 1
        }
        if start < bytes.count { carry(bytes.extracting(start..<bytes.count)) }
    }

    /// Takes the next bytes and keeps only the beginning of the line that they do not complete.
    mutating func keepTail(_ bytes: Span<UInt8>) {
        var start = bytes.count
        while start > 0, bytes[start - 1] != 0x0A { start -= 1 }
        if start > 0 {
            carried.removeAll(keepingCapacity: true)
            carriedLength = 0
        }
        if start < bytes.count { carry(bytes.extracting(start..<bytes.count)) }
    }

    /// Calls `body` with the line that has no end, if there is one.
    mutating func finish(
        _ body: (_ line: Span<UInt8>, _ length: Int) throws(ImportError) -> Void
    ) throws(ImportError) {
        let length = carriedLength
        guard length > 0 else { return }
        carriedLength = 0
        defer { carried.removeAll(keepingCapacity: true) }
        let line = carried.span
        guard length == line.count else { return try body(line, length) }
        let whole = Self.withoutReturn(line)
        try body(whole, whole.count)
    }

    /// The line without a carriage return at its end.
    @_lifetime(copy line)
    private static func withoutReturn(_ line: Span<UInt8>) -> Span<UInt8> {
        guard line.count > 0, line[line.count - 1] == 0x0D else { return line }
        return line.extracting(first: line.count - 1)
    }

    private mutating func carry(_ bytes: Span<UInt8>) {
        carriedLength += bytes.count
        let room = AccessLogParser.lineBytesMax + 1 - carried.count
        let kept = bytes.extracting(first: min(room, bytes.count))
        carried.append(addingCapacity: kept.count) { output in
            for index in kept.indices { output.append(kept[index]) }
        }
    }
}
