import Records

/// The parts of a request line, as positions in the bytes that it was split from.
struct RequestTarget {
    /// The first word; all of it when there is no blank.
    var method: Range<Int>
    /// The path without query and fragment; empty when there is none.
    var path: Range<Int>
    /// The authority of an absolute target, as proxies log it; else empty.
    var host: Range<Int>

    /// Splits `METHOD target HTTP/x.y`; the version may be missing (HTTP/0.9), and the target may
    /// hold blanks. Garbage that has no blank is a path of its own, so that it can be looked at.
    init(_ line: Span<UInt8>, _ range: Range<Int>) {
        let space = UInt8(ascii: " ")
        host = range.lowerBound..<range.lowerBound
        guard let first = Self.first(space, line, range) else {
            method = range
            let isKnown = RequestMethod(line.extracting(range)) != .other
            let isAbsent = range.count == 1 && line[range.lowerBound] == UInt8(ascii: "-")
            path = isKnown || isAbsent ? range.upperBound..<range.upperBound : range
            return
        }
        method = range.lowerBound..<first
        var target = first + 1..<range.upperBound
        if let last = Self.last(space, line, target),
            Self.isVersion(line, last + 1..<target.upperBound)
        {
            target = target.lowerBound..<last
        }
        if let authority = Self.authority(line, target) {
            host = authority
            target = authority.upperBound..<target.upperBound
        }
        for index in target {
            if line[index] == UInt8(ascii: "?") || line[index] == UInt8(ascii: "#") {
                target = target.lowerBound..<index
                break
            }
        }
        path = target
    }

    private static func first(_ byte: UInt8, _ line: Span<UInt8>, _ range: Range<Int>) -> Int? {
        for index in range where line[index] == byte { return index }
        return nil
    }

    private static func last(_ byte: UInt8, _ line: Span<UInt8>, _ range: Range<Int>) -> Int? {
        var index = range.upperBound
        while index > range.lowerBound {
            index -= 1
            if line[index] == byte { return index }
        }
        return nil
    }

    /// Whether the bytes begin with `HTTP/`.
    private static func isVersion(_ line: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard range.count >= 5 else { return false }
        let start = range.lowerBound
        return line[start] == UInt8(ascii: "H") && line[start + 1] == UInt8(ascii: "T")
            && line[start + 2] == UInt8(ascii: "T") && line[start + 3] == UInt8(ascii: "P")
            && line[start + 4] == UInt8(ascii: "/")
    }

    /// The authority after `http://` or `https://`, without user information.
    private static func authority(_ line: Span<UInt8>, _ target: Range<Int>) -> Range<Int>? {
        guard target.count > 7, line[target.lowerBound] | 0x20 == UInt8(ascii: "h") else {
            return nil
        }
        var index = target.lowerBound
        while index < target.upperBound, line[index] | 0x20 >= UInt8(ascii: "a"),
            line[index] | 0x20 <= UInt8(ascii: "z")
        {
            index += 1
        }
        guard index + 3 <= target.upperBound, line[index] == UInt8(ascii: ":"),
            line[index + 1] == UInt8(ascii: "/"), line[index + 2] == UInt8(ascii: "/")
        else { return nil }
        var start = index + 3
        index = start
        while index < target.upperBound, line[index] != UInt8(ascii: "/"),
            line[index] != UInt8(ascii: "?"), line[index] != UInt8(ascii: "#")
        {
            if line[index] == UInt8(ascii: "@") { start = index + 1 }
            index += 1
        }
        return start..<index
    }
}
